"""Every schedule against the reference, each at its own best learning rate, at every model, horizon and batch."""

from __future__ import annotations

from typing import Any

import pandas as pd

from glidepath.study import tables
from glidepath.study.final_losses import FinalLosses

WHERE = ["model", "tokens_per_parameter", "batch_sequences"]


def comparisons(losses: FinalLosses, reference: str, ci_level: float) -> pd.DataFrame:
    """The table of comparisons; empty where the reference was not trained."""
    rows = []
    for _, here in losses.points.groupby(WHERE, sort=False):
        best = {str(schedule): _best(cells) for schedule, cells in here.groupby("schedule", sort=False)}
        if reference not in best:
            continue
        rows += [
            _row(losses, here, best[schedule], best[reference], ci_level) for schedule in best if schedule != reference
        ]
    return pd.DataFrame(rows, columns=tables.COMPARISONS.names)


def _best(cells: pd.DataFrame) -> int:
    """Index of the point of lowest mean loss."""
    return int(cells.index.to_numpy()[cells["val_loss"].to_numpy().argmin()])


def _row(losses: FinalLosses, here: pd.DataFrame, mine: int, theirs: int, ci_level: float) -> dict[str, Any]:
    point, reference = losses.points.iloc[mine], losses.points.iloc[theirs]
    result = losses.difference(mine, theirs, ci_level)
    return {
        **{key: point[key] for key in WHERE},
        "schedule": point["schedule"],
        "reference_schedule": reference["schedule"],
        "peak_lr": point["peak_lr"],
        "reference_peak_lr": reference["peak_lr"],
        "edge_of_grid": _at_edge(here, point) or _at_edge(here, reference),
        "val_loss": point["val_loss"],
        "reference_val_loss": reference["val_loss"],
        "difference": result.difference,
        "difference_relative": result.difference / reference["val_loss"],
        "standard_error": result.standard_error,
        "degrees_of_freedom": result.degrees_of_freedom,
        "n_replicates": int(losses.common_replicates(mine, theirs).sum()),
        "minimum_detectable_difference": result.minimum_detectable_difference,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "ci_level": ci_level,
        "verdict": result.verdict,
    }


def _at_edge(here: pd.DataFrame, point: pd.Series[Any]) -> bool:
    """Whether a point's learning rate is an end of its schedule's grid."""
    grid = here.loc[here["schedule"] == point["schedule"], "peak_lr"]
    return bool(point["peak_lr"] in (grid.min(), grid.max()))
