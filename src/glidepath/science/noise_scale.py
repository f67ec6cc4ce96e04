"""The gradient noise scale from squared gradient norms at two batch sizes (McCandlish et al. 2018; Gray et al. 2024).

With |g_b|² the mean squared norm of gradients over b examples and |g_B|² that of one gradient over B examples,

    |G|²_hat = (B·|g_B|² - b·|g_b|²)/(B - b)          unbiased for the squared norm of the true gradient; may be < 0
    trΣ_hat  = (|g_b|² - |g_B|²)/(1/b - 1/B)          unbiased for the trace of one example's gradient covariance
    noise scale = trΣ/|G|²  [examples]                 a ratio of means: both parts are averaged first, then divided

Both parts are linear in the squared norms: they add over parameters and over updates, whatever the batch sizes. Noise
scales do not. A ratio per update is useless, since |G|²_hat may be near or below zero.

This is also the library for a training loop of one's own, from squared norms of single examples and of their batch:

    parts = unbiased_parts(norms_of_examples, norms_of_batches, small_batch=1, big_batch=32)   # each [updates]
    estimate = noise_scale(*parts, ci_level=0.9)            # `data_parallel_parts` where processes are compared
    samples = resampled_noise_scales(*parts, block=1, n_samples=1000, seed=0)
    print(estimate.times(context_length).trusted())         # tokens; raises where |G|² is not told from zero
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from glidepath.science.autocorrelation import moving_blocks

Floats = NDArray[np.float64]

TRUST_LEVEL = 0.95
"""A noise scale is trusted if Student's two-sided interval of |G|² at this level lies above zero."""


@dataclass(frozen=True)
class NoiseScale:
    """A noise scale with what it was made of. Unit of noise scale, error and interval: that of the batch sizes."""

    grad_sq_norm_true: float
    grad_noise_trace: float
    noise_scale: float
    standard_error: float
    ci_low: float
    ci_high: float
    """NaN: the data set no bound on this side."""
    ci_level: float
    n: int
    n_blocks: int
    status: Literal["ok", "untrusted"]

    def trusted(self) -> NoiseScale:
        """Itself. Raises UntrustedNoiseScale, which carries it, if its status is not ok."""
        if self.status != "ok":
            raise UntrustedNoiseScale(self)
        return self

    def times(self, unit: float) -> NoiseScale:
        """In another unit of batch sizes: `times(context_length)` makes tokens of sequences."""
        names = ("noise_scale", "standard_error", "ci_low", "ci_high")
        return replace(self, **{name: unit * getattr(self, name) for name in names})


class UntrustedNoiseScale(ValueError):
    """|G|² cannot be told from zero, so that the ratio has no upper bound; `estimate` is what was found."""

    def __init__(self, estimate: NoiseScale) -> None:
        super().__init__(
            f"noise scale {estimate.noise_scale:.4g} from |G|² = {estimate.grad_sq_norm_true:.4g}, which "
            f"{estimate.n_blocks} blocks of {estimate.n} probed updates do not tell from zero. Probe more updates, "
            "or a larger batch; the estimate is in this error's `estimate`"
        )
        self.estimate = estimate


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


def data_parallel_parts(
    process_sq_norms: ArrayLike, mean_sq_norm: ArrayLike, batch_examples: ArrayLike
) -> tuple[Floats, Floats]:
    """Both parts from P processes that hold B/P examples each and average their gradients.

    `process_sq_norms` [..., P] are squared norms of each process's mean gradient before averaging, `mean_sq_norm` [...]
    that of the average over processes, `batch_examples` B in all. With b = B/P these are the two batch sizes above. Two
    processes tell much less than examples do: the error falls with the number of gradients that are compared.

    Raises ValueError for fewer than two processes, or examples that do not divide by them.
    """
    norms, batch = np.asarray(process_sq_norms, np.float64), np.asarray(batch_examples, np.float64)
    n_processes = norms.shape[-1]
    if n_processes < 2 or (batch % n_processes != 0).any() or not (batch > 0).all():
        raise ValueError(
            f"{batch} examples on {n_processes} processes: at least two processes with equally many examples each are "
            "needed"
        )
    per_process = batch / n_processes
    true, trace = unbiased_parts(norms.mean(-1), mean_sq_norm, 1.0, n_processes)
    return true, trace * per_process


