"""The optimised schedule beside the best trained one, with the losses that its law predicts for both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, scales, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "The schedule that the best law asks for"
COLORS = ("#CC79A7", "#009E73")
MOST_POINTS = 1500
"""Of a line."""


def data(tables: Tables) -> pd.DataFrame:
    """Every update, or so many of them that a line is smooth."""
    rows = tables["verify/optimised_schedule"]
    every = max(1, len(rows) // (2 * MOST_POINTS))
    return tidy("optimised_schedule", rows[(rows["step"] % every == 0)].reset_index(drop=True))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE, "No schedule has been searched for.", "Add annealing to analysis.laws and run: snakemake verify."
        )
    figure, (ax,) = layout.panels(1)
    handles = []
    for (name, rows), color in zip(frame.groupby("schedule", sort=False), COLORS, strict=False):
        ax.plot(rows["step"], rows["lr"], color=color)
        end = rows.iloc[0]
        band = f", 90 % {end['low_90']:.3f} … {end['high_90']:.3f}" if np.isfinite(end["low_90"]) else ""
        label = f"{name}: {end['val_loss_predicted']:.4f} nat/token{band}"
        handles.append(Line2D([], [], color=color, label=label))
    ax.set_xlabel("update")
    ax.set_ylabel("learning rate")
    ax.set_ylim(0, None)
    scales.count_axis(ax, "x")
    first = frame.iloc[0]
    layout.heading(
        figure,
        TITLE,
        f"Law: {first['law']}; {first['model']}, peak learning rate {text.learning_rate(first['peak_lr'])}. Losses are "
        "predictions at the end, on the validation subset; intervals are those of a single run.",
        handles,
    )
    return figure
