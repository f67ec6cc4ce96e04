"""loss_horizon: val_loss = irreducible_loss + K·tokens_per_parameter^(-exponent), at each horizon's optimal learning
rate.

Also the compute that a schedule saves against the reference to reach the same loss (Bergsma et al. 2025): by inverting
the curve through the trained horizons (compute_saving), which rests on no form, and by inverting the law
(compute_saving_by_law), which also answers beyond them.

Beside it stands the law without an asymptote that the recommendation compares it with, least squares in logarithms:

    val_loss = scale_without_asymptote·tokens_per_parameter^(-exponent_without_asymptote).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from glidepath.laws.law import (
    DECLARED,
    EXTRAPOLATION,
    GRID_POINTS,
    REPEATED_LEFT_OUT,
    SPANS_HORIZONS,
    Floats,
    LawTables,
    Settings,
    Sweep,
    by_group,
    fresh_sweeps,
    hidden_sweeps,
    sweeps,
)
from glidepath.laws.new_run import intervals, law_errors, new_runs
from glidepath.laws.predictors import LOSS_PREDICTORS, Points
from glidepath.laws.size_points import Bools, drawn_anew
from glidepath.science.laws.horizon import SaturatingLaw, compute_saving, compute_saving_by_law, fit_saturating_law
from glidepath.study.final_losses import FinalLosses

PARAMETERS = ("irreducible_loss", "K", "exponent")
ENOUGH_RUNS = len(PARAMETERS) + 1
"""Different horizons that a bootstrap sample needs where runs are drawn: with one less the law goes through all."""
PREDICTOR = next(predictor for predictor in LOSS_PREDICTORS if predictor.name == "loss_horizon")


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every group of sweeps with at least three horizons; score by hiding the longest, and on what is declared
    hidden."""
    tables = LawTables(settings, losses.resampling_unit)
    every = [(group, *fresh_sweeps(members)) for group, members in by_group(sweeps(losses, settings))]
    groups = [(group, members) for group, members, _ in every]
    replicated = bool(losses.noise.degrees_of_freedom)
    unseen = hidden_sweeps(hidden, settings)
    references = {
        (group["model"], group["batch_sequences"]): members
        for group, members in groups
        if group["schedule"] == settings.reference_schedule
    }
    laws = {tuple(group.values()): _fitted(members, losses, settings) for group, members in groups if len(members) >= 3}
    for group, members, left_out in every:
        fitted = laws.get(tuple(group.values()))
        out = replace(tables, resampling_unit=_drawn(members, settings)[1]) if not replicated else tables
        _write(out, group, members, fitted)
        if left_out:
            nothing = np.empty(0)
            out.parameter(group, SPANS_HORIZONS, REPEATED_LEFT_OUT, left_out, nothing, len(members), "converged")
        if fitted:
            _write_without_asymptote(out, group, members, losses)
        _score(out, group, members, losses)
        _score_declared(out, group, members, fitted, [sweep for sweep in unseen if sweep.group == group], losses)
        reference = references.get((group["model"], group["batch_sequences"]))
        if reference and group["schedule"] != settings.reference_schedule:
            _savings(out, group, members, reference)
            other = laws.get(tuple(reference[0].group.values()))
            if fitted and other:
                _savings_by_law(out, group, fitted, other)
    return tables


def _horizons(members: list[Sweep]) -> Floats:
    return np.array([sweep.tokens_per_parameter for sweep in members])


def _losses(members: list[Sweep]) -> Floats:
    return np.array([sweep.optimum.val_loss for sweep in members])


def _drawn(members: list[Sweep], settings: Settings) -> tuple[Floats, str]:
    return drawn_anew([sweep.trunk for sweep in members], settings.n_bootstrap, settings.seed)


def _points(members: list[Sweep]) -> Points:
    n_params, tokens = (
        np.array([float(getattr(sweep, name)) for sweep in members]) for name in ("n_params_counted", "token_horizon")
    )
    return Points(n_params, tokens, _losses(members), None)


def _samples(members: list[Sweep]) -> Floats:
    return np.stack([sweep.loss_samples for sweep in members], axis=1)


