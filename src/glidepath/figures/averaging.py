"""Along training: raw weights, the best averages of their snapshots and real cooldowns of the same trunk, a column per
learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, scales, select, style, text
from glidepath.figures.frames import tidy
from glidepath.laws.averaging import half_width, replicate_means, usable_averages
from glidepath.study.final_losses import open_to_fits

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Averaged checkpoints against a real decay"
MOST_COLUMNS = 4
OCTAVES = 4
"""Doublings of training that are drawn: before them losses are so high that differences at the end would vanish."""
LEVEL = 0.95
NUDGE = 0.04
"""Distance of neighbouring error bars [ln tokens]."""
VARIANTS: dict[str, tuple[str, str, str, Any]] = {
    "raw": ("raw weights", style.KIND_COLORS["constant"], "o", "-"),
    "swa": ("best SWA", "#882255", "v", (0, (6, 1.6, 1.4, 1.6))),
    "lawa": ("best LAWA", "#0072B2", "P", (0, (3, 1.2))),
    "ema": ("best EMA", "#CC79A7", "^", (0, (1.4, 1.3))),
    "emulated_decay": ("best emulated decay", "#56B4E9", "X", (0, (6, 1.6, 1.4, 1.6))),
    "best_window": ("best window", "#E69F00", "s", (0, (5, 1.8))),
    "cooldown": ("real cooldown", style.KIND_COLORS["wsd"], "D", "none"),
}
"""Name, colour, marker and line of raw weights, of the kinds of averages, and of the cooldown."""
POINT = ["model", "schedule", "peak_lr", "tokens_per_parameter", "tokens_seen"]


def data(tables: Tables) -> pd.DataFrame:
    """Per learning rate and point of training, over replicates: the raw loss, the best average of each kind and the
    real cooldown that ends there.

    On the domain that is written first, of runs that are open to fits. Of cells on one trunk the longest: it
    runs through the ends of the others.
    """
    averages = select.first_domain(tables["averages"])
    runs = select.longest_on_trunk(select.main_model(select.among(open_to_fits(tables["runs"]), averages)))
    rows = select.among(usable_averages(averages, tables["runs"]), runs)
    rows = rows[np.isfinite(rows["val_loss_averaged"]) & (rows["tokens_seen"] >= rows["token_horizon"] / 2**OCTAVES)]
    if rows.empty:
        return tidy("averaging")
    rows = rows[rows["schedule"] == rows["schedule"].value_counts().sort_index().idxmax()]
    rows = _at_points_of_all_replicates(rows)
    once = rows.drop_duplicates(["cell_id", "tokens_seen"]).assign(gain_sem=np.nan, gap_to_cooldown_sem=np.nan)
    raw = once.assign(
        average="raw",
        averaging_scheme="raw",
        val_loss_averaged=once["val_loss_raw"],
        gain=0.0,
        gap_to_cooldown=once["val_loss_raw"] - once["val_loss_cooldown"],
    )
    cooldown = once[np.isfinite(once["val_loss_cooldown"])]
    cooldown = cooldown.assign(
        average="cooldown",
        averaging_scheme="cooldown",
        val_loss_averaged=cooldown["val_loss_cooldown"],
        gain=cooldown["val_loss_raw"] - cooldown["val_loss_cooldown"],
        gap_to_cooldown=0.0,
    )
    points = pd.concat([_means(part) for part in (raw, cooldown, rows) if len(part)])
    points = points.sort_values([*POINT, "variant", "val_loss"], kind="stable").groupby([*POINT, "variant"]).head(1)
    points["order"] = points["variant"].map({variant: i for i, variant in enumerate(VARIANTS)})
    return tidy("averaging", points.sort_values(["peak_lr", "order", "tokens_per_parameter", "tokens_seen"]))


def _at_points_of_all_replicates(rows: pd.DataFrame) -> pd.DataFrame:
    """Where one replicate has a point that another one lacks, a mean would jump by what replicates differ."""
    replicates = rows.groupby(POINT)["cell_id"].transform("nunique")
    found: pd.DataFrame = rows[replicates == replicates.groupby([rows[key] for key in POINT[:-1]]).transform("max")]
    return found


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Over replicates, kinds that are not drawn left out."""
    means = replicate_means(rows, [*POINT, "average"])
    half = np.array(
        [
            half_width(float(se), int(degrees), LEVEL)
            for se, degrees in zip(means["gap_se"], means["gap_degrees_of_freedom"], strict=True)
        ]
    )
    means = means.assign(
        variant=means["averaging_scheme"],
        val_loss=means["averaged"],
        n_replicates=means["n"],
        gap_to_cooldown=means["gap"],
        ci_low=means["gap"] - half,
        ci_high=means["gap"] + half,
        ci_level=LEVEL,
    )
    found: pd.DataFrame = means[means["variant"].isin(VARIANTS)]
    return found


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No checkpoints were averaged.",
            "Add an `averaging` section to the study that names a constant schedule; segments are then "
            "trained with snapshots.",
        )
    rates = sorted(frame["peak_lr"].unique())
    shown = select.nearest_the_best(frame, "val_loss", MOST_COLUMNS)
    frame = frame[frame["peak_lr"].isin(shown)]
    gaps = bool(np.isfinite(frame["gap_to_cooldown"]).any())
    columns = len(shown)
    figure, axes = layout.panels(
        columns * (2 if gaps else 1),
        columns=columns,
        width=3.4,
        height=3.0 if gaps else 3.8,
        share_x=True,
    )
    for i, lr in enumerate(shown):
        rows = frame[frame["peak_lr"] == lr]
        _draw_losses(axes[i], rows)
        axes[i].set_title(f"peak {text.learning_rate(lr)}")
        if gaps:
            _draw_gaps(axes[columns + i], rows)
    for row in (axes[:columns], axes[columns:]):
        _same_limits(row)
        for ax in row[1:]:
            ax.yaxis.set_tick_params(labelleft=False)
    for ax in axes[-columns:]:
        scales.log_steps(ax, "x", text.compact)
        ax.set_xlabel("training tokens")
    axes[0].set_ylabel("val. loss [nat/token]")
    if gaps:
        axes[columns].set_ylabel("above cooldown\n[nat/token]")
    layout.heading(
        figure,
        TITLE,
        _note(frame, gaps=gaps, omitted=len(rates) - columns),
        [
            Line2D([], [], color=color, marker=marker, linestyle=line, label=label)
            for variant, (label, color, marker, line) in VARIANTS.items()
            if (frame["variant"] == variant).any()
        ],
    )
    return figure


