"""Final loss against peak learning rate for models that differ in width or depth alone, and where the optimum moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import laws, layout, marks, scales, select, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.study.figure_list import LR_OPTIMUM, LR_TRANSFER
from glidepath.study.size_groups import SizeGroup, size_groups

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Does the optimal learning rate transfer over width and depth?"
WORST_SHOWN = 0.6
"""The scale ends so far above the lowest loss of a panel [nat/token]; worse points are marked at the top edge."""
DIMENSIONS = {"d_model": "width", "n_layer": "depth"}


def data(tables: Tables) -> pd.DataFrame:
    """Per group of models: mean losses over the grid, optima with their intervals, and the shift per doubling."""
    runs = tables["runs"]
    parts = []
    for group in size_groups(select.completed(runs)):
        here = runs.merge(
            group.members[["model", "size", "tokens_per_parameter"]], on=["model", "tokens_per_parameter"]
        )
        here = here[(here["schedule"] == group.schedule) & (here["batch_sequences"] == group.batch_sequences)]
        points = _points(here)
        optima = _optima(tables[f"{LR_OPTIMUM}/parameters"], points, group)
        shifts = tables[f"{LR_TRANSFER}/parameters"]
        shifts = shifts[
            (shifts["model"] == group.label)
            & (shifts["schedule"] == group.schedule)
            & (shifts["batch_sequences"] == group.batch_sequences)
        ].assign(item="shift", shift=shifts["value"], shift_se=shifts["se"])
        parts.append(
            pd.concat([part for part in (points, optima, shifts) if len(part)]).assign(
                group=group.label, varied=group.varied, schedule=group.schedule, token_horizon=_horizon(group)
            )
        )
    return tidy("lr_transfer", *parts)


def _horizon(group: SizeGroup) -> float:
    return float(group.members["token_horizon"].mean())


def _points(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean loss per size and learning rate; one at which a replicate diverged or was excluded has none and says so, as
    it is left out of the fits."""
    keys = ["model", "size", "tokens_per_parameter", "peak_lr"]
    lost = runs[runs["status"].isin(["diverged", "excluded"])][keys].drop_duplicates()
    means = (
        select.completed(runs)
        .groupby(keys, as_index=False)
        .agg(val_loss=("val_loss", "mean"), n_replicates=("replicate", "nunique"))
    )
    means = means.merge(lost.assign(lost=True), on=keys, how="left")
    means = means[means["lost"].isna()].assign(item="loss")
    return pd.concat([means, lost.assign(item="lost")]).sort_values(["size", "peak_lr"], kind="stable")


def _optima(parameters: pd.DataFrame, points: pd.DataFrame, group: SizeGroup) -> pd.DataFrame:
    """Optimal learning rate of every size with the loss there, if its sweep was fitted."""
    rows = parameters[
        (parameters["schedule"] == group.schedule) & (parameters["batch_sequences"] == group.batch_sequences)
    ].merge(group.members[["model", "size", "tokens_per_parameter"]], on=["model", "tokens_per_parameter"])
    at = rows[rows["parameter"] == laws.OPTIMAL_PEAK_LR]
    lowest = rows[rows["parameter"] == "val_loss"].set_index("model")["value"]
    at = at[at["value"].notna() & at["model"].isin(points["model"])]
    return at.assign(item="optimum", peak_lr=at["value"], val_loss=at["model"].map(lowest)).sort_values("size")


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No two models differ in width alone or depth alone and share a token horizon.",
            "Give the sizes `tokens_per_parameter` that make their token horizons equal, each in a block of its own.",
        )
    groups = list(dict.fromkeys(zip(frame["group"], frame["schedule"], strict=True)))
    schedules = list(dict.fromkeys(frame["schedule"]))
    titles = _titles(list(dict.fromkeys(frame["group"])))
    figure, axes = layout.panels(len(groups), columns=3, width=4.4, height=3.8, share_x=True)
    for ax, (group, schedule) in zip(axes, groups, strict=True):
        here = frame[(frame["group"] == group) & (frame["schedule"] == schedule)]
        _draw_group(ax, here)
        what = titles[group] + (f", {schedule}" if len(schedules) > 1 else "")
        ax.set_title(f"{what}\n{_shift(here)}", fontsize=12)
        ax.set_xlabel("peak learning rate")
        ax.xaxis.set_tick_params(labelbottom=True)
    axes[0].set_ylabel("validation loss [nat/token]")
    handles = [Line2D([], [], color=style.INK, marker="*", markersize=13, linestyle="none", label="optimum")]
    if (frame["item"] == "lost").any():
        label = "a replicate diverged or was excluded"
        cross = Line2D([], [], color=style.ALARM, marker="x", markeredgewidth=2.4, linestyle="none", label=label)
        handles.append(cross)
    layout.heading(
        figure,
        TITLE,
        f"Mean over replicates, schedule {', '.join(schedules)}; a star is the optimum of the parabola with its "
        f"{text.interval(level_of(frame))} (hollow: not converged). Above a panel: log2 of the factor by which "
        "the optimum moves per doubling of the size, ± standard error; 0 is transfer. Triangles are above the scale.",
        handles,
    )
    return figure


