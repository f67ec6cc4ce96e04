"""What a recommendation says of the batch: the noise scale, the critical batch, and a path that saved tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from glidepath.advice.estimates import of_row, source_row
from glidepath.laws.critical_batch import swept_schedule
from glidepath.science.critical_batch import STEP_DATA_TRADEOFF
from glidepath.study.recommendation import BatchPath, Estimate

NOISE_SCALE_KEY = ("cell_id", "group", "window")
CRITICAL_KEY = ("model", "schedule", "weights", "lr_rule", "target_loss", "definition")
SAVING_KEY = (
    "schedule", "fixed_schedule", "model", "tokens_per_parameter", "batch_sequences", "lr_choice", "peak_lr", "at",
    "point",
)  # fmt: skip
SAVES = "saves tokens"


@dataclass(frozen=True)
class BatchAdvice:
    """None for what was not measured or not identified."""

    critical_batch_tokens: Estimate | None
    batch_path: BatchPath | None
    warnings: tuple[str, ...]


def advice(
    critical: pd.DataFrame, saving: pd.DataFrame, model: str, schedule: str, batch_sequences: int
) -> BatchAdvice:
    """From the tables `critical_batch` and `batch_saving`, for a recommended model, schedule and fixed batch."""
    warnings = []
    found, tried = _critical_batch(critical, model, schedule), _paths(saving, model, schedule, batch_sequences)
    saves = tried[tried["status"] == SAVES].sort_values("tokens_saved_fraction", ascending=False, kind="stable")
    path = saves.iloc[0] if len(saves) else None
    if found is not None and found["edge_of_grid"]:
        warnings.append(
            f"A peak learning rate behind the critical batch, of {found['schedule']}, is the lowest or highest tried "
            "at its batch: another one might need fewer updates. Add learning rates beyond it."
        )
    if path is not None and path["edge_of_grid"]:
        warnings.append(
            f"The batch path {path['schedule']} at peak learning rate {path['peak_lr']:.3g} is compared with "
            f"{schedule} at {path['fixed_peak_lr']:.3g}, and one of the two is the lowest or highest tried: the saving "
            "may not be that of each at its best. Add learning rates beyond it."
        )
    critical_batch_tokens = batch_path = None
    if found is not None:
        source, name = source_row("critical_batch", found, CRITICAL_KEY), "critical_batch_tokens"
        critical_batch_tokens = of_row(found, name, f"{name}_ci", source)
    if path is not None:
        source, name = source_row("batch_saving", path, SAVING_KEY), "tokens_saved_fraction"
        batch_path = BatchPath(
            schedule=str(path["schedule"]),
            peak_lr=float(path["peak_lr"]),
            tokens_saved_fraction=of_row(path, name, name, source),
            n_tried=int(tried["schedule"].nunique()),
        )
    return BatchAdvice(critical_batch_tokens, batch_path, tuple(warnings))


def _critical_batch(critical: pd.DataFrame, model: str, schedule: str) -> pd.Series[Any] | None:
    """By the trade-off of updates and examples, raw weights, every batch at its best learning rate, to the lowest loss
    where it is identified; None if it is nowhere."""
    found = critical[
        (critical["model"] == model)
        & (critical["definition"] == STEP_DATA_TRADEOFF)
        & (critical["weights"] == "raw")
        & (critical["lr_rule"] == "re_tuned")
        & (critical["status"] == "converged")
    ]
    if found.empty:
        return None
    of_schedule = found[found["schedule"] == swept_schedule(found, schedule)]
    return of_schedule.sort_values("target_loss", kind="stable").iloc[0]


def _paths(saving: pd.DataFrame, model: str, fixed_schedule: str, batch_sequences: int) -> pd.DataFrame:
    """Every path beside the recommended schedule with the target's batch, both at their best learning rates, at the
    longest horizon."""
    found = saving[
        (saving["model"] == model)
        & (saving["fixed_schedule"] == fixed_schedule)
        & (saving["batch_sequences"] == batch_sequences)
        & (saving["lr_choice"] == "best")
        & (saving["at"] == "end")
    ]
    longest: pd.DataFrame = found[found["tokens_per_parameter"] == found["tokens_per_parameter"].max()]
    return longest


def noise_scale(measured: pd.DataFrame, runs: pd.DataFrame, model: str, batch_sequences: int) -> Estimate | None:
    """The last trusted window of the run that was probed longest and, among equals, reached the lowest loss."""
    of_model = runs[(runs["model"] == model) & (runs["batch_sequences"] == batch_sequences) & ~runs["holdout"]]
    total = measured[(measured["group"] == "total") & (measured["status"] == "ok")]
    probed = total.merge(of_model[["cell_id", "val_loss"]], on="cell_id")
    if probed.empty:
        return None
    last = probed.sort_values(["tokens_seen", "val_loss"], ascending=[False, True]).iloc[0]
    return of_row(last, "noise_scale_tokens", "ci", source_row("noise_scale", last, NOISE_SCALE_KEY))