def _draw_losses(ax: Axes, rows: pd.DataFrame) -> None:
    for variant, (_, color, marker, line) in VARIANTS.items():
        of_variant = rows[rows["variant"] == variant]
        for _, points in of_variant.groupby("tokens_per_parameter"):
            points = points.sort_values("tokens_seen")
            on_top = variant == "cooldown"
            ax.plot(
                points["tokens_seen"],
                points["val_loss"],
                color=color,
                linestyle=line,
                linewidth=1.8,
                marker=marker if on_top or len(points) == 1 else None,
                markersize=8,
                markeredgecolor="white" if on_top else color,
                zorder=4 if on_top else 2,
            )
    ax.set_xscale("log")


def _draw_gaps(ax: Axes, rows: pd.DataFrame) -> None:
    """At the points where a cooldown ends, side by side so that bars do not hide each other."""
    ax.set_xscale("log")
    ax.axhline(0.0, color=VARIANTS["cooldown"][1], linewidth=2.0)
    found = rows[(rows["variant"] != "cooldown") & np.isfinite(rows["gap_to_cooldown"])]
    present = [variant for variant in VARIANTS if (found["variant"] == variant).any()]
    for i, variant in enumerate(present):
        _, color, marker, line = VARIANTS[variant]
        aside = np.exp(NUDGE * (i - (len(present) - 1) / 2))
        for _, points in found[found["variant"] == variant].groupby("tokens_per_parameter"):
            points = points.sort_values("tokens_seen")
            at = aside * points["tokens_seen"]
            ax.plot(at, points["gap_to_cooldown"], color=color, marker=marker, linestyle=line, linewidth=1.6)
            for x, point in zip(at, points.itertuples(), strict=True):
                marks.error_bars(ax, x, point.gap_to_cooldown, point.ci_low, point.ci_high, color)


def _same_limits(axes: list[Axes]) -> None:
    limits = [ax.get_ylim() for ax in axes if ax.has_data()]
    if limits:
        for ax in axes:
            ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _note(frame: pd.DataFrame, *, gaps: bool, omitted: int) -> str:
    window = (
        "the best window is chosen on one half of the validation blocks and scored on the other, of other kinds the "
        "best one is chosen on what is drawn"
        if (frame["variant"] == "best_window").any()
        else "of each kind the best one, chosen on what is drawn"
    )
    said = (
        f"Model {frame['model'].iloc[0]}, snapshots of {frame['schedule'].iloc[0]}, means over replicates; at every "
        f"point {window}."
    )
    if not gaps:
        said += " No cooldown of the same trunk was trained, so the gap to a decay is unknown."
    else:
        said += " Below: loss minus that of the best real cooldown of the same trunk that ends there"
        bars = bool(np.isfinite(frame["ci_low"]).any())
        said += "; bars: 95 %, replicates and validation blocks." if bars else "; without replicates there are no bars."
    if omitted:
        said += f" {omitted} learning rates further from the best are in the Parquet only."
    return said
