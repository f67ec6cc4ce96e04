"""Errors of means of series whose neighbours are correlated: how long a block must be, and resampling by blocks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


FEWEST_BLOCKS = 4
"""So many blocks are left at least: Student's factor for fewer is larger than what longer blocks gain."""


def block_length(values: ArrayLike, n: int | None = None) -> int:
    """Length of the blocks whose means give the error of a mean over `n` neighbours (default: all).

    `values`, shape [length], are a stationary series with the autocorrelation of what is averaged; it may be longer
    than `n`, and should be where n is small. Twice the length that gives the moving-block variance the least mean
    squared error (Politis & White 2004, with the correction of Patton, Politis & White 2009),

        b = (3/2·(g/s)²·n)^(1/3),   g = Σ λ(k/M)·|k|·R(k),   s = Σ λ(k/M)·R(k),   sums over lags k of both signs,

    R autocovariances, λ the flat-top window (1 up to 1/2, then linear to 0 at 1), M twice the lag after which
    K = max(5, √log10 length) autocorrelations in a row lie within ±2·√(log10 length/length). Twice, since at b the
    variance is still biased towards zero and intervals are too narrow: see the tests of coverage. At most n/4, at least
    1, which it is for white noise and for a constant series.

    Raises ValueError for fewer than two values or one that is not finite.
    """
    series = np.asarray(values, np.float64)
    if series.ndim != 1 or len(series) < 2 or not np.isfinite(series).all():
        raise ValueError(f"a series of shape {series.shape}: at least two finite values are needed for its correlation")
    length = len(series)
    n = length if n is None else n
    in_a_row = max(5, math.ceil(math.sqrt(math.log10(length))))
    most = min(length - 1, math.ceil(math.sqrt(length)) + in_a_row)
    covariances = autocovariances(series, most)
    if not covariances[0] > 0:
        return 1
    small = np.abs(covariances[1:] / covariances[0]) < 2 * math.sqrt(math.log10(length) / length)
    lags = np.arange(1, min(2 * _last_large(small, in_a_row), most) + 1)
    weighted = np.minimum(1.0, 2.0 * (1.0 - lags / max(len(lags), 1))) * covariances[lags]
    g, long_run = 2 * float(lags @ weighted), covariances[0] + 2 * float(weighted.sum())
    # A sum that is not positive is of a series that swings back: its mean is better known than single values promise.
    best = (1.5 * (g / long_run) ** 2 * n) ** (1 / 3) if long_run > 0 else 0.0
    return max(1, min(round(2 * best), n // FEWEST_BLOCKS))


def autocovariances(series: Floats, most: int) -> Floats:
    """R(k) = Σ (x_t - mean)·(x_{t+k} - mean)/length for k = 0 … most."""
    centred = series - series.mean()
    return np.array([centred[: len(centred) - k] @ centred[k:] for k in range(most + 1)]) / len(centred)


def moving_blocks(n: int, block: int, n_samples: int, random: np.random.Generator) -> Ints:
    """Positions of `n_samples` series resampled by blocks of `block` neighbours (Künsch 1989), shape [n_samples, n].

    Blocks start anywhere within the series; the last one is cut. Raises ValueError unless 1 <= block <= n.
    """
    if not 1 <= block <= n:
        raise ValueError(f"blocks of {block} of {n} values: a block holds at least one value and at most all")
    starts = random.integers(0, n - block + 1, size=(n_samples, -(-n // block)))
    positions: Ints = (starts[:, :, None] + np.arange(block)).reshape(n_samples, -1)[:, :n]
    return positions


def _last_large(small: NDArray[np.bool_], in_a_row: int) -> int:
    """The lag m after which `in_a_row` autocorrelations are small; `small` is of lags 1, 2, …; all if there is none."""
    for lag in range(len(small)):
        if small[lag : lag + in_a_row].all():
            return lag
    return len(small)
