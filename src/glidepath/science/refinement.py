"""Schedules from gradient norms.

SGD on a convex f with gradient norms G_t, positive weights w_t and the learning rates
η_t = w_t·Σ_{p>t} w_p / Σ w obeys f(x_T) - f* ≤ (D² + Σ_t w_t²G_t²) / (2 Σ_t w_t), D the distance to a minimum (Defazio
et al. 2023, arXiv 2310.07831, Theorem 1). Norms once known, w_t ∝ G_t⁻² makes it lowest: linear decay where they are
flat, with a warm-up where they fall early. For Adam w_t ∝ G_t⁻¹ with l1 norms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter

Floats = NDArray[np.float64]
Norm = Literal["l1", "l2"]

WEIGHT_EXPONENT: dict[Norm, float] = {"l1": -1.0, "l2": -2.0}
"""w = G to this power: l1 is for Adam, whose update is nearly a sign, l2 for SGD."""
FILTER_SHARE = 0.1
"""Width of the median filter over the length of the sequence."""
RESOLUTION = 10_000
"""Shorter sequences are interpolated to so many points before they are filtered."""
LOGGED_ENDS = 2
"""Logged norms left out at either end: the first are those of the initial weights, the last may be an incomplete
average."""


def refine(grad_norms: ArrayLike, norm: Norm) -> Floats:
    """Multipliers of the refined schedule for gradient norms of equally spaced updates, shape [updates].

    The largest is 1, the last 0; the peak learning rate is tuned apart. The norms pass a running median of
    2·⌊⌊0.1·n⌋/2⌋ + 1 values, their right end continued by reflection (Algorithm 1 and the authors' code). Raises
    ValueError for fewer than 2 norms or one that is not finite and positive.
    """
    norms = np.asarray(grad_norms, np.float64)
    if norms.ndim != 1 or len(norms) < 2:
        raise ValueError(f"gradient norms have shape {norms.shape}: a schedule needs at least 2 of them in one row")
    wrong = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(wrong):
        raise ValueError(f"gradient norm {norms[wrong[0]]} at place {wrong[0]}: must be finite and positive")
    width = 2 * (math.floor(FILTER_SHARE * len(norms)) // 2) + 1
    padded = np.pad(norms, (0, min(2 * width, len(norms) - 1)), mode="reflect")
    weights = median_filter(padded, size=width, mode="nearest")[: len(norms)] ** WEIGHT_EXPONENT[norm]
    later = np.cumsum(weights[::-1])[::-1] - weights
    later[-1] = 0.0
    return np.asarray(weights * later / (weights * later).max())


@dataclass(frozen=True)
class RefinedSchedule:
    """A schedule as points: multipliers of the peak at fractions of the run, straight lines between them."""

    fractions: Floats
    """From 0 to 1, shape [points]."""
    multipliers: Floats
    """The largest is 1, the last 0, shape [points]."""


def refined_schedule(
    steps: ArrayLike, grad_norms: ArrayLike, norm: Norm, total_steps: int, most_points: int = 400
) -> RefinedSchedule:
    """The refined schedule of a run of `total_steps` updates from the norms logged at some of them.

    `steps` are 0-based and ascending. Norms that are not finite (a null in the table, an overflow) and the first and
    last `LOGGED_ENDS` of the others are left out; the rest is interpolated to every update and to at least `RESOLUTION`
    places, so that sparse or uneven logging does not weigh updates unequally. Raises ValueError for steps that do not
    ascend within the run, for fewer than 10 usable norms, for norms of less than half the run, and as `refine` does.
    """
    steps, norms = np.asarray(steps, np.float64), np.asarray(grad_norms, np.float64)
    if steps.shape != norms.shape or (np.diff(steps) <= 0).any() or (steps < 0).any() or (steps >= total_steps).any():
        raise ValueError(
            f"{steps.size} steps and {norms.size} gradient norms for {total_steps} updates: each norm needs the "
            "0-based index of its update, ascending"
        )
    finite = np.flatnonzero(np.isfinite(norms))[LOGGED_ENDS:-LOGGED_ENDS]
    if len(finite) < 10 or np.ptp(steps[finite]) < 0.5 * (total_steps - 1):
        raise ValueError(
            f"{len(finite)} usable gradient norms for {total_steps} updates: at least 10 from at least half of the run "
            "are needed; log them more often (logging.every_updates) and take a cell that has finished"
        )
    places = np.linspace(0, total_steps - 1, max(total_steps, RESOLUTION))
    multipliers = refine(np.interp(places, steps[finite], norms[finite]), norm)
    fractions = np.linspace(0.0, 1.0, len(places))
    kept = np.linspace(0.0, 1.0, min(most_points, len(places)))
    thinned = np.interp(kept, fractions, multipliers)
    return RefinedSchedule(kept, thinned / thinned.max())
