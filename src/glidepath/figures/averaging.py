"""Averaged checkpoints next to the raw weights and to the real cooldown of the same trunk, a column per
learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import select, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Averaged checkpoints against a real decay"
MOST_COLUMNS = 4
TWO_SIDED_95 = 1.96
VARIANTS: dict[str, tuple[str, str, str, Any]] = {
    "raw": ("raw weights", style.KIND_COLORS["constant"], "o", "-"),
    "window": ("best window average", "#E69F00", "s", (0, (5, 1.8))),
    "ema": ("best EMA", "#CC79A7", "^", (0, (1.4, 1.3))),
    "cooldown": ("real cooldown", style.KIND_COLORS["wsd"], "D", "-"),
}
POINT = ["model", "schedule", "peak_lr", "tokens_per_parameter", "tokens_seen"]


def data(tables: Tables) -> pd.DataFrame:
    """Per learning rate and tokens the raw loss, the best window, the best EMA and the cooldown, over
    replicates."""
    runs = select.main_model(select.among(tables["runs"], tables["averages"]))
    rows = tables["averages"].merge(
        runs[["cell_id", "model", "schedule", "peak_lr", "tokens_per_parameter", "replicate"]], on="cell_id"
    )
    rows = rows[np.isfinite(rows["val_loss_averaged"])]
    if not rows.empty:
        rows = rows[rows["schedule"] == rows["schedule"].value_counts().sort_index().idxmax()]
    rows = rows.assign(
        setting=rows["window_fraction"].where(rows["averaging_scheme"] == "window", rows["ema_timescale_fraction"])
    )
    averaged = _over_replicates(
        rows.assign(
            variant=rows["averaging_scheme"],
            val_loss=rows["val_loss_averaged"],
            se=rows["gap_to_cooldown_sem"],
        ),
        [*POINT, "variant", "setting"],
    )
    averaged = averaged.sort_values([*POINT, "variant", "val_loss"], kind="stable").groupby([*POINT, "variant"]).head(1)
    once = rows.drop_duplicates([*POINT, "replicate"]).assign(se=np.nan)
    raw = once.assign(variant="raw", val_loss=once["val_loss_raw"], setting=np.nan)
    raw["gap_to_cooldown"] = raw["val_loss_raw"] - raw["val_loss_cooldown"]
    cooldown = once[np.isfinite(once["val_loss_cooldown"])]
    cooldown = cooldown.assign(
        variant="cooldown", val_loss=cooldown["val_loss_cooldown"], setting=np.nan, gap_to_cooldown=0.0
    )
    parts = [raw, cooldown]
    joined = [_over_replicates(part, [*POINT, "variant"]).assign(setting=np.nan) for part in parts if len(part)]
    frame = pd.concat([*joined, averaged]) if len(averaged) else averaged
    frame["order"] = frame["variant"].map({variant: i for i, variant in enumerate(VARIANTS)})
    return tidy(
        "averaging",
        frame.sort_values(["peak_lr", "order", "tokens_seen", "tokens_per_parameter"], kind="stable"),
    )


def _over_replicates(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Means over replicates; the error of a mean of n is the root of the summed squares over n."""
    return rows.groupby(keys, as_index=False).agg(
        n_replicates=("val_loss", "size"),
        val_loss=("val_loss", "mean"),
        gap_to_cooldown=("gap_to_cooldown", "mean"),
        gap_to_cooldown_se=("se", lambda s: float(np.sqrt(np.sum(np.square(s))) / len(s))),
    )


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return style.nothing_to_draw(
            TITLE,
            "No checkpoints were averaged.",
            "Add an `averaging` section to the study that names a constant schedule; segments are then "
            "trained with snapshots.",
        )
    rates = sorted(frame["peak_lr"].unique())
    best = float(frame.sort_values("val_loss", kind="stable")["peak_lr"].iloc[0])
    shown = sorted(sorted(rates, key=lambda lr: abs(np.log(lr / best)))[:MOST_COLUMNS])
    gaps = bool(np.isfinite(frame["gap_to_cooldown"]).any())
    n_rows = 2 if gaps else 1
    figure, axes = style.panels(
        n_rows * len(shown),
        columns=len(shown),
        width=3.4,
        height=3.0 if gaps else 3.8,
        share_x=True,
        share_y=False,
    )
    columns = len(shown)
    for i, lr in enumerate(shown):
        rows = frame[frame["peak_lr"] == lr]
        _draw_variants(axes[i], rows, "val_loss")
        axes[i].set_title(f"peak {text.learning_rate(lr)}")
        if gaps:
            _draw_variants(axes[columns + i], rows[rows["variant"] != "cooldown"], "gap_to_cooldown")
            axes[columns + i].axhline(0.0, color=VARIANTS["cooldown"][1], linewidth=1.6)
        lowest = axes[(n_rows - 1) * columns + i]
        style.log_ticks(lowest, "x", frame["tokens_seen"], text.compact, unit_gap=0.14)
        lowest.set_xlabel("training tokens")
    for first in (0, columns)[:n_rows]:
        _same_limits(axes[first : first + columns])
        for ax in axes[first + 1 : first + columns]:
            ax.yaxis.set_tick_params(labelleft=False)
    axes[0].set_ylabel("val. loss [nat/token]")
    if gaps:
        axes[columns].set_ylabel("above cooldown\n[nat/token]")
    present = [variant for variant in VARIANTS if (frame["variant"] == variant).any()]
    omitted = (
        f" {len(rates) - len(shown)} learning rates further from the best are in the Parquet only."
        if len(rates) > len(shown)
        else ""
    )
    below = (
        "Below: loss minus the loss of the best real cooldown of the same trunk at equal tokens; bars: 95 % "
        "over validation blocks."
        if gaps
        else "No cooldown of the same trunk was trained, so the gap to a decay is unknown."
    )
    style.heading(
        figure,
        TITLE,
        f"Model {frame['model'].iloc[0]}, snapshots of {frame['schedule'].iloc[0]}; the best of the tried "
        f"windows and EMAs at each point, means over replicates. {below}{omitted}",
        [
            Line2D([], [], color=color, marker=marker, linestyle=line, label=label)
            for label, color, marker, line in (VARIANTS[variant] for variant in present)
        ],
    )
    return figure


def _draw_variants(ax: Axes, rows: pd.DataFrame, column: str) -> None:
    for variant, (_, color, marker, line) in VARIANTS.items():
        points = rows[(rows["variant"] == variant) & np.isfinite(rows[column])].sort_values("tokens_seen")
        ax.plot(points["tokens_seen"], points[column], color=color, marker=marker, linestyle=line, linewidth=1.8)
        if column == "gap_to_cooldown":
            for _, point in points.iterrows():
                half = TWO_SIDED_95 * point["gap_to_cooldown_se"]
                style.error_bars(
                    ax, point["tokens_seen"], point[column], point[column] - half, point[column] + half, color
                )


def _same_limits(axes: list[Axes]) -> None:
    limits = [ax.get_ylim() for ax in axes if ax.has_data()]
    if limits:
        for ax in axes:
            ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
