"""How well the laws predicted runs that were hidden from them: what a reader sees before all that rests on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.comparison import LOSSES
from glidepath.report.numbers import plain

PREDICTED = {
    "val_loss": "final loss",
    "loss_curve_end": "end of a curve",
    "loss_curve": "whole curve",
}
"""Words for quantities; of all others the name itself."""
ENDS = ("val_loss", "loss_curve_end")
"""Losses at the end of training."""


@dataclass(frozen=True)
class TrialRow:
    """One law on one kind of hidden runs."""

    hidden: str
    quantity: str
    law: str
    n_hidden: int
    error: str
    worst: str
    baseline: str
    covered: str
    best: bool
    """The least error of several laws that predicted the same runs."""


@dataclass(frozen=True)
class Trial:
    """What the laws were asked and what they missed."""

    headline: str
    rows: tuple[TrialRow, ...]
    """Predicted losses."""
    others: tuple[TrialRow, ...]
    """All else that was predicted: learning rates, batches, sizes, what a wrong one costs."""
    silent: tuple[str, ...]
    """Why laws could not be tried."""


def law_trial(comparison: pd.DataFrame) -> Trial:
    """The table `law_comparison` in words."""
    scored = comparison[comparison["n_hidden"] > 0]
    is_loss = scored["quantity"].isin(LOSSES)
    losses, others = (tuple(_row(row) for _, row in part.iterrows()) for part in (scored[is_loss], scored[~is_loss]))
    silent = comparison[(comparison["n_hidden"] == 0) & (comparison["reason"] != "")]
    whys = (
        f"{str(row['law']).replace('_', ' ')}, {row['holdout_kind']}: {row['reason']}." for _, row in silent.iterrows()
    )
    return Trial(_headline(scored[is_loss]), losses, others, tuple(dict.fromkeys(whys)))


def _headline(scored: pd.DataFrame) -> str:
    """Of the ends of training only: points along a curve are one another's neighbours. Of laws on the same hidden runs
    the best one."""
    ends = scored[scored["quantity"].isin(ENDS) & (scored["rank"] == 1) & scored["skill"].notna()]
    ends = ends.drop_duplicates(["quantity", "holdout_kind", "n_hidden", "rank", "mean_absolute_error"])
    if ends.empty:
        return "No law of the loss could be tried: nothing could be hidden and predicted."
    text = (
        f"Hidden in {len(ends)} ways, the loss at the end of training came closer to the best law than to the nearest "
        f"run in {int((ends['skill'] > 0).sum())}. Trust a law as far as it got here."
    )
    told = ends[ends["covered"].notna()]
    if len(told):
        inside = float((told["covered"] * told["n_hidden"]).sum() / told["n_hidden"].sum())
        level = float(told["ci_level"].iloc[0])
        text += f" Of these losses {plain(100 * inside, 0)} % lie inside its intervals at {plain(100 * level, 0)} %."
    return text


def _row(row: pd.Series[Any]) -> TrialRow:
    unit = "nat/token" if row["quantity"] in LOSSES else ""
    worst = float(row["worst_relative_error"])
    covered, several = row["covered"], pd.notna(row["n_laws"]) and int(row["n_laws"]) > 1
    return TrialRow(
        hidden=str(row["holdout_kind"]),
        quantity=PREDICTED.get(str(row["quantity"]), _spaced(row["quantity"])),
        law=_spaced(row["law"]),
        n_hidden=int(row["n_hidden"]),
        error=_error(float(row["mean_absolute_error"]), unit),
        worst=f"{plain(100 * worst, 2)} %" if np.isfinite(worst) else "",
        baseline=_error(float(row["baseline_mean_absolute_error"]), unit),
        covered=f"{plain(100 * float(covered), 0)} %" if pd.notna(covered) else "",
        best=bool(several and row["rank"] == 1),
    )


def _spaced(name: object) -> str:
    return str(name).replace("_", " ")


def _error(value: float, unit: str) -> str:
    return f"{value:.2g} {unit}".strip() if np.isfinite(value) else ""
