"""Gradient noise scale along training: of the norm layers, and of all layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glidepath.figures import layout, marks, scales, select, style, text
from glidepath.figures.frames import level_of, tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Gradient noise scale along training"
GROUPS = {
    "norm": "norm layers",
    "attention": "attention",
    "feed_forward": "feed-forward",
    "embedding": "embedding",
    "head": "head",
    "embedding_head": "embedding and head, tied",
    "body": "body: without embedding and head",
    "total": "all layers",
}
COLUMNS = 4
ABOVE = 3.0
"""The axis ends at this multiple of the largest trusted estimate or batch."""


def data(tables: Tables) -> pd.DataFrame:
    """Windows of one probed cell per schedule: its best peak learning rate and longest horizon, first
    replicate."""
    noise = tables["noise_scale"]
    noise = noise[noise["group"].isin(GROUPS) & np.isfinite(noise["noise_scale_tokens"])]
    runs = select.main_model(select.among(tables["runs"], noise))
    cells = probed_cells(runs, noise)
    columns = ["cell_id", "model", "schedule", "tokens_per_parameter", "peak_lr", "replicate", "batch_tokens"]
    rows = noise.merge(cells[columns], on="cell_id")
    rows = rows.assign(place=rows["group"].map(list(GROUPS).index)).sort_values("place", kind="stable")
    return tidy(
        "noise_scale",
        select.in_family_order(select.with_families(rows, tables["runs"]), ["place", "tokens_seen"]),
    )


def probed_cells(runs: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """One probed cell per schedule: a completed one if there is any; longest horizon, then lowest loss."""
    probed = select.among(runs, noise)
    probed = probed.assign(completed=probed["status"] == "completed").sort_values(
        ["schedule", "completed", "tokens_per_parameter", "val_loss", "replicate", "cell_id"],
        ascending=[True, False, False, True, True, True],
    )
    return probed.groupby("schedule", as_index=False).head(1)


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No gradient was probed.",
            "Add a `noise_scale` section to the study that names the schedules to probe.",
        )
    groups = [group for group in GROUPS if (frame["group"] == group).any()]
    figure, axes = layout.panels(len(groups), columns=COLUMNS, width=3.9, height=3.0, share_x=True, share_y=True)
    floor, ceiling = _limits(frame)
    everything = frame[frame["group"] == "total"]
    for ax, group in zip(axes, groups, strict=True):
        ax.set_ylim(floor, ceiling)
        scales.log_steps(ax, "y", text.compact)
        ax.set_xlim(0.85 * frame["tokens_seen"].min(), 1.15 * frame["tokens_seen"].max())
        scales.log_steps(ax, "x", text.compact)
        ax.set_title(GROUPS[group])
        if group != "total":
            _draw_for_comparison(ax, everything)
        _draw_group(ax, frame[frame["group"] == group], floor, ceiling)
        for batch in sorted(frame["batch_tokens"].unique()):
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
    for i, ax in enumerate(axes):
        if i % COLUMNS == 0:
            ax.set_ylabel("noise scale [tokens]")
        if i + COLUMNS >= len(axes):
            ax.set_xlabel("training tokens")
    first = frame.iloc[0]
    layout.heading(
        figure,
        TITLE,
        f"Model {first['model']}, {frame['tokens_per_parameter'].max():g} tokens per parameter, each "
        "schedule's best probed cell. tr Σ / |G|², ratio of window means. Bands: "
        f"{text.interval(level_of(frame))} (Fieller, over blocks of probes), open at the top where there is no "
        "upper bound. Hollow: |G|² is not told from zero."
        + (" Grey: all layers." if len(groups) > 1 and len(everything) else "")
        + _outside(frame, ceiling),
        [style.schedule_handle(*schedule) for schedule in style.schedules_in_order(frame)],
    )
    return figure


def _limits(frame: pd.DataFrame) -> tuple[float, float]:
    """Of the axis: what is trusted decides, since an untrusted ratio may be anything."""
    values = frame.loc[frame["noise_scale_tokens"] > 0]
    trusted = values[values["status"] == "ok"]
    shown = [*(trusted if len(trusted) else values)["noise_scale_tokens"], *frame["batch_tokens"]]
    return 0.5 * min(shown), ABOVE * max(shown)


def _outside(frame: pd.DataFrame, ceiling: float) -> str:
    """What triangles at the edges are, where there are any."""
    below, above = (frame["noise_scale_tokens"] <= 0).any(), (frame["noise_scale_tokens"] > ceiling).any()
    return (" Triangles at the bottom: negative estimates, |G|² is lost in noise." if below else "") + (
        " Triangles at the top: estimates above the axis." if above else ""
    )


def _draw_for_comparison(ax: Axes, frame: pd.DataFrame) -> None:
    """All layers, in grey."""
    for name, _, _ in style.schedules_in_order(frame):
        rows = frame[(frame["schedule"] == name) & (frame["noise_scale_tokens"] > 0)].sort_values("tokens_seen")
        ax.plot(rows["tokens_seen"], rows["noise_scale_tokens"], color=style.BAND, linewidth=2.0, zorder=1)


def _draw_group(ax: Axes, frame: pd.DataFrame, floor: float, ceiling: float) -> None:
    for name, kind, rank in style.schedules_in_order(frame):
        rows = frame[frame["schedule"] == name].sort_values("tokens_seen")
        look = style.schedule_look(kind, rank)
        above = rows[rows["noise_scale_tokens"] > 0]
        inside = above[above["noise_scale_tokens"] <= ceiling]
        ax.plot(above["tokens_seen"], above["noise_scale_tokens"], color=look.color, linestyle=look.line_style)
        bounded = above[above["ci_low"].notna()]
        ax.fill_between(
            bounded["tokens_seen"],
            bounded["ci_low"].clip(lower=floor),
            bounded["ci_high"].fillna(ceiling).clip(floor, ceiling),
            color=look.color,
            alpha=0.15,
            linewidth=0,
        )
        for trusted in (True, False):
            points = inside[(inside["status"] == "ok") == trusted]
            ax.plot(
                points["tokens_seen"],
                points["noise_scale_tokens"],
                look.marker,
                color=look.color,
                markersize=6.0,
                markerfacecolor=look.color if trusted else "white",
            )
        negative, beyond = rows["noise_scale_tokens"] <= 0, rows["noise_scale_tokens"] > ceiling
        marks.edge_marks(ax, list(rows.loc[negative, "tokens_seen"]), look.color, marker="v", edge=0.0)
        marks.edge_marks(ax, list(rows.loc[beyond, "tokens_seen"]), look.color, marker="^", edge=1.0)
