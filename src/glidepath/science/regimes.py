"""Regimes of training at a constant learning rate: does the loss still fall, or has it met the noise of its own steps?

Sadrtdinov et al. 2024 ("Where do large learning rates lead us?", arXiv 2410.22113) tell three apart: convergence,
chaotic equilibrium (the loss settles noisily) and divergence. In language-model training every healthy loss is still
falling when the run ends, ever more slowly and about linearly in ln tokens, so that "settled" needs something to be
slow against. The rule compares a run with the best run of its sweep, which saw the same batches:

    over the last factor e^`SPAN` of tokens, with the loss L of the run and L_best of the run that is lowest there,
    pace statistic = slope in ln tokens of L - `SHARE`·L_best

    converging            its interval lies below 0: the loss falls at least half as fast as that of the best
    chaotic_equilibrium   it lies above 0: it falls less than half as fast, stands still or rises
    undecided             neither

Half is the middle between falling as the best does and standing still, so that both errors have the same room. The
same batches make half of their difficulty cancel; the slope of L alone would be uncertain by all of it. For the best
itself the statistic is half its own slope: if that is not resolved, nothing converges.

Losses are averaged over `BLOCKS` stretches of equally many updates, a line is fitted to these means, and the error is
from their scatter about it (Student, BLOCKS - 2 degrees of freedom): noise whose memory is short against a stretch is
then independent, whatever it is within. In `tests/science/test_regimes.py` a run at exactly half the pace is decided in
10 % of the draws at the level of 90 %, with white noise and with noise that remembers 3 of 125 updates; 11 % with 10.

Doubts. A wandering of the loss that is slow against a stretch makes the error too small. The best is chosen by its
loss, where being low and falling fast go together by chance. A learning rate so low that it has not begun to learn has
a pace all of its own and counts as converging, as it should. One horizon says nothing of longer ones: what falls today
may settle later, so the threshold belongs to its horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
Regime = Literal["converging", "chaotic_equilibrium", "divergent", "undecided"]

SPAN = float(np.log(2.0))
"""The last doubling of tokens."""
SHARE = 0.5
BLOCKS = 8
"""Long stretches forgive a long memory, at the price of a wider Student's interval."""
MIN_UPDATES = 4 * BLOCKS


@dataclass(frozen=True)
class Trend:
    """Slope of a loss in ln tokens [nat/token per factor e], from block means."""

    slope: float
    standard_error: float
    degrees_of_freedom: int

    def interval(self, level: float) -> tuple[float, float]:
        """Student's two-sided interval."""
        half = float(stats.t.ppf(0.5 + level / 2, self.degrees_of_freedom)) * self.standard_error
        return self.slope - half, self.slope + half

    def regime(self, level: float) -> Literal["converging", "chaotic_equilibrium", "undecided"]:
        """What a pace statistic says."""
        low, high = self.interval(level)
        return "converging" if high < 0 else "chaotic_equilibrium" if low > 0 else "undecided"


def last_part(tokens_seen: ArrayLike) -> slice:
    """The updates of the last factor e^`SPAN` of tokens.

    Raises ValueError if they are fewer than `MIN_UPDATES`, whose block means would hardly be means.
    """
    tokens = np.asarray(tokens_seen, np.float64)
    begin = int(np.searchsorted(tokens, tokens[-1] * np.exp(-SPAN), side="right"))
    if len(tokens) - begin < MIN_UPDATES:
        raise ValueError(
            f"{len(tokens) - begin} updates in the last doubling of tokens: at least {MIN_UPDATES} are needed for a "
            "slope with an error. Raise tokens_per_parameter"
        )
    return slice(begin, len(tokens))


def trend(tokens_seen: ArrayLike, loss: ArrayLike) -> Trend:
    """Slope of a loss [nat/token] of every update in ln tokens, shapes [updates], from `BLOCKS` block means.

    Raises ValueError for fewer updates than blocks, or values that are not finite.
    """
    x, y = np.log(np.asarray(tokens_seen, np.float64)), np.asarray(loss, np.float64)
    if x.shape != y.shape or len(x) < BLOCKS or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(
            f"{x.shape} tokens and {y.shape} losses: at least {BLOCKS} finite losses are needed, with their tokens"
        )
    edges = np.linspace(0, len(x), BLOCKS + 1).astype(np.int64)
    u, v = (np.array([values[a:b].mean() for a, b in pairwise(edges)]) for values in (x, y))
    u -= u.mean()
    estimate = float(u @ v / (u @ u))
    residuals = v - v.mean() - estimate * u
    degrees = BLOCKS - 2
    return Trend(estimate, float(np.sqrt(residuals @ residuals / degrees / (u @ u))), degrees)


def pace_statistic(tokens_seen: ArrayLike, loss: ArrayLike, best_loss: ArrayLike) -> Trend:
    """Slope of loss - `SHARE`·best_loss, of runs on the same batches; shapes [updates].

    Raises ValueError as `trend` does.
    """
    return trend(tokens_seen, np.asarray(loss, np.float64) - SHARE * np.asarray(best_loss, np.float64))


@dataclass(frozen=True)
class Threshold:
    """The convergence threshold lies between two learning rates of the sweep; NaN where the sweep does not reach."""

    low: float
    """Largest learning rate that converges."""
    high: float
    """The next one that does not."""


def threshold(peak_lrs: ArrayLike, regimes: Sequence[Regime]) -> Threshold:
    """Where a sweep stops converging, shapes [n].

    `high` is the lowest learning rate that is in chaotic equilibrium or divergent, `low` the largest one below it that
    converges; an undecided one between them widens the interval. NaN: none of the sweep's is.
    """
    order = np.argsort(np.asarray(peak_lrs, np.float64))
    lrs = np.asarray(peak_lrs, np.float64)[order]
    found = [regimes[i] for i in order]
    stops = [i for i, one in enumerate(found) if one in ("chaotic_equilibrium", "divergent")]
    end = stops[0] if stops else len(found)
    converging = [i for i in range(end) if found[i] == "converging"]
    return Threshold(
        float(lrs[converging[-1]]) if converging else float("nan"), float(lrs[end]) if stops else float("nan")
    )


def over_replicates(thresholds: Sequence[Threshold]) -> Threshold:
    """The interval that holds those of all replicates; NaN at an end that one of them leaves open.

    Raises ValueError for none.
    """
    if not thresholds:
        raise ValueError("no threshold of any replicate: at least one sweep is needed")
    return Threshold(float(np.min([t.low for t in thresholds])), float(np.max([t.high for t in thresholds])))
