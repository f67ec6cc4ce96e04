"""Raw, averaged and cooled losses over constant learning rates, a panel per model and batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from glidepath.figures import layout, marks, scales, style, text
from glidepath.figures.frames import level_of, tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Averaging against a real cooldown over the learning rate"
PANEL = ["model", "batch_sequences", "schedule", "tokens_per_parameter"]
HIGHEST = 1.0
"""The scale ends so far above the lowest loss [nat/token]; higher ones are marked at the top edge."""
MOST_PANELS = 6
WEIGHTS: dict[str, tuple[str, str, str, Any]] = {
    "raw": ("raw weights", style.KIND_COLORS["constant"], "o", "-"),
    "averaged": ("best average", "#E69F00", "s", (0, (5, 1.8))),
    "cooldown": ("real cooldown", style.KIND_COLORS["wsd"], "D", (0, (1.4, 1.3))),
}
"""Name, colour, marker and line of each kind of weights."""
REGIMES = {
    "converging": "#ffffff",
    "chaotic_equilibrium": "#fdf0d2",
    "divergent": "#f7dcdc",
    "undecided": "#eeeeee",
}


def data(tables: Tables) -> pd.DataFrame:
    """Losses of every cell, optima and thresholds."""
    regimes, found = tables["regimes"], tables["large_lr"]
    parts = [
        regimes.assign(
            item="cell", weights=weights, val_loss=regimes[f"val_loss_{weights}"], ci_level=np.nan, status=""
        )
        for weights in WEIGHTS
        if weights == "raw" or regimes[f"val_loss_{weights}"].notna().any()
    ]
    optima = found.assign(item="optimum", regime="")
    thresholds = found.drop_duplicates(PANEL).assign(
        item="threshold",
        weights="",
        regime="",
        status="",
        val_loss=np.nan,
        peak_lr=lambda frame: np.sqrt(frame["threshold_low"] * frame["threshold_high"]),
        ci_low=lambda frame: frame["threshold_low"],
        ci_high=lambda frame: frame["threshold_high"],
        ci_level=np.nan,
    )
    return tidy("averaging_over_lr", *parts, optima, thresholds)


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if not (frame["item"] == "cell").any():
        return layout.nothing_to_draw(
            TITLE, "The study has no constant schedule.", "Add one to schedules and grid, and to averaging.schedules."
        )
    panels = list(frame.groupby(PANEL, sort=False))
    shown = panels[:MOST_PANELS]
    figure, axes = layout.panels(len(shown), columns=3, width=4.6, height=3.8)
    for ax, ((model, batch, schedule, tpp), rows) in zip(axes, shown, strict=True):
        _draw_panel(ax, rows)
        ax.set_title(f"{model}, {schedule}, {batch} sequences, {tpp:g} tokens/parameter" if len(shown) > 1 else "")
        ax.set_xlabel("constant learning rate")
    axes[0].set_ylabel("validation loss [nat/token]")
    present = [weights for weights in WEIGHTS if (frame["weights"] == weights).any()]
    handles: list[Any] = [
        Line2D([], [], color=WEIGHTS[w][1], marker=WEIGHTS[w][2], linestyle=WEIGHTS[w][3], label=WEIGHTS[w][0])
        for w in present
    ]
    handles.append(Line2D([], [], color=style.INK, marker="*", markersize=13, linestyle="none", label="optimum"))
    handles += [
        Patch(facecolor=color, edgecolor=style.FAINT, label=name.replace("_", " "))
        for name, color in REGIMES.items()
        if any((_regimes(rows) == name).any() for _, rows in shown)
    ]
    first = frame.iloc[0]
    where = (
        "" if len(shown) > 1 else f"Model {first['model']}, {first['tokens_per_parameter']:g} tokens per parameter. "
    )
    omitted = f" {len(panels) - len(shown)} more panels are in the Parquet only." if len(panels) > len(shown) else ""
    layout.heading(
        figure,
        TITLE,
        f"{where}A mark is a cell, a line the mean of replicates where all have a loss. Background: regime of the "
        "constant learning rate, undecided where replicates differ. Dotted: the two learning rates between which "
        f"training stops converging. A star is the optimum of a parabola with its "
        f"{text.interval(level_of(frame))} (hollow: at the edge of the grid or too few points). Triangles at the "
        f"top edge are more than {HIGHEST:g} nat/token above the lowest, crosses diverged.{omitted}",
        handles,
    )
    return figure


def _draw_panel(ax: Axes, rows: pd.DataFrame) -> None:
    cells = rows[rows["item"] == "cell"]
    losses = cells["val_loss"].dropna()
    low = float(losses.min()) if len(losses) else 0.0
    high = min(float(losses.max()), low + HIGHEST) if len(losses) else 1.0
    pad = 0.06 * max(high - low, 0.02)
    ax.set_ylim(low - pad, high + pad)
    if losses.empty:
        ax.set_yticks([])
    scales.log_ticks(ax, "x", cells["peak_lr"], text.learning_rate, most=6)
    _shade(ax, cells)
    for weights, (_, color, marker, line) in WEIGHTS.items():
        mine = cells[cells["weights"] == weights]
        if mine.empty:
            continue
        means = mine.groupby("peak_lr")["val_loss"].agg(lambda values: values.mean(skipna=False))
        ax.plot(means.index, means, color=color, linestyle=line, linewidth=1.8)
        inside = mine[mine["val_loss"] <= high + pad]
        ax.plot(inside["peak_lr"], inside["val_loss"], marker, color=color, markersize=5.5)
        marks.edge_marks(ax, sorted(set(mine.loc[mine["val_loss"] > high + pad, "peak_lr"])), color, marker="^")
    lost = cells[(cells["weights"] == "raw") & cells["val_loss"].isna()]
    marks.edge_marks(ax, sorted(set(lost["peak_lr"])), style.ALARM)
    for _, threshold in rows[rows["item"] == "threshold"].iterrows():
        for end in (threshold["ci_low"], threshold["ci_high"]):
            if np.isfinite(end):
                ax.axvline(end, color=style.ALARM, linestyle=(0, (1.2, 1.6)), linewidth=1.6)
    for _, optimum in rows[rows["item"] == "optimum"].iterrows():
        _draw_optimum(ax, optimum)


def _shade(ax: Axes, cells: pd.DataFrame) -> None:
    """The regime of every learning rate, up to half-way to its neighbours."""
    regimes = _regimes(cells)
    lrs = regimes.index.to_numpy(np.float64)
    if len(lrs) < 2:
        return
    middles = np.sqrt(lrs[1:] * lrs[:-1])
    edges = [lrs[0] ** 2 / middles[0], *middles, lrs[-1] ** 2 / middles[-1]]
    for regime, begin, end in zip(regimes, edges, edges[1:], strict=False):
        ax.axvspan(begin, end, color=REGIMES[regime], linewidth=0, zorder=0)
    ax.set_xlim(edges[0], edges[-1])


def _regimes(rows: pd.DataFrame) -> pd.Series[str]:
    """Regime by learning rate; undecided where replicates differ."""
    cells = rows[rows["item"] == "cell"].groupby("peak_lr")["regime"]
    return cells.agg(lambda found: found.iloc[0] if found.nunique() == 1 else "undecided")


def _draw_optimum(ax: Axes, optimum: pd.Series[Any]) -> None:
    color = WEIGHTS[optimum["weights"]][1]
    if np.isfinite(optimum["ci_low"]) and np.isfinite(optimum["ci_high"]):
        ax.plot([optimum["ci_low"], optimum["ci_high"]], [optimum["val_loss"]] * 2, color=style.INK, linewidth=1.6)
    ax.plot(
        [optimum["peak_lr"]],
        [optimum["val_loss"]],
        "*",
        color=style.INK,
        markersize=14,
        markerfacecolor=color if optimum["status"] == "converged" else "white",
        zorder=5,
    )
