"""Series smoothed along training: means of windows and exponential moving averages, with their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_PROBES = 4
"""Fewer probed updates in a window say nothing about its error."""


class Smoothing(Protocol):
    """Weighted means of neighbours along the last axis."""

    def mean(self, values: Floats) -> Floats:
        """Shape [..., updates] in, [..., points] out."""

    def squared_weights(self, n: int) -> Floats:
        """Σ w² of every point of a series of `n`, its weights w adding up to one, shape [points]."""

    def mean_square(self, values: Floats) -> Floats:
        """Σ w²·values/Σ w², shapes as of `mean`."""


@dataclass(frozen=True)
class Windows:
    """Means of consecutive windows; `starts` are the positions at which they begin, the first 0."""

    starts: Ints

    def mean(self, values: Floats) -> Floats:
        means: Floats = np.add.reduceat(values, self.starts, axis=-1) / self._counts(values.shape[-1])
        return means

    def squared_weights(self, n: int) -> Floats:
        return 1.0 / self._counts(n)

    def mean_square(self, values: Floats) -> Floats:
        return self.mean(values)

    def _counts(self, n: int) -> Ints:
        return np.diff(self.starts, append=n)


@dataclass(frozen=True)
class MovingAverage:
    """Bias-corrected exponential moving averages, from the first point on that as many values as the average's memory
    1/(1 - decay) have gone into, every fifth of the memory up to the last: what lies between says the same."""

    decay: float

    @property
    def memory(self) -> int:
        return max(1, round(1.0 / (1.0 - self.decay)))

    def mean(self, values: Floats) -> Floats:
        return self._averaged(values, self.decay)

    def squared_weights(self, n: int) -> Floats:
        length = np.arange(1, n + 1)[self._points(n)]
        return _geometric(self.decay**2, length) / _geometric(self.decay, length) ** 2

    def mean_square(self, values: Floats) -> Floats:
        return self._averaged(values, self.decay**2)

    def _points(self, n: int) -> slice:
        distance = max(1, self.memory // 5)
        return slice(self.memory - 1 + (n - self.memory) % distance, None, distance) if n >= self.memory else slice(0)

    def _averaged(self, values: Floats, decay: float) -> Floats:
        points = self._points(values.shape[-1])
        return _sums(values, decay)[..., points] / _geometric(decay, np.arange(1, values.shape[-1] + 1)[points])


def standard_errors(smoothing: Smoothing, values: Floats) -> Floats:
    """Of the smoothed values, neighbours taken as independent: SE² = Σ w²·(x - mean)²/(1 - Σ w²), shape [..., points].

    Infinite for a point of one value.
    """
    mean, weights = smoothing.mean(values), smoothing.squared_weights(values.shape[-1])
    squares = smoothing.mean_square(values**2) - 2 * mean * smoothing.mean_square(values) + mean**2
    with np.errstate(divide="ignore", invalid="ignore"):
        errors: Floats = np.sqrt(np.maximum(squares, 0.0) * weights / (1.0 - weights))
    return np.where(weights < 1.0, errors, np.inf)


def ema(values: ArrayLike, decay: float, *, bias_corrected: bool = False) -> Floats:
    """Exponential moving average along the last axis, shape as given.

        m_t = decay·m_{t-1} + (1 - decay)·x_t,  m_0 = x_0

    as `pandas.Series.ewm(alpha=1 - decay, adjust=False)`: the first value keeps the weight decay^t. Bias-corrected,
    weights decay^(t-i) are divided by their sum (`adjust=True`), so that no value weighs more than a later one.

    Raises ValueError unless 0 <= decay < 1.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay {decay}: an average with memory needs 0 <= decay < 1")
    series = np.asarray(values, np.float64)
    if bias_corrected:
        return _sums(series, decay) / _geometric(decay, np.arange(1, series.shape[-1] + 1))
    # Before the first value, the average is that value.
    length = np.arange(1, series.shape[-1] + 1)
    return (1.0 - decay) * _sums(series, decay) + decay**length * series[..., :1]


def _sums(values: Floats, decay: float) -> Floats:
    """Σ decay^(t-i)·x_i over i <= t, along the last axis."""
    from scipy.signal import lfilter

    sums: Floats = lfilter([1.0], [1.0, -decay], values)
    return sums


def _geometric(decay: float, length: Ints) -> Floats:
    """1 + decay + … to so many terms."""
    return np.asarray((1.0 - decay**length) / (1.0 - decay), np.float64)
