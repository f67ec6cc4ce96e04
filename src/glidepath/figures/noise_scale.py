"""Gradient noise scale along training: of the norm layers, and of all layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glidepath.figures import select, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Gradient noise scale along training"
GROUPS = {"norm": "norm layers only", "total": "all layers"}
LEVEL = 0.95
TWO_SIDED_95 = 1.96


def data(tables: Tables) -> pd.DataFrame:
    """Windows of one probed cell per schedule: its best peak learning rate and longest horizon, first
    replicate."""
    noise = tables["noise_scale"]
    noise = noise[noise["group"].isin(GROUPS) & np.isfinite(noise["noise_scale_tokens"])]
    runs = select.main_model(select.among(tables["runs"], noise))
    cells = probed_cells(runs, noise)
    columns = ["cell_id", "model", "schedule", "tokens_per_parameter", "peak_lr", "replicate", "batch_tokens"]
    rows = noise.merge(cells[columns], on="cell_id")
    half = TWO_SIDED_95 * rows["noise_scale_tokens_se"]
    rows = rows.assign(
        ci_low=rows["noise_scale_tokens"] - half, ci_high=rows["noise_scale_tokens"] + half, ci_level=LEVEL
    )
    return tidy(
        "noise_scale",
        select.in_family_order(select.with_families(rows, tables["runs"]), ["group", "tokens_seen"]),
    )


def probed_cells(runs: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """One cell per schedule among those probed to their end: longest horizon, then lowest loss.

    A cell that shares a probed trunk but was not probed after it branched off would show the trunk's curve
    under
    its own name; it counts only if no cell was probed to its end.
    """
    probed = probed_to_the_end(runs, noise).sort_values(
        ["schedule", "tokens_per_parameter", "val_loss", "replicate", "cell_id"],
        ascending=[True, False, True, True, True],
    )
    return probed.groupby("schedule", as_index=False).head(1)


def probed_to_the_end(runs: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """Runs whose last window lies in the last part of training, one window wide; all probed if none does."""
    windows = noise.groupby("cell_id").agg(last=("tokens_seen", "max"), n_windows=("window", "nunique"))
    probed = select.among(runs, noise)
    own = windows.reindex(probed["cell_id"])
    reached = own["last"].to_numpy(float) >= (1 - 1.0 / own["n_windows"].to_numpy(float)) * probed["token_horizon"]
    return probed[reached] if reached.any() else probed


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return style.nothing_to_draw(
            TITLE,
            "No gradient was probed.",
            "Add a `noise_scale` section to the study that names the schedules to probe.",
        )
    groups = [group for group in GROUPS if (frame["group"] == group).any()]
    figure, axes = style.panels(len(groups), width=5.4, height=4.2, share_y=True)
    positive = frame.loc[frame["noise_scale_tokens"] > 0, "noise_scale_tokens"]
    batches = sorted(frame["batch_tokens"].unique())
    floor = 0.5 * min(float(positive.min()) if len(positive) else batches[0], batches[0])
    ceiling = 2.0 * max(float(positive.max()) if len(positive) else batches[-1], batches[-1])
    for ax, group in zip(axes, groups, strict=True):
        _draw_group(ax, frame[frame["group"] == group], floor)
        ax.set_ylim(floor, ceiling)
        style.log_steps(ax, "y", text.compact)
        style.log_ticks(ax, "x", frame["tokens_seen"], text.compact, most=5, unit_gap=0.2)
        ax.set_title(GROUPS[group])
        ax.set_xlabel("training tokens")
        for batch in batches:
            ax.axhline(batch, color=style.INK, linewidth=1.2, linestyle=(0, (2, 2)))
            ax.annotate(
                f"batch {text.compact(batch)}",
                (0.99, batch),
                xycoords=ax.get_yaxis_transform(),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                fontsize=10.5,
            )
    axes[0].set_ylabel("noise scale [tokens]")
    negative = (
        " Triangles at the bottom: negative estimates, |G|² is lost in noise."
        if (frame["noise_scale_tokens"] <= 0).any()
        else ""
    )
    first = frame.iloc[0]
    style.heading(
        figure,
        TITLE,
        f"Model {first['model']}, {frame['tokens_per_parameter'].max():g} tokens per parameter, each "
        "schedule's best probed cell. tr Σ / |G|², ratio of window means; bands: 95 % by jackknife over "
        f"probed updates; hollow: |G|² within two standard errors of zero.{negative}",
        [style.schedule_handle(*schedule) for schedule in style.schedules_in_order(frame)],
    )
    return figure


def _draw_group(ax: Axes, frame: pd.DataFrame, floor: float) -> None:
    for name, kind, rank in style.schedules_in_order(frame):
        rows = frame[frame["schedule"] == name].sort_values("tokens_seen")
        look = style.schedule_look(kind, rank)
        above = rows[rows["noise_scale_tokens"] > 0]
        ax.plot(above["tokens_seen"], above["noise_scale_tokens"], color=look.color, linestyle=look.line_style)
        ax.fill_between(
            above["tokens_seen"],
            above["ci_low"].clip(lower=floor),
            above["ci_high"].clip(lower=floor),
            color=look.color,
            alpha=0.15,
            linewidth=0,
        )
        for trusted in (True, False):
            points = above[(above["status"] == "ok") == trusted]
            ax.plot(
                points["tokens_seen"],
                points["noise_scale_tokens"],
                look.marker,
                color=look.color,
                markerfacecolor=look.color if trusted else "white",
            )
        style.edge_marks(
            ax,
            list(rows.loc[rows["noise_scale_tokens"] <= 0, "tokens_seen"]),
            look.color,
            marker="v",
            edge=0.0,
        )
