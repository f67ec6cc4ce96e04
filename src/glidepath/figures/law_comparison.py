"""What every law missed on losses that were hidden from it, beside what no law would have missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, scales, style
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "What the laws missed on runs hidden from them"
LAW, BASELINE = "#0072B2", style.FAINT
ROW = 0.42
DRAWN = ("val_loss", "loss_curve_end")
"""Losses at the end of training."""


def data(tables: Tables) -> pd.DataFrame:
    """Laws of losses, by what was hidden, those on most of the same runs first."""
    rows = tables["law_comparison"]
    return tidy("law_comparison", rows[rows["quantity"].isin(DRAWN) & (rows["n_hidden"] > 0)])


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE, "No law could be tried on hidden losses.", "Add horizons, sizes or schedules."
        )
    kinds = list(dict.fromkeys(frame["holdout_kind"]))
    heights = [len(frame[frame["holdout_kind"] == kind]) for kind in kinds]
    figure = Figure(figsize=(9.6, 1.1 * len(kinds) + ROW * sum(heights)))
    axes = figure.subplots(len(kinds), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights})[:, 0]
    for ax, kind in zip(axes, kinds, strict=True):
        _draw_kind(ax, frame[frame["holdout_kind"] == kind])
        ax.set_title(f"hidden: {kind}")
    errors = frame[["mean_absolute_error", "baseline_mean_absolute_error"]].to_numpy(np.float64)
    errors = errors[np.isfinite(errors) & (errors > 0)]
    if len(errors):
        axes[0].set_xscale("log")
        axes[0].set_xlim(errors.min() / 1.5, errors.max() * 3.2)
        scales.log_steps(axes[-1], "x", lambda value: f"{value:g}")
    axes[-1].set_xlabel("mean absolute error [nat/token]")
    layout.heading(
        figure,
        TITLE,
        "Mean over the hidden points. Right of a law: how many, and the share of them inside its interval for a single "
        "new run. Laws in one panel may have been tried on different runs: the table says which can be ranked.",
        [
            Line2D([], [], marker="o", linestyle="none", color=LAW, label="law"),
            Line2D(
                [], [], marker="D", linestyle="none", color=BASELINE, markerfacecolor="white",
                label="nearest run carried over",
            ),
        ],
    )  # fmt: skip
    return figure


def _draw_kind(ax: Axes, rows: pd.DataFrame) -> None:
    for y, (_, row) in enumerate(rows.iterrows()):
        error, baseline = row["mean_absolute_error"], row["baseline_mean_absolute_error"]
        if np.isfinite(baseline):
            ax.plot([error, baseline], [y, y], color=style.GRID, linewidth=2.5, zorder=1)
            ax.plot([baseline], [y], "D", color=BASELINE, markerfacecolor="white")
        ax.plot([error], [y], "o", color=LAW, zorder=3)
        inside = f", {100 * row['covered']:.0f} % inside" if np.isfinite(row["covered"]) else ""
        ax.annotate(
            f"{row['n_hidden']} points{inside}", (1.0, y), xycoords=("axes fraction", "data"), xytext=(-4, 0),
            textcoords="offset points", ha="right", va="center", fontsize=10.5, color=style.FAINT,
        )  # fmt: skip
    ax.set_yticks(range(len(rows)), [str(law).replace("_", " ") for law in rows["law"]])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
