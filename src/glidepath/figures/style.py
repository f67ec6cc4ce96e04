"""The look that all figures share: colours, lines, and how a figure is written.

Colours are from Okabe and Ito's palette, which the common colour deficiencies can tell apart; a schedule's kind has one
colour everywhere, and its place among its kind decides line style, marker and shade, so that no figure relies on colour
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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


def schedule_handle(name: str, kind: str, rank: int) -> Line2D:
    """Legend entry of a schedule."""
    style = schedule_look(kind, rank)
    return Line2D([], [], color=style.color, linestyle=style.line_style, marker=style.marker, label=name)


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
