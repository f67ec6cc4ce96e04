"""Best learning rate over the batch at every horizon, and the rate and batch that are best together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, scales, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.study.figure_list.figure_entry import LR_BATCH_SURFACE

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Learning rate and batch that are best together"
GRID = ["model", "schedule", "tokens_per_parameter"]
MOST_PANELS = 6
"""Models and schedules with the most horizons."""
HELD = {"beta": "fixed_batch", "beta_at_best_batch": "best_batch"}


def data(tables: Tables) -> pd.DataFrame:
    """The law's rule over the batch of every grid, the grid's own optimum, and both exponents of the horizon."""
    parameters, predictions = (tables[f"{LR_BATCH_SURFACE}/{part}"] for part in ("parameters", "predictions"))
    horizons = tables["runs"].groupby(GRID, as_index=False)["token_horizon"].median()
    of_grid = predictions[(predictions["x_name"] == "batch_tokens") & predictions["value"].notna()]
    rules = of_grid.merge(horizons, on=GRID).assign(
        item="rule", batch_tokens=lambda rows: rows["x"], peak_lr=lambda rows: rows["value"]
    )
    own = parameters[parameters["tokens_per_parameter"] > 0].merge(horizons, on=GRID)
    batches = own[own["parameter"] == "batch_tokens"][[*GRID, "value", "ci_low", "ci_high"]]
    batches = batches.rename(columns={"value": "batch_tokens", "ci_low": "batch_low", "ci_high": "batch_high"})
    optima = own[(own["parameter"] == "peak_lr") & own["value"].notna()].merge(batches, on=GRID)
    optima = optima.assign(item="optimum", peak_lr=optima["value"])
    exponents = parameters[parameters["parameter"].isin(HELD) & parameters["value"].notna()]
    exponents = exponents.assign(item=exponents["parameter"].map(HELD), exponent=exponents["value"])
    order = ["schedule", "model", "token_horizon"]
    parts = [part.sort_values(order, kind="stable") for part in (rules, optima)]
    return tidy("lr_batch_surface", *parts, exponents.sort_values(["schedule", "model"], kind="stable"))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No size and horizon was trained at three learning rates and three batches.",
            "Train one size and horizon with several batches at several peak learning rates each.",
        )
    shown = frame[frame["item"].isin(["rule", "optimum"])]
    sized = shown.assign(size=shown["token_horizon"] / shown["tokens_per_parameter"])
    of_model = sized.groupby(["schedule", "model"]).agg(n=("tokens_per_parameter", "nunique"), size=("size", "median"))
    most = of_model.sort_values("n", ascending=False, kind="stable").iloc[:MOST_PANELS]
    wanted = list(most.sort_values(["schedule", "size"], kind="stable").index)
    horizons = sorted(shown["token_horizon"].unique())
    colors = dict(zip(horizons, style.sequence(len(horizons)), strict=True))
    figure, axes = layout.panels(len(wanted), columns=3, width=4.4, height=3.8, share_y=True)
    for ax, (schedule, model) in zip(axes, wanted, strict=True):
        here = shown[(shown["schedule"] == schedule) & (shown["model"] == model)]
        _draw_grid(ax, here, colors)
        ax.set_title(f"{model}, {schedule}", fontsize=12)
        ax.set_xlabel("batch [tokens]")
        ax.xaxis.set_tick_params(labelbottom=True)
    axes[0].set_ylabel("peak learning rate")
    left_out = len(of_model) - len(wanted)
    more = f" {left_out} more models and schedules are in the table." if left_out else ""
    layout.heading(
        figure,
        TITLE,
        "Lines: best rate at a given batch, by the law of all grids; stars: rate and batch that are best together in "
        f"one grid, with their {text.interval(level_of(frame))} (hollow: not inside the grid). Colours: horizon, "
        f"light to dark. {_exponents(frame)}{more}",
        [Line2D([], [], color=style.INK, label="best rate at a batch"), _star(style.INK)],
    )
    return figure


def _star(color: str) -> Line2D:
    return Line2D([], [], color=color, marker="*", markersize=13, linestyle="none", label="best rate and batch")


def _draw_grid(ax: Axes, frame: pd.DataFrame, colors: dict[float, str]) -> None:
    for horizon, rows in frame.groupby("token_horizon"):
        color = colors[float(str(horizon))]
        rule = rows[rows["item"] == "rule"]
        ax.plot(rule["batch_tokens"], rule["peak_lr"], color=color)
        ax.fill_between(rule["batch_tokens"], rule["ci_low"], rule["ci_high"], color=color, alpha=0.13, linewidth=0)
        for row in rows[rows["item"] == "optimum"].to_dict("records"):
            x, y = row["batch_tokens"], row["peak_lr"]
            if row["status"] == "converged":
                marks.error_bars(ax, x, y, row["ci_low"], row["ci_high"], color)
                if np.isfinite(row["batch_low"]) and np.isfinite(row["batch_high"]):
                    ax.plot([row["batch_low"], row["batch_high"]], [y, y], color=color, linewidth=1.6)
            face = color if row["status"] == "converged" else "white"
            ax.plot([x], [y], "*", color=style.INK, markersize=13, markerfacecolor=face, zorder=5)
    ax.set_yscale("log")
    rules = frame[frame["item"] == "rule"]
    # An optimum far outside its grid would take the scale with it.
    batches, rates = rules["batch_tokens"], rules["peak_lr"]
    scales.log_ticks(ax, "x", sorted(batches.unique())[::6], text.compact, most=4)
    ax.set_xlim(float(batches.min()) / 1.3, float(batches.max()) * 1.3)
    ax.set_ylim(float(rates.min()) / 2, float(rates.max()) * 2)
    scales.log_steps(ax, "y", text.learning_rate)


def _exponents(frame: pd.DataFrame) -> str:
    """Both exponents of the horizon in words, of the schedule with the most rows."""
    told = frame[frame["item"].isin(HELD.values())]
    if told.empty:
        return ""
    first = told.iloc[0]
    same = told[(told["schedule"] == first["schedule"]) & (told["model"] == first["model"])]
    words = []
    for item, held in (("fixed_batch", "a fixed batch"), ("best_batch", "the best batch")):
        for row in same[same["item"] == item].to_dict("records"):
            ends = f" [{row['ci_low']:+.2f}, {row['ci_high']:+.2f}]" if np.isfinite(row["ci_low"]) else ""
            words.append(f"b = {row['exponent']:+.2f}{ends} at {held}")
    return f"Rate ∝ horizon^(−b), {first['schedule']}: {', '.join(words)}."
