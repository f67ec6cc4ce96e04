"""What laws of loss curves say of every run, point by point and curve by curve: hidden, fitted, and not made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.laws.curve_groups import Group
from glidepath.laws.curve_law import LEVELS, GroupFit, bands, kind
from glidepath.laws.curve_spread import beyond, interval
from glidepath.laws.curves import RunCurve
from glidepath.study import tables

Floats = NDArray[np.float64]

NONE, NOT_TRAINED = "none", "not_trained"
"""Holdouts of rows that no hidden run has."""


def curve_predictions(fits: Sequence[GroupFit], asked: Sequence[RunCurve] = ()) -> pd.DataFrame:
    """`CURVE_PREDICTIONS`: hidden runs, all fitted runs, and the runs of `asked`, which were not made."""
    rows: list[pd.DataFrame] = []
    for fit in fits:
        for holdout, hidden, spread in fit.scored():
            for one in hidden:
                ends = [interval(one, spread, level) for level in LEVELS]
                low, high = zip(*ends, strict=True)
                rows.append(
                    _rows(fit, one.run, kind(holdout), one.predicted, low, high).assign(
                        val_loss=one.observed,
                        baseline=one.baseline,
                        hidden=True,
                        extrapolated=beyond(one.run.curve.updates_done, one.reach) > 0,
                    )
                )
        if fit.whole is None:
            continue
        made = [(run, NONE) for run in fit.group.open]
        for run, holdout in [*made, *((run, NOT_TRAINED) for run in asked if _belongs(run, fit.group))]:
            said = bands(fit, run)
            rows.append(
                _rows(fit, run, holdout, said["predicted"], said["low"], said["high"]).assign(
                    val_loss=np.nan if run.curve.losses is None else run.curve.losses,
                    baseline=np.nan,
                    hidden=holdout == NOT_TRAINED,
                    extrapolated=said["extrapolated"],
                )
            )
    return pd.concat(rows, ignore_index=True) if rows else tables.empty(tables.CURVE_PREDICTIONS)


def curve_scores(fits: Sequence[GroupFit]) -> pd.DataFrame:
    """`CURVE_SCORES` of every hidden curve."""
    rows = []
    for fit in fits:
        for holdout, hidden, spread in fit.scored():
            for one in hidden:
                errors, observed = one.predicted - one.observed, one.observed
                around = float(((observed - observed.mean()) ** 2).sum())
                covered = [_covered(observed, *interval(one, spread, level)) for level in LEVELS]
                rows.append(
                    _run_columns(fit, one.run)
                    | {
                        "holdout": kind(holdout),
                        "n_points": len(errors),
                        "r_squared": 1 - float((errors**2).sum()) / around if around > 0 else np.nan,
                        "mean_absolute_error": float(np.abs(errors).mean()),
                        "root_mean_square_error": float(np.sqrt((errors**2).mean())),
                        "mean_relative_error": float((np.abs(errors) / observed).mean()),
                        "worst_relative_error": float((np.abs(errors) / observed).max()),
                        "baseline_mean_absolute_error": float(np.abs(one.baseline - observed).mean()),
                        "end_error": float(errors[-1]),
                        "covered_50": covered[0],
                        "covered_90": covered[1],
                    }
                )
    return pd.DataFrame(rows, columns=tables.CURVE_SCORES.names)


def _run_columns(fit: GroupFit, run: RunCurve) -> dict[str, Any]:
    return {
        "law": fit.law,
        "cell_id": run.cell_id,
        "model": run.model,
        "schedule": run.schedule,
        "schedule_kind": run.schedule_kind,
        "batch_sequences": run.batch_sequences,
        "peak_lr": run.peak_lr,
        "tokens_per_parameter": run.tokens_per_parameter,
        "total_steps": run.total_steps,
    }


def _rows(
    fit: GroupFit, run: RunCurve, holdout: str, predicted: Floats, low: Sequence[Floats], high: Sequence[Floats]
) -> pd.DataFrame:
    at = run.curve.updates_done
    return pd.DataFrame(
        {
            **{name: [value] * len(at) for name, value in _run_columns(fit, run).items()},
            "holdout": holdout,
            "updates_done": at,
            "tokens_seen": pd.array([int(n) * run.batch_tokens or None for n in at], dtype="Int64"),
            "lr": run.curve.lr[at - 1],
            "val_loss_predicted": predicted,
            "low_50": low[0],
            "high_50": high[0],
            "low_90": low[1],
            "high_90": high[1],
        }
    )


def _belongs(run: RunCurve, group: Group) -> bool:
    alike = (run.model, run.batch_sequences) == (group.model, group.batch_sequences)
    return alike and bool(np.isclose(run.peak_lr, group.peak_lr, rtol=1e-5))


def _covered(observed: Floats, low: Floats, high: Floats) -> float:
    return float(((low <= observed) & (observed <= high)).mean()) if np.isfinite(low).all() else np.nan
