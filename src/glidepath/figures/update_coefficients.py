"""Learning rates, and what they make of the final weights: a row of two panels per schedule family."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glidepath.figures import layout, marks, scales, select, style, text
from glidepath.figures.frames import tidy
from glidepath.science.ema_view import update_coefficients

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Learning rates, and how much each update weighs in the final weights"
GROUP = "matrix"
MOST_POINTS = 500
"""Updates drawn per schedule."""
MOST_TOGETHER = 6
"""Schedules in one pair of panels; more are divided by family."""
DECADES = 5.0
"""Coefficients are shown down to so far below the largest."""


def data(tables: Tables) -> pd.DataFrame:
    """Learning rates and coefficients of the hidden matrices, of one cell per schedule, thinned out evenly."""
    logged, view = tables["updates"], tables["ema_view"]
    view = view[(view["group"] == GROUP) & (view["status"] == "ok")].drop(columns="status")
    runs = select.one_per_schedule(select.among(select.among(tables["runs"], logged), view)).merge(view, on="cell_id")
    parts = []
    for _, run in runs.iterrows():
        applied = logged[logged["cell_id"] == run["cell_id"]].sort_values("step")
        lr = applied["lr"].to_numpy() * run["lr_multiplier"]
        coefficients = update_coefficients(lr, applied["weight_decay"].to_numpy() * run["weight_decay_multiplier"])
        part = applied.assign(lr=lr, log10_coefficient=coefficients.log_updates / np.log(10.0))
        part["log10_coefficient"] = part["log10_coefficient"].where(np.isfinite(part["log10_coefficient"]))
        names = ("model", "schedule", "tokens_per_parameter", "peak_lr", "initial_coefficient", "effective_updates")
        kept = np.unique(np.linspace(0, len(part) - 1, MOST_POINTS).round().astype(int))
        parts.append(part.iloc[kept].assign(**{name: run[name] for name in names}))
    if not parts:
        return tidy("update_coefficients")
    frame = select.with_families(pd.concat(parts), tables["runs"])
    return tidy("update_coefficients", select.in_family_order(frame, ["schedule", "step"]))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No completed cell has both a weight decay and a record of every update: see `status` in ema_view.parquet.",
            "Without weight decay the weights are a sum of updates and not an average; the figure of the schedules "
            "shows the learning rates.",
        )
    families = select.by_family(frame, MOST_TOGETHER)
    figure, axes = layout.panels(2 * len(families), columns=2, width=6.4, height=2.9 if len(families) > 1 else 4.0)
    lowest, highest = _limits(frame)
    horizon = float(frame["tokens_seen"].max())
    for row, (name, rows) in enumerate(families):
        left, right = axes[2 * row], axes[2 * row + 1]
        left.set_ylim(0, 1.08 * float(frame["lr"].max()))
        right.set_yscale("log")
        right.set_ylim(lowest, highest)
        _draw_family(left, right, rows)
        for ax in (left, right):
            ax.set_xlim(0, horizon)
            scales.count_axis(ax, "x", most=4)
        left.yaxis.set_major_formatter(lambda value, _: text.learning_rate(value))
        right.set_ylabel("weight in the final weights")
        left.set_ylabel("learning rate")
        if name:
            left.set_title(name)
    for ax in axes[-2:]:
        ax.set_xlabel("training tokens")
    first = frame.iloc[0]
    layout.heading(
        figure,
        TITLE,
        f"Model {first['model']}, {first['tokens_per_parameter']:g} tokens per parameter, peak "
        f"{text.learning_rate(first['peak_lr'])}; hidden matrices, their multipliers included. The weights of all "
        f"updates and of the initialisation sum to 1; the initialisation has {_initial_share(frame)} of it. In "
        "brackets: effective number of averaged updates, 1/Σc² of weights that sum to 1.",
    )
    return figure


def _limits(frame: pd.DataFrame) -> tuple[float, float]:
    """Ends of the scale of coefficients: all that matter, within `DECADES` of the largest."""
    highest = float(frame["log10_coefficient"].max())
    lowest = max(float(frame["log10_coefficient"].min()), highest - DECADES)
    return 10.0 ** (lowest - 0.1), 10.0 ** (highest + 0.15)


def _draw_family(left: Axes, right: Axes, rows: pd.DataFrame) -> None:
    ends = []
    for name, kind, rank in style.schedules_in_order(rows):
        mine = rows[rows["schedule"] == name]
        look = style.schedule_look(kind, rank)
        weights = 10.0 ** mine["log10_coefficient"].astype(float)
        left.plot(mine["tokens_seen"], mine["lr"], color=look.color, linestyle=look.line_style)
        right.plot(mine["tokens_seen"], weights, color=look.color, linestyle=look.line_style)
        last = weights.dropna()
        effective = text.compact(round(float(mine["effective_updates"].iloc[0])))
        end = max(float(last.iloc[-1]), right.get_ylim()[0])
        ends.append((float(mine["tokens_seen"].iloc[-1]), end, f"{name} ({effective})", look.color))
    marks.end_labels(right, ends, gap=0.085)


def _initial_share(frame: pd.DataFrame) -> str:
    initial = frame["initial_coefficient"]
    low, high = f"{initial.min():.2g}", f"{initial.max():.2g}"
    return low if low == high else f"{low} to {high}"
