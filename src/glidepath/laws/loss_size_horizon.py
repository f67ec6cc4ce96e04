"""loss_size_horizon: val_loss = E + A·N^(-alpha) + B·D^(-beta) over all sizes and horizons of a schedule (Hoffmann et
al. 2022).

N is the study's parameter count, D the token horizon, the loss that at each cell's optimal learning rate.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from glidepath.laws.law import DECLARED, EXTRAPOLATION, GRID_POINTS, SPANS_HORIZONS, Floats, LawTables, Settings
from glidepath.laws.new_run import law_errors
from glidepath.laws.predictors import LOSS_PREDICTORS, Points
from glidepath.laws.size_holdouts import LARGEST_SIZE, LONGEST_HORIZON, score_hidden, score_without
from glidepath.laws.size_points import SizePoints, groups_of_points, report_residuals
from glidepath.science.fitting import Profile
from glidepath.science.laws.size_horizon import (
    FLOPS_PER_PARAMETER_AND_TOKEN,
    SizeHorizonFit,
    SizeHorizonLaw,
    fit_size_horizon_law,
)
from glidepath.study.final_losses import FinalLosses

COORDINATES = {"E": "E", "A": "alpha", "B": "beta", "alpha": "alpha", "beta": "beta"}
"""The parameters, and the coordinate of the fit whose profile says whether the data identify each."""
OPTIMAL = ("optimal_size_exponent", "optimal_horizon_exponent")
PARAMETERS = (*COORDINATES, *OPTIMAL)
N_PARAMETERS = len(COORDINATES)
PREDICTOR = next(predictor for predictor in LOSS_PREDICTORS if predictor.name == "loss_size_horizon")
HOLDOUTS = (LARGEST_SIZE, LONGEST_HORIZON)


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every schedule, batch and architecture with at least three sizes and horizons; score by hiding the largest
    sizes, the longest horizons, and what is declared hidden."""
    tables = LawTables(settings, losses.resampling_unit)
    for group, points, unseen in groups_of_points(losses, settings, hidden):
        out = replace(tables, resampling_unit=points.resampling_unit)
        score_on = partial(_score_on, out, group, losses)
        for holdout in HOLDOUTS:
            score_without(out, group, holdout, points, _fitted, score_on)
        try:
            found = _fitted(points)
        except ValueError:
            for name in PARAMETERS:
                out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), len(points), "not_identified")
            continue
        samples = found.resampled(losses=points.samples, weights=points.weights)
        _parameters(out, group, found, samples, len(points))
        report_residuals(out, group, points, found.residuals)
        _curves(out, group, points, found.law, samples)
        _compute_optimal(out, group, points, found.law, samples)
        if unseen:
            score_on(DECLARED, points, unseen, found)
    return tables


def _fitted(points: SizePoints) -> SizeHorizonFit:
    return fit_size_horizon_law(points.n_params, points.tokens, points.losses)


def statuses(found: SizeHorizonFit, level: float) -> dict[str, str]:
    """Status of every parameter: that of the fit, or not_identified where the profile likelihood does not close."""
    if found.fit.status in ("failed", "max_iter"):
        return dict.fromkeys(PARAMETERS, str(found.fit.status))
    told = {name: _told(found, name, level) for name in set(COORDINATES.values())}
    single = {name: told[coordinate] for name, coordinate in COORDINATES.items()}
    both = next((told[name] for name in ("alpha", "beta") if told[name] != "converged"), "converged")
    return single | dict.fromkeys(OPTIMAL, both)


def _told(found: SizeHorizonFit, coordinate: str, level: float) -> str:
    if coordinate in found.fit.at_bound:
        return "bound_hit"
    if found.fit.n_points <= N_PARAMETERS:
        return "not_identified"
    profile: Profile = found.profile(coordinate, level)
    return "converged" if profile.identified else "not_identified"


def _parameters(out: LawTables, group: dict[str, Any], found: SizeHorizonFit, samples: SizeHorizonLaw, n: int) -> None:
    for name, status in statuses(found, out.settings.ci_level).items():
        value, drawn = float(getattr(found.law, name)), getattr(samples, name)
        out.parameter(group, SPANS_HORIZONS, name, value, drawn, n, status)
    out.parameter(
        group, SPANS_HORIZONS, "condition_number", found.fit.condition_number, np.empty(0), n, found.fit.status
    )


def _curves(
    out: LawTables, group: dict[str, Any], points: SizePoints, law: SizeHorizonLaw, samples: SizeHorizonLaw
) -> None:
    """Loss of every size at its horizons."""
    models = np.array(points.models)
    for model in dict.fromkeys(points.models):
        of_model = np.flatnonzero(models == model)
        of_model = of_model[np.unique(points.tokens[of_model], return_index=True)[1]]
        n, d = points.n_params[of_model], points.tokens[of_model]
        out.prediction(
            {**group, "model": model}, SPANS_HORIZONS, "token_horizon", d, "val_loss",
            law.predict(n, d), samples.predict(n, d), np.zeros(len(d), dtype=bool),
        )  # fmt: skip


def _compute_optimal(
    out: LawTables, group: dict[str, Any], points: SizePoints, law: SizeHorizonLaw, samples: SizeHorizonLaw
) -> None:
    """Size, horizon and loss of least loss at every compute, up to four times the largest that was trained."""
    trained = FLOPS_PER_PARAMETER_AND_TOKEN * points.n_params * points.tokens
    flops = np.geomspace(trained.min(), trained.max() * EXTRAPOLATION, GRID_POINTS)
    size, horizon = law.compute_optimal(flops)
    if not np.isfinite(size).all():
        return
    sizes, horizons = samples.compute_optimal(flops)
    least: Floats = law.E + law.A * size**-law.alpha + law.B * horizon**-law.beta
    lowest: Floats = (
        samples.E[:, None]
        + samples.A[:, None] * sizes ** -samples.alpha[:, None]
        + samples.B[:, None] * horizons ** -samples.beta[:, None]
    )
    outside = flops > trained.max() * (1 + 1e-9)
    for quantity, values, drawn in (
        ("n_params_counted", size, sizes), ("token_horizon", horizon, horizons), ("val_loss", least, lowest)
    ):  # fmt: skip
        out.prediction(group, SPANS_HORIZONS, "train_flops_6nd", flops, quantity, values, drawn, outside)


def axis_of(holdout: str, points: Points) -> Floats:
    """What the hidden points are the largest in."""
    return {"largest_size": points.n_params, "longest_horizon": points.tokens}.get(holdout, points.compute)


def _score_on(
    out: LawTables,
    group: dict[str, Any],
    losses: FinalLosses,
    holdout: str,
    points: SizePoints,
    hidden: SizePoints,
    found: SizeHorizonFit,
) -> None:
    samples = found.resampled(losses=points.samples, weights=points.weights)
    at = hidden.n_params, hidden.tokens
    predicted, drawn = found.law.predict(*at), samples.predict(*at)
    seen = Points(points.n_params, points.tokens, points.losses, None)
    errors = law_errors(PREDICTOR, seen, *at, out.settings, axis=axis_of(holdout, seen))
    score_hidden(out, group, holdout, points, hidden, predicted, drawn, errors, found.residuals, N_PARAMETERS, losses)
