"""Loss over size at equal compute, and how the size of least loss grows with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, scales, select, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.science.laws.isoflop import MIN_POINTS, budgets
from glidepath.science.laws.size_horizon import FLOPS_PER_PARAMETER_AND_TOKEN
from glidepath.study.figure_list import ISOFLOP

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Size of least loss at equal compute"
LAW, PARABOLA = "#0072B2", "#D55E00"
GROUP = ["schedule", "batch_sequences"]
ITEMS = {"n_params_of_profile": "minimum", "n_params_of_parabola": "parabola", "n_params_counted": "law"}


def data(tables: Tables) -> pd.DataFrame:
    """The schedule and batch with most budgets: its runs, the minima of its profiles, and its law."""
    law = tables[f"{ISOFLOP}/predictions"]
    minima = law[law["quantity"] == "n_params_of_profile"]
    if minima.empty:
        return tidy("isoflop")
    counts = minima.groupby(GROUP, sort=False).size()
    schedule, batch = counts.index[int(counts.to_numpy().argmax())]
    law = law[(law["schedule"] == schedule) & (law["batch_sequences"] == batch)]
    at = law[law["quantity"] == "val_loss_of_profile"].set_index("x")["value"]
    law = law[law["quantity"].isin(ITEMS)].assign(item=law["quantity"].map(ITEMS))
    law = law.assign(n_params_counted=law["value"], train_flops=law["x"], compute=law["x_name"])
    law["val_loss"] = law["x"].map(at).where(law["item"] == "minimum")
    runs = select.completed(tables["runs"])
    runs = runs[(runs["schedule"] == schedule) & (runs["batch_sequences"] == batch)]
    return tidy("isoflop", _profiles(runs, str(law["compute"].iloc[0])), law.sort_values(["item", "x"], kind="stable"))


def _profiles(runs: pd.DataFrame, compute: str) -> pd.DataFrame:
    """Lowest loss of every size at every budget that has enough of them, budgets as the law has them."""
    runs = runs.dropna(subset=["n_params_counted", "token_horizon"])
    if runs.empty:
        return runs
    of_runs = runs[["n_params_counted", "token_horizon"]].to_numpy(np.float64)
    flops = FLOPS_PER_PARAMETER_AND_TOKEN * of_runs.prod(axis=1)
    if compute == "train_flops_exact":
        flops = runs[compute].to_numpy(np.float64)
    runs = runs.assign(item="run", compute=compute, train_flops=flops, budget=budgets(flops))
    runs["train_flops"] = runs.groupby("budget")["train_flops"].transform("median")
    best = runs.sort_values(["budget", "n_params_counted", "val_loss"], kind="stable")
    best = best.drop_duplicates(["budget", "n_params_counted"])
    enough: pd.DataFrame = best[best.groupby("budget")["n_params_counted"].transform("size") >= MIN_POINTS]
    return enough


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No compute has a minimum of the loss over the sizes.",
            f"Train {MIN_POINTS} sizes or more at equal compute, of three computes or more, with the best size "
            "between them.",
        )
    figure, (left, right) = layout.panels(2, columns=2, width=5.2, height=4.4)
    _draw_profiles(left, frame)
    _draw_law(right, frame)
    schedule, batch = frame["schedule"].iloc[0], int(frame["batch_sequences"].iloc[0])
    of_batch = f", batch {batch} sequences" if batch else ""
    handles = [
        Line2D([], [], color=LAW, marker="*", markersize=13, linestyle="none", label="minimum"),
        Line2D([], [], color=PARABOLA, marker="x", markeredgewidth=2, linestyle="none", label="parabola's vertex"),
        Line2D([], [], color=LAW, label="law"),
    ]
    layout.heading(
        figure,
        TITLE,
        f"Schedule {schedule}{of_batch}. Left: a line per compute, darker is more; the lowest run of every size. "
        "Minima are those of Akima's interpolation of ln loss, bars and band the "
        f"{text.interval(level_of(frame))}; grey background: extrapolated. A parabola through seven points is "
        "biased where profiles are not symmetric.",
        handles,
    )
    return figure


def _draw_profiles(ax: Axes, frame: pd.DataFrame) -> None:
    runs, minima = frame[frame["item"] == "run"], frame[frame["item"] == "minimum"]
    computes = sorted(runs["train_flops"].unique())
    # The flanks of the profiles must not press the minima together.
    losses = pd.concat([runs["val_loss"], minima["val_loss"]]).dropna()
    low, top = (float(losses.min()), float(np.quantile(losses, 0.9))) if len(losses) else (0.0, 1.0)
    for compute, color in zip(computes, style.sequence(max(len(computes), 1)), strict=False):
        rows = runs[runs["train_flops"] == compute]
        ax.plot(rows["n_params_counted"], rows["val_loss"], "-o", color=color, markersize=4, linewidth=1.4)
        shown = rows[rows["val_loss"] <= top]
        last = (shown if len(shown) else rows).iloc[-1]
        ax.annotate(
            text.scientific(compute), (last["n_params_counted"], last["val_loss"]), xytext=(5, 0),
            textcoords="offset points", fontsize=9, color=color, va="center",
        )  # fmt: skip
    ax.plot(minima["n_params_counted"], minima["val_loss"], "*", color=LAW, markersize=13, zorder=5)
    margin = 0.06 * (top - low) or 0.05
    ax.set_ylim(low - margin, top + margin)
    ax.set_xscale("log")
    scales.log_steps(ax, "x", text.compact)
    ax.set_xlabel("parameters")
    ax.set_ylabel("validation loss [nat/token]")
    ax.set_title("Profiles")


def _draw_law(ax: Axes, frame: pd.DataFrame) -> None:
    law, minima, parabolas = (frame[frame["item"] == item] for item in ("law", "minimum", "parabola"))
    ax.plot(law["train_flops"], law["n_params_counted"], color=LAW)
    low, high = (law[name].to_numpy(np.float64) for name in ("ci_low", "ci_high"))
    ax.fill_between(law["train_flops"], low, high, color=LAW, alpha=0.13, linewidth=0)
    for _, row in minima.iterrows():
        x, y = row["train_flops"], row["n_params_counted"]
        marks.error_bars(ax, x, y, row["ci_low"], row["ci_high"], LAW)
    ax.plot(minima["train_flops"], minima["n_params_counted"], "*", color=LAW, markersize=13, zorder=5)
    ax.plot(parabolas["train_flops"], parabolas["n_params_counted"], "x", color=PARABOLA, markeredgewidth=2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    scales.log_steps(ax, "x", text.scientific)
    scales.log_steps(ax, "y", text.compact)
    inside = law.loc[~law["extrapolated"], "train_flops"]
    left, right = ax.get_xlim()
    if len(inside) and law["extrapolated"].any():
        ax.axvspan(float(inside.max()), right, color=style.BAND, alpha=0.35, linewidth=0, zorder=0)
        ax.set_xlim(left, right)
    told = (frame["compute"] == "train_flops_exact").all()
    ax.set_xlabel("training compute, as told [FLOP]" if told else "training compute 6·N·D [FLOP]")
    ax.set_ylabel("parameters")
    ax.set_title("Size of least loss")
