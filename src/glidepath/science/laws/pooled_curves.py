"""The points of several curves, one curve after another, and the units in which formulas count them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glidepath.science import fitting
from glidepath.science.laws.curve import Curve, Warmup, n_params_of, observed

Floats = NDArray[np.float64]
Weighting = Literal["points", "curves"]
"""Every point counts alike, as published; or every curve does, whatever its number of points."""


@dataclass(frozen=True)
class PooledCurves:
    """What laws of S1 and the size read of all points, each in a unit of these curves."""

    curves: tuple[Curve, ...]
    warmup: Warmup

    @cached_property
    def loss_unit(self) -> float:
        return typical_loss(self.curves)

    @cached_property
    def peak_lr(self) -> float:
        """The largest."""
        return max(curve.peak_lr for curve in self.curves)

    @cached_property
    def ln_lr_sum(self) -> float:
        """ln of the median S1."""
        return float(np.log(np.median(self._lr_sums)))

    @cached_property
    def ln_lr_sums(self) -> Floats:
        """ln of S1 over its median, shape [n]."""
        return np.log(self._lr_sums) - self.ln_lr_sum

    @cached_property
    def n_params(self) -> float:
        """The median over curves. Raises ValueError for a curve without a size, as `ln_sizes` does."""
        return float(np.median([n_params_of(curve) for curve in self.curves]))

    @cached_property
    def ln_sizes(self) -> Floats:
        """ln of the size over its median, shape [n]."""
        each = [np.full(len(curve.updates_done), n_params_of(curve)) for curve in self.curves]
        return np.log(np.concatenate(each) / self.n_params)

    @cached_property
    def _lr_sums(self) -> Floats:
        return np.concatenate([curve.lr_sum(self.warmup) for curve in self.curves])


def pooled_losses(curves: Sequence[Curve]) -> Floats:
    """Losses of all curves, one after another.

    Raises ValueError for a curve without losses or with one that has no logarithm, or for no curve.
    """
    if not curves:
        raise ValueError("no curve to fit: give at least one")
    losses = np.concatenate([observed(curve) for curve in curves])
    fitting.refuse_losses(losses)
    return losses


def point_weights(curves: Sequence[Curve], weighting: Weighting) -> Floats:
    """Weights of all points, with a mean of one."""
    sizes = [len(curve.updates_done) for curve in curves]
    if weighting == "points":
        return np.ones(sum(sizes))
    return np.concatenate([np.full(size, sum(sizes) / len(sizes) / size) for size in sizes])


def by_curve(values: Floats, curves: Sequence[Curve]) -> list[Floats]:
    """values [..., n] of all points, cut into those of every curve."""
    return np.split(values, np.cumsum([len(curve.updates_done) for curve in curves])[:-1], axis=-1)


def typical_loss(curves: Sequence[Curve]) -> float:
    """The median of all losses, the unit in which formulas count them; 1 for curves without losses."""
    known = [curve.losses for curve in curves if curve.losses is not None]
    return float(np.median(np.concatenate(known))) if known else 1.0
