"""Fitting a law: Huber on the log of the loss, many starting points and many bootstrap samples side by side.

The objective of parameters θ on losses y with weights w is that of the Chinchilla paper (Hoffmann et al. 2022, section
3.3) and of those after it:

    objective(θ) = Σ_i w_i·huber(r_i),  r = ln ŷ(θ) - ln y,  huber(r) = r²/2 if |r| ≤ δ, δ·(|r| - δ/2) beyond.

It is minimised by Levenberg and Marquardt's method. With J the derivatives of ln ŷ the curvature of a step is

    N + λM,   N = Jᵀ diag(w·[|r| ≤ δ]) J,   M = Jᵀ diag(w·min(1, δ/|r|)) J:

N is Huber's own (its tails are straight), M majorises it (iteratively reweighted least squares), and λ falls from 1 as
long as steps succeed. With few residuals within δ, N alone is singular and M alone converges slowly; together they do
neither. Nothing is drawn to zero: there is no weight decay, no prior, and λ vanishes at the end.

θ are *fitting coordinates*: a formula chooses them to be of order one and as little correlated as it can, since
nothing here is scaled again. Bounds are kept by projection. Every row of θ is a problem of its own (a starting point, a
bootstrap sample, a point of a profile), and all are stepped at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Status = Literal["converged", "max_iter", "bound_hit", "not_identified", "failed"]

DELTA = 1e-3
"""Where Huber's tails begin, of Hoffmann et al. and most after them: residuals of a good law are a few times larger, so
this is close to least absolute deviations."""
MAX_ITERATIONS = 500
TOLERANCE = 1e-9
"""A row has converged when `PATIENCE` steps in a row lower its objective by less than this share."""
PATIENCE = 3
STUCK = 1e12
"""λ at which no step, however small, lowers the objective."""
RIDGE = 1e-12
"""Of the largest curvature, added so that a flat direction can be solved for; it moves nothing that is told."""
SAME = 1e-4
"""Starting points whose objectives end closer than this share have found one minimum."""
PROFILE_SWEEPS = 2


class Formula(Protocol):
    """A law at given points, as a function of fitting coordinates."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the coordinates, `p` of them."""

    @property
    def low(self) -> Floats:
        """Lower bounds, shape [p]; -inf where there is none."""

    @property
    def high(self) -> Floats:
        """Upper bounds, shape [p]."""

    def predict(self, theta: Floats) -> Floats:
        """Losses at the formula's points [rows, n] for coordinates [rows, p]; what is not positive is rejected."""

    def jacobian(self, theta: Floats) -> Floats:
        """Their derivatives, shape [rows, n, p]."""


@dataclass(frozen=True)
class Minima:
    """Where every row ended."""

    theta: Floats
    """[rows, p]; NaN where a row had no finite objective to begin with."""
    objective: Floats
    """[rows]; infinite there."""
    converged: Bools
    """[rows]"""


@dataclass(frozen=True)
class Fit:
    """The best minimum of several starting points."""

    theta: Floats
    """[p]"""
    objective: float
    status: Status
    """converged; max_iter: the best start was still moving; bound_hit: a coordinate is at a bound, so that its value is
    the bound's and not the data's; failed: no start had a finite objective."""
    at_bound: tuple[str, ...]
    """Coordinates at a bound that was not given as fixed."""
    condition_number: float
    """Of the derivatives of ln ŷ, weighted as by Huber, each column scaled to length one: 1 when the coordinates are
    told apart perfectly; from about 1e3 on, differences between fits say little about single parameters. Coordinates
    that are given as fixed do not count."""
    n_points: int
    n_starts_agreeing: int
    """Starting points that ended at this objective: one of many is a reason for doubt."""


