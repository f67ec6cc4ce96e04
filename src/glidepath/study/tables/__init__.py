"""The tables a user may rely on, by subject; `docs/tables.md` is generated from here."""

from __future__ import annotations

from glidepath.study.tables.averaging import (
    AVERAGE_BLOCK_LOSSES,
    AVERAGE_LOSSES,
    AVERAGE_SHAPE,
    AVERAGES,
    COOLDOWN_ORACLE,
    COOLDOWN_ORACLE_SCORES,
    STEPS_SAVED,
)
from glidepath.study.tables.batch import BATCH_SAVING, CRITICAL_BATCH, STEPS_TO_LOSS
from glidepath.study.tables.checkpoints import CHECKPOINT_STEPS_SAVED, CHECKPOINT_TABLES, CHECKPOINTS
from glidepath.study.tables.curve_laws import (
    CURVE_PREDICTIONS,
    CURVE_SCORES,
    CURVE_TABLES,
    OPTIMISED_SCHEDULE,
    VERIFICATION,
)
from glidepath.study.tables.imports import FINDINGS, IMPORT_TABLES, IMPORTED_ROWS
from glidepath.study.tables.large_lr import LARGE_LR, REGIMES
from glidepath.study.tables.laws import (
    LAW_COMPARISON,
    LAW_PARAMETERS,
    LAW_PREDICTIONS,
    LAW_SCORES,
    LAW_TABLES,
    RUN_PREDICTIONS,
)
from glidepath.study.tables.noise_scale import GRADIENT_STATISTICS, NOISE_SCALE, NOISE_SCALE_REGRESSION
from glidepath.study.tables.parametrization import COORDINATE_CHECK, COORDINATE_SLOPES
from glidepath.study.tables.plan import BUDGET, PLAN, SPENDING
from glidepath.study.tables.position_losses import POSITION_LOSSES
from glidepath.study.tables.schedules import COMPARISONS, EMA_VIEW
from glidepath.study.tables.spikes import SPIKE_EXCESS, SPIKE_REMOVAL
from glidepath.study.tables.table import SCHEMA_VERSION, Column, Table, arrow_schema, empty, read, write, writer
from glidepath.study.tables.training import BLOCK_LOSSES, EVALUATIONS, RUNS, UPDATES, of_segment

TABLES = (
    PLAN,
    BUDGET,
    SPENDING,
    RUNS,
    UPDATES,
    EVALUATIONS,
    BLOCK_LOSSES,
    AVERAGES,
    POSITION_LOSSES,
    STEPS_SAVED,
    COOLDOWN_ORACLE,
    COOLDOWN_ORACLE_SCORES,
    GRADIENT_STATISTICS,
    NOISE_SCALE,
    NOISE_SCALE_REGRESSION,
    STEPS_TO_LOSS,
    CRITICAL_BATCH,
    BATCH_SAVING,
    EMA_VIEW,
    COMPARISONS,
    LAW_COMPARISON,
    RUN_PREDICTIONS,
    COORDINATE_CHECK,
    COORDINATE_SLOPES,
    REGIMES,
    LARGE_LR,
    SPIKE_EXCESS,
    SPIKE_REMOVAL,
    OPTIMISED_SCHEDULE,
    VERIFICATION,
)

__all__ = [
    "AVERAGES",
    "AVERAGE_BLOCK_LOSSES",
    "AVERAGE_LOSSES",
    "AVERAGE_SHAPE",
    "BATCH_SAVING",
    "BLOCK_LOSSES",
    "BUDGET",
    "CHECKPOINTS",
    "CHECKPOINT_STEPS_SAVED",
    "CHECKPOINT_TABLES",
    "COMPARISONS",
    "COOLDOWN_ORACLE",
    "COOLDOWN_ORACLE_SCORES",
    "COORDINATE_CHECK",
    "COORDINATE_SLOPES",
    "CRITICAL_BATCH",
    "CURVE_PREDICTIONS",
    "CURVE_SCORES",
    "CURVE_TABLES",
    "EMA_VIEW",
    "EVALUATIONS",
    "FINDINGS",
    "GRADIENT_STATISTICS",
    "IMPORTED_ROWS",
    "IMPORT_TABLES",
    "LARGE_LR",
    "LAW_COMPARISON",
    "LAW_PARAMETERS",
    "LAW_PREDICTIONS",
    "LAW_SCORES",
    "LAW_TABLES",
    "NOISE_SCALE",
    "NOISE_SCALE_REGRESSION",
    "OPTIMISED_SCHEDULE",
    "PLAN",
    "POSITION_LOSSES",
    "REGIMES",
    "RUNS",
    "RUN_PREDICTIONS",
    "SCHEMA_VERSION",
    "SPENDING",
    "SPIKE_EXCESS",
    "SPIKE_REMOVAL",
    "STEPS_SAVED",
    "STEPS_TO_LOSS",
    "TABLES",
    "UPDATES",
    "VERIFICATION",
    "Column",
    "Table",
    "arrow_schema",
    "empty",
    "of_segment",
    "read",
    "write",
    "writer",
]
