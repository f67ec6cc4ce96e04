"""What a recommendation says of the batch beside the noise scale: the critical batch, and a path that saved tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glidepath.science.critical_batch import STEP_DATA_TRADEOFF
from glidepath.study.recommendation import BatchPath, Estimate, Source

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
    return BatchAdvice(
        None if found is None else _estimate(found, "critical_batch_tokens", "_ci", "critical_batch", CRITICAL_KEY),
        None
        if path is None
        else BatchPath(
            schedule=str(path["schedule"]),
            peak_lr=float(path["peak_lr"]),
            tokens_saved_fraction=_estimate(path, "tokens_saved_fraction", "", "batch_saving", SAVING_KEY),
            n_tried=int(tried["schedule"].nunique()),
        ),
        tuple(warnings),
    )


def swept_schedule(critical: pd.DataFrame, schedule: str) -> str:
    """Of rows of `critical_batch`, those of which schedule to tell: the recommended one's, else those of the schedule
    with most batches. The target loss does not choose: a schedule's critical batch is no better for a lower one."""
    if (critical["schedule"] == schedule).any():
        return schedule
    return str(critical.groupby("schedule", sort=False)["n_batches"].max().idxmax())


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


def _estimate(row: pd.Series[Any], name: str, ends: str, table: str, key: tuple[str, ...]) -> Estimate:
    """With the row as its source; an end that is not finite is null."""
    low, high = (float(row[f"{name}{ends}{end}"]) for end in ("_low", "_high"))
    plain = {name: row[name].item() if isinstance(row[name], np.generic) else row[name] for name in key}
    return Estimate(
        value=float(row[name]),
        ci_low=low if np.isfinite(low) else None,
        ci_high=high if np.isfinite(high) else None,
        ci_level=float(row["ci_level"]),
        sources=(Source(table=table, key=plain),),
    )
