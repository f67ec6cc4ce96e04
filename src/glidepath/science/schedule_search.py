"""The schedule that a law of loss curves calls best, for a horizon, a peak and a lowest learning rate.

The schedule is a line through knots, denser towards the end, that never rises after the warm-up. Its final loss under
the law is minimised from several shapes (sequential least squares programming, analytic gradient).

A law is only as good as the schedules it was fitted to, and a search finds where it errs: the annealing law calls it
best to hold the peak and drop at once (Luo et al. 2025, appendix F), though no run does that well. Drops are therefore
kept gradual, no faster than from the peak to zero within `shortest_decay` of the updates, and a schedule that leans on
that limit, or stays at the lowest learning rate for long, says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, minimize

from glidepath.science.laws.curve import Curve
from glidepath.science.laws.curve_fit import CurveLaw

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Doubt = Literal["drops_as_fast_as_allowed", "stays_at_the_lowest", "starts_disagree"]

KNOTS = 56
SHORTEST_DECAY = 0.05
"""Of the updates after the warm-up."""
LEANING = 0.5
"""A schedule is doubtful if more than this share of its descent is as steep as allowed."""
STAYING = 0.1
"""Or if it is at the lowest learning rate for more than this share of the updates."""
AGREEING = 1e-4
"""nat/token between two starting points that found one schedule."""
STRAIGHT = 1e-3
"""Knots this close to the line through their neighbours, in shares of the peak, are left out."""
LOSS_SCALE = 1e-2
"""nat/token that count as one for the optimizer's tolerance."""
TOLERANCE = 1e-7
MAX_ITERATIONS = 400


class EndLaw(Protocol):
    """A law of scalars whose final loss can be followed downhill."""

    def at_end(self, curve: Curve) -> tuple[float, Floats]:
        """The loss at the curve's last point, and its derivatives by the learning rate of every update after the
        warm-up, shape [total_steps - warmup_steps]. The two must agree to the last digits, or the search stops."""


@dataclass(frozen=True)
class FoundSchedule:
    """The best schedule found: straight lines between knots, warm-up included."""

    updates: Ints
    """Positions of the knots, 0-based updates, ascending from 0; the last is total_steps, which no update reaches. Of
    the warm-up the first and the last update, which say all of it where it is linear."""
    multipliers: Floats
    """Of the peak, at the knots."""
    lr: Floats
    """As applied, shape [total_steps]."""
    loss: float
    """Final loss under the law [nat/token]."""
    doubts: tuple[Doubt, ...]
    """drops_as_fast_as_allowed: the law asks for a sudden drop, of which nothing was learned from gradual ones.
    stays_at_the_lowest: it wins by standing still. starts_disagree: another starting point ended elsewhere, so that a
    lower loss may have been missed."""


def best_schedule(
    law: EndLaw,
    *,
    peak_lr: float,
    total_steps: int,
    warmup_lr: Floats,
    lowest_fraction: float,
    shortest_decay: float = SHORTEST_DECAY,
    n_params: float | None = None,
) -> FoundSchedule:
    """The schedule of the lowest final loss: from `warmup_lr` [warmup_steps] to peak_lr, and down from there.

    The learning rate is at least lowest_fraction·peak_lr. Raises ValueError for a peak that is not positive, a fraction
    outside of 0 … 1, a shortest decay outside of (0, 1], or fewer than 10 updates after the warm-up.
    """
    _check(peak_lr, total_steps, warmup_lr, lowest_fraction, shortest_decay)
    grid = _Grid.of(peak_lr, total_steps, warmup_lr, n_params)
    limits = _Limits(lowest_fraction, shortest_decay)
    ends = [_downhill(law, grid, limits, shape) for shape in _shapes(grid.fractions)]
    losses = sorted(loss for loss, _ in ends)
    found = min(ends, key=lambda end: end[0])[1]
    kept = _straightened(grid.knots, found)
    run = grid.curve(np.interp(grid.knots, grid.knots[kept], found[kept]))
    doubts = _doubts(grid.fractions, found, limits)
    if losses[1] - losses[0] > AGREEING:
        doubts += ("starts_disagree",)
    updates, multipliers = grid.knots[kept], found[kept]
    if len(warmup_lr) > 1:
        rise = np.array([0, len(warmup_lr) - 1])
        updates, multipliers = np.append(rise, updates), np.append(warmup_lr[rise] / peak_lr, multipliers)
    return FoundSchedule(updates, multipliers, run.lr, law.at_end(run)[0], doubts)


