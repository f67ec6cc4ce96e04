"""The critical batch from steps and examples to one loss at several batches (McCandlish et al. 2018, section 2).

With S updates and E = B·S examples to a loss at batch B,

    (S/S_min - 1)·(E/E_min - 1) = 1,    that is    S = S_min + E_min/B:

few examples at small batches, few updates at large ones, and a bend between them. Two definitions of the batch at the
bend are in use and are not the same number:

    step_data_tradeoff   B = E_min/S_min: twice the fewest updates and twice the fewest examples (McCandlish et al.)
    fixed_overhead_20pct B that needs 20 % more examples than a reference batch B_ref would need if its updates fell in
                         proportion: S_min·B + E_min = 1.2·(S_min·B_ref + E_min) (Zhang et al. 2024, arXiv 2410.21676)

The fit is least squares of ln S, a search over the ratio r = E_min/S_min alone: given it, ln S_min is a mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from glidepath.science.replicates import ReplicateNoise
from glidepath.science.slopes import log_log_slope

Floats = NDArray[np.float64]
Status = Literal["converged", "not_identified", "bound_hit"]
NoiseSource = Literal["replicates", "residuals"]
Estimate = tuple[float, float, float]
"""Value with the ends of its interval; an end that the data leave open is NaN."""

STEP_DATA_TRADEOFF = "step_data_tradeoff"
OVERHEAD = 0.2
"""Of the usual fixed_overhead definition."""
MIN_BATCHES = 3
BEYOND = 1e4
"""The ratio is looked for up to so many times beyond the batches on either side."""
GRID_POINTS = 1001
INSIDE_POINTS = 201
REJECTED_BELOW = 0.05
"""Probability of residuals so large for the replicates' noise, below which the hyperbola is rejected."""


@dataclass(frozen=True)
class StepNoise:
    """How much ln steps varies from run to run, estimated from replicates."""

    variance: float
    """Of a single run, without what a replicate does to all batches alike."""
    degrees_of_freedom: int
    shared_variance: float = 0.0
    """Of what replicates do to all batches alike, of their mean: it moves S_min and E_min, not their ratio."""
    shared_degrees_of_freedom: int = 0

    @classmethod
    def of(cls, found: ReplicateNoise) -> StepNoise | None:
        """From an analysis of ln steps, every batch a position; None without replicates."""
        if not found.degrees_of_freedom:
            return None
        known = found.shared_degrees_of_freedom > 0
        shared = found.shared_sd**2 / int(found.counts.max()) if known else 0.0
        return cls(found.own_sd**2, found.degrees_of_freedom, shared, found.shared_degrees_of_freedom)


