"""The look that all figures share: colours, lines, scales, labels, and how a figure is written.

Colours are from Okabe and Ito's palette, which the common colour deficiencies can tell apart; a schedule's
kind has one
colour everywhere, and its place among its kind decides line style, marker and shade, so that no figure
relies on colour
alone.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from glidepath.figures import text

INK = "#222222"
FAINT = "#6b6b6b"
GRID = "#e3e3e3"
BAND = "#d9d9d9"
ALARM = "#B22222"

KIND_COLORS = {
    "constant": "#5f5f5f",
    "schedule_free": "#8c6d31",
    "plateau": "#393b79",
    "cosine": "#0072B2",
    "linear": "#D55E00",
    "one_minus_sqrt": "#E69F00",
    "polynomial": "#B3541E",
    "exponential": "#A6761D",
    "rex": "#882255",
    "inverse_sqrt": "#117733",
    "rational": "#44AA99",
    "step": "#332288",
    "wsd": "#009E73",
    "wsd_s": "#66A61E",
    "cyclic": "#56B4E9",
    "one_cycle": "#AA4499",
    "points": "#CC79A7",
}
OTHER_KIND = "#CC79A7"
LINE_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.8)), (0, (1.4, 1.3)), (0, (6, 1.6, 1.4, 1.6)))
MARKERS = ("o", "s", "^", "D", "v", "P")

# Dark for long or large, light for short or small; readable on white at both ends.
SEQUENCE = ("#8CBBDD", "#4C93C4", "#1F6CA8", "#12487A", "#08254A")

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 13.0,
    "axes.titlesize": 13.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 13.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "legend.fontsize": 11.5,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "lines.markersize": 7.0,
    "errorbar.capsize": 3.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    # Text stays text in SVG, so that it can be searched; PDF embeds TrueType, which journals accept.
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    # Without a fixed salt and without dates, two draws of the same rows differ in their bytes.
    "svg.hashsalt": "glidepath",
}


@contextmanager
def look() -> Iterator[None]:
    """The settings of all figures, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def styled(draw: Callable[[pd.DataFrame], Figure]) -> Callable[[pd.DataFrame], Figure]:
    """Draw within `look`."""

    @wraps(draw)
    def styled_draw(frame: pd.DataFrame) -> Figure:
        with look():
            return draw(frame)

    return styled_draw


def save(figure: Figure, prefix: Path) -> None:
    """Write `<prefix>.svg` and `<prefix>.pdf`, byte for byte the same for the same figure."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with look():
        figure.savefig(f"{prefix}.svg", format="svg", metadata={"Date": None, "Creator": "Glidepath"})
        figure.savefig(
            f"{prefix}.pdf",
            format="pdf",
            metadata={"CreationDate": None, "Creator": "Glidepath", "Producer": None},
        )


@dataclass(frozen=True)
class Look:
    """How a schedule is drawn."""

    color: str
    line_style: Any
    marker: str


def schedule_look(kind: str, family_rank: int) -> Look:
    """One colour per kind; the rank within the kind sets shade, line style and marker."""
    color = KIND_COLORS.get(kind, OTHER_KIND)
    return Look(
        shade(color, (0.0, 0.32, -0.35, 0.5)[family_rank % 4]),
        LINE_STYLES[family_rank % len(LINE_STYLES)],
        MARKERS[family_rank % len(MARKERS)],
    )


def shade(color: str, amount: float) -> str:
    """Towards white for a positive amount, towards black for a negative one."""
    target = 1.0 if amount > 0 else 0.0
    red, green, blue = (channel + (target - channel) * abs(amount) for channel in to_rgb(color))
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def sequence(n: int) -> list[str]:
    """`n` colours of one hue, light to dark."""
    if n > len(SEQUENCE):
        picks = np.linspace(0, len(SEQUENCE) - 1, n)
        return [SEQUENCE[round(float(pick))] for pick in picks]
    return list(SEQUENCE[-n:]) if n < 3 else [SEQUENCE[round(i * (len(SEQUENCE) - 1) / (n - 1))] for i in range(n)]


def schedules_in_order(frame: pd.DataFrame) -> list[tuple[str, str, int]]:
    """(schedule, kind, rank) in the order of legends: as they first appear."""
    unique = frame[["schedule", "schedule_kind", "family_rank"]].drop_duplicates("schedule")
    return [(str(name), str(kind), int(rank)) for name, kind, rank in unique.itertuples(index=False)]


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


def log_ticks(
    ax: Axes,
    which: str,
    values: Iterable[float],
    label: Callable[[float], str],
    *,
    most: int = 7,
    unit_gap: float = 0.05,
) -> None:
    """Logarithmic axis with labelled ticks at values that occur, thinned out to at most `most` that do not
    touch."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    present = sorted({float(value) for value in values if np.isfinite(value) and value > 0})
    if not present:
        return
    kept = apart(present, max(unit_gap, math.log10(present[-1] / present[0]) / most))
    if len(present) == 1:
        # One value alone gives matplotlib no scale to choose.
        (ax.set_xlim if which == "x" else ax.set_ylim)(present[0] / 1.6, present[0] * 1.6)
    axis.set_major_locator(FixedLocator(kept))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))


def apart(values: Sequence[float], decades: float) -> list[float]:
    """Of ascending values those that are at least so many decades above the last one kept."""
    kept = list(values[:1])
    for value in values[1:]:
        if math.log10(value / kept[-1]) >= decades * 0.999:
            kept.append(value)
    return kept


def log_steps(ax: Axes, which: str, label: Callable[[float], str]) -> None:
    """Logarithmic axis with ticks at 1, 2, 5 of every decade within the limits; narrower ranges get finer
    steps."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    if not (0 < low < high and math.isfinite(high)):
        return
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in (
        (1,),
        (1, 3),
        (1, 2, 5),
        (1, 1.5, 2, 3, 4, 5, 6, 8),
        tuple(m / 10 for m in range(10, 100)),
    ):
        ticks = [m * 10.0**decade for decade in decades for m in mantissas if low <= m * 10.0**decade <= high]
        if len(ticks) >= 4:
            break
    axis.set_major_locator(FixedLocator(apart(ticks, math.log10(high / low) / 7)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))


def count_axis(ax: Axes, which: str, *, most: int = 6) -> None:
    """Linear axis of counts: 0, 1M, 2M."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text.compact(value)))


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


def schedule_handle(name: str, kind: str, rank: int) -> Line2D:
    """Legend entry of a schedule."""
    style = schedule_look(kind, rank)
    return Line2D([], [], color=style.color, linestyle=style.line_style, marker=style.marker, label=name)


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


def level_of(frame: pd.DataFrame) -> float:
    """The one interval level that the rows carry; NaN if none."""
    levels = frame["ci_level"].dropna().unique()
    return float(levels[0]) if len(levels) else math.nan
