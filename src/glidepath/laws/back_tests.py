"""What a law misses on points that are hidden from it, and what that makes its error elsewhere.

A law's error beyond what it was fitted to is measured, not assumed: the points of most compute (or, where only that of
the target is beyond, the largest sizes or longest horizons) are hidden and predicted in turn (back-tests). A hidden
point lies `reach` beyond the fitted ones, ln of the factor (`reach_of`), and the errors e are carried to the target by

    law_error_sd = sqrt(Σ e²/Σ reach³)·reach_target^1.5.

The power 1.5 and Student's t with three degrees of freedom were chosen on synthetic studies of four to six horizons,
1.5 to 8 times beyond them. Five in six had another truth than the law: two power laws, a bend, a curve in the
logarithm, no asymptote. An error that does not grow with the reach, or as its root, left 90 % intervals that held 60 to
70 % of the runs where noise was low; of 210 runs of another truth the rule's 90 % intervals held 94 %, its 50 %
intervals 60 %, and of 70 runs of the law's own 99 % and 83 %: too wide rather than too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from glidepath.laws.predictors import SAME_SIZE, Bools, Floats, Points, Predictor, told_at
from glidepath.science import hull

Origin = Literal["hidden points", "spread of laws", "not known"]
"""What a law's error is told by."""
REACH_POWER = 1.5
LAW_ERROR_DEGREES_OF_FREEDOM = 3
MAX_CUTS = 6
FARTHEST, MIN_FARTHEST = 1.5, float(np.log(8))
"""What is hidden counts up to so many times the target's reach, or this reach: a law may be wrong a thousand times
beyond its points and right at twice."""


def reach_of(n: Floats, d: Floats, points: Points) -> Floats:
    """How far sizes and horizons [k] lie beyond points, shape [k]: from their convex hull in ln N and ln D, as
    |Δ ln N| + |Δ ln D|.

    Beyond a full grid that is ln of the factors in size and horizon added up. The largest size at the longest horizon
    lies beyond points that have each by itself, and points off the line of one D/N lie beyond it."""
    seen, at = (np.log(np.stack(both, axis=1)) for both in ((points.n_params, points.tokens), (n, d)))
    outside = hull.distance(seen, at)
    # Two counts of one size, or a horizon rounded to whole updates, are no extrapolation.
    return np.asarray(np.where(outside < SAME_SIZE, 0.0, outside), np.float64)


@dataclass(frozen=True)
class BackTests:
    """Predictions of points that were hidden from a law: by how much it was off, and how far beyond they lay."""

    errors: Floats
    """Predicted less observed."""
    reaches: Floats

    @property
    def rate(self) -> float | None:
        """sqrt(Σ e²/Σ reach³); None without a back-test."""
        if not len(self.errors):
            return None
        return float(np.sqrt((self.errors**2).sum() / (self.reaches ** (2 * REACH_POWER)).sum()))


def back_tests(predictor: Predictor, points: Points, axis: Floats, target_reach: float) -> BackTests:
    """Hide all beyond a level of the axis [points], for at most `MAX_CUTS` levels, and predict it as far beyond as
    counts for a target of that reach."""
    farthest = max(FARTHEST * target_reach, MIN_FARTHEST)
    errors, reaches = [], []
    for seen in _cuts(predictor, axis):
        try:
            fitted = predictor.fit(points.where(seen))
        except ValueError:
            continue
        rest = points.where(~seen)
        if not predictor.one_size:
            rest = rest.where(told_at(points.where(seen), rest.n_params, rest.tokens))
        error = fitted.curve(rest.n_params, rest.tokens) - rest.values
        reach = reach_of(rest.n_params, rest.tokens, points.where(seen))
        told = np.isfinite(error) & (reach > 0) & (reach <= farthest * (1 + SAME_SIZE))
        errors.append(error[told])
        reaches.append(reach[told])
    return BackTests(np.concatenate([np.empty(0), *errors]), np.concatenate([np.empty(0), *reaches]))


def _cuts(predictor: Predictor, axis: Floats) -> Iterator[Bools]:
    """Which points are seen."""
    levels = np.unique(axis)[:-1]
    enough = [level for level in levels if (axis <= level).sum() >= predictor.n_parameters]
    step = max(1, -(-len(enough) // MAX_CUTS))
    for level in enough[::-1][::step]:
        yield axis <= level


def inside_sd(predictor: Predictor, points: Points) -> float:
    """Root mean square of what the law misses of inner points that are hidden from it, less the points' own noise.

    0 without replicates: the residuals are then taken for that noise.
    """
    m = len(points.values)
    inner = np.flatnonzero(_inner(points))
    if points.samples is None or m < predictor.n_parameters + 2 or not len(inner):
        return 0.0
    squares: list[float] = []
    for fold in np.array_split(inner, min(len(inner), 8)):
        keep = np.ones(m, dtype=np.bool_)
        keep[fold] = False
        try:
            fitted = predictor.fit(points.where(keep))
        except ValueError:
            continue
        squares.extend((fitted.curve(points.n_params[fold], points.tokens[fold]) - points.values[fold]) ** 2)
    noise = np.array([half_width(points.samples[:, i]) for i in inner])
    if not squares or not np.isfinite(noise).all():
        return 0.0
    return float(np.sqrt(max(0.0, float(np.mean(squares)) - 2 * float((noise**2).mean()))))


def _inner(points: Points) -> Bools:
    """Which points lie within the others on both axes."""
    inside = np.ones(len(points.values), dtype=np.bool_)
    for values in (points.n_params, points.tokens):
        if values.max() > values.min():
            inside &= (values > values.min()) & (values < values.max())
    return inside


def half_width(samples: Floats) -> float:
    """Half the central 68.3 % interval: a standard deviation that heavy tails do not move; NaN if an end is open."""
    low, high = np.quantile(np.where(np.isnan(samples), np.inf, samples), [0.15865, 0.84135], method="nearest")
    return float(high - low) / 2 if np.isfinite(low) and np.isfinite(high) else np.nan


def law_error_draws(origin: Origin, n_samples: int, seed: int) -> Floats:
    """Standard draws of a law's error, to be multiplied by its size [n_samples]."""
    random = np.random.default_rng(seed)
    if origin == "hidden points":
        return random.standard_t(LAW_ERROR_DEGREES_OF_FREEDOM, n_samples)
    return random.standard_normal(n_samples)
