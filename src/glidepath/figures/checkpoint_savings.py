"""How many updates the raw weights still need to be as good as their average is now, a panel per trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, scales, style, text
from glidepath.figures.checkpoint_averages import COLORS, MANY_POINTS, MOST_AVERAGES, MOST_COLUMNS, NO_AVERAGE
from glidepath.figures.frames import level_of, tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Training that averaging saves"


def data(tables: Tables) -> pd.DataFrame:
    """All rows; where the average is not below the raw weights nothing is saved."""
    saved = tables["checkpoint_steps_saved"]
    none = saved["status"] == "none"
    return tidy(
        "checkpoint_savings",
        saved.assign(
            updates_saved=saved["updates_saved"].mask(none, 0.0),
            hours_saved=saved["hours_saved"].mask(none & saved["hours_saved"].notna(), 0.0),
        ),
    )


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(TITLE, *NO_AVERAGE)
    trajectories = list(frame["cell_id"].unique())
    shown = trajectories[:MOST_COLUMNS]
    best = frame.groupby("average")["updates_saved"].median().sort_values(ascending=False, kind="stable")
    kept = set(best.index[:MOST_AVERAGES])
    averages = dict(zip([name for name in frame["average"].unique() if name in kept], COLORS, strict=False))
    figure, axes = layout.panels(len(shown), columns=2, width=5.0, height=3.4)
    for ax, name in zip(axes, shown, strict=True):
        rows = frame[frame["cell_id"] == name]
        marker = "o" if rows["tokens_seen"].nunique() <= MANY_POINTS else None
        for average, color in averages.items():
            line = rows[rows["average"] == average].sort_values("tokens_seen")
            ax.plot(line["tokens_seen"], line["updates_saved"], color=color, marker=marker, markersize=5)
            low, high = line["updates_saved_low"], line["updates_saved_high"]
            # An open end reaches to the end of the trajectory.
            rest = rows["updates_done"].max() - line["updates_done"]
            ax.fill_between(
                line["tokens_seen"],
                low,
                high.fillna(rest).where(low.notna()),
                color=color,
                alpha=0.12,
                linewidth=0,
            )
            least = line[line["status"] == "beyond"]
            ax.plot(
                least["tokens_seen"],
                least["updates_saved"],
                linestyle="none",
                marker="^",
                markersize=7,
                markerfacecolor="white",
                color=color,
            )
        ax.set_title(str(name))
        scales.count_axis(ax, "x")
        scales.count_axis(ax, "y")
        ax.set_ylim(bottom=0.0, top=max(1.0, 1.05 * float(np.nanmax(rows["updates_saved"]))))
        ax.set_xlabel("training tokens")
    axes[0].set_ylabel("updates saved")
    handles = [Line2D([], [], color=color, label=str(average)) for average, color in averages.items()]
    if (frame["status"] == "beyond").any():
        handles.append(
            Line2D([], [], color=style.INK, marker="^", markerfacecolor="white", linestyle="none", label="at least")
        )
    more = "" if len(trajectories) == len(shown) else f" {len(trajectories) - len(shown)} more are in the Parquet only."
    layout.heading(
        figure,
        TITLE,
        "Updates from a point on until the raw weights first reach the loss that the average has at that point; at "
        "least, where they do not within the trajectory. Bands: "
        f"{text.interval(level_of(frame))} from the noise of checkpoints and of the text, up to the end of "
        f"training where they are open; another training is not in them.{more}",
        handles,
    )
    return figure
