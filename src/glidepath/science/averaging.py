"""Weights of an average over snapshots. The averaging itself is a weighted sum, tensor by tensor, elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def window_weights(n_snapshots: int, k: int) -> Floats:
    """Uniform weights 1/k on the latest k of n snapshots, zero before, shape [n_snapshots].

    The latest-weight average of Sanyal et al. 2023 and the window average of Hägele et al. 2024.

    Raises ValueError unless 1 ≤ k ≤ n_snapshots.
    """
    if not 1 <= k <= n_snapshots:
        raise ValueError(f"a window of {k} of {n_snapshots} snapshots: need 1 ≤ k ≤ {n_snapshots}")
    weights = np.zeros(n_snapshots)
    weights[-k:] = 1.0 / k
    return weights


def ema_weights(positions: ArrayLike, timescale: float) -> Floats:
    """Weights of an exponential moving average over snapshots, shape [n].

    `positions` of the snapshots and the `timescale` τ are in the same unit of training: updates or tokens.

    w_i ∝ ∫ exp(-(u_n - u)/τ) du over the training (u_{i-1}, u_i] that snapshot i stands for, normalised to sum to 1:
    the snapshots may be unequally spaced. The first one stands for as much training as lies between it and the second.
    The memory before the first snapshot is cut off; it would have had the share exp(-span/τ).

    Raises ValueError for a time-scale that is not positive, or for fewer than two or not ascending positions.
    """
    at = np.asarray(positions, dtype=np.float64)
    if not timescale > 0:
        raise ValueError(f"an EMA time-scale of {timescale}: it must be positive")
    if len(at) < 2 or not (np.diff(at) > 0).all():
        raise ValueError(f"snapshots at {at.tolist()}: need at least two, ascending")
    edges = np.concatenate([[2 * at[0] - at[1]], at])
    decayed = np.exp((edges - at[-1]) / timescale)
    weights: Floats = np.diff(decayed) / (decayed[-1] - decayed[0])
    return weights
