"""The loss of one run along its training, and the learning rate that was applied: what the laws of loss curves read.

All these laws count updates and sum learning rates: a law holds for the batch that it was fitted at, and nowhere do
tokens enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Warmup = Literal["as_at_peak", "linear"]
"""How a law counts the updates of the warm-up: as if they had been made at the peak (Tissue et al. 2024, section 3.4),
or at the learning rate that was applied, whatever its shape (Luo et al. 2025, who warm up linearly)."""


SIZE_UNIT = 1e6
"""Laws with the size count it in millions of parameters, as equation 7 of Tissue et al. does."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Losses after some updates of one run; or, without losses, the points where a law is asked for them."""

    lr: Floats
    """Applied learning rate of every update, shape [total_steps]; not negative."""
    updates_done: Ints
    """Updates done at the points, shape [n], ascending, after the warm-up and at most total_steps."""
    losses: Floats | None = None
    """nat/token, shape [n]."""
    warmup_steps: int = 0
    n_params: float | None = None
    """Parameters of the model, by the study's counting; for laws with the size only."""

    def __post_init__(self) -> None:
        """Raise ValueError for arrays that do not fit together or values that no run has."""
        total_steps = len(self.lr)
        if self.lr.ndim != 1 or not total_steps or not (np.isfinite(self.lr).all() and (self.lr >= 0).all()):
            raise ValueError("lr must be one finite learning rate, not negative, for every update of a run")
        if not 0 <= self.warmup_steps < total_steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} of {total_steps} updates: some must be left after it")
        points = self.updates_done
        if points.ndim != 1 or not len(points) or (np.diff(points) <= 0).any():
            raise ValueError("updates_done must be ascending, at least one point")
        if points[0] < max(self.warmup_steps, 1) or points[-1] > total_steps:
            raise ValueError(
                f"updates_done from {points[0]} to {points[-1]}: points lie between the end of the warm-up "
                f"({self.warmup_steps}) and the last update ({total_steps}). Leave out the others"
            )
        if self.losses is not None and (
            self.losses.shape != points.shape or not (np.isfinite(self.losses) & (self.losses > 0)).all()
        ):
            raise ValueError("losses must be one positive loss for each of updates_done. Leave out the others")
        if self.n_params is not None and not self.n_params > 0:
            raise ValueError(f"n_params {self.n_params}: must be positive")

    def at(self, updates_done: Ints) -> Curve:
        """The same run at other points, without losses."""
        return replace(self, updates_done=updates_done, losses=None)

    @property
    def peak_lr(self) -> float:
        """Learning rate at the end of the warm-up: its largest up to the first update after it."""
        return float(self.lr[: self.warmup_steps + 1].max())

    @cached_property
    def held_lr(self) -> Floats:
        """lr with the warm-up at the peak, shape [total_steps]."""
        held = self.lr.copy()
        held[: self.warmup_steps] = self.peak_lr
        return held

    @cached_property
    def drops(self) -> Floats:
        """η_{k-1} - η_k after the warm-up, shape [total_steps]: 0 for the first update and within the warm-up."""
        return -np.diff(self.held_lr, prepend=self.held_lr[0])

    def lr_sum(self, warmup: Warmup) -> Floats:
        """S1 at the points: Σ of the learning rate over the updates done, shape [n]."""
        return self.cumulative_lr(warmup)[self.updates_done]

    def cumulative_lr(self, warmup: Warmup) -> Floats:
        """S1 after 0, 1, … total_steps updates, shape [total_steps + 1]."""
        return self._held_sums if warmup == "as_at_peak" else self._sums

    @cached_property
    def _sums(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.lr)])

    @cached_property
    def _held_sums(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.held_lr)])


def check_sizes(curves: Sequence[Curve]) -> None:
    """Raise ValueError unless the curves are of three sizes at least, as laws with an asymptote in the size need."""
    if len({n_params_of(curve) for curve in curves}) < 3:
        raise ValueError(
            "a power of the size and an asymptote are told apart by three sizes at least: give curves of more sizes, "
            "or fit one size"
        )


def n_params_of(curve: Curve) -> float:
    """Its n_params. Raises ValueError for a curve that has none."""
    if curve.n_params is None:
        raise ValueError("this law has the size in it: give every curve its n_params")
    return curve.n_params


def observed(curve: Curve) -> Floats:
    """Its losses. Raises ValueError for a curve that has none."""
    if curve.losses is None:
        raise ValueError("a curve without losses can be predicted, not fitted: give `losses`")
    return curve.losses