@dataclass(frozen=True)
class Front:
    """The hyperbola S = S_min + E_min/B through steps to one loss. Unit of batch and examples: that of the batches."""

    ratio: Estimate
    """E_min/S_min; infinite where S_min is 0."""
    steps_min: Estimate
    """[updates]"""
    examples_min: Estimate
    rms_residual: float
    """Of ln S; as a relative error of the steps."""
    noise_from: NoiseSource
    """replicates; residuals: there are none, or the hyperbola misses their means by more than they vary."""
    batches: tuple[float, ...]
    """The different ones, ascending."""

    def steps(self, batch: ArrayLike) -> Floats:
        """Updates at a batch."""
        steps: Floats = self.steps_min[0] + self.examples_min[0] / np.asarray(batch, np.float64)
        return steps

    def critical_batch(self, reference_batch: float, overhead: float | None = None) -> Estimate:
        """E_min/S_min, or with an overhead ε the batch of that overhead: ε·E_min/S_min + (1 + ε)·reference_batch.

        Raises ValueError unless the overhead is positive.
        """
        if overhead is None:
            return self.ratio
        if not overhead > 0:
            raise ValueError(f"an overhead of {overhead:g}: it is a positive share of additional examples, say 0.2")
        # An open lower end of the ratio is at least zero.
        value, low, high = (
            overhead * ratio + (1.0 + overhead) * reference_batch
            for ratio in (self.ratio[0], np.nan_to_num(self.ratio[1], nan=0.0), self.ratio[2])
        )
        return value, low, high

    def judged(self, critical_batch: Estimate) -> tuple[Status, str]:
        """Status of a critical batch of this front by either definition, and why it is not `converged`, with a remedy.

        `bound_hit`: S_min or E_min is 0. `not_identified`: it lies outside the batches, or its interval is open: the
        sweep does not show it.
        """
        value, low, high = critical_batch
        smallest, largest = f"{self.batches[0]:g}", f"{self.batches[-1]:g}"
        if self.steps_min[0] == 0.0:
            return "bound_hit", f"steps fall in proportion up to batch {largest}: no bend. Train larger batches"
        if self.examples_min[0] == 0.0:
            return "bound_hit", f"steps do not fall from batch {smallest} on: no bend. Train smaller batches"
        if value > self.batches[-1]:
            return "not_identified", f"it lies beyond the largest batch, {largest}. Train larger batches"
        if value < self.batches[0]:
            return "not_identified", f"it lies below the smallest batch, {smallest}. Train smaller batches"
        for end, side in ((high, "above"), (low, "below")):
            if np.isnan(end):
                return (
                    "not_identified",
                    f"its interval is open {side}. Train batches further {side} or more replicates",
                )
        return "converged", ""


def definition_name(overhead: float | None) -> str:
    """Name of a definition of the critical batch."""
    return STEP_DATA_TRADEOFF if overhead is None else f"fixed_overhead_{100 * overhead:g}pct"


def fit_front(
    batches: ArrayLike,
    steps: ArrayLike,
    ci_level: float,
    counts: ArrayLike | None = None,
    noise: StepNoise | None = None,
) -> Front:
    """Fit S = S_min + E_min/B, minimising Σ counts·(ln S - ln(S_min + E_min/B))².

    `batches`, `steps` [n]; `steps` may be geometric means over `counts` [n] replicates.

    Intervals are profile likelihoods: all ratios r with SSE(r) - SSE_min ≤ σ²·t², and the S_min and E_min that go with
    them; t is Student's. σ² is the replicates' variance, if `noise` is given; where the residuals are larger than that
    at the 5 % level, and without replicates, it is SSE_min/(n - 2). What replicates have in common is added to S_min
    and E_min in squares.

    Raises ValueError for fewer than three different batches, a value that is not positive, or arrays of different
    shapes.
    """
    b, s = np.asarray(batches, np.float64), np.asarray(steps, np.float64)
    weights = np.ones_like(s) if counts is None else np.asarray(counts, np.float64)
    _check(b, s, weights, ci_level)
    ln_ratio = np.linspace(np.log(b.min() / BEYOND), np.log(b.max() * BEYOND), GRID_POINTS)
    _, sse = _profile(ln_ratio, b, s, weights)
    best = int(np.argmin(sse))
    at_bound = best in (0, GRID_POINTS - 1)
    at = ln_ratio[best] if at_bound else _lowest(ln_ratio[best - 1], ln_ratio[best + 1], b, s, weights)
    (ln_a,), (sse_min,) = _profile(np.array([at]), b, s, weights)
    variance, quantile, source = _noise(float(sse_min), len(b), noise, ci_level)
    threshold = float(sse_min) + variance * quantile**2
    ends = _ends(ln_ratio, sse, at, threshold, b, s, weights)
    first = float(ln_ratio[0]) if np.isnan(ends[0]) else ends[0]
    last = float(ln_ratio[-1]) if np.isnan(ends[1]) else ends[1]
    inside = np.linspace(first, last, INSIDE_POINTS)
    ln_a_inside, sse_inside = _profile(inside, b, s, weights)
    # A parameter may leave its best value at a ratio by what the ratio leaves of the allowed error.
    half = np.sqrt(np.maximum(threshold - sse_inside, 0.0) / weights.sum())
    common = _shared_half_width(noise, ci_level)
    steps_min = _estimate(ln_a, ln_a_inside, half, common, open_low=np.isnan(ends[1]))
    examples_min = _estimate(ln_a + at, ln_a_inside + inside, half, common, open_low=np.isnan(ends[0]))
    ratio = float(np.exp(at))
    if at_bound:
        ratio, steps_min, examples_min = _at_bound(best, b, s, weights, steps_min, examples_min)
    return Front(
        ratio=(ratio, float(np.exp(ends[0])), float(np.exp(ends[1]))),
        steps_min=steps_min,
        examples_min=examples_min,
        rms_residual=float(np.sqrt(sse_min / weights.sum())),
        noise_from=source,
        batches=tuple(sorted(set(b.tolist()))),
    )


