"""How a figure is laid out: panels, and title, legend and note around them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glidepath.figures.style import FAINT


def heading(figure: Figure, title: str, note: str, handles: Sequence[Any] = ()) -> None:
    """Title and legend above the panels; below them a note that says what is drawn and what bars and bands
    are.

    The figure grows by what they need, so that the panels keep their size.
    """
    width, height = figure.get_size_inches()
    title_lines = textwrap.wrap(title, int(width * 7.4))
    note_lines = textwrap.wrap(note, int(width * 12.4))
    widest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = max(1, min(len(handles), int((width - 0.2) / (0.75 + 0.098 * widest))))
    legend_rows = math.ceil(len(handles) / columns)
    above = 0.12 + 0.29 * len(title_lines) + 0.245 * legend_rows + 0.06
    below = 0.1 + 0.19 * len(note_lines)
    total = height + above + below
    figure.set_size_inches(width, total)
    figure.get_layout_engine().set(rect=(0.0, below / total, 1.0, height / total))  # type: ignore[union-attr,call-arg]
    left = 0.12 / width
    figure.text(left, 1 - 0.1 / total, "\n".join(title_lines), ha="left", va="top", fontweight="bold", fontsize=16)
    figure.text(left, 0.06 / total, "\n".join(note_lines), ha="left", va="bottom", fontsize=10.5, color=FAINT)
    if handles:
        figure.legend(
            handles=list(handles),
            loc="upper left",
            bbox_to_anchor=(0.0, 1 - (0.1 + 0.29 * len(title_lines)) / total),
            ncols=columns,
            handlelength=2.6,
            borderaxespad=0.2,
        )


def panels(
    n: int,
    *,
    columns: int = 4,
    width: float = 3.6,
    height: float = 3.6,
    share_x: bool = False,
    share_y: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A grid of `n` panels; a single one is as wide as a slide."""
    n_columns = min(n, columns)
    n_rows = math.ceil(n / n_columns)
    size = (9.6, 5.4) if n == 1 else (max(9.6, 0.8 + n_columns * width), 1.4 + n_rows * height)
    figure = Figure(figsize=size)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=share_x, sharey=share_y)
    flat = list(axes.flat)
    for unused in flat[n:]:
        unused.set_visible(False)
    for ax in flat[max(0, n - n_columns) : n]:
        ax.xaxis.set_tick_params(labelbottom=True)
    return figure, flat[:n]


def nothing_to_draw(title: str, why: str, remedy: str) -> Figure:
    """A panel that says in words why there is nothing to see and how to get it."""
    figure = Figure(figsize=(9.6, 5.4))
    ax = figure.subplots()
    ax.set_axis_off()
    ax.text(0.5, 0.62, "Nothing to draw", ha="center", fontsize=22, fontweight="bold", color=FAINT)
    ax.text(0.5, 0.5, textwrap.fill(why, 70), ha="center", va="top", fontsize=14)
    ax.text(0.5, 0.26, textwrap.fill(remedy, 78), ha="center", va="top", fontsize=12.5, color=FAINT)
    heading(figure, title, " ")
    return figure
