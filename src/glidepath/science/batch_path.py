"""A path of the batch from the measured gradient noise scale: its growth as a power of the tokens, and where a batch
that grows alike takes each size.

The noise scale is the batch at which the noise of a gradient is as large as the gradient (McCandlish et al. 2018). It
grows over training, which is what justifies a growing batch (Gray et al. 2024). Its level is another question: at what
multiple of it a batch stops to pay is not measured by it. So the shape may be taken from the measurement and the level
from the batch at the end, or both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

FEWEST_WINDOWS = 3


@dataclass(frozen=True)
class Growth:
    """noise scale = level·(tokens/at_tokens)^exponent, in the unit of the noise scales that were fitted."""

    level: float
    at_tokens: float
    """Where level and exponent are uncorrelated: the weighted geometric mean of the tokens."""
    exponent: float
    exponent_se: float
    exponent_low: float
    exponent_high: float
    degrees_of_freedom: int

    def at(self, tokens: float) -> float:
        """The noise scale after so many tokens."""
        return float(self.level * (tokens / self.at_tokens) ** self.exponent)

    @property
    def resolved(self) -> bool:
        """Whether the interval of the exponent lies above zero: whether there is growth at all."""
        return self.exponent_low > 0.0


def fit_growth(tokens: ArrayLike, noise_scale: ArrayLike, standard_error: ArrayLike, level: float) -> Growth:
    """Weighted least squares of log noise scale = a + p·log tokens, with the weights (noise scale/standard error)².

    The errors of a and p are those that the standard errors imply, times √(χ²/degrees) where that is above one: a
    noise scale that follows no power law is not known better than it follows one. The interval of p is Student's at
    `level`, with two degrees of freedom less than windows.

    Raises ValueError for fewer than three windows, for values that are not positive and finite, and for windows that
    all lie at the same tokens.
    """
    t, scale, se = (np.asarray(x, np.float64) for x in (tokens, noise_scale, standard_error))
    if len(t) < FEWEST_WINDOWS:
        raise ValueError(f"{len(t)} windows of noise scale: a slope and its error need {FEWEST_WINDOWS}")
    for name, values in (("tokens", t), ("noise scales", scale), ("standard errors", se)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"{name} {values.tolist()}: each must be positive and finite")
    weights = (scale / se) ** 2
    x, y = np.log(t), np.log(scale)
    centre = np.average(x, weights=weights)
    spread = float(np.sum(weights * (x - centre) ** 2))
    if np.ptp(x) == 0.0:
        raise ValueError(f"all windows are at {t[0]:.0f} tokens: growth needs several times")
    mean = float(np.average(y, weights=weights))
    exponent = float(np.sum(weights * (x - centre) * (y - mean)) / spread)
    degrees = len(t) - 2
    chi_square = float(np.sum(weights * (y - mean - exponent * (x - centre)) ** 2))
    exponent_se = float(np.sqrt(max(1.0, chi_square / degrees) / spread))
    half = float(stats.t(degrees).ppf((1 + level) / 2)) * exponent_se
    return Growth(
        level=float(np.exp(mean)),
        at_tokens=float(np.exp(centre)),
        exponent=exponent,
        exponent_se=exponent_se,
        exponent_low=exponent - half,
        exponent_high=exponent + half,
        degrees_of_freedom=degrees,
    )


@dataclass(frozen=True)
class BatchStages:
    """Batches that grow by jumps."""

    begins: tuple[float, ...]
    """Where every batch but the first begins, as a fraction of the horizon, rising."""
    batch_sequences: tuple[int, ...]
    """Rising; one more than `begins`."""


def growing_stages(
    exponent: float, wanted_at_end: float, batch_sequences: int, min_batch_sequences: int, multiple_of: int
) -> BatchStages:
    """Stages of the batch B(u) = wanted_at_end·u^exponent, u the fraction of the horizon that is trained.

    B is rounded up to a multiple of `multiple_of`, as a linear ramp is, and kept between `min_batch_sequences` and
    `batch_sequences`, where it ends: the batch k·m begins where B(u) = (k-1)·m.

    Raises ValueError for an exponent that is not positive, for a batch at the end that is no multiple, and where B
    never gets to it or begins with it.
    """
    if exponent <= 0.0:
        raise ValueError(f"an exponent of {exponent:.3g}: a batch that follows it would not grow")
    if batch_sequences % multiple_of:
        raise ValueError(f"a batch of {batch_sequences} sequences is no multiple of {multiple_of}")
    first = multiple_of * -(-max(min_batch_sequences, 1) // multiple_of)
    sizes = list(range(first, batch_sequences + 1, multiple_of))
    begins = [((size - multiple_of) / wanted_at_end) ** (1.0 / exponent) for size in sizes[1:]]
    # Less than a millionth before the end is rounding.
    within = sum(begin < 1.0 - 1e-6 for begin in begins)
    if within < len(begins):
        raise ValueError(
            f"the batch wanted at the end of the horizon is {wanted_at_end:.3g} sequences, so that the path ends at "
            f"{sizes[within]} and never gets to {batch_sequences}"
        )
    if not begins:
        raise ValueError(
            f"between the smallest batch of {first} sequences and {batch_sequences} at the end there is no multiple "
            f"of {multiple_of} to grow through"
        )
    return BatchStages(tuple(begins), tuple(sizes))
