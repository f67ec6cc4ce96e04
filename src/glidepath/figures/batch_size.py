"""Final loss against batch size at equal training tokens, with the measured noise scale on the same axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, noise_scale, scales, select, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Loss against batch size at equal tokens"


def data(tables: Tables) -> pd.DataFrame:
    """Best losses of schedules that were trained at two batches or more at one horizon, and their last noise
    scale."""
    runs = tables["runs"]
    best = select.at_best_lr(runs)
    n_batches = best.groupby(["model", "schedule", "tokens_per_parameter"])["batch_sequences"].transform("nunique")
    best = best[n_batches > 1].assign(item="loss")
    noise = tables["noise_scale"]
    noise = noise[(noise["group"] == "total") & (noise["status"] == "ok") & (noise["noise_scale_tokens"] > 0)]
    cells = noise_scale.probed_cells(runs[runs["model"].isin(best["model"])], noise)
    last = noise.sort_values("window").groupby("cell_id", as_index=False).last()
    last = last.merge(cells[["cell_id", "model", "schedule", "tokens_per_parameter"]], on="cell_id")
    last = last[last["schedule"].isin(best["schedule"])].assign(
        item="noise_scale", batch_tokens=last["noise_scale_tokens"]
    )
    parts = [
        select.in_family_order(select.with_families(part, runs), ["model", "tokens_per_parameter", "batch_tokens"])
        for part in (best, last)
    ]
    return tidy("batch_size", *parts)


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    losses = frame[frame["item"] == "loss"]
    if losses.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No schedule was trained at two batch sizes of the same horizon.",
            "Add values to `batch_sequences` of a grid block; tune `peak_lrs` at each of them.",
        )
    panels = sorted({(m, h) for m, h in losses[["model", "tokens_per_parameter"]].itertuples(index=False)})
    figure, axes = layout.panels(len(panels), columns=3, width=4.6, height=4.2)
    for ax, (model, horizon) in zip(axes, panels, strict=True):
        here = frame[(frame["model"] == model) & (frame["tokens_per_parameter"] == horizon)]
        _draw_panel(ax, here)
        ax.set_title(f"{model}, {horizon:g} tokens/parameter")
        ax.set_xlabel("batch [tokens/update]")
    axes[0].set_ylabel("validation loss [nat/token]")
    handles = [style.schedule_handle(*schedule) for schedule in style.schedules_in_order(losses)]
    if (frame["item"] == "noise_scale").any():
        handles.append(Line2D([], [], color=style.FAINT, linestyle=(0, (2, 2)), label="noise scale at the end"))
    layout.heading(
        figure,
        TITLE,
        "Each batch at its own best peak learning rate of the grid (beside the point, † at the edge of its "
        "grid); bars: replicate noise, pooled over the study. Equal tokens, so fewer updates at larger "
        "batches.",
        handles,
    )
    return figure


def _draw_panel(ax: Axes, frame: pd.DataFrame) -> None:
    for name, kind, rank in style.schedules_in_order(frame):
        rows = frame[frame["schedule"] == name]
        look = style.schedule_look(kind, rank)
        points = rows[rows["item"] == "loss"]
        ax.plot(
            points["batch_tokens"],
            points["val_loss"],
            color=look.color,
            linestyle=look.line_style,
            marker=look.marker,
        )
        for _, point in points.iterrows():
            x, y = point["batch_tokens"], point["val_loss"]
            marks.error_bars(ax, x, y, y - point["val_loss_se"], y + point["val_loss_se"], look.color)
            ax.annotate(
                text.learning_rate(point["peak_lr"]) + ("†" if point["edge_of_grid"] else ""),
                (x, y),
                xytext=(7, 6),
                textcoords="offset points",
                fontsize=10,
                color=look.color,
            )
        for scale in rows.loc[rows["item"] == "noise_scale", "batch_tokens"]:
            ax.axvline(scale, color=look.color, linewidth=1.4, linestyle=(0, (2, 2)))
    batches = frame.loc[frame["item"] == "loss", "batch_tokens"]
    scales.log_ticks(ax, "x", batches[np.isfinite(batches)], text.compact)
    ax.margins(x=0.18, y=0.15)
