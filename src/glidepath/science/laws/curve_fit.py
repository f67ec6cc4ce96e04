"""Fitting a law to the curves of several runs, and the law of many resampled curves.

What is left over along a curve is correlated between neighbouring points, since the law's shape is not the run's: a
bootstrap that draws single points would make intervals that are too narrow several times over. Curves are resampled
either by blocks of neighbouring residuals, within every curve, or by drawing whole runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from glidepath.science import fitting
from glidepath.science.autocorrelation import block_length, moving_blocks
from glidepath.science.fitting import MAX_ITERATIONS, Fit, Minima, Profile
from glidepath.science.laws.curve import Curve
from glidepath.science.laws.pooled_curves import Weighting, by_curve, point_weights, pooled_losses

Floats = NDArray[np.float64]

BEST_STARTS = 8
SMOOTH_DELTA = 0.02
"""Where Huber's tails begin on the first way down. Close to absolute deviations, as the objective proper is, its kinks
hold up steps along a ridge: on loss curves of small models one or two starts of twelve arrived without this, five to
eight of eight do with it."""
FIRST_ITERATIONS, SECOND_STARTS = 250, 3
"""Where many fits of some points are made: so far the starts walk down the smooth objective, and so many go on. On
curves of small models most objectives are those of the full search, some of the annealing law a few percent above."""
LOOSE = 1.0
"""A coordinate is not identified when its standard error is larger: coordinates are logarithms, exponents and
losses, so that a factor of e either way is no value."""


class CurveLaw(Protocol):
    """Parameters of any leading shape, so that a bootstrap is one law."""

    def predict(self, curve: Curve) -> Floats:
        """Losses at the curve's points, shape [..., n]."""


LawT = TypeVar("LawT", bound=CurveLaw)
LawT_co = TypeVar("LawT_co", bound=CurveLaw, covariant=True)


class CurveFormula(fitting.Formula, Protocol[LawT_co]):
    """A law at the points of several curves, one after another."""

    @property
    def curves(self) -> tuple[Curve, ...]:
        """Whose points they are."""

    def law(self, theta: Floats) -> LawT_co:
        """The natural parameters of coordinates [..., p], each of shape [...]."""

    def starts(self, weights: Floats) -> Floats:
        """Where fits with weights [n] may begin, shape [rows, p]; points of weight 0 have no part in it."""


@dataclass(frozen=True)
class CurveFit(Generic[LawT]):
    """A law fitted to curves."""

    law: LawT
    """Scalars."""
    fit: Fit
    """In the formula's coordinates; its status is `not_identified` where `not_identified` names any."""
    not_identified: tuple[str, ...]
    """Coordinates whose standard error, by curvature and with correlated residuals, is above `LOOSE`. The
    law's predictions may be sharp all the same; its parameters are no findings."""
    formula: CurveFormula[LawT]
    weights: Floats

    @property
    def losses(self) -> Floats:
        """Of all curves, one after another."""
        return pooled_losses(self.formula.curves)

    @property
    def residuals(self) -> Floats:
        """ln observed - ln predicted at the points of all curves."""
        return np.asarray(np.log(self.losses) - np.log(self.formula.predict(self.fit.theta[None])[0]))

    def resampled_by_blocks(self, n_samples: int, random: np.random.Generator) -> LawT:
        """The law of `n_samples` sets of curves, shape [n_samples]: the fit times e to blocks of residuals.

        Blocks are as long as the residuals' autocorrelation asks for, within each curve. This is what the points leave
        open about the law, and covers no run that was not made: what the law's shape misses on other schedules is
        several times as much. On published curves its 90 % intervals hold a fifth of the hidden points.
        """
        predicted = self.formula.predict(self.fit.theta[None])[0]
        drawn = np.concatenate(
            [
                part[moving_blocks(len(part), block_length(part) if len(part) > 1 else 1, n_samples, random)]
                for part in by_curve(self.residuals, self.formula.curves)
            ],
            axis=1,
        )
        return self._law(
            fitting.resampled_fits(self.formula, self.fit, predicted * np.exp(drawn), weights=self.weights)
        )

    def resampled_by_run(self, groups: Sequence[str], n_samples: int, random: np.random.Generator) -> LawT:
        """The law of `n_samples` draws of runs with replacement, shape [n_samples].

        `groups` names one for each curve; those of one name (a trunk and its branches) are drawn together. Raises
        ValueError for fewer than two groups. Draws that leave a parameter without data keep the fit's value for it.
        """
        names = sorted(set(groups))
        if len(groups) != len(self.formula.curves) or len(names) < 2:
            raise ValueError(
                f"{len(self.formula.curves)} curves in the groups {', '.join(names)}: drawing runs needs a group for "
                "each curve and at least two groups. Resample by blocks instead"
            )
        counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_samples)
        times = np.concatenate(
            [
                np.repeat(counts[:, [names.index(group)]], len(curve.updates_done), axis=1)
                for group, curve in zip(groups, self.formula.curves, strict=True)
            ],
            axis=1,
        )
        return self._law(fitting.resampled_fits(self.formula, self.fit, self.losses, weights=times * self.weights))

    def profile(self, name: str, grid: Floats, level: float = 0.9) -> Profile:
        """The objective along one coordinate (see `fitting.profile`)."""
        return fitting.profile(self.formula, self.losses, self.fit, name, grid, level, weights=self.weights)

    def _law(self, found: Minima) -> LawT:
        return self.formula.law(found.theta)


