"""Paired differences to the reference schedule: a panel per horizon, a row per schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from glidepath.figures import layout, select, style, text
from glidepath.figures.frames import level_of, tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Paired difference to the reference schedule"
WIDE = "\N{EM SPACE}" * 2
"""SVG would fold ordinary spaces into one."""
MILLI = 1000.0
"""Differences are drawn in thousandths of a nat."""


def data(tables: Tables) -> pd.DataFrame:
    """Comparisons of the main model at its main batch; a schedule with itself is left out."""
    runs = select.main_model(tables["runs"])
    rows = tables["comparisons"].merge(runs[["model", "batch_sequences", "batch_tokens"]].drop_duplicates())
    rows = rows[(rows["schedule"] != rows["reference_schedule"]) & np.isfinite(rows["difference"])]
    rows = select.with_families(rows, tables["runs"])
    return tidy("schedule_differences", select.in_family_order(rows, ["reference_schedule", "tokens_per_parameter"]))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No schedule can be compared with the reference.",
            "Both need a completed cell at the same model, horizon, batch and replicate; see "
            "`analysis.reference_schedule`.",
        )
    reference = str(frame["reference_schedule"].iloc[0])
    frame = frame[frame["reference_schedule"] == reference]
    horizons = sorted(frame["tokens_per_parameter"].unique())
    schedules = style.schedules_in_order(frame)
    figure, axes = layout.panels(
        len(horizons),
        columns=max(1, len(horizons)),
        width=3.4,
        height=1.8 + 0.5 * len(schedules),
        share_x=True,
        share_y=True,
    )
    for ax, horizon in zip(axes, horizons, strict=True):
        _draw_horizon(ax, frame[frame["tokens_per_parameter"] == horizon], schedules)
        ax.set_title(f"{horizon:g} tokens/parameter")
    axes[0].set_yticks(range(len(schedules)), [name for name, _, _ in schedules])
    axes[0].set_ylim(len(schedules) - 0.4, -0.6)
    for label, (_, kind, rank) in zip(axes[0].get_yticklabels(), schedules, strict=True):
        label.set_color(style.schedule_look(kind, rank).color)
        label.set_fontweight("bold")
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(5, symmetric=False))
    axes[len(axes) // 2].set_xlabel(
        f"← better than {reference}{WIDE}loss difference [10⁻³ nat/token]{WIDE}worse →",
        x=0.5 if len(axes) % 2 else -0.03,
    )
    first = frame.iloc[0]
    edge = " † best learning rate at the edge of its grid." if frame["edge_of_grid"].any() else ""
    layout.heading(
        figure,
        f"{TITLE} ({reference})",
        f"Model {first['model']}, {text.compact(first['batch_tokens'])} tokens per update; each schedule at "
        f"its own best peak learning rate. Bars: {text.interval(level_of(frame))} of the paired "
        f"difference over replicates and validation blocks.{edge}",
        [
            Line2D([], [], color=style.INK, marker="o", linestyle="none", label="resolved"),
            Line2D(
                [],
                [],
                color=style.INK,
                marker="o",
                markerfacecolor="white",
                linestyle="none",
                label="not resolved",
            ),
            Patch(color=style.BAND, label="below the detectable difference"),
        ],
    )
    return figure


def _draw_horizon(ax: Axes, rows: pd.DataFrame, schedules: list[tuple[str, str, int]]) -> None:
    ax.axvline(0.0, color=style.INK, linewidth=1.2)
    ax.grid(visible=False, axis="y")
    for y, (name, kind, rank) in enumerate(schedules):
        found = rows[rows["schedule"] == name]
        if found.empty:
            ax.text(
                0.02,
                y,
                "no pair",
                va="center",
                color=style.FAINT,
                fontsize=10.5,
                transform=ax.get_yaxis_transform(),
            )
            continue
        row = found.iloc[0]
        look = style.schedule_look(kind, rank)
        detectable = MILLI * row["minimum_detectable_difference"]
        if np.isfinite(detectable):
            ax.barh([y], [2 * detectable], left=-detectable, height=0.62, color=style.BAND, zorder=1)
        x = MILLI * row["difference"]
        if np.isfinite(row["ci_low"]) and np.isfinite(row["ci_high"]):
            ax.errorbar(
                [x],
                [y],
                xerr=[[x - MILLI * row["ci_low"]], [MILLI * row["ci_high"] - x]],
                fmt="none",
                ecolor=look.color,
                elinewidth=2.0,
                capsize=4,
            )
        resolved = row["verdict"] in ("better", "worse")
        ax.plot(
            [x],
            [y],
            look.marker,
            color=look.color,
            markersize=9,
            markerfacecolor=look.color if resolved else "white",
        )
        if row["edge_of_grid"]:
            ax.annotate(
                "†",
                (x, y),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=12,
                color=style.INK,
            )
