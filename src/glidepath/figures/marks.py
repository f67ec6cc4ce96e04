"""Marks that figures share: names at the ends of lines, points on the edge, intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes


def end_labels(ax: Axes, ends: Sequence[tuple[float, float, str, str]], *, gap: float = 0.062) -> None:
    """Names in their line's colour at the right edge, moved apart where they would touch; ends are (x, y,
    name, colour).

    The axes' limits must be final.
    """
    low, high = ax.get_ylim()
    log = ax.get_yscale() == "log"
    position: Callable[[float], float] = (
        (lambda y: math.log(max(y, low) / low) / math.log(high / low)) if log else (lambda y: (y - low) / (high - low))
    )
    order = sorted(range(len(ends)), key=lambda i: ends[i][1])
    heights = spread([min(max(position(ends[i][1]), 0.0), 1.0) for i in order], gap)
    for label_height, i in zip(heights, order, strict=True):
        x, y, name, color = ends[i]
        ax.annotate(
            name,
            xy=(x, y),
            xycoords="data",
            xytext=(1.025, label_height),
            textcoords="axes fraction",
            color=color,
            fontsize=11.5,
            fontweight="bold",
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.7,
                "alpha": 0.55,
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Ascending positions moved as little as needed to be at least `gap` apart (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []
    for offset, position in enumerate(positions):
        blocks.append((position - offset * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean_b, n_b), (mean_a, n_a) = blocks.pop(), blocks.pop()
            blocks.append(((mean_a * n_a + mean_b * n_b) / (n_a + n_b), n_a + n_b))
    means = [mean for mean, n in blocks for _ in range(n)]
    moved = [mean + offset * gap for offset, mean in enumerate(means)]
    # Those that were pushed out at the bottom come back in; the highest then bounds the rest at the top.
    inside = [max(position, offset * gap) for offset, position in enumerate(moved)]
    room = [1.0 - gap * (len(inside) - 1 - offset) for offset in range(len(inside))]
    if room and room[0] < 0:
        return inside
    return [min(position, bound) for position, bound in zip(inside, room, strict=True)]


def edge_marks(ax: Axes, xs: Sequence[float], color: str, *, marker: str = "x", edge: float = 1.0) -> None:
    """Marks on the top (1) or bottom (0) edge: points that lie outside or have no value must be seen, not
    dropped."""
    if len(xs):
        ax.plot(
            list(xs),
            [edge] * len(xs),
            marker,
            color=color,
            markersize=9,
            markeredgewidth=2.4 if marker == "x" else 1.0,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
            zorder=6,
        )


def error_bars(ax: Axes, x: float, y: float, low: float, high: float, color: str, **options: Any) -> None:
    """A vertical interval with caps, if it is finite; the estimate need not lie in its middle."""
    if np.isfinite(low) and np.isfinite(high):
        ax.errorbar(
            [x],
            [y],
            yerr=[[max(y - low, 0.0)], [max(high - y, 0.0)]],
            fmt="none",
            ecolor=color,
            elinewidth=1.6,
            **options,
        )
