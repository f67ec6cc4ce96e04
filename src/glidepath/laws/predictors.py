"""What several laws say of a target, what each missed out of sample, and which one to believe.

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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glidepath.science import hull
from glidepath.science.laws.horizon import fit_saturating_law
from glidepath.science.laws.lr_size_horizon import RANK_TOLERANCE, on_one_line
from glidepath.science.laws.size_horizon import fit_size_horizon_law

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Curve = Callable[[Floats, Floats], Floats]
"""Values at sizes [k] and horizons [k]: [k] of a fit, [samples, k] of its bootstrap."""

REACH_POWER = 1.5
LAW_ERROR_DEGREES_OF_FREEDOM = 3
MAX_CUTS = 6
FARTHEST, MIN_FARTHEST = 1.5, float(np.log(8))
"""What is hidden counts up to so many times the target's reach, or this reach: a law may be wrong a thousand times
beyond its points and right at twice."""
SAME_SIZE = 0.02
"""Models whose sizes differ by less are one size."""
ONE_LINE = (
    "what size and horizon do apart: all points lie on one line in ln N and ln D, so that it holds along that line "
    "only. Vary one of them by itself"
)


@dataclass(frozen=True)
class Points:
    """What laws are fitted to: a value per size and horizon."""

    n_params: Floats
    tokens: Floats
    values: Floats
    """Losses [nat/token], or ln peak_lr."""
    samples: Floats | None
    """The values measured anew, shape [samples, points]; None without replicates."""

    @property
    def compute(self) -> Floats:
        """N·D."""
        return self.n_params * self.tokens

    def where(self, keep: Bools) -> Points:
        """Some of the points."""
        samples = None if self.samples is None else self.samples[:, keep]
        return Points(self.n_params[keep], self.tokens[keep], self.values[keep], samples)


@dataclass(frozen=True)
class Fitted:
    """A law through points."""

    curve: Curve
    again: Callable[[Floats], Curve]
    """The curve of every row of values [rows, points] measured anew."""
    doubt: str = ""
    """What the fit does not identify, for a person; empty if nothing."""


@dataclass(frozen=True)
class Predictor:
    """A law that may predict a target."""

    name: str
    n_parameters: int
    one_size: bool
    """Fitted to the points of the target's own size only."""
    fit: Callable[[Points], Fitted]
    """Raises ValueError where the points do not carry the law."""
    source: tuple[str, str] | None
    """Table and `parameter` of a row of its fit; None: in no table."""

    def used(self, points: Points, n_params: float) -> Points:
        """The points that it is fitted to for a target of that size."""
        if not self.one_size:
            return points
        return points.where(np.abs(np.log(points.n_params / n_params)) < SAME_SIZE)


def _fit_horizon(points: Points) -> Fitted:
    """loss = irreducible_loss + K·D^(-exponent)."""
    first = points.tokens.min()
    law = fit_saturating_law(points.tokens / first, points.values)
    if not np.isfinite(law.K):
        raise ValueError("losses do not fall with the horizon")

    def again(rows: Floats) -> Curve:
        resampled = fit_saturating_law(points.tokens / first, rows)
        return lambda _, d: resampled.predict(d / first)

    return Fitted(
        lambda _, d: law.predict(d / first),
        again,
        "its irreducible loss, so that the prediction holds near the trained horizons only. Add longer horizons"
        if law.bound_hit
        else "",
    )


def _fit_size_horizon(points: Points) -> Fitted:
    """loss = E + A·N^(-alpha) + B·D^(-beta)."""
    if len(points.values) < 5:
        raise ValueError(f"{len(points.values)} points for five parameters")
    found = fit_size_horizon_law(points.n_params, points.tokens, points.values)
    if not np.isfinite(found.law.E):
        raise ValueError("the law in size and horizon has no fit")
    doubt = ""
    if _on_one_line(points.n_params, points.tokens):
        doubt = ONE_LINE
    elif found.fit.at_bound:
        doubt = f"{', '.join(found.fit.at_bound)}, at the end of what a parameter may be"
    return Fitted(found.law.predict, lambda rows: found.resampled(losses=rows).predict, doubt)


def _on_one_line(n: Floats, d: Floats) -> bool:
    ln = np.log(np.stack([n, d], axis=1))
    return on_one_line(ln - ln.mean(0))


def told_at(points: Points, n: Floats, d: Floats) -> Bools:
    """At which sizes and horizons [k] a law in both, fitted to the points, says anything: on the points' line if they
    lie on one, else everywhere."""
    if not _on_one_line(points.n_params, points.tokens):
        return np.ones(len(n), dtype=np.bool_)
    with_one = [(np.append(points.n_params, a), np.append(points.tokens, b)) for a, b in zip(n, d, strict=True)]
    return np.array([_on_one_line(*both) for both in with_one], dtype=np.bool_)


