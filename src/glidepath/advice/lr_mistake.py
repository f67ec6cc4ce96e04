"""What half and twice the best peak learning rate cost, in loss and in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from glidepath.advice.choice import Choice
from glidepath.advice.estimates import of_samples
from glidepath.advice.loss import LossAtTarget
from glidepath.laws.law import Floats, Sweep
from glidepath.science.optimum import LN_2_SQUARED
from glidepath.study.recommendation import Estimate, LrMistake, Source, TargetRun

MIN_CUBIC_POINTS = 5
TOKEN_SHARES = np.geomspace(0.02, 1.0, 120)


@dataclass(frozen=True)
class Mistake:
    """What half and twice the best peak learning rate cost [nat/token], with samples."""

    sweep: Sweep
    shape: Literal["parabola", "cubic"]
    half: float
    double: float
    half_samples: Floats
    double_samples: Floats


def mistake(choice: Choice) -> Mistake | None:
    """At the longest horizon whose optimum lies inside its grid; None without one.

    With five learning rates in the fit, a cubic in ln peak_lr tells half from double, if both lie within them: too
    high usually costs more than too low. Else the parabola, for which they are the same.
    """
    if not choice.inside:
        return None
    sweep = choice.inside[-1]
    used = sweep.optimum.used
    x = np.log(sweep.peak_lrs[used] / sweep.optimum.peak_lr)
    if len(x) >= MIN_CUBIC_POINTS and x.min() <= -np.log(2) and x.max() >= np.log(2):
        solve = np.linalg.pinv(np.vander(x, 4, increasing=True))
        half, double = _cubic_costs(sweep.losses[used] @ solve.T)
        if half > 0 and double > 0:
            return Mistake(sweep, "cubic", float(half), float(double), *_cubic_costs(sweep.samples[:, used] @ solve.T))
    cost, samples = sweep.optimum.factor_2_cost, sweep.curvature_samples * LN_2_SQUARED
    return Mistake(sweep, "parabola", cost, cost, samples, samples)


def _cubic_costs(coefficients: Floats) -> tuple[Floats, Floats]:
    """p(x0 - ln 2) - p(x0) and p(x0 + ln 2) - p(x0) at the minimum x0 of cubics [..., 4]; NaN without a minimum."""
    _, b, c, d = np.moveaxis(coefficients, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        lowest = -b / (c + np.sqrt(c**2 - 3 * b * d))

        def rise(step: float) -> Floats:
            at = lowest + step
            return np.asarray(b * step + c * (at**2 - lowest**2) + d * (at**3 - lowest**3), np.float64)

    return rise(-float(np.log(2))), rise(float(np.log(2)))


def tokens_fraction(found: LossAtTarget, costs: Floats, n_params: float, token_horizon: float) -> Floats | None:
    """Share of the target's tokens that a loss is worth: 1 - D'/D with loss(D') = loss(D) + cost.

    costs [0] is of the fit, the others of its samples; NaN where the law is never as high within fifty times fewer
    tokens. None where the law has no samples.
    """
    first = found.said[0]
    if first.curves is None:
        return None
    n, d = np.full(len(TOKEN_SHARES), n_params), TOKEN_SHARES * token_horizon
    rows = np.vstack([first.curve(n, d)[None], first.curves(n, d)])
    shares = np.full(len(costs), np.nan)
    for i, (row, cost) in enumerate(zip(rows, costs, strict=True)):
        wanted = row[-1] + cost
        if np.isfinite(row).all() and np.isfinite(wanted) and wanted <= row[0] and (np.diff(row) < 0).all():
            shares[i] = 1.0 - float(np.interp(-wanted, -row, TOKEN_SHARES))
    return shares


def factor_2_lr_cost(
    found: Mistake, loss: LossAtTarget | None, target: TargetRun, choice: Choice, level: float
) -> LrMistake:
    """What a factor of 2 costs in loss and, where a loss law has samples, in tokens."""
    horizon = found.sweep.tokens_per_parameter
    source = Source(
        table="laws/lr_optimum/parameters",
        key={**choice.group, "tokens_per_parameter": horizon, "parameter": "factor_2_cost"},
    )

    def in_tokens(cost: float, samples: Floats) -> Estimate | None:
        if loss is None or len(samples) != len(loss.samples):
            return None
        costs = np.concatenate([[cost], samples])
        shares = tokens_fraction(loss, costs, target.n_params_counted, target.token_horizon)
        if shares is None or np.isnan(shares[0]):
            return None
        return of_samples(float(shares[0]), shares[1:], level, source)

    return LrMistake(
        half=of_samples(found.half, found.half_samples, level, source),
        double=of_samples(found.double, found.double_samples, level, source),
        token_horizon=round(found.sweep.token_horizon),
        shape=found.shape,
        half_tokens_fraction=in_tokens(found.half, found.half_samples),
        double_tokens_fraction=in_tokens(found.double, found.double_samples),
    )