def fit_curve_law(formula: CurveFormula[LawT], *, weighting: Weighting = "points") -> CurveFit[LawT]:
    """Fit by `fitting.fit`, from the `BEST_STARTS` of the formula's starts with the lowest objective.

    Each first walks down a smoother objective.

    Raises ValueError for curves without losses and for fewer points than parameters.
    """
    losses, weights = pooled_losses(formula.curves), point_weights(formula.curves, weighting)
    smooth = _smooth_minima(formula, losses, weights[None], BEST_STARTS)
    found = fitting.fit(formula, losses, smooth.theta, weights=weights)
    law = formula.law(found.theta)
    if found.status == "failed":
        return CurveFit(law, found, formula.names, formula, weights)
    errors = _standard_errors(formula, found.theta, losses, weights)
    fixed = formula.low == formula.high
    loose = tuple(name for name, error, f in zip(formula.names, errors, fixed, strict=True) if error > LOOSE and not f)
    if loose and found.status == "converged":
        found = replace(found, status="not_identified")
    return CurveFit(law, found, loose, formula, weights)


def fits_of_some(formula: CurveFormula[CurveLaw], losses: Floats, weights: Floats) -> Floats:
    """The coordinates [rows, p] of a fit for every row of weights [rows, n], side by side, each from starts of its own.

    Nothing of a point whose weight is 0 is in it but its share in the median that is the unit of losses.
    """
    smooth = _smooth_minima(formula, losses, weights, BEST_STARTS, FIRST_ITERATIONS)
    second = _lowest(smooth, len(weights), SECOND_STARTS)
    found = fitting.minimise(formula, losses, second, weights=np.repeat(weights, len(second) // len(weights), axis=0))
    return _lowest(found, len(weights), 1)


def _smooth_minima(
    formula: CurveFormula[CurveLaw], losses: Floats, weights: Floats, kept: int, max_iterations: int = MAX_ITERATIONS
) -> Minima:
    """For every row of weights [rows, n] the `kept` best of the formula's starts, walked down a smoother objective, row
    after row."""
    starts = []
    for row in weights:
        found = formula.starts(row)
        first = fitting.objective(formula, losses, found, weights=row)
        starts.append(found[np.argsort(first, kind="stable")[:kept]])
    repeated = np.repeat(weights, [len(some) for some in starts], axis=0)
    return fitting.minimise(
        formula,
        losses,
        np.concatenate(starts),
        weights=repeated,
        delta=SMOOTH_DELTA,
        max_iterations=max_iterations,
    )


def _lowest(found: Minima, rows: int, kept: int) -> Floats:
    """The `kept` rows of least objective of equally many for each of `rows` problems, [rows * kept, p]."""
    order = np.argsort(found.objective.reshape(rows, -1), axis=1, kind="stable")[:, :kept]
    theta = found.theta.reshape(rows, -1, found.theta.shape[-1])
    best: Floats = np.take_along_axis(theta, order[:, :, None], axis=1).reshape(-1, theta.shape[-1])
    return best


def with_linear_terms(
    starts: Floats, basis: Floats, ln_columns: Sequence[int], losses: Floats, weights: Floats
) -> Floats:
    """Starts [rows, p] with their linear terms by least squares of losses [n] with weights [n].

    Of the terms basis [rows, n, k] the first has its factor, the asymptote, in column 0; the others have its logarithm
    in `ln_columns`.
    """
    found = _least_squares(basis, losses, weights)
    filled = starts.copy()
    filled[:, 0] = np.maximum(found[:, 0], 0.1 * losses[weights > 0].min())
    # Where least squares asks for a negative term, a small one is the start.
    filled[:, ln_columns] = np.log(np.maximum(found[:, 1:], 1e-3))
    return filled


def _least_squares(basis: Floats, losses: Floats, weights: Floats) -> Floats:
    """Coefficients [rows, k] of losses [n] with weights [n] on basis [rows, n, k]."""
    turned = np.swapaxes(basis, -1, -2) * weights
    scale = np.sqrt(np.einsum("rkn,rnk->rk", turned, basis))
    scale = np.where(scale > 0, scale, 1.0)
    normal = turned @ basis / (scale[:, :, None] * scale[:, None, :]) + 1e-10 * np.eye(basis.shape[-1])
    return np.asarray(np.linalg.solve(normal, (turned @ losses / scale)[..., None])[..., 0] / scale)


def _standard_errors(formula: CurveFormula[CurveLaw], theta: Floats, losses: Floats, weights: Floats) -> Floats:
    """Of the coordinates, by the curvature at the minimum, infinite where there is none, shape [p].

    Residuals count as many times fewer as their blocks are long. Rough, and enough to tell a value from none.
    """
    predicted = formula.predict(theta[None])[0]
    residuals = np.log(losses / predicted)
    tails = weights * np.minimum(1.0, fitting.DELTA / np.maximum(np.abs(residuals), fitting.DELTA))
    derivatives = formula.jacobian(theta[None])[0] / predicted[:, None]
    curvature = derivatives.T @ (tails[:, None] * derivatives)
    free = (formula.low < formula.high) & (np.diag(curvature) > 0)
    errors = np.where(formula.low < formula.high, np.inf, 0.0)
    blocks = [block_length(part) if len(part) > 1 else 1 for part in by_curve(residuals, formula.curves)]
    points = [len(curve.updates_done) for curve in formula.curves]
    repeated = sum(b * n for b, n in zip(blocks, points, strict=True)) / sum(points)
    variance = float(tails @ residuals**2) / max(len(losses) - int(free.sum()), 1) * repeated
    scale = np.sqrt(np.diag(curvature)[free])
    inverse = np.linalg.pinv(curvature[np.ix_(free, free)] / np.outer(scale, scale), rcond=1e-13, hermitian=True)
    errors[free] = np.sqrt(np.maximum(np.diag(inverse), 0.0) * variance) / scale
    return errors
