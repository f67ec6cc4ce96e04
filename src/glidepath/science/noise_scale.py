"""The gradient noise scale from squared gradient norms at two batch sizes (McCandlish et al. 2018; Gray et al. 2024).

With |g_b|² the mean squared norm of gradients over b examples and |g_B|² that of one gradient over B examples,

    |G|²_hat = (B·|g_B|² - b·|g_b|²)/(B - b)          unbiased for the squared norm of the true gradient; may be < 0
    trΣ_hat  = (|g_b|² - |g_B|²)/(1/b - 1/B)          unbiased for the trace of one example's gradient covariance
    noise scale = trΣ/|G|²  [examples]                 a ratio of means: both parts are averaged first, then divided

Norms add over parameters; noise scales do not. A ratio per update is useless, since |G|²_hat may be near or below zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

TRUSTED_STANDARD_ERRORS = 2.0
"""|G|² must be so many standard errors above zero for the ratio to be trusted."""


@dataclass(frozen=True)
class NoiseScale:
    """A noise scale with what it was made of. Unit of `noise_scale`: that of the batch sizes given."""

    grad_sq_norm_true: float
    grad_noise_trace: float
    noise_scale: float
    standard_error: float
    n: int
    status: Literal["ok", "untrusted"]


def unbiased_parts(
    grad_sq_norm_small: ArrayLike, grad_sq_norm_big: ArrayLike, small_batch: float, big_batch: ArrayLike
) -> tuple[Floats, Floats]:
    """|G|²_hat and trΣ_hat of every update (equations above), each of the inputs' shape.

    `big_batch` is one for all updates or one for each. Raises ValueError unless 0 < small_batch < big_batch.
    """
    big_batch = np.asarray(big_batch, np.float64)
    if not (small_batch > 0 and (big_batch > small_batch).all()):
        raise ValueError(f"batches of {small_batch} and {big_batch}: two different ones are needed, the smaller first")
    small, big = np.asarray(grad_sq_norm_small, np.float64), np.asarray(grad_sq_norm_big, np.float64)
    grad_sq_norm_true: Floats = (big_batch * big - small_batch * small) / (big_batch - small_batch)
    grad_noise_trace: Floats = (small - big) / (1.0 / small_batch - 1.0 / big_batch)
    return grad_sq_norm_true, grad_noise_trace


def noise_scale(grad_sq_norm_true: ArrayLike, grad_noise_trace: ArrayLike, block: int = 1) -> NoiseScale:
    """Ratio of means of per-update estimates, with the delete-one-block jackknife standard error.

    R = mean trΣ/mean |G|²; R_(i) without block i of `block` neighbours; SE² = (n-1)/n·Σ (R_(i) - mean R_(i))².
    Blocks longer than one respect autocorrelation; a shorter last block is dropped from the error, not from the mean.

    Raises ValueError for fewer than two blocks or inputs of different length.
    """
    true, trace = np.asarray(grad_sq_norm_true, np.float64), np.asarray(grad_noise_trace, np.float64)
    if true.shape != trace.shape or true.ndim != 1:
        raise ValueError(f"estimates of shapes {true.shape} and {trace.shape}: one of each per update is needed")
    n = len(true) // block
    if n < 2:
        raise ValueError(
            f"{len(true)} probed updates in blocks of {block}: an error needs at least two blocks. Probe more often"
        )
    sums = np.stack([x[: n * block].reshape(n, block).sum(1) for x in (true, trace)])
    left_out = sums.sum(1, keepdims=True) - sums
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = left_out[1] / left_out[0]
        estimate = float(trace.mean() / true.mean())
        standard_error = float(np.sqrt((n - 1) / n * np.sum((ratios - ratios.mean()) ** 2)))
    true_se = float(np.std(sums[0] / block, ddof=1) / np.sqrt(n))
    trusted = true.mean() > TRUSTED_STANDARD_ERRORS * true_se
    return NoiseScale(
        float(true.mean()), float(trace.mean()), estimate, standard_error, len(true), "ok" if trusted else "untrusted"
    )
