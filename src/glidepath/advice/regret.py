"""What a run loses by a peak learning rate that is not the best one, read off the sweep nearest to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from glidepath.advice.peak_lr import LrAtTarget
from glidepath.laws.law import Floats, Sweep


@dataclass(frozen=True)
class Regret:
    """What a run loses by a peak learning rate that is not the best one [nat/token]."""

    samples: Floats
    """Of the best rate, one if it has none."""
    measured: bool
    """Whether learning rates so far off the best one were trained."""


NOT_MEASURED = (
    "The run's peak learning rate is farther from the best one than any that was trained: what it costs is not known. "
    "The predicted loss includes what the farthest one costs, at least, and has no interval."
)


def regret_of(sweep: Sweep, lr: LrAtTarget, launched_at: float) -> Regret | None:
    """Of training at one peak learning rate where the best one is a sample's, by the valley of the nearest sweep.

    At x = ln launched_at - ln sample it is the parabola's curvature·x² where that was fitted, and beyond, up to the
    ends of the sweep, what was measured there over the optimum (monotone cubic between). Up to one step of the sweep
    beyond an end it is the larger of the end's and the parabola; beyond that, the same at that step. None without a
    best rate or a parabola.
    """
    best = sweep.optimum
    if not lr.is_known or best.status != "converged" or not best.curvature > 0:
        return None
    x, order = np.log(sweep.peak_lrs / best.peak_lr), np.argsort(sweep.peak_lrs)
    step = float(np.median(np.diff(x[order])))
    low, high = float(x.min()), float(x.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.log(launched_at) - np.log(lr.samples if len(lr.samples) else np.array([lr.value]))
    off = np.clip(np.where(np.isnan(off), np.inf, off), low - step, high + step)
    parabola = best.curvature * off**2
    measured = PchipInterpolator(x[order], (sweep.losses - best.val_loss)[order])(np.clip(off, low, high))
    fitted = (off >= x[best.used].min()) & (off <= x[best.used].max())
    within = (off >= low) & (off <= high)
    cost = np.where(fitted, parabola, np.where(within, measured, np.maximum(measured, parabola)))
    known = low - step <= np.log(launched_at / lr.value) <= high + step
    return Regret(np.asarray(cost, np.float64), bool(known))
