"""The last-iterate bound: what judges a refined schedule in the tests.

For SGD on a convex f with gradient norms G_t and any learning rates η_t (Theorem 10 of Defazio et al. 2023, arXiv
2310.07831; Ω_T of Schaipp et al. 2025, arXiv 2501.18965), with W = Σ η_t and D the distance to a minimum:

    f(x_T) - f* ≤ D²/(2W) + Σ_t η_t²G_t²/(2W) + ½ Σ_{k<T} η_k/(Σ_{t>k} η_t) · Σ_{t≥k} η_t²G_t² / Σ_{t≥k} η_t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class BoundTerms:
    """The three terms of the bound for a peak learning rate of 1: the first falls with it, the others grow."""

    distance: float
    """D²/(2 Σ s_t)."""
    noise: float
    """Σ s_t²G_t² / (2 Σ s_t)."""
    last_iterate: float
    """The double sum."""

    def at(self, peak_lr: float) -> float:
        """The bound Ω_T on f(x_T) - f*."""
        return self.distance / peak_lr + (self.noise + self.last_iterate) * peak_lr

    @property
    def optimal_peak_lr(self) -> float:
        """γ* = √(T1/(T2 + T3))."""
        return math.sqrt(self.distance / (self.noise + self.last_iterate))

    @property
    def lowest(self) -> float:
        """Ω* = 2·√(T1·(T2 + T3)), the bound at the optimal peak."""
        return 2.0 * math.sqrt(self.distance * (self.noise + self.last_iterate))


def last_iterate_bound(multipliers: ArrayLike, grad_norms: ArrayLike = 1.0, distance: float = 1.0) -> BoundTerms:
    """Terms of the last-iterate bound for η_t = γ·s_t at γ = 1, s_t = `multipliers` of shape [updates].

    `grad_norms` G_t is of the same shape or one number, `distance` is D. Updates at multiplier 0 after the last
    positive one change nothing and are left out.
    """
    s, g = np.broadcast_arrays(np.asarray(multipliers, np.float64), np.asarray(grad_norms, np.float64))
    end = int(np.flatnonzero(s)[-1]) + 1
    s, squares = s[:end], (s * g)[:end] ** 2
    from_here = np.cumsum(s[::-1])[::-1]
    squares_from_here = np.cumsum(squares[::-1])[::-1]
    double_sum = (s[:-1] / from_here[1:] * squares_from_here[:-1] / from_here[:-1]).sum()
    total = float(from_here[0])
    return BoundTerms(distance**2 / (2 * total), float(squares_from_here[0]) / (2 * total), float(double_sum) / 2)
