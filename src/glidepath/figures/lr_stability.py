"""Where training becomes unstable: final losses, spikes and divergence against the peak learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, scales, select, style, text
from glidepath.figures.frames import tidy
from glidepath.study.exclusion import EXCLUDED_ABOVE_BEST

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Stability against peak learning rate"
COLUMNS = 3


def data(tables: Tables) -> pd.DataFrame:
    """All cells of each model's main batch at its longest common horizon."""
    runs = tables["runs"]
    parts = [part[part["tokens_per_parameter"] == select.common_horizon(part)] for part in _by_model(runs)]
    if not parts:
        return tidy("lr_stability")
    cells = pd.concat(parts)
    diverged = cells["status"] == "diverged"
    cells = cells.assign(
        loss=cells["val_loss"].astype(float).where(~diverged, cells["last_finite_loss"].astype(float)),
        # The rule of divergence: twice the loss of a uniform guess.
        divergence_loss=2.0 * np.log(cells["vocab_size"].astype(float)),
    )
    cells = select.with_families(cells, runs)
    return tidy("lr_stability", select.in_family_order(cells, ["n_params_total", "model", "peak_lr", "replicate"]))


def _by_model(runs: pd.DataFrame) -> list[pd.DataFrame]:
    return [select.main_batch(rows) for _, rows in runs.groupby("model", sort=True)]


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(TITLE, "No cell has run.", "Train the study first: snakemake --cores N.")
    models = list(frame.sort_values("n_params_total", kind="stable")["model"].unique())
    colors = dict(zip(models, style.sequence(len(models)), strict=True))
    schedules = style.schedules_in_order(frame)
    figure, axes = layout.panels(len(schedules), columns=COLUMNS, width=3.9, height=3.3, share_x=True, share_y=True)
    threshold = float(frame["divergence_loss"].max())
    shown = [value for value in frame["loss"].dropna() if value > 0]
    for ax, (name, kind, rank) in zip(axes, schedules, strict=True):
        ax.set_ylim(0.93 * min([*shown, threshold]), 1.12 * max([*shown, threshold]))
        scales.log_steps(ax, "y", "{:g}".format)
        scales.log_ticks(ax, "x", frame["peak_lr"], text.learning_rate, most=5)
        ax.set_title(name, color=style.schedule_look(kind, rank).color)
        for value in sorted(frame["divergence_loss"].unique()):
            ax.axhline(value, color=style.ALARM, linewidth=1.4, linestyle=(0, (5, 3)))
        for i, model in enumerate(models):
            rows = frame[(frame["schedule"] == name) & (frame["model"] == model)]
            _draw_model(ax, rows, colors[model], numbers_above=i % 2 == 0)
    for i, ax in enumerate(axes):
        if i % COLUMNS == 0:
            ax.set_ylabel("loss [nat/token]")
        if i >= len(axes) - COLUMNS:
            ax.set_xlabel("peak learning rate")
            ax.xaxis.set_tick_params(labelbottom=True)
    layout.heading(figure, TITLE, _note(frame), _handles(frame, colors))
    return figure


def _draw_model(ax: Axes, rows: pd.DataFrame, color: str, *, numbers_above: bool) -> None:
    """Final losses with the line through their means; crosses for diverged cells; numbers of spikes above or below."""
    ended = rows[(rows["status"] != "diverged") & rows["loss"].notna()]
    means = ended.groupby("peak_lr")["loss"].mean()
    ax.plot(means.index, means, color=color, linewidth=1.4, alpha=0.7)
    for excluded, group in ended.groupby(ended["status"] == "excluded"):
        face = "white" if excluded else color
        ax.plot(group["peak_lr"], group["loss"], "o", color=color, markersize=6, markerfacecolor=face)
    diverged = rows[rows["status"] == "diverged"]
    known = diverged[diverged["loss"].notna()]
    ax.plot(known["peak_lr"], known["loss"], "x", color=style.ALARM, markersize=9, markeredgewidth=2.4, zorder=6)
    marks.edge_marks(ax, list(diverged.loc[diverged["loss"].isna(), "peak_lr"]), style.ALARM)
    spikes = rows[rows["n_loss_spikes"].fillna(0).astype(int) > 0]
    for peak_lr, group in spikes.groupby("peak_lr"):
        heights = rows.loc[rows["peak_lr"] == peak_lr, "loss"].dropna()
        if len(heights):
            ax.annotate(
                str(int(group["n_loss_spikes"].sum())),
                (float(str(peak_lr)), float(heights.max() if numbers_above else heights.min())),
                xytext=(0, 6 if numbers_above else -6),
                textcoords="offset points",
                ha="center",
                va="bottom" if numbers_above else "top",
                fontsize=10.5,
                fontweight="bold",
                color=color,
            )


def _handles(frame: pd.DataFrame, colors: dict[str, str]) -> list[Line2D]:
    handles = [Line2D([], [], color=color, marker="o", label=model) for model, color in colors.items()]
    handles.append(
        Line2D([], [], color=style.ALARM, linestyle=(0, (5, 3)), linewidth=1.4, label="divergence threshold, 2 ln V")
    )
    if (frame["status"] == "diverged").any():
        handles.append(
            Line2D([], [], color=style.ALARM, marker="x", markeredgewidth=2.4, linestyle="none", label="diverged")
        )
    if (frame["status"] == "excluded").any():
        handles.append(
            Line2D([], [], color=style.INK, marker="o", markerfacecolor="white", linestyle="none", label="excluded")
        )
    return handles


def _note(frame: pd.DataFrame) -> str:
    horizons = " and ".join(f"{value:g}" for value in sorted(frame["tokens_per_parameter"].unique()))
    counted = frame["n_loss_spikes"].dropna()
    spikes = (
        f"a number counts loss spikes ({int(counted.sum())} in {len(counted)} cells), summed over replicates; a hard "
        "batch counts in every cell that saw it"
        if len(counted)
        else "too few updates were logged to count loss spikes"
    )
    lost = ", ".join(f"{int((frame['status'] == status).sum())} {status}" for status in ("diverged", "excluded"))
    return (
        f"{horizons} tokens per parameter. A dot is the final validation loss of a cell, a line their mean; a cross "
        f"the last finite training loss of a diverged one (at the top edge: it diverged at once); {spikes}. "
        f"Kept out of fits and comparisons ({lost}): cells that diverged (loss or gradient norm not finite, or "
        f"loss above 2 ln V) and cells that end more than {EXCLUDED_ABOVE_BEST:g} nat/token above the best of their "
        "sweep, each with all replicates at that learning rate."
    )
