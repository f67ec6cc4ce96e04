"""What a batch path saves: tokens, updates and time to one loss, against a fixed batch.

Two cells that differ in their batch path only (same model, horizon, learning rate as a function of the tokens,
initialisation and data) are a pair; several replicates of it give the interval. With t(y) the training tokens after
which a loss curve reaches y,

    saving(y) = (t_fixed(y) - t_path(y))/t_fixed(y),    and alike of updates and of seconds;

per replicate, then the mean over replicates with Student's interval. Gray et al. (2024) read it so, at equally spaced
losses along the curves and at the end of training.

Along the curve the losses are those evaluated along training, on the same blocks for all, made monotone
(`science.loss_curves`); targets are 100 equally spaced losses that every curve passes. At the end the target is the
higher of the two final losses on all validation tokens, so that both runs reach it and a path that is worse saves less
than nothing: the worse run is there at its end, the better one somewhere before. Its curve there is the one evaluated
along training, moved to end at its final loss on all tokens.

Under a decaying learning rate a run stopped at t(y) is not a run planned for t(y), which would have decayed by then:
savings are those of curves, as they are published, and those of a shorter horizon may be smaller or larger.

Time has two meanings. On an accelerator with a fixed number of tokens per second it is the tokens. On the machine of
the study it is a·updates + b·tokens, a and b ≥ 0 by least squares from the measured times of the cells with that model
and batch; what a shared segment took is counted in full in each of its cells, as if each had been trained alone. The
error of a and b is not in the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from glidepath.laws.averaging import half_width
from glidepath.science.loss_curves import monotone_curve, tokens_to_loss

Floats = NDArray[np.float64]

POINTS = 100
"""Losses along the curves."""
SAVED = ("tokens", "updates", "seconds")
COLUMNS = (
    "at",
    "point",
    "val_loss",
    *(f"{unit}_{side}" for unit in ("tokens", "updates") for side in ("path", "fixed")),
    *(f"{unit}_saved_fraction{end}" for unit in SAVED for end in ("", "_low", "_high")),
    "n_replicates",
    "status",
)


@dataclass(frozen=True)
class LossCurve:
    """One cell."""

    tokens_seen: NDArray[np.int64]
    """At the evaluated points, ascending, the last one the end of training; shape [points]."""
    losses: Floats
    """On the blocks evaluated along training [nat/token], shape [points]."""
    final_loss: float
    """On all validation tokens [nat/token], at the last point."""
    tokens_of_updates: NDArray[np.int64]
    """Training tokens after every update, shape [updates]."""

    def updates_at(self, tokens: Floats) -> Floats:
        """Updates done after so many training tokens; within an update its part."""
        done = np.concatenate([[0], self.tokens_of_updates])
        return np.interp(tokens, done, np.arange(len(done)))

    def tokens_to_the_end(self, target: float) -> float:
        """Tokens at which the curve, moved to end at the final loss, reaches a target that is not below it.

        The end is held: what was evaluated before it counts as no lower, so that isotonic regression cannot raise it.
        """
        end = float(self.tokens_seen[-1])
        moved = self.losses + (self.final_loss - self.losses[-1])
        ln_tokens, falling = monotone_curve(self.tokens_seen[:-1], np.maximum(moved[:-1], self.final_loss))
        if falling[-1] > self.final_loss:
            ln_tokens, falling = np.append(ln_tokens, np.log(end)), np.append(falling, self.final_loss)
        return float(np.exp(np.interp(-target, -falling, ln_tokens))) if target > self.final_loss else end


@dataclass(frozen=True)
class Speed:
    """Seconds of training: a·updates + b·tokens."""

    seconds_per_update: float
    seconds_per_token: float

    def seconds(self, updates: Floats, tokens: Floats) -> Floats:
        total: Floats = self.seconds_per_update * updates + self.seconds_per_token * tokens
        return total


def fit_speed(updates: ArrayLike, tokens: ArrayLike, seconds: ArrayLike) -> Speed:
    """Least squares of relative errors over cells [n], both coefficients at least zero.

    Raises ValueError without cells, or for a time that is not positive.
    """
    parts = np.stack([np.asarray(updates, np.float64), np.asarray(tokens, np.float64)], axis=1)
    measured = np.asarray(seconds, np.float64)
    if not len(measured) or not (measured > 0).all():
        raise ValueError(f"seconds {measured.tolist()} of {len(measured)} cells: positive times are needed")
    relative = parts / measured[:, None]
    # Updates and tokens differ by orders of magnitude: columns of one size.
    size = relative.mean(0)
    coefficients, _ = nnls(relative / size, np.ones(len(measured)))
    per_update, per_token = coefficients / size
    return Speed(float(per_update), float(per_token))


def savings(
    path: Sequence[LossCurve], fixed: Sequence[LossCurve], speed: Speed | None, ci_level: float
) -> pd.DataFrame:
    """A row for the end and one for each loss along the curves, with `COLUMNS`; replicates stand at equal places.

    status, by the interval of tokens saved: `saves tokens`, `costs tokens`, `not resolved`; `one replicate` where there
    is none. Without `speed` seconds are NaN. There are no rows along curves that have no loss in common. Raises
    ValueError for no replicate, or another number of them on one side.
    """
    if not path or len(path) != len(fixed):
        raise ValueError(f"{len(path)} and {len(fixed)} cells: replicates are compared in pairs")
    ends = np.array([max(p.final_loss, f.final_loss) for p, f in zip(path, fixed, strict=True)])
    of_path = np.array([[curve.tokens_to_the_end(end) for curve, end in zip(path, ends, strict=True)]])
    of_fixed = np.array([[curve.tokens_to_the_end(end) for curve, end in zip(fixed, ends, strict=True)]])
    rows = [_rows("end", np.array([ends.mean()]), (path, of_path), (fixed, of_fixed), speed, ci_level)]
    targets = _targets([*path, *fixed])
    if len(targets):
        sides = [
            np.array([tokens_to_loss(curve.tokens_seen, curve.losses, targets) for curve in curves]).T
            for curves in (path, fixed)
        ]
        rows.append(_rows("curve", targets, (path, sides[0]), (fixed, sides[1]), speed, ci_level))
    return pd.concat(rows, ignore_index=True)


def _targets(curves: Sequence[LossCurve]) -> Floats:
    """Equally spaced losses that every curve passes, falling: none if there is no such loss."""
    falling = [monotone_curve(curve.tokens_seen, curve.losses)[1] for curve in curves]
    high, low = min(losses[0] for losses in falling), max(losses[-1] for losses in falling)
    # A curve is at its first loss from its first point on: nobody knows since when.
    return np.linspace(high, low, POINTS + 1)[1:] if high > low else np.empty(0)


def _rows(
    at: str,
    losses: Floats,
    path: tuple[Sequence[LossCurve], Floats],
    fixed: tuple[Sequence[LossCurve], Floats],
    speed: Speed | None,
    ci_level: float,
) -> pd.DataFrame:
    """Of both sides their cells and the tokens at which each reaches each loss, shape [losses, replicates]."""
    n_replicates = len(path[0])
    found: dict[str, Any] = {"at": at, "point": np.arange(len(losses)), "val_loss": losses}
    amounts: dict[str, dict[str, Floats]] = {}
    for side, (curves, tokens) in (("path", path), ("fixed", fixed)):
        updates = np.stack([curve.updates_at(tokens[:, i]) for i, curve in enumerate(curves)], axis=1)
        seconds = speed.seconds(updates, tokens) if speed else np.full(tokens.shape, np.nan)
        amounts[side] = {"tokens": tokens, "updates": updates, "seconds": seconds}
        found |= {f"tokens_{side}": tokens.mean(1), f"updates_{side}": updates.mean(1)}
    quantile = half_width(1.0, n_replicates - 1, ci_level)
    for unit in SAVED:
        saved = 1.0 - amounts["path"][unit] / amounts["fixed"][unit]
        mean = saved.mean(1)
        half = (
            quantile * saved.std(1, ddof=1) / np.sqrt(n_replicates) if n_replicates > 1 else np.full(len(mean), np.nan)
        )
        name = f"{unit}_saved_fraction"
        found |= {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}
    low, high = found["tokens_saved_fraction_low"], found["tokens_saved_fraction_high"]
    verdict = np.where(low > 0.0, "saves tokens", np.where(high < 0.0, "costs tokens", "not resolved"))
    rows = pd.DataFrame({**found, "n_replicates": n_replicates, "status": verdict}, columns=COLUMNS)
    if n_replicates == 1:
        rows["status"] = "one replicate"
    # Null where evaluations are too far apart to say when a loss was reached.
    return rows[rows["tokens_saved_fraction"].notna()]
