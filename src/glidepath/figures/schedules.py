"""The learning rates that were applied, one line per schedule; a panel per family if they are many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glidepath.figures import layout, marks, scales, select, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Learning-rate schedules as applied"
MOST_TOGETHER = 12
"""Schedules in one panel: the names at its edge have room for so many."""


def data(tables: Tables) -> pd.DataFrame:
    """Logged learning rates of one cell per schedule at the longest common horizon and a peak that most
    share there."""
    logged = tables["updates"]
    runs = select.one_per_schedule(select.among(tables["runs"], logged))
    columns = ["cell_id", "model", "schedule", "tokens_per_parameter", "peak_lr"]
    frame = logged[["cell_id", "step", "tokens_seen", "lr"]].merge(runs[columns], on="cell_id")
    frame = select.with_families(frame, tables["runs"])
    return tidy("schedules", select.in_family_order(frame, ["schedule", "step"]))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No update was logged.",
            "Train at least one cell; a cell that diverges at once logs nothing.",
        )
    families = select.by_family(frame, MOST_TOGETHER)
    alone = len(families) == 1
    figure, axes = layout.panels(1) if alone else layout.panels(len(families), columns=2, width=6.4, height=2.9)
    for ax, (family, of_family) in zip(axes, families, strict=True):
        ax.set_ylim(0, 1.08 * float(frame["lr"].max()))
        ax.set_xlim(0, float(frame["tokens_seen"].max()))
        _draw_family(ax, of_family, gap=0.062 if alone else 0.1)
        scales.count_axis(ax, "x", most=6 if alone else 4)
        ax.yaxis.set_major_formatter(lambda value, _: text.learning_rate(value))
        ax.set_ylabel("learning rate applied")
        ax.set_title(family)
    for ax in axes[-2:]:
        ax.set_xlabel("training tokens")
    first = frame.iloc[0]
    layout.heading(
        figure,
        TITLE,
        f"Model {first['model']}, {first['tokens_per_parameter']:g} tokens per parameter, peak "
        f"{text.learning_rate(first['peak_lr'])}; read from the logged updates, before per-group "
        "multipliers.",
    )
    return figure


def _draw_family(ax: Axes, frame: pd.DataFrame, gap: float) -> None:
    """Lines of the schedules, named at their ends."""
    ends = []
    for name, kind, rank in style.schedules_in_order(frame):
        rows = frame[frame["schedule"] == name]
        look = style.schedule_look(kind, rank)
        ax.plot(rows["tokens_seen"], rows["lr"], color=look.color, linestyle=look.line_style)
        ends.append((float(rows["tokens_seen"].iloc[-1]), float(rows["lr"].iloc[-1]), name, look.color))
    marks.end_labels(ax, ends, gap=gap)
