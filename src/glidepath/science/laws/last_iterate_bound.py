"""The last-iterate bound of convex optimisation.

For SGD on a convex f with gradient norms G_t and any learning rates η_t, W_t = Σ_{s≤t} η_s and D the distance to a
minimum (Theorem 10 of Defazio et al. 2023, arXiv 2310.07831; Ω_T of Schaipp et al. 2025, arXiv 2501.18965),

    Ω_t = D²/(2W_t) + Σ_{s≤t} η_s²G_s²/(2W_t) + ½ Σ_{k<t} η_k/(W_t - W_k) · Σ_{k≤s≤t} η_s²G_s²/(W_t - W_{k-1}).

η_k/((W_t - W_k)(W_t - W_{k-1})) is a difference of neighbours, so the double sum is a single one:

    Ω_t = D²/(2W_t) + ½ η_tG_t² + ½ Σ_{k<t} η_k²G_k²/(W_t - W_k).

Updates of learning rate 0 change nothing: the bound after them is that before them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KNOTS = 90
"""G² is linear in t between so many updates, equally far apart in ln t; exact for every t up to the first few."""


@dataclass(frozen=True)
class BoundTerms:
    """The terms of the bound for a peak learning rate of 1: the first falls with it, the other grows."""

    distance: float
    """D²/(2 Σ s_t)."""
    noise: float
    """½ s_T·G_T² + ½ Σ s_k²G_k²/Σ_{t>k} s_t."""

    def at(self, peak_lr: float) -> float:
        """The bound Ω_T on f(x_T) - f*."""
        return self.distance / peak_lr + self.noise * peak_lr

    @property
    def optimal_peak_lr(self) -> float:
        """γ* = √(distance/noise)."""
        return math.sqrt(self.distance / self.noise)

    @property
    def lowest(self) -> float:
        """Ω* = 2·√(distance·noise), the bound at the optimal peak."""
        return 2.0 * math.sqrt(self.distance * self.noise)


def last_iterate_bound(multipliers: ArrayLike, grad_norms: ArrayLike = 1.0, distance: float = 1.0) -> BoundTerms:
    """Terms of the last-iterate bound for η_t = γ·s_t at γ = 1, s_t = `multipliers` of shape [updates].

    `grad_norms` G_t is of the same shape or one number, `distance` is D. Raises ValueError unless a multiplier is
    positive.
    """
    s, g = np.broadcast_arrays(np.asarray(multipliers, np.float64), np.asarray(grad_norms, np.float64))
    if not (s > 0).any():
        raise ValueError("multipliers: the bound needs at least one positive learning rate")
    weights = _weights(s, len(s))
    return BoundTerms(distance**2 / (2 * float(s.sum())), float(weights @ g[: len(weights)] ** 2))


@dataclass(frozen=True)
class BoundKernel:
    """Ω at n points as a linear function of G²: Ω = distance + noise·G²(knots)."""

    distance: Floats
    """1/(2W_t), shape [n]."""
    noise: Floats
    """[n, knots]"""
    knots: Floats
    """Updates, counted from 1."""


def bound_kernel(lr: Floats, updates_done: Ints, knots: Floats | None = None) -> BoundKernel:
    """Once per curve, O(updates) for each point; a prediction then costs O(knots) for each.

    Raises ValueError for a point before any positive learning rate or beyond the last update.
    """
    lr, points = np.asarray(lr, np.float64), np.asarray(updates_done, np.int64)
    if len(points) and (points.min() < 1 or points.max() > len(lr) or not lr[: int(points.min())].any()):
        raise ValueError(
            f"points at {points.min()} … {points.max()} updates of a path of {len(lr)}: the bound is known after the "
            "first update at a positive learning rate, up to the last"
        )
    at = knots_up_to(len(lr)) if knots is None else knots
    t = np.arange(1, len(lr) + 1, dtype=np.float64)
    left = np.clip(np.searchsorted(at, t, side="right") - 1, 0, len(at) - 2)
    share = (t - at[left]) / (at[left + 1] - at[left])
    total = np.cumsum(lr)
    noise = np.empty((len(points), len(at)))
    for row, point in zip(noise, points, strict=True):
        weights = _weights(lr, int(point))
        n = len(weights)
        row[:] = np.bincount(left[:n], weights * (1 - share[:n]), len(at))
        row += np.bincount(left[:n] + 1, weights * share[:n], len(at))
    return BoundKernel(1 / (2 * total[points - 1]), noise, at)


def knots_up_to(total_steps: int) -> Floats:
    """Where G² is taken, from 1 to `total_steps`, two at least."""
    grid = np.unique(np.round(np.geomspace(1, max(total_steps, 2), KNOTS)))
    return np.asarray(grid, np.float64)


def _weights(lr: Floats, stop: int) -> Floats:
    """What Ω's noise term multiplies G_k² by, for the updates up to the last positive one before `stop`."""
    used = lr[: int(np.flatnonzero(lr[:stop])[-1]) + 1]
    total = np.cumsum(used)
    # The sum of the rates that follow, from the end on: a difference of the sums from the start would lose digits.
    following = np.cumsum(used[:0:-1])[::-1]
    weights = np.empty_like(total)
    weights[-1] = used[-1] / 2
    weights[:-1] = used[:-1] ** 2 / (2 * following)
    return weights
