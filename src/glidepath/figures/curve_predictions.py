"""Loss along training of runs that were hidden from a law, as it predicts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from glidepath.figures import layout, scales, select, style, text
from glidepath.figures.frames import tidy
from glidepath.study.figure_list import CURVES_OF

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Loss curves hidden from the law that predicts them"
MOST = 8
"""Panels."""
GROUP = ["model", "batch_sequences", "peak_lr"]


def data(tables: Tables) -> pd.DataFrame:
    """One run of every hidden schedule, at its longest horizon, of the group with most of them: of the largest model,
    and there at the peak learning rate whose losses are lowest. Runs that were declared hidden, if there are any; else
    schedules hidden in turn."""
    hidden = tables[CURVES_OF][tables[CURVES_OF]["hidden"]]
    declared = hidden[hidden["holdout"] == "declared"]
    hidden = declared if len(declared) else hidden[hidden["holdout"] == "schedule"]
    if hidden.empty:
        return tidy("curve_predictions")
    counts = hidden.groupby(GROUP).agg(n=("schedule", "nunique"), lowest=("val_loss", "min")).reset_index()
    chosen = counts.sort_values(["n", "lowest"], ascending=[False, True], kind="stable").iloc[:1]
    rows = hidden.merge(chosen[GROUP], on=GROUP)
    longest = rows.sort_values(["total_steps", "cell_id"], ascending=[False, True]).drop_duplicates("schedule")
    rows = rows[rows["cell_id"].isin(longest["cell_id"])]
    rows = select.with_families(rows, tables["runs"])
    return tidy("curve_predictions", select.in_family_order(rows, ["updates_done"]))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No run was hidden from the law of loss curves.",
            "Train two schedules at one peak learning rate, with evaluations along training, and add annealing to "
            "analysis.laws.",
        )
    schedules = style.schedules_in_order(frame)[:MOST]
    figure, axes = layout.panels(len(schedules), columns=4, share_y=True)
    for ax, (name, kind, rank) in zip(axes, schedules, strict=True):
        _draw_schedule(ax, frame[frame["schedule"] == name], style.schedule_look(kind, rank).color)
        ax.set_title(name)
        ax.set_xlabel("updates")
        scales.count_axis(ax, "x", most=4)
    axes[0].set_ylabel("validation loss [nat/token]")
    first = frame.iloc[0]
    rest = len(style.schedules_in_order(frame)) - len(schedules)
    layout.heading(
        figure,
        TITLE,
        f"Law: {first['law']}; {first['model']}, batch {first['batch_sequences']} sequences, peak learning rate "
        f"{text.learning_rate(first['peak_lr'])}. Runs were hidden as declared, or each schedule with all its runs in "
        "turn, and predicted from the others; only points that no fitted run shares are drawn. Dark and light band: "
        "50 % and 90 % interval of a single run." + (f" {rest} more schedules are in the table." if rest > 0 else ""),
        [
            Line2D([], [], color=style.INK, linestyle="none", marker="o", label="measured"),
            Line2D([], [], color=style.INK, label="predicted"),
            Line2D([], [], color=style.FAINT, linestyle=":", label="most similar fitted run"),
            Patch(color=style.BAND, label="interval"),
        ],
    )
    return figure


def _draw_schedule(ax: Axes, rows: pd.DataFrame, color: str) -> None:
    x = rows["updates_done"].astype(float)
    for low, high, alpha in (("low_90", "high_90", 0.12), ("low_50", "high_50", 0.2)):
        ax.fill_between(x, rows[low], rows[high], color=color, alpha=alpha, linewidth=0)
    ax.plot(x, rows["baseline"], color=style.FAINT, linestyle=":", linewidth=1.4)
    ax.plot(x, rows["val_loss_predicted"], color=color)
    ax.plot(x, rows["val_loss"], "o", color=color, markersize=5, markerfacecolor="white")
