"""How much a loss varies from replicate to replicate, as a function of the loss: ln sd = ln sd₀ + b·ln(level/level₀).

Pooling one standard deviation over a study (`science.replicates`) assumes that it is the same everywhere. Sets of runs
at high losses, from short training or high learning rates, vary more; a bootstrap with the noise of the best runs makes
intervals there too narrow, and one with the mean noise makes those of the best runs too wide.

Set i of m_i replicates has a sample variance v_i with k_i = m_i - 1 degrees of freedom, v_i ~ σ_i²·χ²(k_i)/k_i for
normal noise, so

    -2 ln likelihood = Σ_i k_i·(ln σ_i² + v_i/σ_i²)

which is that of a gamma regression with a log link, convex in (ln sd₀, b), and uses sets of two replicates as well as
sets of thirty. Real sets differ by more than that allows: the *dispersion*, Pearson's Σ k_i/2·(v_i/σ_i² - 1)² over the
degrees of freedom, multiplies the variance of both parameters where it is above one. With the slope's interval on both
sides of zero the noise is taken as constant, and beyond the levels that were seen as that at the nearest of them.
`level` is the loss or the loss above a floor that the caller knows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]

MAX_ITERATIONS = 200
MIN_SETS = 4
"""Sets of replicates at different levels below which no slope is tried."""


@dataclass(frozen=True)
class NoiseLevel:
    """A fitted noise; `sd` is its answer."""

    lowest_level: float
    highest_level: float
    """Between which there were sets."""
    reference: float
    """level₀: geometric mean of the levels, weighted by degrees of freedom."""
    sd_at_reference: float
    """Of the model that is used: with the slope if that is resolved, else pooled [nat/token]."""
    sd_interval: tuple[float, float]
    slope: float
    """b, as estimated, resolved or not; NaN with too few sets."""
    slope_interval: tuple[float, float]
    pooled_sd: float
    """√(Σ k_i·v_i/Σ k_i) [nat/token]."""
    dispersion: float
    """1 for normal noise that the model describes."""
    degrees_of_freedom: int
    n_sets: int

    @property
    def resolved(self) -> bool:
        """Whether the noise is told to depend on the level."""
        low, high = self.slope_interval
        return bool(low > 0 or high < 0)

    def sd(self, level: Floats) -> Floats:
        """Standard deviation of a single run at levels of any shape [nat/token]."""
        seen = np.clip(np.asarray(level, dtype=np.float64), self.lowest_level, self.highest_level)
        slope = self.slope if self.resolved else 0.0
        return np.asarray(self.sd_at_reference * (seen / self.reference) ** slope, dtype=np.float64)

    def draws(self, level: Floats, n_samples: int, seed: int) -> Floats:
        """What single runs at levels [n] may differ from their means by, shape [n_samples, n].

        Normal, times Student's factor for the degrees of freedom: how large the noise is, is itself known so well only.
        """
        random = np.random.default_rng(seed)
        student = np.sqrt(self.degrees_of_freedom / random.chisquare(self.degrees_of_freedom, size=(n_samples, 1)))
        return np.asarray(random.standard_normal((n_samples, len(level))) * student * self.sd(level), dtype=np.float64)


def fit_noise_level(
    levels: Floats, variances: Floats, degrees_of_freedom: NDArray[np.int64], ci_level: float
) -> NoiseLevel:
    """Maximum likelihood through sets of replicates: levels, sample variances (over m - 1) and m - 1, each [sets].

    Raises ValueError for no set, a set without degrees of freedom or variance, and levels that are not positive.
    """
    levels, variances, k = (np.asarray(v, np.float64) for v in (levels, variances, degrees_of_freedom))
    if not len(levels) or not ((levels > 0) & (variances > 0) & (k >= 1)).all():
        raise ValueError(
            "noise by level needs sets of at least two replicates that differ, at positive levels: leave out the others"
        )
    reference = float(np.exp(np.average(np.log(levels), weights=k)))
    x = np.log(levels / reference)
    total = float(k.sum())
    pooled = float(np.sqrt((k * variances).sum() / total))
    constant = np.array([np.log(pooled), 0.0])
    if len(set(levels.tolist())) < MIN_SETS:
        theta, slope, slope_interval = constant, np.nan, (np.nan, np.nan)
    else:
        theta = _maximum(x, variances, k, constant)
        # Fisher's information of (ln sd, b) is 2·Σ k (1, x)(1, x)ᵀ, and Σ k x = 0.
        se = np.sqrt(_dispersion(theta, x, variances, k, 2) / (2 * float((k * x**2).sum())))
        slope = float(theta[1])
        reach = float(_quantile(ci_level, len(levels) - 2)) * se
        slope_interval = (float(slope - reach), float(slope + reach))
    resolved = bool(slope_interval[0] > 0 or slope_interval[1] < 0)
    used = theta if resolved else constant
    dispersion = _dispersion(used, x, variances, k, 2 if resolved else 1)
    spread = float(_quantile(ci_level, len(levels) - (2 if resolved else 1))) * np.sqrt(dispersion / (2 * total))
    sd = float(np.exp(used[0]))
    return NoiseLevel(
        lowest_level=float(levels.min()),
        highest_level=float(levels.max()),
        reference=reference,
        sd_at_reference=sd,
        sd_interval=(sd * float(np.exp(-spread)), sd * float(np.exp(spread))),
        slope=slope,
        slope_interval=slope_interval,
        pooled_sd=pooled,
        dispersion=dispersion,
        degrees_of_freedom=int(total),
        n_sets=len(levels),
    )


def noise_of_sets(sets: list[Floats], ci_level: float, *, floor: float = 0.0) -> NoiseLevel:
    """`fit_noise_level` of sets of losses at their means less `floor`; sets of one, or of equal ones, are left out."""
    told = [s for s in (np.asarray(s, np.float64) for s in sets) if len(s) > 1 and s.var(ddof=1) > 0]
    levels, variances = np.array([s.mean() - floor for s in told]), np.array([s.var(ddof=1) for s in told])
    return fit_noise_level(levels, variances, np.array([len(s) - 1 for s in told]), ci_level)


def standardised_difference(first: Floats, second: Floats, credit: float = 0.0) -> float:
    """(mean of first - mean of second + credit)/√(1/n₁ + 1/n₂) [nat/token]: over the sd of a single run it is normal.

    `credit` [nat/token] is what the updates are worth that the second is shorter by: updates times the slope of the
    loss at the end. It is the statistic by which the public speed-runs of a small GPT judge one another.
    """
    return float((first.mean() - second.mean() + credit) / np.sqrt(1 / len(first) + 1 / len(second)))


def _maximum(x: Floats, variances: Floats, k: Floats, start: Floats) -> Floats:
    def deviance(theta: Floats) -> tuple[float, Floats]:
        ln_variance = 2 * (theta[0] + theta[1] * x)
        ratio = variances * np.exp(-ln_variance)
        gradient = 2 * k * (1 - ratio)
        return float((k * (ln_variance + ratio)).sum()), np.array([gradient.sum(), (gradient * x).sum()])

    found = optimize.minimize(deviance, start, jac=True, method="BFGS", options={"maxiter": MAX_ITERATIONS})
    return np.asarray(found.x, dtype=np.float64)


def _dispersion(theta: Floats, x: Floats, variances: Floats, k: Floats, n_parameters: int) -> float:
    """Pearson's, not below 1; 1 where no set is left over."""
    degrees = len(x) - n_parameters
    if degrees < 1:
        return 1.0
    ratio = variances * np.exp(-2 * (theta[0] + theta[1] * x))
    return max(1.0, float((k / 2 * (ratio - 1) ** 2).sum()) / degrees)


def _quantile(ci_level: float, degrees: int) -> float:
    return float(stats.t.ppf((1 + ci_level) / 2, max(degrees, 1)))