@dataclass(frozen=True)
class _Fitted:
    """A group with its law, the law of every sample, and which samples could have one."""

    members: list[Sweep]
    law: SaturatingLaw
    samples: SaturatingLaw
    possible: Bools


def _fitted(members: list[Sweep], losses: FinalLosses, settings: Settings) -> _Fitted:
    """Samples are losses measured anew, or without replicates the horizons drawn anew."""
    x, observed = _horizons(members), _losses(members)
    law = fit_saturating_law(x, observed)
    if losses.noise.degrees_of_freedom:
        rows = _samples(members)
        return _Fitted(members, law, fit_saturating_law(x, rows), np.asarray(np.isfinite(rows).all(1)))
    weights, _ = _drawn(members, settings)
    enough = (weights > 0).sum(1) >= ENOUGH_RUNS
    rows = np.where(enough[:, None], observed, np.nan)
    return _Fitted(members, law, fit_saturating_law(x, rows, weights=weights), enough)


def _write(out: LawTables, group: dict[str, object], members: list[Sweep], fitted: _Fitted | None) -> None:
    x = _horizons(members)
    if fitted is None:
        for name in PARAMETERS:
            out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), len(x), "failed")
        return
    law, samples = fitted.law, fitted.samples
    at_bound = float(samples.bound_hit[fitted.possible].mean()) if fitted.possible.any() else 0.0
    # Three points determine three parameters exactly: there is no residual, hence nothing that speaks for the form.
    status = (
        "failed"
        if np.isnan(law.K)
        else "not_identified"
        if len(x) == 3
        else "bound_hit"
        if law.bound_hit or at_bound > (1 - out.settings.ci_level) / 2
        else "converged"
    )
    for name in PARAMETERS:
        out.parameter(group, SPANS_HORIZONS, name, float(getattr(law, name)), getattr(samples, name), len(x), status)
    if status == "failed":
        return
    grid = np.geomspace(x.min(), x.max() * EXTRAPOLATION, GRID_POINTS)
    outside = grid > x.max() * (1 + 1e-9)
    out.prediction(
        group, SPANS_HORIZONS, "tokens_per_parameter", grid, "val_loss",
        law.predict(grid), samples.predict(grid), outside,
    )  # fmt: skip


def _write_without_asymptote(
    out: LawTables, group: dict[str, object], members: list[Sweep], losses: FinalLosses
) -> None:
    x, observed = np.log(_horizons(members)), np.log(_losses(members))
    if losses.noise.degrees_of_freedom:
        # The loss of a sample whose sweep has no vertex near it may be below 0: such a sample has no law.
        with np.errstate(invalid="ignore", divide="ignore"):
            rows, weights = np.log(_samples(members)), np.ones(len(x))
    else:
        rows, weights = observed[None], _drawn(members, out.settings)[0]
    (scale, exponent), (scales, exponents) = _power_law(x, observed, np.ones(len(x))), _power_law(x, rows, weights)
    falls = bool(exponent > 0)
    for name, value, samples in (("scale", scale, scales), ("exponent", exponent, exponents)):
        told = float(value) if falls else np.nan
        status = "converged" if falls else "failed"
        out.parameter(group, SPANS_HORIZONS, f"{name}_without_asymptote", told, samples, len(x), status)


