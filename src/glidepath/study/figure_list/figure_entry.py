"""What a figure is, and the columns that several have."""

from __future__ import annotations

from dataclasses import dataclass

from glidepath.study.tables import Column, Table

LR_OPTIMUM = "laws/lr_optimum"
LR_HORIZON = "laws/lr_horizon"
LOSS_HORIZON = "laws/loss_horizon"
LR_TRANSFER = "laws/lr_transfer"
ANNEALING = "laws/annealing"
CURVES_OF = f"{ANNEALING}/curve_predictions"
LR_BATCH_SURFACE = "laws/lr_batch_surface"
LOSS_SIZE_HORIZON = "laws/loss_size_horizon"
ISOFLOP = "laws/isoflop"
BATCH_SWEEPS = "batch_sweeps"
"""Asked for by a schedule without a horizon at several batches."""
BATCH_PATHS = "batch_paths"
"""Asked for by a schedule with a batch path beside the one that is equal but for it."""


@dataclass(frozen=True)
class FigureEntry:
    """One figure. `tables` are paths under the results folder, without the ending."""

    title: str
    question: int
    """Which of the five questions it serves; 0 is the study itself."""
    tables: tuple[str, ...]
    table: Table
    """Schema of the figure's Parquet: a row per mark, in drawing order."""
    asked_for: str | None = None
    """Section or law without which the study does not have the figure; None: every study has it."""

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def category(self) -> str:
        return CATEGORIES[self.question]


CATEGORIES = (
    "The study",
    "1 Schedule",
    "2 Peak learning rate",
    "3 Batch size",
    "4 Averaging",
    "5 Loss",
)

MODEL = Column("model", "string", "-", "model")
SCHEDULE = (
    Column("schedule", "string", "-", "schedule"),
    Column("schedule_kind", "string", "-", "kind of the schedule: decides the colour"),
    Column("family_rank", "int64", "-", "place among the schedules of its kind: decides line style and marker"),
)
TPP = Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon")
TOKEN_HORIZON = Column("token_horizon", "float64", "tokens", "horizon")
TOKENS_SEEN = Column("tokens_seen", "int64", "tokens", "training tokens seen")
BATCH_TOKENS = Column("batch_tokens", "int64", "tokens", "tokens per update")
PEAK_LR = Column("peak_lr", "float64", "-", "peak learning rate")
REPLICATE = Column("replicate", "int64", "-", "replicate")
N_REPLICATES = Column("n_replicates", "int64", "-", "replicates averaged")
VAL_LOSS = Column("val_loss", "float64", "nat/token", "validation loss")
VAL_LOSS_SE = Column(
    "val_loss_se",
    "float64",
    "nat/token",
    "replicate noise pooled over the model's cells, over the root of the replicates; null if unknown",
)
CI_LOW = Column("ci_low", "float64", "as value", "lower end of the interval; null if none")
CI_HIGH = Column("ci_high", "float64", "as value", "upper end of the interval; null if none")
CI_LEVEL = Column("ci_level", "float64", "-", "level of the interval; null if none")
EXTRAPOLATED = Column("extrapolated", "bool", "-", "outside the fitted range")
STATUS = Column("status", "string", "-", "status of the estimate; empty if it has none")
