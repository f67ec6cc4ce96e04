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


def ema_weights(snapshot_updates: ArrayLike, timescale_updates: float) -> Floats:
    """Weights of an exponential moving average over snapshots, shape [n].

    w_i ∝ ∫ exp(-(u_n - u)/τ) du over the updates (u_{i-1}, u_i] that snapshot i stands for, normalised to sum to 1:
    the snapshots may be unequally spaced. The first one stands for as many updates as lie between it and the second.
    The memory before the first snapshot is cut off; it would have had the share exp(-span/τ).

    Raises ValueError for a time-scale that is not positive, or for fewer than two or not ascending updates.
    """
    updates = np.asarray(snapshot_updates, dtype=np.float64)
    if not timescale_updates > 0:
        raise ValueError(f"an EMA time-scale of {timescale_updates} updates: it must be positive")
    if len(updates) < 2 or not (np.diff(updates) > 0).all():
        raise ValueError(f"snapshots after {updates.tolist()} updates: need at least two, ascending")
    edges = np.concatenate([[2 * updates[0] - updates[1]], updates])
    decayed = np.exp((edges - updates[-1]) / timescale_updates)
    weights: Floats = np.diff(decayed) / (decayed[-1] - decayed[0])
    return weights
