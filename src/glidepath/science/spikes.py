"""Loss spikes: updates whose training loss stands out of its neighbourhood.

The neighbourhood of an update is the `WINDOW` updates around it. Its residual is the loss minus their median; the
spread is 1.4826 times the median absolute residual of those updates, which for Gaussian noise is the standard
deviation. Median and spread do not see a spike that fills less than half a window, and on a falling curve without noise
the median is the curve itself. An update whose residual exceeds `THRESHOLD` times the spread belongs to a spike;
consecutive ones are one spike. A hard batch is one too, in every run that sees it: where few sequences make a batch,
compare cells of one data order. (Rule of this project; median and MAD as in Hampel 1974.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter

WINDOW = 65
THRESHOLD = 6.0
"""In spreads. Of Gaussian noise 1 update in a million exceeds it (2 million drawn in `tests/science/test_spikes.py`);
at 5 it would be 15, at 4 it would be 210."""
GAUSSIAN_MAD = 1.4826
"""Standard deviation over median absolute deviation of a Gaussian."""


@dataclass(frozen=True)
class Spike:
    """Consecutive updates that stand out; indices count the rows of the curve from 0, `end` is not included."""

    begin: int
    end: int
    peak: int
    height: float
    """Residual at the peak [nat/token]."""


def loss_spikes(train_loss: ArrayLike) -> tuple[Spike, ...]:
    """The spikes of a training-loss curve, shape [updates], a loss [nat/token] per update and finite.

    The first half window, where training starts, is not judged; at the end, up to where a diverging cell has losses,
    the last full window serves. A rise that outlasts half a window is a change of level and becomes its own median: no
    spike. Raises ValueError for fewer than `WINDOW` updates or a loss that is not finite.
    """
    loss = np.asarray(train_loss, np.float64)
    if loss.ndim != 1 or len(loss) < WINDOW or not np.isfinite(loss).all():
        raise ValueError(
            f"train_loss has shape {loss.shape} and {np.count_nonzero(~np.isfinite(loss))} values that are not finite: "
            f"a curve of at least {WINDOW} finite losses is needed to tell a spike from its neighbourhood"
        )
    residual = loss - _running_median(loss)
    spread = GAUSSIAN_MAD * _running_median(np.abs(residual))
    out = residual > THRESHOLD * spread
    out[: WINDOW // 2] = False
    edges = np.flatnonzero(np.diff(out, prepend=False, append=False))
    spikes = []
    for begin, end in edges.reshape(-1, 2):
        peak = int(begin + residual[begin:end].argmax())
        spikes.append(Spike(int(begin), int(end), peak, float(residual[peak])))
    return tuple(spikes)


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of the full window around each value; the first and last half windows take their nearest full one's."""
    half = WINDOW // 2
    medians: NDArray[np.float64] = median_filter(values, size=WINDOW)
    medians[:half] = medians[half]
    medians[len(medians) - half :] = medians[len(medians) - half - 1]
    return medians
