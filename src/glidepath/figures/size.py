"""Best loss against exact training FLOPs, a line per model size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, scales, select, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Best loss against training compute"


def data(tables: Tables) -> pd.DataFrame:
    """The best schedule, batch and peak learning rate of each model at each horizon."""
    best = select.at_best_lr(tables["runs"])
    best = (
        best.sort_values(["val_loss"], kind="stable").groupby(["model", "tokens_per_parameter"], as_index=False).first()
    )
    best = best.sort_values(["train_flops_exact", "val_loss"], kind="stable")
    before = best["val_loss"].cummin().shift(fill_value=float("inf"))
    best = best.assign(frontier=best["val_loss"] < before)
    best = select.with_families(best, tables["runs"])
    return tidy("size", best.sort_values(["n_params_counted", "model", "tokens_per_parameter"], kind="stable"))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(TITLE, "No cell has completed.", "Train the study first: snakemake --cores N.")
    models = list(frame["model"].unique())
    figure, (ax,) = layout.panels(1)
    frontier = frame[frame["frontier"]].sort_values("train_flops_exact")
    ax.plot(
        frontier["train_flops_exact"],
        frontier["val_loss"],
        color=style.BAND,
        linewidth=8,
        zorder=1,
        solid_capstyle="round",
    )
    for i, (model, color) in enumerate(zip(models, style.sequence(len(models)), strict=True)):
        rows = frame[frame["model"] == model]
        ax.plot(
            rows["train_flops_exact"],
            rows["val_loss"],
            color=color,
            marker=style.MARKERS[i % len(style.MARKERS)],
        )
        for _, row in rows.iterrows():
            x, y, error = row["train_flops_exact"], row["val_loss"], row["val_loss_se"]
            marks.error_bars(ax, x, y, y - error, y + error, color)
            ax.annotate(
                f"{row['tokens_per_parameter']:g}",
                (x, y),
                xytext=(6, 6),
                textcoords="offset points",
                fontsize=10,
                color=color,
            )
    ax.set_xscale("log")
    scales.log_steps(ax, "x", text.scientific)
    ax.set_xlabel("training compute [FLOP], every matrix product")
    ax.set_ylabel("validation loss [nat/token]")
    sizes = frame.groupby("model")["n_params_counted"].first()
    handles = [
        Line2D(
            [],
            [],
            color=color,
            marker=style.MARKERS[i % len(style.MARKERS)],
            label=f"{model}: {text.compact(float(sizes[model]))} parameters",
        )
        for i, (model, color) in enumerate(zip(models, style.sequence(len(models)), strict=True))
    ]
    handles.append(Line2D([], [], color=style.BAND, linewidth=8, label="lowest so far"))
    one = " One model only: it shows what more tokens buy, not which size is best." if len(models) == 1 else ""
    layout.heading(
        figure,
        TITLE,
        "Best schedule, batch and peak learning rate at each horizon; numbers are tokens per parameter; "
        f"bars: replicate noise, pooled over the study.{one}",
        handles,
    )
    return figure
