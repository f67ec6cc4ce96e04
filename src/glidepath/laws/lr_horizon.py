"""lr_horizon: peak_lr_optimal = scale·token_horizon^(-exponent) at fixed size, schedule and batch (Bjorck et al. 2024).

Only sweeps whose optimum lies inside their grid take part: an optimum at an edge is a bound, not an estimate. Published
exponents: 0.32 from 760M parameters on, 0.65 to 0.70 at 50M to 125M; a convex bound gives 0.5.

`factor_per_horizon_doubling` is the rule of thumb, 2^(-exponent); `factor_2_cost` [nat/token] what a peak learning rate
off by a factor of 2 costs at a horizon that was not swept. *Regret* is the loss measured at the predicted rate, between
the runs of the hidden sweep, over its lowest.
"""

from __future__ import annotations

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
from glidepath.laws.regret import factor_2_cost, loss_at
from glidepath.laws.sweep_residuals import RESIDUALS, with_residual_samples
from glidepath.science.laws.horizon import fit_power_law
from glidepath.study.final_losses import FinalLosses


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every group of sweeps with at least two optima; score by hiding the longest horizon, and on what is
    declared hidden."""
    replicated = bool(losses.noise.degrees_of_freedom)
    out = LawTables(settings, losses.resampling_unit if replicated else RESIDUALS)
    unseen = hidden_sweeps(hidden, settings)
    found = sweeps(losses, settings)
    for group, every in by_group(found if replicated else with_residual_samples(found, settings)):
        members, left_out = fresh_sweeps(every)
        if left_out:
            nothing = np.empty(0)
            out.parameter(group, SPANS_HORIZONS, REPEATED_LEFT_OUT, left_out, nothing, len(members), "converged")
        inside = [sweep for sweep in members if sweep.optimum.status == "converged"]
        if len(inside) < 2:
            status = "edge_of_grid" if len(members) > 1 else "failed"
            for name in ("scale", "exponent"):
                out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), len(inside), status)
            out.not_scored(
                group, "longest_horizon", "peak_lr",
                f"{len(inside)} of {len(members)} horizons have their optimum inside the grid: two are needed for "
                f"the law, "
                f"three to score it",
            )  # fmt: skip
            continue
        _fit_group(out, group, inside)
        _score(out, group, inside)
        _score_declared(out, group, inside, [sweep for sweep in unseen if sweep.group == group])
    return out


def _fit_group(out: LawTables, group: dict[str, object], inside: list[Sweep]) -> None:
    x = np.array([sweep.token_horizon for sweep in inside])
    law = fit_power_law(x, np.array([sweep.optimum.peak_lr for sweep in inside]))
    resampled = fit_power_law(x, np.stack([sweep.lr_samples for sweep in inside], axis=1))
    for name in ("scale", "exponent"):
        value = float(getattr(law, name))
        out.parameter(group, SPANS_HORIZONS, name, value, getattr(resampled, name), len(inside), "converged")
    with np.errstate(over="ignore"):
        factors = 2.0**-resampled.exponent
    name = "factor_per_horizon_doubling"
    out.parameter(group, SPANS_HORIZONS, name, float(2.0**-law.exponent), factors, len(inside), "converged")
    cost, costs = factor_2_cost(inside, out.settings)
    out.parameter(group, SPANS_HORIZONS, "factor_2_cost", cost, costs, len(inside), "converged")
    grid = np.geomspace(x.min(), x.max() * EXTRAPOLATION, GRID_POINTS)
    outside = grid > x.max() * (1 + 1e-9)
    out.prediction(
        group, SPANS_HORIZONS, "token_horizon", grid, "peak_lr", law.predict(grid), resampled.predict(grid), outside
    )


def _score(out: LawTables, group: dict[str, object], inside: list[Sweep]) -> None:
    if len(inside) < 3:
        reason = f"{len(inside)} optima inside their grids: three are needed to hide the longest"
        out.not_scored(group, "longest_horizon", "peak_lr", reason)
        return
    *shorter, longest = inside
    x = np.array([sweep.token_horizon for sweep in shorter])
    law = fit_power_law(x, np.array([sweep.optimum.peak_lr for sweep in shorter]))
    predicted = law.predict(np.array([longest.token_horizon]))
    observed, nearest = np.array([longest.optimum.peak_lr]), np.array([shorter[-1].optimum.peak_lr])
    out.score(group, "longest_horizon", "peak_lr", predicted, observed, nearest)
    _score_regret(out, group, "longest_horizon", [longest], predicted, nearest)


def _score_declared(out: LawTables, group: dict[str, object], inside: list[Sweep], unseen: list[Sweep]) -> None:
    """Optima of hidden sweeps at horizons that the fit has not seen, against the nearest horizon that it has."""
    x, optima = (np.array(v) for v in zip(*((s.token_horizon, s.optimum.peak_lr) for s in inside), strict=True))
    unseen = [sweep for sweep in unseen if sweep.token_horizon not in x and sweep.optimum.status == "converged"]
    if not unseen:
        return
    at = np.array([sweep.token_horizon for sweep in unseen])
    observed = np.array([sweep.optimum.peak_lr for sweep in unseen])
    nearest = np.abs(np.log(at[:, None] / x)).argmin(1)
    predicted = fit_power_law(x, optima).predict(at)
    out.score(group, DECLARED, "peak_lr", predicted, observed, optima[nearest])
    _score_regret(out, group, DECLARED, unseen, predicted, optima[nearest])


def _score_regret(
    out: LawTables, group: dict[str, object], holdout: str, hidden: list[Sweep], predicted: Floats, carried: Floats
) -> None:
    """Loss measured at the predicted rate against the lowest of its sweep, and at the rate of the nearest horizon."""
    measured = [[loss_at(s, lr) for s, lr in zip(hidden, lrs, strict=True)] for lrs in (predicted, carried)]
    at_predicted, at_carried = (np.array([loss for loss, _ in row]) for row in measured)
    out.score(group, holdout, "regret", at_predicted, np.array([s.losses.min() for s in hidden]), at_carried)
    outside = sum(not inside for _, inside in measured[0])
    if outside:
        out.scores[-1]["status"] = f"scored; {outside} predictions are outside their sweep and count as its end"