def _titles(labels: list[str]) -> dict[str, str]:
    """Parametrisation and fixed dimension of every group, and of the rest what not all groups have in common."""
    parts = {label: label.split(", ") for label in labels}
    shared = set.intersection(*(set(of) for of in parts.values()))
    return {
        label: ", ".join([*of[:2], *(part for part in of[2:] if part not in shared)]) for label, of in parts.items()
    }


def _draw_group(ax: Axes, frame: pd.DataFrame) -> None:
    sizes = sorted(frame["size"].dropna().unique())
    colors = dict(zip(sizes, style.sequence(len(sizes)), strict=True))
    losses = frame[frame["item"] == "loss"]
    low = float(frame.loc[frame["item"].isin(["loss", "optimum"]), "val_loss"].min())
    high = min(float(losses["val_loss"].max()), low + WORST_SHOWN)
    ax.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    ax.set_xscale("log")
    for i, size in enumerate(sizes):
        rows, color, marker = losses[losses["size"] == size], colors[size], style.MARKERS[i % len(style.MARKERS)]
        ax.plot(rows["peak_lr"], rows["val_loss"], color=color, marker=marker, label=f"{int(size)}")
        marks.edge_marks(ax, list(rows.loc[rows["val_loss"] > ax.get_ylim()[1], "peak_lr"]), color, marker="^")
    marks.edge_marks(ax, list(frame.loc[frame["item"] == "lost", "peak_lr"]), style.ALARM)
    for _, optimum in frame[frame["item"] == "optimum"].iterrows():
        color, y = colors[optimum["size"]], optimum["val_loss"]
        if np.isfinite(optimum["ci_low"]) and np.isfinite(optimum["ci_high"]):
            ax.plot([optimum["ci_low"], optimum["ci_high"]], [y, y], color=style.INK, linewidth=1.6, zorder=4)
        face = color if optimum["status"] == "converged" else "white"
        ax.plot(
            [optimum["peak_lr"]], [y], "*", color=style.INK, markersize=14, markerfacecolor=face, zorder=5
        )  # fmt: skip
    scales.log_ticks(ax, "x", frame.loc[frame["item"].isin(["loss", "lost"]), "peak_lr"], text.learning_rate, most=5)
    first = frame.iloc[0]
    ax.legend(title=DIMENSIONS[first["varied"]], fontsize=10, title_fontsize=10, loc="best")


def _shift(frame: pd.DataFrame) -> str:
    """Shift per doubling in words."""
    rows = frame[frame["item"] == "shift"]
    if rows.empty or not np.isfinite(rows["shift"].iloc[0]):
        return "shift unknown: fewer than two optima"
    shift, error = float(rows["shift"].iloc[0]), float(rows["shift_se"].iloc[0])
    return f"shift {shift:+.2f} ± {error:.2f}" if np.isfinite(error) else f"shift {shift:+.2f}, no interval"