def _check(b: Floats, s: Floats, weights: Floats, ci_level: float) -> None:
    if not 0.0 < ci_level < 1.0:
        raise ValueError(f"ci_level {ci_level}: the level of an interval lies between 0 and 1")
    if b.ndim != 1 or not b.shape == s.shape == weights.shape:
        raise ValueError(f"batches {b.shape}, steps {s.shape}, counts {weights.shape}: one of each per batch is needed")
    for name, values in (("batches", b), ("steps", s), ("counts", weights)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"{name} {values.tolist()}: they must be positive and finite. Leave out what is not known")
    if len(set(b.tolist())) < MIN_BATCHES:
        raise ValueError(
            f"steps at batches {sorted(set(b.tolist()))}: two parameters and a check need {MIN_BATCHES} different "
            "batches at least. Train more batches to this loss, below and above the bend"
        )


def _profile(ln_ratio: Floats, b: Floats, s: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """ln S_min and squared error at given ratios [m], each [m]."""
    distance = np.log(s) - np.log1p(np.exp(ln_ratio)[:, None] / b)
    ln_steps_min = distance @ weights / weights.sum()
    return ln_steps_min, (distance - ln_steps_min[:, None]) ** 2 @ weights


def _lowest(low: float, high: float, b: Floats, s: Floats, weights: Floats) -> float:
    def error(at: float) -> float:
        return float(_profile(np.array([at]), b, s, weights)[1][0])

    return float(optimize.minimize_scalar(error, bounds=(low, high), method="bounded", options={"xatol": 1e-10}).x)


def _noise(sse_min: float, n: int, noise: StepNoise | None, ci_level: float) -> tuple[float, float, NoiseSource]:
    """Variance of ln S of one run, Student's quantile, and where they are from."""
    degrees = n - 2
    tail = 0.5 + ci_level / 2
    if noise is not None and noise.degrees_of_freedom > 0 and noise.variance > 0:
        excess = sse_min / degrees / noise.variance
        if stats.f.sf(excess, degrees, noise.degrees_of_freedom) >= REJECTED_BELOW:
            return noise.variance, float(stats.t.ppf(tail, noise.degrees_of_freedom)), "replicates"
    return sse_min / degrees, float(stats.t.ppf(tail, degrees)), "residuals"


def _shared_half_width(noise: StepNoise | None, ci_level: float) -> float:
    """Half-width in ln S of what replicates do to all batches alike."""
    if noise is None or noise.shared_degrees_of_freedom < 1:
        return 0.0
    return float(stats.t.ppf(0.5 + ci_level / 2, noise.shared_degrees_of_freedom) * np.sqrt(noise.shared_variance))


def _ends(
    ln_ratio: Floats, sse: Floats, at: float, threshold: float, b: Floats, s: Floats, weights: Floats
) -> tuple[float, float]:
    """The outermost ln ratios whose error is the threshold; NaN for an end beyond the grid."""

    def above(x: float) -> float:
        return float(_profile(np.array([x]), b, s, weights)[1][0]) - threshold

    def end(outwards: Floats, errors: Floats) -> float:
        """From the best ratio outwards."""
        beyond = 0 if not (errors <= threshold).any() else int(np.flatnonzero(errors <= threshold)[-1]) + 1
        if beyond == len(outwards):
            return np.nan
        inner = at if beyond == 0 else float(outwards[beyond - 1])
        return inner if above(inner) >= 0 else float(optimize.brentq(above, inner, float(outwards[beyond])))

    left, right = ln_ratio < at, ln_ratio > at
    return end(ln_ratio[left][::-1], sse[left][::-1]), end(ln_ratio[right], sse[right])


def _estimate(ln_value: float, ln_values: Floats, half: Floats, common: float, *, open_low: bool) -> Estimate:
    """A parameter whose logarithm may be `ln_values` ± `half`; two independent errors add in squares on each side
    (Zou & Donner 2008)."""
    low = ln_value - np.hypot(ln_value - min((ln_values - half).min(), ln_value), common)
    high = ln_value + np.hypot(max((ln_values + half).max(), ln_value) - ln_value, common)
    return float(np.exp(ln_value)), np.nan if open_low else float(np.exp(low)), float(np.exp(high))


def _at_bound(
    best: int, b: Floats, s: Floats, weights: Floats, steps_min: Estimate, examples_min: Estimate
) -> tuple[float, Estimate, Estimate]:
    """The limit of the law: S = E_min/B or S = S_min."""
    if best:
        examples = float(np.exp(np.average(np.log(s * b), weights=weights)))
        return np.inf, (0.0, np.nan, steps_min[2]), (examples, *examples_min[1:])
    steps = float(np.exp(np.average(np.log(s), weights=weights)))
    return 0.0, (steps, *steps_min[1:]), (0.0, np.nan, examples_min[2])


@dataclass(frozen=True)
class SizeLaw:
    """critical batch = scale·N^exponent."""

    scale: float
    exponent: float
    exponent_low: float
    """Student's interval from the scatter about the law; NaN without degrees of freedom."""
    exponent_high: float

    def predict(self, n_params: ArrayLike) -> Floats:
        """Critical batches at sizes, in the units of the fit."""
        predicted: Floats = self.scale * np.asarray(n_params, np.float64) ** self.exponent
        return predicted


def fit_size_law(
    n_params: ArrayLike, critical_batches: ArrayLike, ci_level: float, residuals: Literal["ratios", "differences"]
) -> SizeLaw:
    """Least squares of ln critical batch on ln N (`ratios`), or of the critical batch itself (`differences`), [n] each.

    The interval of the exponent is that of the straight line in logarithms in both cases. Raises ValueError for a
    value that is not positive or fewer than two different sizes.
    """
    n, critical = np.asarray(n_params, np.float64), np.asarray(critical_batches, np.float64)
    if not (np.isfinite(critical) & (critical > 0)).all():
        raise ValueError(
            f"critical batches {critical.tolist()}: they must be positive and finite. Leave out the others"
        )
    slope = log_log_slope(n, critical)
    exponent = slope.slope
    centre = float(np.exp(np.log(n).mean()))
    if residuals == "differences":

        def error(candidate: float) -> float:
            x = (n / centre) ** candidate
            return float(((critical - x * (x @ critical) / (x @ x)) ** 2).sum())

        exponent = float(optimize.minimize_scalar(error, bracket=(exponent - 0.1, exponent + 0.1), tol=1e-12).x)
        x = (n / centre) ** exponent
        ln_scale = float(np.log(x @ critical / (x @ x)))
    else:
        ln_scale = float(np.log(critical).mean())
    low, high = slope.interval(ci_level)
    return SizeLaw(float(np.exp(ln_scale - exponent * np.log(centre))), exponent, low, high)
