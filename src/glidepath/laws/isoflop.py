"""isoflop: size and horizon of least loss at equal compute, and how they grow with it (Hoffmann et al. 2022, approach
2; Porian et al. 2024).

Compute is what every run is told to have cost, or 6·N·D with the study's parameter count where that makes more budgets;
`x_name` says which. Runs within 2 % of one compute are a budget, and of runs of one size the best counts. Without
replicates the noise is what a cubic through the points around each minimum leaves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glidepath.laws.law import (
    EXTRAPOLATION,
    GRID_POINTS,
    REPEATED_LEFT_OUT,
    SPANS_HORIZONS,
    Floats,
    LawTables,
    Settings,
)
from glidepath.laws.new_run import intervals
from glidepath.laws.size_points import SizePoints, groups_of_points
from glidepath.science.laws.isoflop import (
    MIN_BUDGETS,
    MIN_POINTS,
    IsoflopFit,
    best_of_sizes,
    budgets,
    fit_isoflop,
    law_through,
    scattered,
)
from glidepath.science.laws.size_horizon import FLOPS_PER_PARAMETER_AND_TOKEN
from glidepath.study.final_losses import FinalLosses

PARAMETERS = ("a", "b", "size_coefficient", "horizon_coefficient")
HOLDOUT = "largest_budget"
QUANTITIES = ("n_params_counted", "token_horizon")
CUBIC_POINTS = 7
SCATTER = "losses, by the scatter about the profiles"
"""Resampling unit without replicates."""


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every schedule, batch and architecture with three budgets that have a minimum; score by hiding the largest
    one. Hidden cells are points of profiles, which are not predicted."""
    replicated = bool(losses.noise.degrees_of_freedom)
    out = LawTables(settings, losses.resampling_unit if replicated else SCATTER)
    for group, points, _ in groups_of_points(losses, settings, hidden):
        _fit_group(out, group, points)
    return out


def compute(train_flops: Floats, n_params: Floats, tokens: Floats) -> tuple[str, Floats]:
    """The compute that budgets are made of, and its name: that told (NaN where it is not) if every run's is and it
    makes a budget, but 6·N·D if that makes more of them."""
    by_formula = FLOPS_PER_PARAMETER_AND_TOKEN * n_params * tokens
    told = bool(np.isfinite(train_flops).all() and (train_flops > 0).all())
    if told and 0 < _n_budgets(train_flops, n_params) >= _n_budgets(by_formula, n_params):
        return "train_flops_exact", train_flops
    return "train_flops_6nd", by_formula


def _n_budgets(flops: Floats, n_params: Floats) -> int:
    """Budgets of `MIN_POINTS` sizes or more."""
    labels = budgets(flops)
    return sum(len(np.unique(n_params[labels == label])) >= MIN_POINTS for label in np.unique(labels))


def _fit_group(out: LawTables, group: dict[str, Any], points: SizePoints) -> None:
    name_of_compute, flops = compute(points.train_flops, points.n_params, points.tokens)
    samples = points.samples
    if samples is None:
        noise = scatter(flops, points.n_params, points.losses)
        samples = scattered(points.losses, noise, out.settings.n_bootstrap, out.settings.seed)
    try:
        found = fit_isoflop(flops, points.n_params, points.tokens, points.losses, samples)
    except ValueError as refusal:
        for name in PARAMETERS:
            out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), len(points), "not_identified")
        for quantity in QUANTITIES:
            out.not_scored(group, HOLDOUT, quantity, str(refusal))
        return
    _parameters(out, group, found)
    if points.n_repeated_left_out:
        left_out = float(points.n_repeated_left_out)
        out.parameter(group, SPANS_HORIZONS, REPEATED_LEFT_OUT, left_out, np.empty(0), len(points), found.status)
    _profiles(out, group, found, name_of_compute)
    if found.status != "failed":
        _curves(out, group, found, name_of_compute)
    _score(out, group, found)


def scatter(flops: Floats, n_params: Floats, losses: Floats) -> float:
    """Standard deviation [nat/token] of losses about cubics in ln N through up to seven points around each lowest.

    It contains what the cubics miss of the profiles' shape, so it is too large rather than too small. 0 where no budget
    has more points than a cubic has parameters.
    """
    squares = degrees = 0.0
    labels = budgets(flops)
    for label in np.unique(labels):
        of_budget = np.flatnonzero(labels == label)
        of_budget = of_budget[best_of_sizes(n_params[of_budget], losses[of_budget])]
        ln_n, of_losses = np.log(n_params[of_budget]), losses[of_budget]
        near = np.argsort(np.abs(ln_n - ln_n[of_losses.argmin()]), kind="stable")[:CUBIC_POINTS]
        if len(near) > 4:
            x = ln_n[near] - ln_n[near].mean()
            residuals = of_losses[near] - np.polyval(np.polyfit(x, of_losses[near], 3), x)
            squares += float((residuals**2).sum())
            degrees += len(near) - 4
    return float(np.sqrt(squares / degrees)) if degrees else 0.0


