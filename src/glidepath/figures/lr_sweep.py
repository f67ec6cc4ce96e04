"""Final loss of every cell against its peak learning rate: a panel per schedule, a colour per horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import laws, layout, marks, scales, select, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.study.figure_list import LR_OPTIMUM

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Loss against peak learning rate"
WORST_SHOWN = 4.0
"""The scale ends at this multiple of the median excess loss; worse cells are marked at the top edge, or a
few hopeless
learning rates would flatten the valley."""


def data(tables: Tables) -> pd.DataFrame:
    """Cells, diverged cells, parabolas and optima of the main model and its main batch, those of known peak."""
    runs = select.main_model(tables["runs"][tables["runs"]["peak_lr"].notna()])
    cells = pd.concat([select.completed(runs), runs[runs["status"] == "excluded"]])
    cells = cells.assign(item="cell", status=None, holdout=cells["holdout"] | (cells["status"] == "excluded"))
    diverged = runs[runs["status"] == "diverged"].assign(item="diverged", status=None, val_loss=np.nan)
    parabolas = laws.predictions(tables[f"{LR_OPTIMUM}/predictions"], runs, quantity="val_loss", x_name="peak_lr")
    parabolas = parabolas.assign(item="law", peak_lr=parabolas["x"], val_loss=parabolas["value"])
    optima = laws.parameter(tables[f"{LR_OPTIMUM}/parameters"], runs, laws.OPTIMAL_PEAK_LR)
    optima = optima.assign(
        item="optimum",
        peak_lr=optima["value"],
        peak_lr_low=optima["ci_low"],
        peak_lr_high=optima["ci_high"],
        val_loss=[_on_parabola(parabolas, row) for _, row in optima.iterrows()],
    )
    lowest = select.at_best_lr(runs).groupby("tokens_per_parameter")["val_loss"].min()
    batch_tokens = runs.groupby("batch_sequences")["batch_tokens"].first()
    parts = []
    for part in (parabolas, cells, diverged, optima):
        part = part.assign(
            batch_tokens=part["batch_sequences"].map(batch_tokens),
            excess_loss=part["val_loss"].astype(float) - part["tokens_per_parameter"].map(lowest).astype(float),
        )
        part = select.with_families(part, tables["runs"])
        parts.append(select.in_family_order(part, ["tokens_per_parameter", "peak_lr"]))
    return tidy("lr_sweep", *parts)


def _batch(batch_tokens: Any) -> str:
    return "" if pd.isna(batch_tokens) else f", {text.compact(float(batch_tokens))} tokens per update"


def _on_parabola(parabolas: pd.DataFrame, optimum: pd.Series) -> float:
    """Loss of the fitted parabola at the optimum [nat/token], between its grid points; NaN if it was not
    evaluated."""
    curve = parabolas
    for column in [*laws.GROUP, "tokens_per_parameter"]:
        curve = curve[curve[column] == optimum[column]]
    if curve.empty:
        return float("nan")
    return float(np.interp(np.log(optimum["value"]), np.log(curve["peak_lr"]), curve["val_loss"]))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(TITLE, "No cell has run.", "Train the study first: snakemake --cores N.")
    horizons = sorted(frame["tokens_per_parameter"].unique())
    colors = dict(zip(horizons, style.sequence(len(horizons)), strict=True))
    schedules = style.schedules_in_order(frame)
    figure, axes = layout.panels(len(schedules), columns=3, width=3.8, height=3.3, share_x=True, share_y=True)
    excess = frame.loc[frame["item"] == "cell", "excess_loss"].dropna()
    worst = min(float(excess.max()), max(WORST_SHOWN * float(excess.median()), 0.02)) if len(excess) else 1.0
    low = min(float(excess.min()), 0.0) if len(excess) else 0.0
    for ax, (name, kind, rank) in zip(axes, schedules, strict=True):
        ax.set_ylim(low - 0.06 * (worst - low), worst + 0.08 * (worst - low))
        swept = frame.loc[frame["item"].isin(["cell", "diverged"]), "peak_lr"]
        scales.log_ticks(ax, "x", swept, text.learning_rate, most=5)
        ax.set_title(name, color=style.schedule_look(kind, rank).color)
        for horizon in horizons:
            _draw_horizon(
                ax,
                frame[(frame["schedule"] == name) & (frame["tokens_per_parameter"] == horizon)],
                colors[horizon],
            )
        if excess.empty:
            ax.set_yticks([])
    for i, ax in enumerate(axes):
        if i % 3 == 0:
            ax.set_ylabel("excess loss [nat/token]")
        if i >= len(axes) - 3:
            ax.set_xlabel("peak learning rate")
            ax.xaxis.set_tick_params(labelbottom=True)
    handles = [Line2D([], [], color=colors[h], marker="o", label=f"{h:g} tokens/parameter") for h in horizons]
    if (frame["item"] == "optimum").any():
        handles.append(Line2D([], [], color=style.INK, marker="*", markersize=13, linestyle="none", label="optimum"))
    if (frame["item"] == "diverged").any():
        handles.append(
            Line2D([], [], color=style.ALARM, marker="x", markeredgewidth=2.4, linestyle="none", label="diverged")
        )
    first = frame.iloc[0]
    layout.heading(
        figure,
        TITLE,
        f"Model {first['model']}{_batch(first['batch_tokens'])}. Loss above the "
        "best schedule and learning rate of the same horizon. A dot is a cell (hollow: kept out of the "
        "fit), a curve the parabola in the logarithm of the peak, a star its optimum with the "
        f"{text.interval(level_of(frame))} (hollow: {_doubt(frame)}). At the top edge: triangles are "
        "above the scale, crosses diverged.",
        handles,
    )
    return figure


def _doubt(frame: pd.DataFrame) -> str:
    """What hollow stars mean."""
    found = set(frame.loc[frame["item"] == "optimum", "status"].dropna()) - {"converged", ""}
    return ", ".join(sorted(status.replace("_", " ") for status in found)) or "not converged, none here"


def _draw_horizon(ax: Axes, rows: pd.DataFrame, color: str) -> None:
    law = rows[rows["item"] == "law"]
    ax.plot(law["peak_lr"], law["excess_loss"], color=color, linewidth=1.6, alpha=0.8)
    cells = rows[rows["item"] == "cell"]
    ceiling = ax.get_ylim()[1]
    inside = cells[cells["excess_loss"] <= ceiling]
    for hidden, group in inside.groupby("holdout"):
        ax.plot(
            group["peak_lr"],
            group["excess_loss"],
            "o",
            color=color,
            markersize=6,
            markerfacecolor="white" if hidden else color,
        )
    marks.edge_marks(ax, list(cells.loc[cells["excess_loss"] > ceiling, "peak_lr"]), color, marker="^")
    marks.edge_marks(ax, list(rows.loc[rows["item"] == "diverged", "peak_lr"]), style.ALARM)
    for _, optimum in rows[(rows["item"] == "optimum") & rows["excess_loss"].notna()].iterrows():
        certain = optimum["status"] == "converged"
        if np.isfinite(optimum["peak_lr_low"]) and np.isfinite(optimum["peak_lr_high"]):
            ax.plot(
                [optimum["peak_lr_low"], optimum["peak_lr_high"]],
                [optimum["excess_loss"]] * 2,
                color=style.INK,
                linewidth=1.6,
            )
        ax.plot(
            [optimum["peak_lr"]],
            [optimum["excess_loss"]],
            "*",
            color=style.INK,
            markersize=14,
            markerfacecolor=color if certain else "white",
            zorder=5,
        )