@dataclass(frozen=True)
class Profile:
    """The objective along one coordinate, all others fitted anew."""

    name: str
    grid: Floats
    objectives: Floats
    low: float
    """Ends of the profile-likelihood interval; NaN where it is open."""
    high: float

    @property
    def identified(self) -> bool:
        """Whether the data close the interval on both sides."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


def huber(residuals: Floats, delta: float = DELTA) -> Floats:
    """r²/2 within δ, straight beyond."""
    size = np.abs(residuals)
    return np.where(size <= delta, residuals**2 / 2, delta * (size - delta / 2))


def objective(
    formula: Formula, losses: Floats, theta: Floats, *, weights: Floats | None = None, delta: float = DELTA
) -> Floats:
    """Σ w·huber(ln ŷ - ln y) for coordinates [rows, p], shape [rows]; infinite where a prediction is not positive."""
    return _summed(_residuals(formula, np.log(losses), theta), 1.0 if weights is None else weights, delta)


def refuse_losses(losses: Floats) -> None:
    """ValueError unless all have a logarithm; before starting points are looked for, which fails without words."""
    if not (np.isfinite(losses) & (losses > 0)).all():
        raise ValueError("losses must be positive and finite: their logarithm is fitted. Leave out the others")


def minimise(
    formula: Formula,
    losses: Floats,
    starts: Floats,
    *,
    weights: Floats | None = None,
    low: Floats | None = None,
    high: Floats | None = None,
    delta: float = DELTA,
    max_iterations: int = MAX_ITERATIONS,
) -> Minima:
    """Step every row downhill from its start [rows, p] until it stands still.

    losses and weights are [n] or [rows, n]; low and high [p] or [rows, p] replace the formula's bounds, and equal ends
    fix a coordinate. Raises ValueError for losses that are not positive or shapes that do not fit.
    """
    starts = np.atleast_2d(np.asarray(starts, np.float64))
    rows, p = starts.shape
    if p != len(formula.names):
        raise ValueError(f"starts have {p} columns, the formula has the coordinates {', '.join(formula.names)}")
    refuse_losses(losses)
    n = np.shape(losses)[-1]
    ln_losses = np.broadcast_to(np.log(losses), (rows, n))
    w = np.broadcast_to(1.0 if weights is None else weights, (rows, n))
    lows = np.broadcast_to(formula.low if low is None else low, (rows, p))
    highs = np.broadcast_to(formula.high if high is None else high, (rows, p))

    theta = np.clip(starts, lows, highs)
    residuals = _residuals(formula, ln_losses, theta)
    value = _summed(residuals, w, delta)
    gradient, newton, majoriser = (np.zeros((rows, p)), np.zeros((rows, p, p)), np.zeros((rows, p, p)))
    damping, calm = np.ones(rows), np.zeros(rows, dtype=np.int64)
    possible = np.isfinite(value)
    moving, stale = possible.copy(), possible.copy()
    for _ in range(max_iterations):
        new = np.flatnonzero(moving & stale)
        if len(new):
            gradient[new], newton[new], majoriser[new] = _curvature(
                formula, theta[new], residuals[new], ln_losses[new], w[new], delta
            )
            stale[new] = False
        live = np.flatnonzero(moving)
        if not len(live):
            break
        step = _step(gradient[live], newton[live], majoriser[live], damping[live], theta[live], lows[live], highs[live])
        there = np.clip(theta[live] + step, lows[live], highs[live])
        residuals_there = _residuals(formula, ln_losses[live], there)
        value_there = _summed(residuals_there, w[live], delta)
        better = value_there < value[live]
        gain = np.where(better, value[live] - value_there, 0.0)
        standing = gain <= TOLERANCE * value[live]
        won, lost = live[better], live[~better]
        theta[won], residuals[won], value[won] = there[better], residuals_there[better], value_there[better]
        stale[won] = True
        damping[won] = np.maximum(damping[won] / 5, 1e-9)
        damping[lost] *= 4
        # A step that is refused says nothing as long as smaller ones are untried.
        calm[live] = np.where(better & standing, calm[live] + 1, np.where(better, 0, calm[live]))
        moving[live] = (calm[live] < PATIENCE) & (damping[live] < STUCK) & (value[live] > 0)
    theta[~possible] = np.nan
    return Minima(theta, value, possible & ~moving)


def fit(
    formula: Formula,
    losses: Floats,
    starts: Floats,
    *,
    weights: Floats | None = None,
    delta: float = DELTA,
    max_iterations: int = MAX_ITERATIONS,
) -> Fit:
    """The lowest minimum found from starts [rows, p] on losses [n].

    Raises ValueError for fewer points of positive weight than coordinates, and as `minimise` does.
    """
    p, free = len(formula.names), formula.low < formula.high
    n = len(losses) if weights is None else int((weights > 0).sum())
    if n < free.sum():
        names = ", ".join(name for name, fitted in zip(formula.names, free, strict=True) if fitted)
        raise ValueError(f"{free.sum()} parameters ({names}) through {n} points: add runs or fix parameters")
    found = minimise(formula, losses, starts, weights=weights, delta=delta, max_iterations=max_iterations)
    best = int(np.argmin(found.objective))
    lowest = float(found.objective[best])
    if not np.isfinite(lowest):
        return Fit(np.full(p, np.nan), np.inf, "failed", (), np.inf, n, 0)
    theta = found.theta[best]
    at_bound = tuple(
        name
        for name, at, low, high in zip(formula.names, theta, formula.low, formula.high, strict=True)
        if low < high and (at <= low or at >= high)
    )
    residuals = _residuals(formula, np.log(losses), theta[None])
    w = np.broadcast_to(1.0 if weights is None else weights, residuals.shape)
    majoriser = _curvature(formula, theta[None], residuals, np.log(losses), w, delta)[2][0]
    return Fit(
        theta=theta,
        objective=lowest,
        status="bound_hit" if at_bound else "converged" if found.converged[best] else "max_iter",
        at_bound=at_bound,
        condition_number=_condition_number(majoriser[np.ix_(free, free)]),
        n_points=n,
        n_starts_agreeing=int((found.objective <= lowest * (1 + SAME)).sum()),
    )


def resampled_fits(
    formula: Formula,
    found: Fit,
    losses: Floats,
    *,
    weights: Floats | None = None,
    others: Floats | None = None,
    delta: float = DELTA,
    max_iterations: int = MAX_ITERATIONS,
) -> Minima:
    """Fit every bootstrap sample, from the fit of the data and from `others` [k, p], the best of them for each.

    One of losses and weights is [rows, n]: losses drawn anew, or runs drawn with replacement.
    """
    rows = max(np.atleast_2d(losses).shape[0], 1 if weights is None else np.atleast_2d(weights).shape[0])
    best = Minima(np.full((rows, len(found.theta)), np.nan), np.full(rows, np.inf), np.zeros(rows, dtype=np.bool_))
    for start in (found.theta, *(() if others is None else others)):
        one = minimise(
            formula, losses, np.tile(start, (rows, 1)), weights=weights, delta=delta, max_iterations=max_iterations
        )
        better = one.objective < best.objective
        best = Minima(
            np.where(better[:, None], one.theta, best.theta),
            np.where(better, one.objective, best.objective),
            np.where(better, one.converged, best.converged),
        )
    return best


def profile(
    formula: Formula,
    losses: Floats,
    found: Fit,
    name: str,
    grid: Floats,
    level: float,
    *,
    weights: Floats | None = None,
    delta: float = DELTA,
) -> Profile:
    """Fit all coordinates but `name` at every point of an ascending grid [m] of it.

    The interval is where objective ≤ lowest·(1 + q/(n - p)), p counting what is not fixed, q the χ² quantile of one
    degree of freedom: exact for
    normal noise of unknown size, and a bound that is too wide for the heavier tails that Huber is for. An end that the
    grid does not reach, or that the data do not close, is NaN. Raises ValueError if no degrees of freedom are left.
    """
    p, j = int((formula.low < formula.high).sum()), formula.names.index(name)
    degrees = found.n_points - p
    if degrees < 1:
        raise ValueError(f"a profile of {name} needs more than {p} points, there are {found.n_points}")
    low, high = (np.tile(ends, (len(grid), 1)) for ends in (formula.low, formula.high))
    low[:, j] = high[:, j] = grid
    best = minimise(
        formula, losses, np.tile(found.theta, (len(grid), 1)), weights=weights, low=low, high=high, delta=delta
    )
    theta, values = best.theta, best.objective
    # A neighbour may have found its way around a ridge.
    for shift in (1, -1) * PROFILE_SWEEPS:
        starts = np.roll(theta, shift, axis=0)
        starts = np.where(np.isfinite(starts), starts, found.theta)
        other = minimise(formula, losses, starts, weights=weights, low=low, high=high, delta=delta)
        better = other.objective < values
        theta, values = np.where(better[:, None], other.theta, theta), np.where(better, other.objective, values)
    limit = min(found.objective, float(values.min())) * (1 + float(stats.chi2.ppf(level, 1)) / degrees)
    return Profile(name, grid, values, *_crossings(grid, values, limit))


def _crossings(grid: Floats, values: Floats, limit: float) -> tuple[float, float]:
    """The outermost points between which values are below the limit, by linear interpolation; NaN where open."""
    below = np.flatnonzero(values <= limit)
    if not len(below):
        return np.nan, np.nan

    def between(inside: int, outside: int) -> float:
        share = (limit - values[inside]) / (values[outside] - values[inside])
        return (
            float(grid[inside] + share * (grid[outside] - grid[inside])) if np.isfinite(share) else float(grid[inside])
        )

    first, last = int(below[0]), int(below[-1])
    return (
        between(first, first - 1) if first > 0 else np.nan,
        between(last, last + 1) if last < len(grid) - 1 else np.nan,
    )


def _residuals(formula: Formula, ln_losses: Floats, theta: Floats) -> Floats:
    with np.errstate(all="ignore"):
        predicted = formula.predict(theta)
        residuals: Floats = np.where(predicted > 0, np.log(predicted) - ln_losses, np.inf)
    return residuals


def _summed(residuals: Floats, weights: Floats | float, delta: float) -> Floats:
    with np.errstate(invalid="ignore"):
        total = (weights * huber(residuals, delta)).sum(-1)
    finite: Floats = np.where(np.isfinite(total), total, np.inf)
    return finite


def _curvature(
    formula: Formula, theta: Floats, residuals: Floats, ln_losses: Floats, weights: Floats, delta: float
) -> tuple[Floats, Floats, Floats]:
    """Gradient [rows, p], N and M [rows, p, p]."""
    predicted = np.exp(residuals + ln_losses)
    derivatives = formula.jacobian(theta) / predicted[..., None]
    within = np.abs(residuals) <= delta
    huber_weights = weights * np.where(within, 1.0, delta / np.maximum(np.abs(residuals), delta))
    turned = np.swapaxes(derivatives, -1, -2)
    gradient = (turned @ (huber_weights * residuals)[..., None])[..., 0]
    newton = turned @ ((weights * within)[..., None] * derivatives)
    majoriser = turned @ (huber_weights[..., None] * derivatives)
    return gradient, newton, majoriser


def _step(
    gradient: Floats, newton: Floats, majoriser: Floats, damping: Floats, theta: Floats, low: Floats, high: Floats
) -> Floats:
    """-(N + λM)⁻¹ g over the coordinates that are not held at a bound, shape [rows, p]."""
    held = ((theta <= low) & (gradient >= 0)) | ((theta >= high) & (gradient <= 0))
    curvature = newton + damping[:, None, None] * majoriser
    free = ~held
    curvature = curvature * (free[:, :, None] & free[:, None, :])
    diagonal: Floats = np.einsum("rii->ri", curvature)
    largest = diagonal.max(1, keepdims=True)
    # Coordinates without any curvature (held ones too) get a diagonal of their own.
    added = np.where(diagonal > 0, RIDGE * diagonal * (1 + damping[:, None]), np.where(largest > 0, largest, 1.0))
    curvature = curvature + added[:, :, None] * np.eye(theta.shape[1])
    return -np.asarray(np.linalg.solve(curvature, np.where(free, gradient, 0.0)[..., None])[..., 0], np.float64)


def _condition_number(majoriser: Floats) -> float:
    scale = np.sqrt(np.diag(majoriser))
    if not (scale > 0).all():
        return np.inf
    values = np.linalg.eigvalsh(majoriser / np.outer(scale, scale))
    return float(np.sqrt(values[-1] / values[0])) if values[0] > 0 else np.inf