def _log_linear(*, size: bool, exponential: bool) -> Callable[[Points], Fitted]:
    """value = a - b·ln D - c·ln N, or the exponential of that, c = 0 without `size`; by least squares.

    Points on one line in ln N and ln D tell the slope along it only: the law is then flat across it.
    """

    def logarithms(n: Floats, d: Floats) -> Floats:
        return np.log(np.stack([d, n] if size else [d], axis=-1))

    def fit(points: Points) -> Fitted:
        x = logarithms(points.n_params, points.tokens)
        centre = x.mean(0)
        spread = np.linalg.norm(x - centre, axis=0)
        if not (spread > 0).any():
            raise ValueError("too few different sizes or horizons")
        scale, m = np.where(spread > 0, spread, 1.0), len(x)
        solve = np.vstack([np.full((1, m), 1 / m), np.linalg.pinv((x - centre) / scale, rcond=RANK_TOLERANCE)])

        def curve_of(values: Floats) -> Curve:
            with np.errstate(invalid="ignore", divide="ignore"):
                theta = (np.log(values) if exponential else values) @ solve.T

            def curve(n: Floats, d: Floats) -> Floats:
                at = (logarithms(n, d) - centre) / scale
                with np.errstate(invalid="ignore"):
                    y = theta @ np.concatenate([np.ones_like(at[:, :1]), at], axis=1).T
                return np.asarray(np.exp(y) if exponential else y, np.float64)

            return curve

        return Fitted(curve_of(points.values), curve_of, ONE_LINE if size and on_one_line(x - centre) else "")

    return fit


LOSS_PREDICTORS: tuple[Predictor, ...] = (
    Predictor("loss_horizon", 3, True, _fit_horizon, ("laws/loss_horizon/parameters", "K")),
    Predictor("loss_size_horizon", 5, False, _fit_size_horizon, ("laws/loss_size_horizon/parameters", "E")),
    Predictor(
        "power_law_in_horizon",
        2,
        True,
        _log_linear(size=False, exponential=True),
        ("laws/loss_horizon/parameters", "scale_without_asymptote"),
    ),
)
"""The first one that can is believed where nothing can be hidden from any."""
LR_PREDICTORS: tuple[Predictor, ...] = (
    Predictor(
        "lr_horizon",
        2,
        True,
        _log_linear(size=False, exponential=False),
        ("laws/lr_horizon/parameters", "exponent"),
    ),
    Predictor("power_law_in_size_and_horizon", 3, False, _log_linear(size=True, exponential=False), None),
)


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


@dataclass(frozen=True)
class Said:
    """What one law says of the target."""

    predictor: Predictor
    value: float
    samples: Floats | None
    """Of the law's parameters, not of a run; None where neither replicates nor residuals make any."""
    run_sd: float | None
    """Residual standard deviation, where there are no replicates to tell the noise of a run."""
    run_samples: Floats | None
    """What one run differs by, with the same; its standard deviation is that of the sample."""
    reach: float
    """Of the target beyond the points; 0: inside."""
    back_tests: BackTests
    inside_sd: float
    """Error of the law among the points that it was fitted to, beyond their noise."""
    curve: Curve
    curves: Curve | None
    """Of the bootstrap."""
    points: Points
    doubt: str

    @property
    def law_error_sd(self) -> float | None:
        """The law's error at the target; None where nothing could be hidden."""
        rate = self.back_tests.rate
        if rate is None:
            return None
        return float(np.hypot(rate * self.reach**REACH_POWER, self.inside_sd))

    @property
    def expected_error(self) -> float:
        """Of the law's form and its parameters together; infinite where either is not known."""
        if self.law_error_sd is None or self.samples is None:
            return np.inf
        return float(np.hypot(self.law_error_sd, half_width(self.samples)))


def half_width(samples: Floats) -> float:
    """Half the central 68.3 % interval: a standard deviation that heavy tails do not move; NaN if an end is open."""
    low, high = np.quantile(np.where(np.isnan(samples), np.inf, samples), [0.15865, 0.84135], method="nearest")
    return float(high - low) / 2 if np.isfinite(low) and np.isfinite(high) else np.nan


def reach_of(n: Floats, d: Floats, points: Points) -> Floats:
    """How far sizes and horizons [k] lie beyond points, shape [k]: from their convex hull in ln N and ln D, as
    |Δ ln N| + |Δ ln D|.

    Beyond a full grid that is ln of the factors in size and horizon added up. The largest size at the longest horizon
    lies beyond points that have each by itself, and points off the line of one D/N lie beyond it."""
    seen, at = (np.log(np.stack(both, axis=1)) for both in ((points.n_params, points.tokens), (n, d)))
    outside = hull.distance(seen, at)
    # Two counts of one size, or a horizon rounded to whole updates, are no extrapolation.
    return np.asarray(np.where(outside < SAME_SIZE, 0.0, outside), np.float64)


