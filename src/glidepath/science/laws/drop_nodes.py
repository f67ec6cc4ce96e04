"""Where a sum over the drops of a learning rate is evaluated: at a few nodes that stand for many updates.

The sum of the multi-power law, Σ_{k≤t} (η_{k-1} - η_k)·G(η_k^(-γ)·S_k(t)) with S_k(t) = Σ_{τ=k…t} η_τ, runs over
updates where the learning rate changes. For every point they are put into bins, of geometric width in S_k and in η_k,
and each bin is summed at two nodes that keep its total, mean and variance: some dozens of nodes instead of tens of
thousands of updates, and within 1e-5 nat/token of the full sum on the usual schedules.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from glidepath.science.laws.curve import Curve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOWEST_LR = 1e-10
"""At which η_k^(-γ) is taken where the learning rate is lower."""
LAG_RATIO = 1.5
"""Widths of bins in S_k: each spans at most this factor."""
LR_RATIO = 2.0
"""And of bins in η_k."""
JUMP = 0.02
"""A change larger than this share of the peak is a node by itself."""
ROUNDING = 1e-10
"""A change smaller than this share of the peak is none: a schedule's rounding, which sums of others would swallow."""
LAG_RANGE = 1e-9
"""S_k below this share of S1 are one bin."""


@dataclass(frozen=True)
class Nodes:
    """Where the sum over drops is evaluated for some points, node after node and point after point."""

    point: Ints
    """Of every node, ascending."""
    weights: Floats
    """Drop of the learning rate that the node stands for."""
    ln_lr: Floats
    """ln η_k there."""
    lr_sums: Floats
    """S_k(t) there."""
    n_points: int

    @cached_property
    def ln_lr_sums(self) -> Floats:
        """-inf where no update has followed at a learning rate above zero."""
        with np.errstate(divide="ignore"):
            return np.log(self.lr_sums)

    def summed(self, values: Floats) -> Floats:
        """Σ weight·value over the nodes of every point: values [rows, nodes] to [rows, n_points]."""
        total = np.zeros((len(values), self.n_points))
        if len(self.point):
            first = np.flatnonzero(np.diff(self.point, prepend=-1))
            total[:, self.point[first]] = np.add.reduceat(values * self.weights, first, axis=1)
        return total


def nodes_of(curve: Curve, *, warmup_drops: bool, lag_ratio: float = LAG_RATIO, lr_ratio: float = LR_RATIO) -> Nodes:
    """The nodes of all points of a curve."""
    sums = curve.cumulative_lr("linear")
    drops = -np.diff(curve.lr, prepend=0.0) if warmup_drops else curve.drops
    ln_lr = np.log(np.maximum(curve.lr, LOWEST_LR))
    edges = np.geomspace(1.0, LAG_RANGE, int(-np.log(LAG_RANGE) / np.log(lag_ratio)) + 1)
    peak = float(curve.lr.max())
    parts = []
    # Drops and increments apart: a mean over both signs may lie anywhere.
    for sign in (1.0, -1.0):
        k = np.flatnonzero(sign * drops > ROUNDING * peak)
        if len(k):
            parts += _binned(
                drops[k], sums[k], ln_lr[k], k, curve.updates_done, sums, edges, np.log(lr_ratio), JUMP * peak
            )
    columns = np.concatenate(parts, axis=1) if parts else np.empty((4, 0))
    order = np.argsort(columns[0], kind="stable")
    point, weights, ln_at, lags = columns[:, order]
    return Nodes(point.astype(np.int64), weights, ln_at, lags, len(curve.updates_done))


def _binned(
    drops: Floats,
    before: Floats,
    ln_lr: Floats,
    k: Ints,
    points: Ints,
    sums: Floats,
    edges: Floats,
    ln_ratio: float,
    jump: float,
) -> list[Floats]:
    """Rows point, weight, ln η, S_k of the nodes of drops of one sign at updates k; `before` is S1 until each."""
    moments = [drops, drops * before, drops * before**2, drops * ln_lr, drops * ln_lr * before]
    running = np.concatenate([np.zeros((5, 1)), np.cumsum(moments, axis=1)], axis=1)
    jumps = np.flatnonzero(np.abs(drops) > jump)
    fixed = np.concatenate([np.flatnonzero(np.diff(np.floor(ln_lr / ln_ratio))) + 1, jumps, jumps + 1])
    parts = []
    for i, done in enumerate(points):
        made, total = int(np.searchsorted(k, done)), sums[done]
        if not made:
            continue
        lag_cuts = np.searchsorted(before[:made], total - total * edges)
        cuts = np.unique(np.concatenate([[0], lag_cuts, fixed[fixed < made], [made]]))
        first, last = cuts[:-1], cuts[1:] - 1
        weight, *raised = np.diff(running[:, cuts], axis=1)
        mean, square, mean_ln, product = np.array(raised) / weight
        alone = first == last
        mean, mean_ln = np.where(alone, before[first], mean), np.where(alone, ln_lr[first], mean_ln)
        variance = np.where(alone, 0.0, np.maximum(square - mean**2, 0.0))
        lowest, highest = np.minimum(ln_lr[first], ln_lr[last]), np.maximum(ln_lr[first], ln_lr[last])
        slope = np.where(variance > 0, (product - mean * mean_ln) / np.where(variance > 0, variance, 1.0), 0.0)
        for side in (1.0, -1.0):
            used = ~alone if side < 0 else np.ones(len(alone), dtype=np.bool_)
            # Two nodes of a lopsided bin may lie beyond its ends, where there is no lag or another learning rate.
            at = np.clip(mean + side * np.sqrt(variance), before[first], before[last])
            half = np.where(alone, weight, weight / 2)
            ln_at = np.clip(mean_ln + slope * (at - mean), lowest, highest)
            parts.append(np.array([np.full(used.sum(), i), half[used], ln_at[used], total - at[used]]))
    return parts
