"""A path of the batch from the measured gradient noise scale: its growth as a power of the tokens, and where a batch
that grows alike takes each size.

The noise scale is the batch at which the noise of a gradient is as large as the gradient (McCandlish et al. 2018). It
grows over training, which is what justifies a growing batch (Gray et al. 2024). Its level is another question: at what
multiple of it a batch stops to pay is not measured by it. So the shape may be taken from the measurement and the level
from the batch at the end, or both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import brentq, minimize_scalar
from scipy.special import exprel

FEWEST_WINDOWS = 3
EXPONENTS = (-2.0, 3.0)
"""Where exponents are looked for."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Growth:
    """noise scale = level·(tokens/at_tokens)^exponent, in the unit of the noise scales that were fitted."""

    level: float
    at_tokens: float
    """Where level and exponent are uncorrelated: the geometric mean of the tokens, weighted as the fit weights them."""
    exponent: float
    exponent_low: float
    """-inf: no exponent that is looked for is too low."""
    exponent_high: float
    """inf: none is too high."""
    degrees_of_freedom: int

    def at(self, tokens: float) -> float:
        """The noise scale after so many tokens."""
        return float(self.level * (tokens / self.at_tokens) ** self.exponent)

    @property
    def resolved(self) -> bool:
        """Whether the interval of the exponent lies above zero: whether there is growth at all."""
        return self.exponent_low > 0.0


def fit_growth(
    begin_tokens: ArrayLike,
    end_tokens: ArrayLike,
    inverse_noise_scale: ArrayLike,
    standard_error: ArrayLike,
    level: float,
) -> Growth:
    """Weighted least squares of inverse noise scales |G|²/trΣ on c·(mean over the window of tokens^-p).

    Errors of a noise scale come from |G|², which is small late in training, where it may be found below zero. Its
    inverse is (nearly) unbiased with an error that hardly depends on it, so that all windows take part with their
    signs. A fit of log noise scales has to leave out those that |G|² does not resolve, which are the late, large ones:
    of a planted exponent of 0.4 it found 0.21, 0.14 and 0.06 where 65 %, 74 % and 87 % of the windows were not
    resolved. Bias left in the same three cases: at most 0.03, to either side (one cell of 12 windows, 200 draws whose
    mean has an error of 0.01 to 0.03; below 0.01 with two cells). Windows are means: early in training tokens^-p is
    larger there than at the mean of the tokens.

    All arguments have shape [windows]. The standard errors are smoothed over tokens, log variance = a + b·log tokens
    (a window's own error is correlated with its value); NaN where one is unknown. The interval of p holds all at which
    the weighted squares exceed their minimum by at most t²·max(1, minimum/degrees), t Student's at `level` with two
    degrees of freedom less than windows: noise scales that follow no power law are not known better than they do.

    Raises ValueError for fewer than three windows or three errors, for tokens that are not positive and rising within
    a window, values that are not finite, a level outside (0, 1), windows all at one time, and where no noise scale
    above zero with an exponent within `EXPONENTS` fits best.
    """
    begin, end, inverse, se = (
        np.asarray(x, np.float64) for x in (begin_tokens, end_tokens, inverse_noise_scale, standard_error)
    )
    if not 0.0 < level < 1.0:
        raise ValueError(f"level {level}: the level of an interval lies between 0 and 1")
    if len(inverse) < FEWEST_WINDOWS:
        raise ValueError(f"{len(inverse)} windows of noise scale: a slope and its error need {FEWEST_WINDOWS}")
    if not ((begin > 0) & (begin < end) & np.isfinite(end)).all():
        raise ValueError(f"windows from {begin.tolist()} to {end.tolist()} tokens: each begins above 0, before its end")
    if not np.isfinite(inverse).all():
        raise ValueError(f"inverse noise scales {inverse.tolist()}: each must be finite")
    x = np.log((begin + end) / 2)
    if np.ptp(x) == 0.0:
        raise ValueError(f"all windows are at {np.exp(x[0]):.0f} tokens: growth needs several times")
    weights = 1.0 / _smoothed_variance(x, se)
    centre = float(np.exp(x.mean()))

    def squares(exponents: ArrayLike) -> Floats:
        """At the best level of each; one below zero is none."""
        shapes = _mean_powers(begin / centre, end / centre, -np.asarray(exponents)[..., None])
        explained = np.maximum((weights * shapes * inverse).sum(-1), 0.0) ** 2 / (weights * shapes**2).sum(-1)
        left: Floats = np.sum(weights * inverse**2) - explained
        return left

    tried = np.linspace(*EXPONENTS, 501)
    found = squares(tried)
    best = int(found.argmin())
    if best in (0, len(tried) - 1):
        raise ValueError(
            f"inverse noise scales {np.array2string(inverse, precision=3)}: no noise scale above zero that is a power "
            f"of tokens between {EXPONENTS[0]:g} and {EXPONENTS[1]:g} describes them"
        )
    around = (float(tried[best - 1]), float(tried[best + 1]))
    exponent = float(minimize_scalar(lambda p: float(squares(p)), bounds=around, options={"xatol": 1e-9}).x)
    lowest = float(squares(exponent))
    degrees = len(inverse) - 2
    limit = lowest + float(stats.t(degrees).ppf((1 + level) / 2)) ** 2 * max(1.0, lowest / degrees)
    beyond = found > limit
    below, above = np.flatnonzero(beyond[:best]), np.flatnonzero(beyond[best:])
    shape = _mean_powers(begin / centre, end / centre, np.asarray(-exponent))
    strength = float(np.sum(weights * shape * inverse) / np.sum(weights * shape**2))
    at_tokens = float(np.exp(np.average(x, weights=weights * shape**2)))
    return Growth(
        level=(at_tokens / centre) ** exponent / strength,
        at_tokens=at_tokens,
        exponent=exponent,
        exponent_low=_crossing(squares, limit, exponent, tried[below[-1]]) if len(below) else -np.inf,
        exponent_high=_crossing(squares, limit, exponent, tried[best + above[0]]) if len(above) else np.inf,
        degrees_of_freedom=degrees,
    )


def _mean_powers(begin: Floats, end: Floats, power: Floats) -> Floats:
    """Mean of t^power over each window, broadcast."""
    ratio = np.log(end / begin)
    # (end^(power+1) - begin^(power+1))/((power+1)·(end - begin)), without 0/0 at a power of -1.
    mean: Floats = begin ** (power + 1) * ratio * exprel((power + 1) * ratio) / (end - begin)
    return mean


def _smoothed_variance(x: Floats, se: Floats) -> Floats:
    known = np.isfinite(se) & (se > 0)
    if known.sum() < FEWEST_WINDOWS:
        raise ValueError(f"{known.sum()} windows of known error: their course needs {FEWEST_WINDOWS}")
    design = np.stack([np.ones_like(x), x - x.mean()], axis=1)
    variance: Floats = np.exp(design @ np.linalg.lstsq(design[known], 2.0 * np.log(se[known]), rcond=None)[0])
    return variance


def _crossing(squares: Callable[[float], Floats], limit: float, inside: float, outside: float) -> float:
    return float(brentq(lambda p: float(squares(p)) - limit, inside, outside))


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
