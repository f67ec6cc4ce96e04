"""Slopes in log-log coordinates: how a size grows with a model's width or depth, and whether that is nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Verdict = Literal["stable", "grows", "shrinks", "not resolved"]


@dataclass(frozen=True)
class Slope:
    """log2 y = constant + slope·log2 x by least squares; NaN where there is no answer."""

    slope: float
    """log2 of the factor by which y grows when x doubles."""
    standard_error: float
    """From the scatter about the line, so that replicates and curvature are both in it."""
    degrees_of_freedom: int

    def interval(self, level: float) -> tuple[float, float]:
        """Student's interval of the slope; NaN without degrees of freedom."""
        if self.degrees_of_freedom < 1:
            return np.nan, np.nan
        half = float(stats.t.ppf(0.5 + level / 2, self.degrees_of_freedom)) * self.standard_error
        return self.slope - half, self.slope + half

    def verdict(self, tolerance: float, level: float) -> Verdict:
        """`stable`: the interval lies within ±tolerance, so that a doubling of x changes y by less than a factor
        2^tolerance (the test of equivalence by two one-sided tests, Schuirmann 1987, each at (1 - level)/2). `grows`,
        `shrinks`: it lies outside. Else `not resolved`."""
        low, high = self.interval(level)
        if -tolerance <= low and high <= tolerance:
            return "stable"
        if low > tolerance:
            return "grows"
        return "shrinks" if high < -tolerance else "not resolved"


def log_log_slope(x: Floats, y: Floats) -> Slope:
    """Least squares through points (log2 x, log2 y), shapes [n].

    Points whose y is zero or not finite have no logarithm: then there is no slope, since leaving them out would hide
    a size that vanishes or explodes. Raises ValueError for a value of x that is not positive or fewer than two
    different ones.
    """
    if (x <= 0).any() or len(np.unique(x)) < 2:
        raise ValueError(f"sizes {x.tolist()}: two different positive ones are needed for a slope")
    if not (np.isfinite(y) & (y > 0)).all():
        return Slope(np.nan, np.nan, 0)
    u, v = np.log2(x) - np.log2(x).mean(), np.log2(y)
    slope = float(u @ v / (u @ u))
    degrees = len(x) - 2
    residuals = v - v.mean() - slope * u
    error = float(np.sqrt(residuals @ residuals / degrees / (u @ u))) if degrees else np.nan
    return Slope(slope, error, degrees)