def predictions(
    predictors: Sequence[Predictor], points: Points, n_params: float, tokens: float, n_samples: int, seed: int
) -> list[Said]:
    """What the laws that can be fitted say, those with the least expected error at the target first.

    A law in size and horizon fitted to points on one line says nothing of a target off it.
    """
    found = []
    for predictor in predictors:
        used = predictor.used(points, n_params)
        try:
            if len(used.values) < predictor.n_parameters or not _tells(predictor, used, n_params, tokens):
                continue
            fitted = predictor.fit(used)
        except ValueError:
            continue
        said = _said(predictor, fitted, used, n_params, tokens, n_samples, seed)
        if np.isfinite(said.value):
            found.append(said)
    return sorted(found, key=lambda said: said.expected_error)


def _tells(predictor: Predictor, points: Points, n_params: float, tokens: float) -> bool:
    return predictor.one_size or bool(told_at(points, np.array([float(n_params)]), np.array([float(tokens)])).all())


def _said(
    predictor: Predictor, fitted: Fitted, points: Points, n_params: float, tokens: float, n_samples: int, seed: int
) -> Said:
    at = np.array([float(n_params)]), np.array([float(tokens)])
    rows, run_sd, run_samples = points.samples, None, None
    spare = len(points.values) - predictor.n_parameters
    if rows is None and spare > 0:
        # Residuals stand in for replicates: new values around the curve.
        expected = fitted.curve(points.n_params, points.tokens)
        run_sd = float(np.sqrt(((points.values - expected) ** 2).sum() / spare))
        random = np.random.default_rng(seed)
        # Few residuals leave the noise uncertain too: every sample has its own, which makes Student's intervals.
        sds = run_sd * np.sqrt(spare / random.chisquare(spare, n_samples))
        rows = expected + sds[:, None] * random.standard_normal((n_samples, len(expected)))
        run_samples = sds * random.standard_normal(n_samples)
    curves = None if rows is None else fitted.again(rows)
    reach = float(reach_of(*at, points)[0])
    return Said(
        predictor,
        float(fitted.curve(*at)[0]),
        None if curves is None else curves(*at)[:, 0],
        run_sd,
        run_samples,
        reach,
        back_tests(predictor, points, _axis(points, n_params, tokens), max(FARTHEST * reach, MIN_FARTHEST)),
        _inside_sd(predictor, points),
        fitted.curve,
        curves,
        points,
        fitted.doubt,
    )


def _axis(points: Points, n_params: float, tokens: float) -> Floats:
    """What points are hidden by: their compute, or their size or horizon where only that of the target is beyond."""
    if float(n_params) * tokens <= points.compute.max():
        for at, values in ((n_params, points.n_params), (tokens, points.tokens)):
            if at > values.max() * (1 + SAME_SIZE):
                return values
    return points.compute


def back_tests(predictor: Predictor, points: Points, axis: Floats, farthest: float) -> BackTests:
    """Hide all beyond a level of the axis [points], for at most `MAX_CUTS` levels, and predict it up to a reach."""
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


def _inside_sd(predictor: Predictor, points: Points) -> float:
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


@dataclass(frozen=True)
class Error:
    """The law's error at the target as it enters the interval."""

    sd: float
    rate: float
    """The same at a reach of 1, so that a run nearer by can tell of it (`law_error_draws`)."""
    origin: Literal["hidden points", "spread of laws", "not known"]


def error_at_target(said: Sequence[Said]) -> Error:
    """Of the first law; where nothing can be hidden from it, how far the laws lie apart stands in."""
    first = said[0]
    scale = first.reach**REACH_POWER
    if first.law_error_sd is not None:
        return Error(first.law_error_sd, first.back_tests.rate or 0.0, "hidden points")
    if len(said) > 1:
        spread = max(abs(other.value - first.value) for other in said[1:])
        return Error(spread, spread / scale if scale else 0.0, "spread of laws")
    return Error(0.0, 0.0, "not known")


def law_error_draws(error: Error, n_samples: int, seed: int) -> Floats:
    """Standard draws of the law's error, to be multiplied by its size [n_samples]."""
    random = np.random.default_rng(seed)
    if error.origin == "hidden points":
        return random.standard_t(LAW_ERROR_DEGREES_OF_FREEDOM, n_samples)
    return random.standard_normal(n_samples)