def _parameters(out: LawTables, group: dict[str, Any], found: IsoflopFit) -> None:
    n = len(found.used)
    for name in PARAMETERS:
        value, drawn = float(getattr(found.law, name)), getattr(found.samples, name)
        out.parameter(group, SPANS_HORIZONS, name, value, drawn, n, found.status)
    # The parabola's answer is there to be compared: beyond 5 % and noise its status says that it is not the minimum.
    status = "failed" if found.status == "failed" else "not_identified" if found.parabola_biased else "converged"
    nothing = np.empty(0)
    out.parameter(group, SPANS_HORIZONS, "a_parabola", float(found.parabola.a), nothing, n, status)
    out.parameter(group, SPANS_HORIZONS, "parabola_shift", found.parabola_shift, nothing, n, status)
    skewed = [profile.asymmetry for profile in found.used if np.isfinite(profile.asymmetry)]
    skew = float(np.median(skewed)) if skewed else np.nan
    out.parameter(group, SPANS_HORIZONS, "asymmetry", skew, nothing, n, found.status)
    for status in ("edge_of_grid", "failed"):
        left_out = sum(profile.status == status for profile in found.profiles)
        if left_out:
            name = "budgets_at_edge" if status == "edge_of_grid" else "budgets_too_small"
            out.parameter(group, SPANS_HORIZONS, name, float(left_out), nothing, n, status)


def _profiles(out: LawTables, group: dict[str, Any], found: IsoflopFit, name_of_compute: str) -> None:
    """The minimum of every budget that has one, and the parabola's."""
    for profile in found.used:
        at, inside = np.array([profile.train_flops]), np.zeros(1, dtype=bool)
        for quantity, value, drawn in (
            ("n_params_of_profile", profile.n_params, np.exp(profile.ln_n_samples)[:, None]),
            ("n_params_of_parabola", profile.parabola_n_params, np.empty((0, 1))),
            ("val_loss_of_profile", profile.val_loss, np.empty((0, 1))),
        ):
            if np.isfinite(value):
                out.prediction(group, SPANS_HORIZONS, name_of_compute, at, quantity, np.array([value]), drawn, inside)


def _curves(out: LawTables, group: dict[str, Any], found: IsoflopFit, name_of_compute: str) -> None:
    trained = [profile.train_flops for profile in found.used]
    flops = np.geomspace(min(trained), max(trained) * EXTRAPOLATION, GRID_POINTS)
    outside = flops > max(trained) * (1 + 1e-9)
    for quantity, values, drawn in zip(QUANTITIES, found.law.predict(flops), found.samples.predict(flops), strict=True):
        out.prediction(group, SPANS_HORIZONS, name_of_compute, flops, quantity, values, drawn, outside)


def _score(out: LawTables, group: dict[str, Any], found: IsoflopFit) -> None:
    """Optimum of the largest budget from the others, against the optimum of the one before."""
    used = found.used
    if len(used) < MIN_BUDGETS + 1:
        reason = (
            f"{len(used)} of {len(found.profiles)} budgets have a minimum inside their sizes ({MIN_POINTS} or more): "
            f"{MIN_BUDGETS + 1} are needed to hide the largest"
        )
        for quantity in QUANTITIES:
            out.not_scored(group, HOLDOUT, quantity, reason)
        return
    *rest, last = used
    law, samples = law_through(rest)
    at = np.array([last.train_flops])
    # What the hidden optimum itself is not known to.
    own = last.ln_sd * np.random.default_rng(out.settings.seed).standard_normal((len(last.ln_n_samples), 1))
    observed = (np.array([last.n_params]), np.array([last.tokens]))
    before = (np.array([rest[-1].n_params]), np.array([rest[-1].tokens]))
    predicted, drawn = law.predict(at), samples.predict(at)
    for i, quantity in enumerate(QUANTITIES):
        low, high = intervals(drawn[i] * np.exp(own), out.settings.ci_level)
        out.score(group, HOLDOUT, quantity, predicted[i], observed[i], before[i], low=low, high=high)
