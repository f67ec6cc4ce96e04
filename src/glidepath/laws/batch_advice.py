"""What a recommendation says of the batch beside the noise scale: the critical batch, and a path that saved tokens."""

from __future__ import annotations

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


def critical_batch(critical: pd.DataFrame, model: str) -> Estimate | None:
    """Of a model: by the trade-off of updates and examples, raw weights, every batch at its best learning rate, to the
    lowest loss where it is identified; None if it is nowhere."""
    found = critical[
        (critical["model"] == model)
        & (critical["definition"] == STEP_DATA_TRADEOFF)
        & (critical["weights"] == "raw")
        & (critical["lr_rule"] == "re_tuned")
        & (critical["status"] == "converged")
    ]
    if found.empty:
        return None
    row = found.sort_values("target_loss", kind="stable").iloc[0]
    return _estimate(
        row, "critical_batch_tokens", ("_ci_low", "_ci_high"), _source("critical_batch", row, CRITICAL_KEY)
    )


def batch_path(saving: pd.DataFrame, model: str, fixed_schedule: str, batch_sequences: int) -> BatchPath | None:
    """The path that saved most against the recommended schedule with the target's batch, both at their best learning
    rates and the longest horizon, where its interval lies above zero; None without one."""
    found = saving[
        (saving["model"] == model)
        & (saving["fixed_schedule"] == fixed_schedule)
        & (saving["batch_sequences"] == batch_sequences)
        & (saving["lr_choice"] == "best")
        & (saving["at"] == "end")
    ]
    found = found[found["tokens_per_parameter"] == found["tokens_per_parameter"].max()]
    found = found[found["status"] == SAVES]
    if found.empty:
        return None
    row = found.sort_values("tokens_saved_fraction", ascending=False, kind="stable").iloc[0]
    source = _source("batch_saving", row, SAVING_KEY)
    return BatchPath(
        schedule=str(row["schedule"]),
        tokens_saved_fraction=_estimate(row, "tokens_saved_fraction", ("_low", "_high"), source),
    )


def _source(table: str, row: pd.Series[Any], key: tuple[str, ...]) -> Source:
    plain = {name: row[name].item() if isinstance(row[name], np.generic) else row[name] for name in key}
    return Source(table=table, key=plain)


def _estimate(row: pd.Series[Any], name: str, ends: tuple[str, str], source: Source) -> Estimate:
    low, high = (float(row[f"{name}{end}"]) for end in ends)
    return Estimate(
        value=float(row[name]),
        ci_low=low if np.isfinite(low) else None,
        ci_high=high if np.isfinite(high) else None,
        ci_level=float(row["ci_level"]),
        sources=(source,),
    )