def noise_scale(
    grad_sq_norm_true: ArrayLike, grad_noise_trace: ArrayLike, ci_level: float, block: int = 1
) -> NoiseScale:
    """Ratio of means of per-update estimates, with the delete-one-block jackknife's standard error and an interval.

    R = mean trΣ/mean |G|²; R_(i) without block i of `block` neighbours; SE² = (n-1)/n·Σ (R_(i) - mean R_(i))². Blocks
    longer than one respect autocorrelation; a shorter last block is dropped from the errors, not from the means.

    The interval is Fieller's (1954) from the k block means, those R for which |mean trΣ - R·mean |G|²| is at most
    Student's t with k - 1 degrees of freedom times its standard error. Where |G|² is not resolved from zero it has no
    upper end, and a lower one only if trΣ is resolved; of an R below zero only such an interval is spoken of that lies
    there as a whole.

    Raises ValueError for fewer than two blocks, inputs of different length, or a level outside (0, 1).
    """
    true, trace = _pairs(grad_sq_norm_true, grad_noise_trace)
    n_blocks = len(true) // block
    if n_blocks < 2:
        raise ValueError(
            f"{len(true)} probed updates in blocks of {block}: an error needs at least two blocks. Probe more often"
        )
    if not 0 < ci_level < 1:
        raise ValueError(f"ci_level {ci_level}: the level of an interval lies between 0 and 1")
    blocks = np.stack([x[: n_blocks * block].reshape(n_blocks, block).mean(1) for x in (true, trace)])
    covariance = np.cov(blocks) / n_blocks
    low, high = _fieller(float(trace.mean()), float(true.mean()), covariance, _student(ci_level, n_blocks))
    trusted = true.mean() > _student(TRUST_LEVEL, n_blocks) * np.sqrt(covariance[0, 0])
    return NoiseScale(
        grad_sq_norm_true=float(true.mean()),
        grad_noise_trace=float(trace.mean()),
        noise_scale=_ratio(float(trace.mean()), float(true.mean())),
        standard_error=_jackknife(blocks),
        ci_low=low,
        ci_high=high,
        ci_level=ci_level,
        n=len(true),
        n_blocks=n_blocks,
        status="ok" if trusted else "untrusted",
    )


def resampled_noise_scales(
    grad_sq_norm_true: ArrayLike, grad_noise_trace: ArrayLike, block: int, n_samples: int, seed: int
) -> Floats:
    """Ratios of means of series resampled by moving blocks of `block` neighbours, shape [n_samples].

    A sample whose |G|² is not positive counts as infinite: a percentile interval (`replicates.interval`) then has no
    upper end where |G|² is not resolved. Raises ValueError as `noise_scale` and `moving_blocks` do.
    """
    true, trace = _pairs(grad_sq_norm_true, grad_noise_trace)
    positions = moving_blocks(len(true), block, n_samples, np.random.default_rng(seed))
    means = true[positions].mean(1), trace[positions].mean(1)
    ratios: Floats = np.divide(means[1], means[0], out=np.full(n_samples, np.inf), where=means[0] > 0)
    return ratios


def _pairs(grad_sq_norm_true: ArrayLike, grad_noise_trace: ArrayLike) -> tuple[Floats, Floats]:
    true, trace = np.asarray(grad_sq_norm_true, np.float64), np.asarray(grad_noise_trace, np.float64)
    if true.shape != trace.shape or true.ndim != 1:
        raise ValueError(f"estimates of shapes {true.shape} and {trace.shape}: one of each per update is needed")
    return true, trace


def _ratio(trace: float, true: float) -> float:
    """Infinite or NaN where |G|² is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(trace) / np.float64(true))


def _student(level: float, n_blocks: int) -> float:
    return float(stats.t.ppf((1 + level) / 2, n_blocks - 1))


def _jackknife(blocks: Floats) -> float:
    """Standard error of trace/true from block means [2, n]."""
    n = blocks.shape[1]
    left_out = blocks.sum(1, keepdims=True) - blocks
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = left_out[1] / left_out[0]
        return float(np.sqrt((n - 1) / n * np.sum((ratios - ratios.mean()) ** 2)))


def _fieller(trace: float, true: float, covariance: Floats, t: float) -> tuple[float, float]:
    """Ends of {R: (trace - R·true)² <= t²·Var(trace - R·true)}, roots of a·R² - 2·b·R + c."""
    a = true**2 - t**2 * covariance[0, 0]
    b = trace * true - t**2 * covariance[0, 1]
    c = trace**2 - t**2 * covariance[1, 1]
    root = np.sqrt(max(b**2 - a * c, 0.0))
    if a > 0:
        # Written so that nothing cancels; b = 0 only where both roots are ±root/a.
        ends = sorted(
            ((b - root) / a, c / (b - root)) if b < 0 else ((b + root) / a, c / (b + root) if b + root else 0.0)
        )
        return float(ends[0]), float(ends[1])
    if c > 0:
        # Below |G|² = 0 there is no noise scale: of the two branches the positive one, from here to infinity.
        return float(c / (b + root)) if b + root > 0 else float("nan"), float("nan")
    return float("nan"), float("nan")