def _power_law(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(scale, exponent) of exp(y) = scale·exp(x)^(-exponent), by weighted least squares along the last axis; NaN where
    all weight is on one x."""
    share = weights / weights.sum(-1, keepdims=True)
    mean_x, mean_y = (share * x).sum(-1), (share * y).sum(-1)
    off = x - mean_x[..., None]
    spread = (share * off**2).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.where((share > 0).sum(-1) > 1, (share * off * (y - mean_y[..., None])).sum(-1) / spread, np.nan)
    return np.exp(mean_y - slope * mean_x), -slope


def _score(out: LawTables, group: dict[str, object], members: list[Sweep], losses: FinalLosses) -> None:
    if len(members) < 4:
        reason = f"{len(members)} horizons: four are needed to hide the longest and fit three parameters"
        out.not_scored(group, "longest_horizon", "val_loss", reason)
        return
    fitted = _fitted(members[:-1], losses, out.settings)
    _score_on(out, group, "longest_horizon", fitted, members[-1:], _losses(members)[-2:-1], losses)


def _score_declared(
    out: LawTables,
    group: dict[str, object],
    members: list[Sweep],
    fitted: _Fitted | None,
    unseen: list[Sweep],
    losses: FinalLosses,
) -> None:
    """Best losses of hidden sweeps at horizons that the fit has not seen, against the nearest horizon that it has."""
    x, observed = _horizons(members), _losses(members)
    unseen = [sweep for sweep in unseen if sweep.tokens_per_parameter not in x]
    if not unseen:
        return
    if fitted is None:
        out.not_scored(group, DECLARED, "val_loss", f"{len(x)} horizons are open to the fit: three are needed")
        return
    nearest = np.abs(np.log(_horizons(unseen)[:, None] / x)).argmin(1)
    _score_on(out, group, DECLARED, fitted, unseen, observed[nearest], losses)


def _score_on(
    out: LawTables,
    group: dict[str, object],
    holdout: str,
    fitted: _Fitted,
    hidden: list[Sweep],
    baseline: Floats,
    losses: FinalLosses,
) -> None:
    at = _horizons(hidden)
    predicted, samples = fitted.law.predict(at), fitted.samples.predict(at)
    residuals = np.log(_losses(fitted.members)) - np.log(fitted.law.predict(_horizons(fitted.members)))
    there, seen = _points(hidden), _points(fitted.members)
    errors = law_errors(PREDICTOR, seen, there.n_params, there.tokens, out.settings, axis=seen.tokens)
    measured = _samples(fitted.members) if losses.noise.degrees_of_freedom else None
    drawn = new_runs(samples, predicted, errors, residuals, measured, len(PARAMETERS), losses, out.settings)
    low, high = intervals(drawn, out.settings.ci_level)
    out.score(
        group,
        holdout,
        "val_loss",
        predicted,
        _losses(hidden),
        baseline,
        low=low,
        high=high,
        hidden=[s.name for s in hidden],
    )


def _savings(out: LawTables, group: dict[str, object], members: list[Sweep], reference: list[Sweep]) -> None:
    """At the horizons that both schedules were trained at."""
    common = sorted(set(_horizons(members).tolist()) & set(_horizons(reference).tolist()))
    if len(common) < 2:
        return
    mine, theirs = (
        [next(sweep for sweep in side if sweep.tokens_per_parameter == x) for x in common]
        for side in (members, reference)
    )
    x = np.array(common)
    values = compute_saving(x, _losses(mine), _losses(theirs))
    samples = compute_saving(x, _samples(mine), _samples(theirs))
    answered = np.isfinite(values)
    out.prediction(
        group,
        SPANS_HORIZONS,
        "tokens_per_parameter",
        x[answered],
        "compute_saving",
        values[answered],
        samples[:, answered],
        np.zeros(int(answered.sum()), dtype=bool),
    )


def _savings_by_law(out: LawTables, group: dict[str, object], mine: _Fitted, reference: _Fitted) -> None:
    """From the shortest horizon of both up to four times the longest of both, where both schedules have a law."""
    if min(len(mine.members), len(reference.members)) < ENOUGH_RUNS or np.isnan(mine.law.K + reference.law.K):
        return
    sides = [_horizons(fitted.members) for fitted in (mine, reference)]
    first, last = max(x.min() for x in sides), min(x.max() for x in sides)
    grid = np.geomspace(first, last * EXTRAPOLATION, GRID_POINTS)
    values = compute_saving_by_law(grid, mine.law, reference.law)
    samples = compute_saving_by_law(grid, mine.samples, reference.samples)
    answered = np.isfinite(values)
    out.prediction(
        group, SPANS_HORIZONS, "tokens_per_parameter", grid[answered], "compute_saving_by_law", values[answered],
        samples[:, answered], grid[answered] > last * (1 + 1e-9),
    )  # fmt: skip