def hand_made(peak_lr: float, total_steps: int, warmup_lr: Floats, final_fraction: float) -> dict[str, Floats]:
    """What a schedule found is held against: applied learning rates [total_steps] of the usual shapes.

    All fall to final_fraction·peak_lr, which the update after the last one would reach: cosine, linear, and WSD with
    the last fifth of the updates after the warm-up decaying linearly or as 1 - √.
    """
    done = np.arange(total_steps - len(warmup_lr)) / (total_steps - len(warmup_lr))
    tail = np.clip((done - 0.8) / 0.2, 0.0, 1.0)
    shapes = {
        "cosine": (1 + np.cos(np.pi * done)) / 2,
        "linear": 1 - done,
        "wsd_linear": 1 - tail,
        "wsd_one_minus_sqrt": 1 - np.sqrt(tail),
    }
    return {
        name: np.concatenate([warmup_lr, peak_lr * (final_fraction + (1 - final_fraction) * shape)])
        for name, shape in shapes.items()
    }


def gains(
    law: CurveLaw, found: FoundSchedule, others: dict[str, Floats], warmup_steps: int, n_params: float | None = None
) -> dict[str, Floats]:
    """By how much the schedule found ends below each of `others` (applied learning rates) under the law [nat/token].

    Of the law's shape: with a bootstrap as the law, its spread is what the fit leaves open about the gain, which is
    less than it leaves open about either loss.
    """

    def final(lr: Floats) -> Floats:
        at_end = Curve(lr=lr, updates_done=np.array([len(lr)]), warmup_steps=warmup_steps, n_params=n_params)
        return law.predict(at_end)[..., 0]

    lowest = final(found.lr)
    return {name: final(lr) - lowest for name, lr in others.items()}


@dataclass(frozen=True)
class _Grid:
    """Multipliers at knots to the learning rate of every update, and slopes back."""

    peak_lr: float
    warmup_lr: Floats
    n_params: float | None
    knots: Ints
    """In updates, from the end of the warm-up to total_steps."""

    @staticmethod
    def of(peak_lr: float, total_steps: int, warmup_lr: Floats, n_params: float | None) -> _Grid:
        warmup_steps = len(warmup_lr)
        remaining = (1 - np.arange(KNOTS + 1) / KNOTS) ** 2
        knots = np.unique(np.round(total_steps - (total_steps - warmup_steps) * remaining).astype(np.int64))
        return _Grid(peak_lr, warmup_lr, n_params, knots)

    @property
    def fractions(self) -> Floats:
        """Of the updates after the warm-up, from 0 to 1."""
        return np.asarray((self.knots - self.knots[0]) / (self.knots[-1] - self.knots[0]))

    def curve(self, multipliers: Floats) -> Curve:
        """The run, with its end as the only point."""
        total_steps = int(self.knots[-1])
        after = self.peak_lr * np.interp(np.arange(self.knots[0], total_steps), self.knots, multipliers)
        return Curve(
            lr=np.concatenate([self.warmup_lr, after]),
            updates_done=np.array([total_steps]),
            warmup_steps=len(self.warmup_lr),
            n_params=self.n_params,
        )

    def slopes(self, by_lr: Floats) -> Floats:
        """Derivatives by the multipliers at the knots, of those by the learning rate of every update."""
        updates = np.arange(self.knots[0], self.knots[-1])
        piece = np.searchsorted(self.knots, updates, side="right") - 1
        share = (updates - self.knots[piece]) / np.diff(self.knots)[piece]
        n = len(self.knots)
        left, right = (np.bincount(piece + j, by_lr * w, n) for j, w in ((0, 1 - share), (1, share)))
        return np.asarray(self.peak_lr * (left + right))


