"""Raw and averaged losses along trajectories that were trained elsewhere, and the gain, a column per trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, scales, style
from glidepath.figures.frames import tidy
from glidepath.study.averaging_config import BEST_WINDOW

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Averaged checkpoints along training"
MOST_COLUMNS = 4
MOST_AVERAGES = 5
TWO_SIDED_95 = 1.96
RAW_COLOR = style.KIND_COLORS["constant"]
COLORS = ("#E69F00", "#0072B2", "#CC79A7", "#009E73", "#D55E00")
OCTAVES = 3
"""Last doublings of training whose losses set the limits."""
MANY_POINTS = 40
"""From here on points are drawn as a line only."""
NO_AVERAGE = "No average is defined at any point.", "Give more checkpoints, or schemes that average fewer of them."


def data(tables: Tables) -> pd.DataFrame:
    """Losses on the domain that is written first, raw ones first, averages in the order of their table."""
    averages = tables["averages"]
    if averages.empty:
        return tidy("checkpoint_averages")
    rows = averages[averages["domain"] == averages["domain"].iloc[0]]
    raw = rows.drop_duplicates(["cell_id", "updates_done"])
    return tidy(
        "checkpoint_averages",
        raw.assign(average="raw", averaging_scheme="raw", val_loss=raw["val_loss_raw"], gain=np.nan, gain_sem=np.nan),
        rows.assign(val_loss=rows["val_loss_averaged"]),
    )


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(TITLE, *NO_AVERAGE)
    trajectories = list(frame["cell_id"].unique())
    shown = trajectories[:MOST_COLUMNS]
    averages = chosen_averages(frame)
    columns = len(shown)
    figure, axes = layout.panels(2 * columns, columns=columns, width=3.9, height=3.0)
    for i, name in enumerate(shown):
        above, below = axes[i], axes[columns + i]
        rows = frame[frame["cell_id"] == name]
        marker = "o" if rows["tokens_seen"].nunique() <= MANY_POINTS else None
        raw = rows[rows["average"] == "raw"]
        above.plot(raw["tokens_seen"], raw["val_loss"], color=RAW_COLOR, marker=marker, markersize=4)
        for average, color in averages.items():
            line = rows[rows["average"] == average].sort_values("tokens_seen")
            half = TWO_SIDED_95 * line["gain_sem"]
            above.plot(line["tokens_seen"], line["val_loss"], color=color, marker=marker, markersize=4)
            below.plot(line["tokens_seen"], line["gain"], color=color, marker=marker, markersize=4)
            below.fill_between(line["tokens_seen"], line["gain"] - half, line["gain"] + half, color=color, alpha=0.15)
        below.axhline(0.0, color=RAW_COLOR, linewidth=1.4)
        above.set_title(str(name))
        above.sharex(below)
        above.tick_params(labelbottom=False)
        # Early losses are so high that what averages gain later would vanish beside them.
        late = rows.loc[rows["tokens_seen"] >= rows["tokens_seen"].max() / 2**OCTAVES, "val_loss"]
        margin = 0.05 * (late.max() - late.min())
        above.set_ylim(late.min() - margin, late.max() + margin)
        scales.count_axis(below, "x", most=4)
        below.set_xlabel("training tokens")
    axes[0].set_ylabel("val. loss [nat/token]")
    axes[columns].set_ylabel("gain of averaging\n[nat/token]")
    drawn = {"raw", BEST_WINDOW, *averages}
    left_out = [
        *map(str, trajectories[columns:]),
        *(str(name) for name in frame["average"].unique() if name not in drawn),
    ]
    only = ", ".join(left_out)
    layout.heading(
        figure,
        TITLE,
        "Above: loss of the checkpoints themselves and of their averages on the same validation blocks. Below: raw "
        "minus averaged loss; band: 95 % over validation blocks, paired."
        + (f" In the Parquet only: {only}." if only else ""),
        [
            Line2D([], [], color=RAW_COLOR, label="raw"),
            *(Line2D([], [], color=color, label=average) for average, color in averages.items()),
        ],
    )
    return figure


def chosen_averages(frame: pd.DataFrame) -> dict[str, str]:
    """The averages of largest median gain over all points, with their colours, in the order of the table."""
    averages = frame[frame["average"] != "raw"]
    if averages.loc[averages["averaging_scheme"] == "window", "average"].nunique() == 1:
        averages = averages[averages["averaging_scheme"] != BEST_WINDOW]  # It is that one.
    best = averages.groupby("average")["gain"].median().sort_values(ascending=False, kind="stable")
    kept = set(best.index[:MOST_AVERAGES])
    names = [str(name) for name in averages["average"].unique() if name in kept]
    return dict(zip(names, COLORS, strict=False))
