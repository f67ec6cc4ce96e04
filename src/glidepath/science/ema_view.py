"""AdamW as an exponential moving average of its updates (Bergsma et al. 2025, arXiv 2502.15938, section 3).

One update of AdamW with decoupled weight decay is θ_i = (1 - α_i)·θ_{i-1} + α_i·x_i with α_i = lr_i·weight_decay_i and
x_i = -u_i / weight_decay_i, u_i the normalised gradient. Unrolled over T updates,

    θ_T = c_0·θ_0 + Σ_i c_i·x_i,    c_i = α_i·Π_{j>i} (1 - α_j),    c_0 = Π_j (1 - α_j),    c_0 + Σ_i c_i = 1.

A schedule is thereby a distribution over what the final weights remember. Arrays are those applied to one parameter
group, its multipliers included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class UpdateCoefficients:
    """What the weights after the last update are made of; logarithms, since early updates may weigh less than the
    smallest float."""

    log_initial: float
    """ln c_0, of the initial weights."""
    log_updates: Floats
    """ln c_i of every update, shape [updates]; -inf at learning rate 0."""

    @property
    def initial(self) -> float:
        """c_0, between 0 and 1."""
        return float(np.exp(self.log_initial))

    @property
    def updates(self) -> Floats:
        """c_i, shape [updates], between 0 and 1."""
        return np.exp(self.log_updates)

    @property
    def effective_updates(self) -> float:
        """Effective number of averaged updates, 1/Σ ĉ_i² with ĉ_i = c_i/Σ c_i; n equal coefficients make it n."""
        relative = np.exp(self.log_updates - self.log_updates.max())
        return float(relative.sum() ** 2 / (relative**2).sum())

    @property
    def peak(self) -> int:
        """0-based index of the update with the largest coefficient, the first of several."""
        return int(np.argmax(self.log_updates))


def update_coefficients(lr: ArrayLike, weight_decay: ArrayLike) -> UpdateCoefficients:
    """Coefficients of the initial weights and of every update in the weights after the last one.

    `lr` and `weight_decay` are the values applied to one parameter group, shape [updates] or, for the decay, a number.
    ln c_i = ln α_i + Σ_{j>i} ln(1 - α_j), by one suffix sum. The notation shifts the paper's by one: its c_{T,1} is c_0
    here. Raises ValueError as `shrinkage` does, and when every learning rate is 0.
    """
    alpha = shrinkage(lr, weight_decay)
    if not alpha.any():
        raise ValueError(f"learning rate 0 at all {len(alpha)} updates: nothing was trained, so nothing was averaged")
    log_kept = np.log1p(-alpha)
    kept_after = np.cumsum(log_kept[::-1])[::-1] - log_kept
    with np.errstate(divide="ignore"):
        return UpdateCoefficients(float(log_kept.sum()), np.log(alpha) + kept_after)


def timescale_updates(lr: ArrayLike, weight_decay: ArrayLike) -> Floats:
    """Memory of the average in updates, 1/(lr·weight_decay), at every update; infinite at learning rate 0.

    Shape [updates]. Raises ValueError as `shrinkage` does.
    """
    with np.errstate(divide="ignore"):
        return 1.0 / shrinkage(lr, weight_decay)


def timescale_fraction(lr: ArrayLike, weight_decay: ArrayLike, batch_tokens: ArrayLike, token_horizon: float) -> Floats:
    """Memory of the average over the run, B/(lr·weight_decay·D), at every update (Bergsma et al. 2025, "Power Lines",
    arXiv 2505.13738): B tokens per update, D the token horizon.

    Shape [updates]; infinite at learning rate 0. Raises ValueError as `shrinkage` does, and for a horizon that is not
    positive.
    """
    if not token_horizon > 0:
        raise ValueError(f"token_horizon = {token_horizon}: a run has a positive number of tokens")
    return timescale_updates(lr, weight_decay) * np.asarray(batch_tokens, np.float64) / token_horizon


def shrinkage(lr: ArrayLike, weight_decay: ArrayLike) -> Floats:
    """α = lr·weight_decay of every update: the share of the weights that an update replaces, shape [updates].

    Raises ValueError for no updates, for values that are negative or not finite, for a decay of 0 at an update that
    learns (the weights are then a sum of updates and not an average), and for α ≥ 1.
    """
    lr, weight_decay = np.broadcast_arrays(np.asarray(lr, np.float64), np.asarray(weight_decay, np.float64))
    if lr.ndim != 1 or not len(lr):
        raise ValueError(f"lr has shape {lr.shape}: give the learning rate of every update, shape [updates]")
    for name, values in (("lr", lr), ("weight_decay", weight_decay)):
        wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if len(wrong):
            raise ValueError(f"{name} = {values[wrong[0]]} at update {wrong[0]}: must be finite and not negative")
    undecayed = np.flatnonzero((weight_decay == 0) & (lr > 0))
    if len(undecayed):
        raise ValueError(
            f"weight_decay = 0 at update {undecayed[0]}, which learns: without decay the weights are a sum of updates "
            "weighted by their learning rates and not an average; show the learning rates instead"
        )
    alpha: Floats = lr * weight_decay
    beyond = np.flatnonzero(alpha >= 1)
    if len(beyond):
        raise ValueError(
            f"lr·weight_decay = {alpha[beyond[0]]:g} at update {beyond[0]}: an update that replaces the weights whole "
            "leaves no average; it must be below 1, lower the learning rate or the weight decay"
        )
    return alpha
