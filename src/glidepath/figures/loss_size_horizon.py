"""What the law in size and horizon leaves of every run's loss, and the size that it finds best at equal compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from glidepath.figures import layout, scales, select, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.study.figure_list import LOSS_SIZE_HORIZON

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "What the law in size and horizon leaves, and its best size at equal compute"


def data(tables: Tables) -> pd.DataFrame:
    """Residuals of all runs, and the optimum along compute of every schedule."""
    law, runs = tables[f"{LOSS_SIZE_HORIZON}/predictions"], tables["runs"]
    if law.empty:
        return tidy("loss_size_horizon")
    size = runs.groupby("model")["n_params_counted"].first().astype("float64")
    residuals = law[law["quantity"] == "residual"]
    key = ["model", "schedule", "batch_sequences", "x"]
    outlying = law[law["quantity"] == "outlying_residual"][key].assign(outlying=True)
    residuals = residuals.merge(outlying, on=key, how="left").assign(outlying=lambda rows: rows["outlying"].notna())
    residuals = residuals.assign(
        item="run",
        residual=residuals["value"],
        n_params_counted=residuals["model"].map(size),
        train_flops_6nd=6 * residuals["model"].map(size) * residuals["x"],
    )
    optimum = law[(law["quantity"] == "n_params_counted") & (law["x_name"] == "train_flops_6nd")]
    optimum = optimum.assign(item="optimum", n_params_counted=optimum["value"], train_flops_6nd=optimum["x"])
    parts = [
        select.in_family_order(select.with_families(part, runs), ["batch_sequences", "train_flops_6nd"])
        for part in (residuals, optimum)
    ]
    return tidy("loss_size_horizon", *parts)


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "The law in size and horizon could not be fitted.",
            "It needs three sizes (`models`) and three horizons (`tokens_per_parameter`) of one schedule.",
        )
    figure, (left, right) = layout.panels(2, columns=2, width=5.2, height=4.4)
    schedules = style.schedules_in_order(frame)
    for name, kind, rank in schedules:
        look, rows = style.schedule_look(kind, rank), frame[frame["schedule"] == name]
        runs = rows[rows["item"] == "run"]
        for ax, column in ((left, "residual"), (right, "n_params_counted")):
            ax.plot(
                runs["train_flops_6nd"], runs[column], look.marker, color=look.color, markersize=4.5, alpha=0.55,
                markeredgewidth=0, zorder=3,
            )  # fmt: skip
        out = runs[runs["outlying"]]
        left.plot(
            out["train_flops_6nd"], out["residual"], "o", color=style.ALARM, markersize=12, markerfacecolor="none"
        )
        _draw_optimum(right, rows[rows["item"] == "optimum"], look)
    left.axhline(0.0, color=style.INK, linewidth=1.0)
    left.set_ylabel("measured over predicted loss - 1")
    left.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    left.set_title("What the law leaves")
    right.set_ylabel("parameters")
    right.set_title("Size of least loss")
    right.set_yscale("log")
    scales.log_steps(right, "y", text.compact)
    for ax in (left, right):
        ax.set_xscale("log")
        scales.log_steps(ax, "x", text.scientific)
        ax.set_xlabel("training compute 6·N·D [FLOP]")
    handles = [style.schedule_handle(*schedule) for schedule in schedules]
    if frame["outlying"].any():
        label = "beyond 5 robust standard deviations"
        ring = Line2D([], [], color=style.ALARM, marker="o", markersize=11, linestyle="none", label=label)
        ring.set_markerfacecolor("none")
        handles.append(ring)
    layout.heading(
        figure,
        TITLE,
        "Points: runs, each at the best peak learning rate of its sweep. Lines: the size of least loss at a compute "
        f"by the law, with its {text.interval(level_of(frame))} where the law is identified; thin: "
        "extrapolated. All runs are in the fit, outlying ones too.",
        handles,
    )
    return figure


def _draw_optimum(ax: Axes, rows: pd.DataFrame, look: style.Look) -> None:
    for _, line in rows.groupby("model", sort=False):
        trained = line[~line["extrapolated"]]
        ax.plot(line["train_flops_6nd"], line["n_params_counted"], color=look.color, linewidth=1.0)
        ax.plot(trained["train_flops_6nd"], trained["n_params_counted"], color=look.color, linestyle=look.line_style)
        low, high = (line[name].to_numpy(np.float64) for name in ("ci_low", "ci_high"))
        ax.fill_between(line["train_flops_6nd"], low, high, color=look.color, alpha=0.13, linewidth=0)
