"""How far points lie from the convex hull of others in a plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def corners(points: Floats) -> Floats:
    """Corners [c, 2] of the convex hull of points [m, 2], counterclockwise: one of a point, the two ends of a line.

    Andrew's monotone chain.
    """
    ordered = np.unique(points, axis=0)
    if len(ordered) < 3:
        return ordered
    chains = []
    for way in (ordered, ordered[::-1]):
        chain: list[Floats] = []
        for point in way:
            while len(chain) > 1 and _left_of(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        chains.append(chain[:-1])
    return np.array(chains[0] + chains[1])


def distance(points: Floats, at: Floats) -> Floats:
    """Least |Δx| + |Δy| from points `at` [k, 2] to the convex hull of points [m, 2], shape [k]; 0 inside."""
    hull = corners(points)
    start, side = hull, np.roll(hull, -1, axis=0) - hull
    off = at[:, None] - start
    # |Δx| + |Δy| along a side is least at an end of it, or where Δx or Δy is zero.
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.nan_to_num(np.clip(off / side, 0.0, 1.0))
    ends = np.broadcast_to([0.0, 1.0], shares.shape)
    away = off[:, :, None] - np.concatenate([shares, ends], axis=2)[..., None] * side[:, None]
    nearest = np.abs(away).sum(-1).min((1, 2))
    inside = (_left_of(start, start + side, at[:, None]) >= 0).all(1) if len(hull) > 2 else np.zeros(len(at), np.bool_)
    return np.asarray(np.where(inside, 0.0, nearest), np.float64)


def _left_of(a: Floats, b: Floats, c: Floats) -> Floats:
    """Twice the area of triangles, positive where c lies left of the way from a to b."""
    u, v = b - a, c - a
    return np.asarray(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0], np.float64)
