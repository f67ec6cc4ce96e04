"""A law of loss curves fitted to every group of runs, in the tables of all laws: parameters, predictions and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.curve_groups import LARGEST_SIZE, REST_OF_LARGEST_SIZE, Group, groups_of, groups_over_sizes
from glidepath.laws.curve_law import LONGEST_HORIZON, SCHEDULE, GroupFit, bands, fit_group, kind
from glidepath.laws.curve_predictions import curve_predictions, curve_scores
from glidepath.laws.curve_spread import interval
from glidepath.laws.curves import curves_of
from glidepath.laws.fitted_curves import LAWS_OVER_SIZES, Fitted
from glidepath.laws.law import SPANS_HORIZONS, LawTables, Settings
from glidepath.study import tables

CURVE, END = "loss_curve", "loss_curve_end"
"""Quantities of the scores: all hidden points, and the last ones of the curves."""
NOT_HIDDEN = {
    SCHEDULE: "fewer than two schedules with points of their own at this peak_lr, or too few points",
    LONGEST_HORIZON: "one horizon at this peak_lr, or too few points",
    LARGEST_SIZE: "fewer than three sizes are left without the largest",
    REST_OF_LARGEST_SIZE: "the largest size has one schedule",
}
"""Why, where no group says more."""


@dataclass(kw_only=True)
class CurveLawTables(LawTables):
    """The tables of all laws, and those of laws of curves."""

    curve_predictions: pd.DataFrame
    curve_scores: pd.DataFrame

    def frames(self) -> dict[tables.Table, pd.DataFrame]:
        return super().frames() | {
            tables.CURVE_PREDICTIONS: self.curve_predictions,
            tables.CURVE_SCORES: self.curve_scores,
        }


def fit_curve_law(law: str, found: Mapping[str, pd.DataFrame], settings: Settings) -> CurveLawTables:
    """Fit a law to every group of a study's or of imported runs, whose tables are those of LOSS_CURVES."""
    groups = (groups_over_sizes if law in LAWS_OVER_SIZES else groups_of)(curves_of(found).runs)
    fits = [fit_group(law, group, settings) for group in groups]
    units = {fit.whole.resampling_unit for fit in fits if fit.whole}
    out = CurveLawTables(
        settings,
        " and ".join(sorted(units)) or "none: nothing was fitted",
        curve_predictions=curve_predictions(fits),
        curve_scores=curve_scores(fits),
    )
    for fit in fits:
        _scores(out, fit)
        if fit.whole:
            _parameters(out, fit.group, fit.whole)
            _ends(out, fit)
    return out


def _parameters(out: LawTables, group: Group, whole: Fitted) -> None:
    found = whole.found
    for name, value in _named(found.law):
        samples = np.asarray(getattr(whole.samples, name), np.float64)
        out.parameter(group.key, SPANS_HORIZONS, name, value, samples, found.fit.n_points, str(found.fit.status))


def _named(law: Any) -> Iterator[tuple[str, float]]:
    for one in fields(law):
        value = getattr(law, one.name)
        if value is not None and not isinstance(value, (str, bool)):
            yield one.name, float(value)


def _scores(out: LawTables, fit: GroupFit) -> None:
    by_size = (LARGEST_SIZE, REST_OF_LARGEST_SIZE) if fit.law in LAWS_OVER_SIZES else ()
    for holdout, why in fit.unsaid.items():
        out.not_scored(fit.group.key, holdout, CURVE, why)
    told = {kind(holdout) for holdout in (*fit.unsaid, *(holdout for holdout, _, _ in fit.scored()))}
    for holdout in (SCHEDULE, LONGEST_HORIZON, *by_size):
        if holdout not in told:
            out.not_scored(fit.group.key, holdout, CURVE, fit.group.refusal or NOT_HIDDEN[holdout])
    for holdout, hidden, spread in fit.scored():
        low, high = zip(*(interval(one, spread, out.settings.ci_level) for one in hidden), strict=True)
        columns = [
            [one.predicted for one in hidden],
            [one.observed for one in hidden],
            [one.baseline for one in hidden],
            list(low),
            list(high),
        ]
        for quantity, pick in ((CURVE, slice(None)), (END, slice(-1, None))):
            predicted, observed, baseline, lows, highs = (
                np.concatenate([part[pick] for part in parts]) for parts in columns
            )
            out.score(fit.group.key, holdout, quantity, predicted, observed, baseline, low=lows, high=highs)


def _ends(out: LawTables, fit: GroupFit) -> None:
    """Predicted loss at the end of every schedule and horizon of the group."""
    seen = set()
    for run in fit.group.open:
        place = (run.model, run.schedule, run.tokens_per_parameter)
        if place in seen or not np.isfinite(run.tokens_per_parameter):
            continue
        seen.add(place)
        row = bands(fit, run.points(run.curve.updates_done == run.curve.updates_done[-1]), (out.settings.ci_level,))
        out.predictions.append(
            {
                "model": run.model,
                "schedule": run.schedule,
                "batch_sequences": fit.group.batch_sequences,
                "x_name": "peak_lr",
                "x": fit.group.peak_lr,
                "quantity": END,
                "tokens_per_parameter": run.tokens_per_parameter,
                "value": float(row["predicted"][0]),
                "ci_low": float(row["low"][0][0]),
                "ci_high": float(row["high"][0][0]),
                "ci_level": out.settings.ci_level,
                "extrapolated": False,
            }
        )
