"""Paired differences between two ways of training, with an error and what could have been detected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

POWER = 0.80


@dataclass(frozen=True)
class Difference:
    """A difference of losses [nat/token]; negative means that the first is better."""

    difference: float
    standard_error: float
    degrees_of_freedom: int
    minimum_detectable_difference: float
    ci_low: float
    ci_high: float
    verdict: Literal["better", "worse", "not resolved"]


def paired_difference(
    differences: Floats, block_differences: Floats, replicate_sd: float, degrees_of_freedom: int, level: float
) -> Difference:
    """Mean of paired differences over replicates with its error.

    SE² = 2·replicate_sd²/n + var(block differences)/n_blocks: the replicate noise that pairing does not cancel, of two
    cells and pooled over the study (see `replicates`), and the finite validation text, paired block by block. Each has
    its own cause, so they add. The interval uses Student's t with the pooled degrees of freedom. The minimum
    detectable difference is (t_{(1+level)/2} + t_{80 %})·SE, at the interval's own level. Without replicates the
    replicate part is unknown: no interval, "not resolved".

    Doubt: each side is usually the best of several learning rates, chosen on the same numbers, so both means are a
    little too low (winner's curse); in the difference that cancels for grids of equal size.

    Raises ValueError for no replicate or fewer than two blocks.
    """
    if len(differences) == 0 or len(block_differences) < 2:
        raise ValueError(
            f"{len(differences)} paired replicates and {len(block_differences)} blocks: one and two are needed at least"
        )
    difference = float(differences.mean())
    blocks = float(block_differences.var(ddof=1)) / len(block_differences)
    if degrees_of_freedom < 1:
        return Difference(difference, np.nan, 0, np.nan, np.nan, np.nan, "not resolved")
    standard_error = float(np.sqrt(2 * replicate_sd**2 / len(differences) + blocks))
    t = stats.t(degrees_of_freedom)
    half = float(t.ppf((1 + level) / 2)) * standard_error
    detectable = float(t.ppf((1 + level) / 2) + t.ppf(POWER)) * standard_error
    low, high = difference - half, difference + half
    verdict: Literal["better", "worse", "not resolved"] = (
        "better" if high < 0 else "worse" if low > 0 else "not resolved"
    )
    return Difference(difference, standard_error, degrees_of_freedom, detectable, low, high, verdict)
