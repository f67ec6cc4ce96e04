"""Weights of an average over snapshots, and the cheapest way from one average to the next.

A snapshot stands for the training between the one before it and itself; the first one for as much as lies between it
and the second. An average is a kernel over the past: a snapshot's weight is the kernel's mass on what it stands for,
so that snapshots may be unequally spaced, and equally spaced ones under a uniform kernel get equal weights. Positions
are in one unit of training throughout: updates, sequences or tokens. All weights sum to 1. The averaging itself is a
weighted sum, tensor by tensor, elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SAME = 1e-12
"""Weights closer than this share of the largest one are the same: what remains of rounding."""

MOST_KEPT = 4.0
"""An old average is not blown up by more, and its rounding with it."""


def uniform_weights(positions: ArrayLike, start: float) -> Floats:
    """Uniform over the training between `start` and the last snapshot, shape [n].

    w_i ∝ length of (u_{i-1}, u_i] ∩ (start, u_n]. With `start` half-way between snapshots it is the window average of
    Hägele et al. 2024 (arXiv 2405.18392); with a fixed start, stochastic weight averaging (Izmailov et al. 2018).

    Raises ValueError as `edges_of` does, and unless start lies before the last snapshot.
    """
    edges = edges_of(positions)
    if not start < edges[-1]:
        raise ValueError(f"an average from {start} over snapshots up to {edges[-1]}: it must start before the last one")
    lengths = np.diff(np.maximum(edges, start))
    weights: Floats = lengths / lengths.sum()
    return weights


def ema_weights(positions: ArrayLike, timescale: float) -> Floats:
    """Exponential moving average with time-scale τ, shape [n]: w_i ∝ ∫ exp(-(u_n - u)/τ) du over what i stands for.

    The memory before the first snapshot is cut off; it would have had the share exp(-span/τ).

    Raises ValueError as `edges_of` does, and for a time-scale that is not positive.
    """
    if not timescale > 0:
        raise ValueError(f"an EMA time-scale of {timescale}: it must be positive")
    edges = edges_of(positions)
    decayed = np.exp((edges - edges[-1]) / timescale)
    weights: Floats = np.diff(decayed) / (decayed[-1] - decayed[0])
    return weights


def equal_weights(n_snapshots: int, chosen: ArrayLike) -> Floats:
    """1/k on the k chosen of n snapshots (indices), shape [n]: latest weight averaging (Kaddour 2022; Sanyal et al.
    2023, arXiv 2306.03241).

    Raises ValueError if none is chosen or one twice.
    """
    indices = np.asarray(chosen, dtype=np.int64)
    if not len(indices) or len(np.unique(indices)) < len(indices):
        raise ValueError(f"snapshots {indices.tolist()} to average: need at least one, each once")
    weights = np.zeros(n_snapshots)
    weights[indices] = 1.0 / len(indices)
    return weights


def emulated_decay_weights(
    lr: ArrayLike, decayed_lr: ArrayLike, weight_decay: ArrayLike, updates_done: ArrayLike
) -> Floats:
    """Weights that make of snapshots taken under `lr` the weights that `decayed_lr` would have made, shape [n].

    `lr`, `decayed_lr` and `weight_decay` are those of every update, shape [updates]; snapshots were taken after
    `updates_done` [n], ascending, the last of them after all updates.

    With α_i = lr_i·weight_decay_i, AdamW's weights after t updates are Σ_{i≤t} c_i x_i with
    c_i = α_i·Π_{i<j≤t}(1 - α_j) (science/ema_view.py; Bergsma et al. 2025, section 3). If the updates x_i stayed what
    they are, snapshots after every update with weights w_t would give x_i the coefficient α_i·A_i with
    A_i = w_i + (1 - α_{i+1})·A_{i+1}; setting it to the coefficient under the decayed learning rates α̃ = r·α gives

        w_i = R_i - (1 - α_{i+1})·R_{i+1},    R_i = r_i·Π_{j>i}(1 - α̃_j),    w_T = R_T.

    Without weight decay this is w_i = r_i - r_{i+1}, the weights of Tian et al. 2025 (WSM, arXiv 2507.17634). The
    weight of an update goes to the nearest snapshot. It is an emulation: under lower learning rates the gradients, and
    so the x_i, would have been others.

    Raises ValueError for shapes that differ, a learning rate that is zero under `lr` only, α ≥ 1, or weights that
    would be negative: the decayed learning rate must not rise against `lr`.
    """
    lrs, decayed = np.asarray(lr, np.float64), np.asarray(decayed_lr, np.float64)
    decay = np.broadcast_to(np.asarray(weight_decay, np.float64), lrs.shape)
    at = np.asarray(updates_done, np.int64)
    if lrs.shape != decayed.shape or lrs.ndim != 1 or at[-1] != len(lrs):
        raise ValueError(
            f"{lrs.shape} learning rates, {decayed.shape} decayed ones, the last snapshot after {at[-1]} updates: "
            "there must be one of each per update, and a snapshot after the last"
        )
    if np.any(lrs <= 0) or np.any(lrs * decay >= 1):
        raise ValueError("every update must learn, and must not replace the weights whole: need lr > 0, lr·decay < 1")
    kept = 1.0 - lrs * decay
    kept_decayed = 1.0 - decayed * decay
    after = np.append(np.cumprod(kept_decayed[::-1])[::-1][1:], 1.0)
    r = decayed / lrs * after
    weights = r - np.append(kept[1:] * r[1:], 0.0)
    if weights.min() < -1e-9 * weights.max():
        raise ValueError("the decayed learning rate rises against the other: its weights would be negative")
    nearest = np.searchsorted(0.5 * (at[1:] + at[:-1]), np.arange(1, len(lrs) + 1))
    grouped = np.bincount(nearest, weights=weights, minlength=len(at))
    # Before the decay the weights are zero but for rounding, and a snapshot without weight need not be read.
    grouped[grouped < SAME * grouped.max()] = 0.0
    result: Floats = grouped / grouped.sum()
    return result


def edges_of(positions: ArrayLike) -> Floats:
    """Ends of the training that each snapshot stands for, shape [n + 1].

    Raises ValueError for fewer than two or not ascending positions.
    """
    at = np.asarray(positions, dtype=np.float64)
    if len(at) < 2 or not (np.diff(at) > 0).all():
        raise ValueError(f"snapshots at {at.tolist()}: need at least two, ascending")
    return np.concatenate([[2 * at[0] - at[1]], at])


@dataclass(frozen=True)
class Step:
    """From one average to another: mean ← keep·mean + Σ share·snapshot. With keep 0 it starts afresh."""

    keep: float
    shares: tuple[tuple[int, float], ...]
    """Index of a snapshot and what of it is added; a negative share takes away."""

    @property
    def reads(self) -> int:
        """Snapshots read."""
        return len(self.shares)


def cheapest_step(before: ArrayLike, after: ArrayLike) -> Step:
    """The step from the average with weights `before` to that with weights `after` that reads the fewest snapshots.

    Both have the shape [n], snapshots not yet there having the weight 0. Where the old average is kept with a factor c,
    only snapshots with after ≠ c·before are read: two or three for a window that moves by one snapshot, whatever its
    length, one for an EMA of fixed time-scale. c is the median ratio of the snapshots that both have. When starting
    afresh reads no more, that is done: it forgets what rounding there was.
    """
    old, new = np.asarray(before, np.float64), np.asarray(after, np.float64)
    best = _step(0.0, new, new)
    both = (old > SAME * old.max()) & (new > 0)
    if both.any():
        keep = float(np.median(new[both] / old[both]))
        kept = _step(keep, new - keep * old, new)
        if kept.reads < best.reads and keep <= MOST_KEPT:
            best = kept
    return best


def _step(keep: float, change: Floats, new: Floats) -> Step:
    read = np.flatnonzero(np.abs(change) > SAME * np.abs(new).max())
    return Step(keep, tuple((int(i), float(change[i])) for i in read))


@dataclass(frozen=True)
class WeightsShape:
    """What an average is, in numbers."""

    checkpoints: int
    """Snapshots with a weight other than zero."""
    effective_checkpoints: float
    """1/Σw²: k for k equal ones."""
    span: float
    """Training between the first and the last of them."""
    lag: float
    """Σ w_i·(end - u_i): mean age of the weights at `end`."""


def shape_of(weights: ArrayLike, positions: ArrayLike, end: float) -> WeightsShape:
    """Span and age of an average of snapshots at some positions, seen from `end`."""
    w, at = np.asarray(weights, np.float64), np.asarray(positions, np.float64)
    used = at[w != 0]
    return WeightsShape(len(used), float(1.0 / (w @ w)), float(used[-1] - used[0]), float(w @ (end - at)))
