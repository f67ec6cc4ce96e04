"""Cooled losses predicted from stable-phase snapshots against real ones, and the errors beside naive predictors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, style, text
from glidepath.figures.frames import level_of, tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "A cooldown predicted before it is trained"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5f5f5f")
"""By shape, in alphabetical order; further shapes share the last one."""
PREDICTORS = {
    "oracle": "predicted from\nsnapshots",
    "averaged": "averaged loss\nalone",
    "mean_drop": "raw loss less\nmean drop",
}
VALIDATIONS = {"leave_one_trunk_out": ("without its trunk", "o"), "leave_one_peak_lr_out": ("without its peak LR", "s")}


def data(tables: Tables) -> pd.DataFrame:
    """The real cooldowns with their predictions, and the scores."""
    rows, scores = tables["cooldown_oracle"], tables["cooldown_oracle_scores"]
    real = rows[rows["status"] == "held_out"].sort_values(["decay_shape", "schedule", "cell_id", "updates_done"])
    order = scores.assign(order=scores["predictor"].map({name: i for i, name in enumerate(PREDICTORS)}))
    return tidy(
        "cooldown_oracle",
        real.assign(item="cooldown"),
        order.sort_values(["order", "validation"], ascending=[True, False], kind="stable").assign(item="score"),
    )


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    cooldowns, scores = frame[frame["item"] == "cooldown"], frame[frame["item"] == "score"]
    if cooldowns.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No real cooldown could be predicted without its trunk.",
            "Train wsd schedules from at least four constant trunks (learning rates or replicates) whose snapshots are "
            "averaged.",
        )
    figure, (left, right) = layout.panels(2, columns=2, width=5.0, height=4.2)
    shapes = sorted(cooldowns["decay_shape"].unique())
    colors = {shape: COLORS[min(i, len(COLORS) - 1)] for i, shape in enumerate(shapes)}
    _draw_cooldowns(left, cooldowns, colors)
    _draw_scores(right, scores)
    handles = [Line2D([], [], color=colors[shape], marker="o", linestyle="none", label=shape) for shape in shapes]
    handles += [
        Line2D([], [], color=style.INK, marker=marker, linestyle="none", label=label)
        for label, marker in VALIDATIONS.values()
    ]
    n_trunks = int(scores["n_trunks"].max())
    layout.heading(
        figure,
        TITLE,
        f"Left: loss after the study's own {len(cooldowns)} cooldowns of {n_trunks} trunks, and what was predicted "
        "from the snapshots before each with the other trunks alone; bars: "
        f"{text.interval(level_of(cooldowns))}, line: equality. Right: root mean square error of the prediction "
        "and of two naive ones, each cooldown left out with its trunk, or with all trunks of its peak learning rate.",
        handles,
    )
    return figure


def _draw_cooldowns(ax: Axes, rows: pd.DataFrame, colors: dict[str, str]) -> None:
    ends = rows[["val_loss_cooldown", "val_loss_predicted"]].to_numpy()
    low, high = float(ends.min()), float(ends.max())
    pad = 0.06 * max(high - low, 0.01)
    ax.plot([low - pad, high + pad], [low - pad, high + pad], color=style.FAINT, linewidth=1.2)
    for _, row in rows.iterrows():
        color, real, found = colors[row["decay_shape"]], row["val_loss_cooldown"], row["val_loss_predicted"]
        ax.plot([real], [found], "o", color=color, markersize=5)
        marks.error_bars(ax, real, found, row["ci_low"], row["ci_high"], color, alpha=0.45, capsize=0)
    ax.set_xlim(low - pad, high + pad)
    ax.set_xlabel("real loss after the cooldown [nat/token]")
    ax.set_ylabel("predicted [nat/token]")


def _draw_scores(ax: Axes, scores: pd.DataFrame) -> None:
    for i, name in enumerate(PREDICTORS):
        for (validation, (_, marker)), aside in zip(VALIDATIONS.items(), (0.1, -0.1), strict=True):
            found = scores[(scores["predictor"] == name) & (scores["validation"] == validation)]["rmse"]
            for rmse in found[np.isfinite(found)]:
                y = len(PREDICTORS) - 1 - i + aside
                ax.plot([0.0, rmse], [y, y], color=style.BAND, linewidth=5, solid_capstyle="butt", zorder=1)
                ax.plot([rmse], [y], marker, color=style.INK)
    ax.set_yticks(range(len(PREDICTORS))[::-1], list(PREDICTORS.values()))
    ax.set_ylim(-0.6, len(PREDICTORS) - 0.4)
    ax.set_xlim(left=0.0)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("root mean square error [nat/token]")