@dataclass(frozen=True)
class _Limits:
    lowest: float
    """Share of the peak."""
    shortest_decay: float

    def steepest(self, fractions: Floats) -> Floats:
        """Of every piece, in shares of the peak."""
        return np.asarray(np.diff(fractions) / self.shortest_decay)

    def kept_by(self, multipliers: Floats, fractions: Floats) -> Floats:
        """The multipliers between the lowest and 1, not rising, and later where they fall too fast."""
        kept = np.minimum.accumulate(np.clip(multipliers, self.lowest, 1.0))
        for j, most in enumerate(self.steepest(fractions)):
            kept[j + 1] = max(kept[j + 1], kept[j] - most)
        return kept


def _downhill(law: EndLaw, grid: _Grid, limits: _Limits, shape: Floats) -> tuple[float, Floats]:
    """The lowest final loss from a start, and its multipliers; the first knot stays at the peak."""
    fractions = grid.fractions
    n = len(fractions)
    falls = np.eye(n - 1, n) - np.eye(n - 1, n, 1)
    offset = falls[:, 0]
    gradual = LinearConstraint(falls[:, 1:], -offset, limits.steepest(fractions) - offset)

    def scaled(multipliers: Floats) -> tuple[float, Floats]:
        loss, slopes = law.at_end(grid.curve(np.append(1.0, multipliers)))
        return loss / LOSS_SCALE, grid.slopes(slopes)[1:] / LOSS_SCALE

    found = minimize(
        scaled,
        limits.kept_by(shape, fractions)[1:],
        jac=True,
        method="SLSQP",
        bounds=[(limits.lowest, 1.0)] * (n - 1),
        constraints=[gradual],
        options={"ftol": TOLERANCE, "maxiter": MAX_ITERATIONS},
    )
    # The optimizer keeps its limits up to rounding.
    multipliers = limits.kept_by(np.append(1.0, found.x), fractions)
    return law.at_end(grid.curve(multipliers))[0], multipliers


def _check(peak_lr: float, total_steps: int, warmup_lr: Floats, lowest_fraction: float, shortest_decay: float) -> None:
    if not peak_lr > 0:
        raise ValueError(f"peak_lr {peak_lr}: must be positive")
    if not 0 <= lowest_fraction < 1:
        raise ValueError(f"lowest_fraction {lowest_fraction}: a share of the peak from 0 to below 1")
    if not 0 < shortest_decay <= 1:
        raise ValueError(f"shortest_decay {shortest_decay}: a share of the updates above 0 and up to 1")
    if total_steps - len(warmup_lr) < 10:
        raise ValueError(f"{total_steps} updates with {len(warmup_lr)} of warm-up: at least 10 must be left after it")


def _shapes(fractions: Floats) -> list[Floats]:
    """Starting points: linear, cosine, short tails and a long concave one."""
    tail = np.clip((1 - fractions) / 0.2, 0.0, 1.0)
    return [
        1 - fractions,
        (1 + np.cos(np.pi * fractions)) / 2,
        tail,
        np.clip((1 - fractions) / 0.4, 0.0, 1.0) ** 1.5,
    ]


def _straightened(knots: Ints, multipliers: Floats) -> Ints:
    """The knots that a line through fewer of them needs, greedily; the first and the last always."""
    kept = [0]
    while kept[-1] < len(knots) - 1:
        first = kept[-1]
        for last in range(len(knots) - 1, first, -1):
            line = np.interp(knots[first : last + 1], knots[[first, last]], multipliers[[first, last]])
            if last == first + 1 or np.abs(line - multipliers[first : last + 1]).max() < STRAIGHT:
                kept.append(last)
                break
    return np.array(kept)


def _doubts(fractions: Floats, multipliers: Floats, limits: _Limits) -> tuple[Doubt, ...]:
    falls = -np.diff(multipliers)
    doubts: tuple[Doubt, ...] = ()
    if falls[falls > 0.95 * limits.steepest(fractions)].sum() > LEANING * falls.sum() > 0:
        doubts += ("drops_as_fast_as_allowed",)
    at_lowest = multipliers < limits.lowest + STRAIGHT
    if at_lowest.any() and 1 - fractions[at_lowest.argmax()] > STAYING:
        doubts += ("stays_at_the_lowest",)
    return doubts
