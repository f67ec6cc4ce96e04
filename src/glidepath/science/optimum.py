"""The optimal learning rate: the vertex of a parabola in ln LR through final losses (Bjorck et al. 2024, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW_NATS = 0.25
"""Only losses this close to the lowest are fitted: further out the valley is no parabola, and steeper above than
below."""
MIN_POINTS = 3
LN_2_SQUARED = float(np.log(2.0) ** 2)


@dataclass(frozen=True)
class Optimum:
    """loss = val_loss + curvature·(ln peak_lr - ln optimum)². NaN where there is no answer."""

    peak_lr: float
    val_loss: float
    curvature: float
    """[nat/token per (ln LR)²]."""
    r_squared: float
    used: NDArray[np.int64]
    """Indices of the points fitted."""
    status: Literal["converged", "edge_of_grid", "failed"]

    @property
    def factor_2_cost(self) -> float:
        """What a peak learning rate off by a factor of 2 costs [nat/token]: curvature·(ln 2)²."""
        return self.curvature * LN_2_SQUARED


def used_points(peak_lrs: Floats, losses: Floats) -> NDArray[np.int64]:
    """Points within `WINDOW_NATS` of the lowest loss, or the three nearest to it in ln LR if those are fewer."""
    best = int(np.argmin(losses))
    near = np.flatnonzero(losses - losses[best] <= WINDOW_NATS)
    if len(near) >= MIN_POINTS:
        return near
    return np.sort(np.argsort(np.abs(np.log(peak_lrs / peak_lrs[best])), kind="stable")[:MIN_POINTS])


def vertices(peak_lrs: Floats, losses: Floats) -> tuple[Floats, Floats, Floats]:
    """Vertex, loss at it and curvature of the least-squares parabola in ln LR for rows of losses [..., n], each [...].

    NaN where the parabola does not open upwards.
    """
    x = np.log(peak_lrs)
    centre = x.mean()
    design = np.stack([(x - centre) ** 2, x - centre, np.ones_like(x)], axis=1)
    a, b, c = np.moveaxis(losses @ np.linalg.pinv(design).T, -1, 0)
    upwards = a > 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        vertex = np.where(upwards, np.exp(centre - b / (2 * a)), np.nan)
        lowest = np.where(upwards, c - b**2 / (4 * a), np.nan)
    return vertex, lowest, a


def optimum(peak_lrs: Floats, losses: Floats) -> Optimum:
    """Vertex of the parabola through the points near the lowest loss.

    `edge_of_grid`: the lowest loss is at an end of the grid or the vertex outside it, so the optimum was not bracketed:
    the best learning rate of the grid is returned, and the remedy is to extend the grid. `failed`: fewer than three
    learning rates. The points are finite losses at distinct learning rates.

    Raises ValueError for inputs of different length, a loss that is not finite or a repeated learning rate.
    """
    peak_lrs, losses = np.asarray(peak_lrs, np.float64), np.asarray(losses, np.float64)
    if peak_lrs.shape != losses.shape or len(set(peak_lrs.tolist())) != len(peak_lrs) or not np.isfinite(losses).all():
        raise ValueError(
            f"peak learning rates {peak_lrs.tolist()} and losses {losses.tolist()}: one finite loss each is needed"
        )
    best = int(np.argmin(losses))
    at_edge = bool(peak_lrs[best] in (peak_lrs.min(), peak_lrs.max()))
    if len(losses) < MIN_POINTS:
        return Optimum(float(peak_lrs[best]), float(losses[best]), np.nan, np.nan, np.arange(len(losses)), "failed")
    used = used_points(peak_lrs, losses)
    vertex, lowest, curvature = (float(v) for v in vertices(peak_lrs[used], losses[used]))
    if at_edge or not peak_lrs.min() < vertex < peak_lrs.max():
        return Optimum(float(peak_lrs[best]), float(losses[best]), curvature, np.nan, used, "edge_of_grid")
    fitted = lowest + curvature * np.log(peak_lrs[used] / vertex) ** 2
    spread = float(((losses[used] - losses[used].mean()) ** 2).sum())
    r_squared = 1.0 - float(((losses[used] - fitted) ** 2).sum()) / spread if spread else np.nan
    return Optimum(vertex, lowest, curvature, r_squared, used, "converged")
