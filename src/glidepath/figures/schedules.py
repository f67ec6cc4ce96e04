"""The learning rates that were applied, one line per schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from glidepath.figures import select, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Learning-rate schedules as applied"


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
        return style.nothing_to_draw(
            TITLE,
            "No update was logged.",
            "Train at least one cell; a cell that diverges at once logs nothing.",
        )
    figure, (ax,) = style.panels(1)
    ends = []
    for name, kind, rank in style.schedules_in_order(frame):
        rows = frame[frame["schedule"] == name]
        look = style.schedule_look(kind, rank)
        ax.plot(rows["tokens_seen"], rows["lr"], color=look.color, linestyle=look.line_style)
        ends.append((float(rows["tokens_seen"].iloc[-1]), float(rows["lr"].iloc[-1]), name, look.color))
    ax.set_ylim(0, 1.08 * float(frame["lr"].max()))
    ax.set_xlim(0, float(frame["tokens_seen"].max()))
    style.count_axis(ax, "x")
    ax.yaxis.set_major_formatter(lambda value, _: text.learning_rate(value))
    ax.set_xlabel("training tokens")
    ax.set_ylabel("learning rate applied")
    style.end_labels(ax, ends)
    first = frame.iloc[0]
    style.heading(
        figure,
        TITLE,
        f"Model {first['model']}, {first['tokens_per_parameter']:g} tokens per parameter, peak "
        f"{text.learning_rate(first['peak_lr'])}; read from the logged updates, before per-group "
        "multipliers.",
    )
    return figure
