"""Noise scale of all layers against that of the norm layers, which is nearly free to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, scales, select, style, text
from glidepath.figures.frames import level_of, tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Do the norm layers predict the noise scale?"
GROUPS = {"body": ("body: without embedding and head", "#E69F00"), "total": ("all layers", "#0072B2")}
PUBLISHED = {1.4: "body,\npublished", 2.1: "its public\nrerun"}
"""Slopes without embedding and head: Gray et al. 2024, and the run that is public with their code."""
WINDOWS = "windows"


def data(tables: Tables) -> pd.DataFrame:
    """Trusted windows of the completed, probed cells of the main model that are not held out, and per schedule what the
    regression on all of them says under every smoothing."""
    noise = tables["noise_scale"]
    noise = noise[(noise["status"] == "ok") & (noise["noise_scale_tokens"] > 0)]
    runs = select.main_model(select.among(tables["runs"], noise))
    runs = select.completed(runs[~runs["holdout"]])
    keys = ["cell_id", "window"]
    norm = noise.loc[noise["group"] == "norm", [*keys, "noise_scale_tokens"]]
    norm = norm.rename(columns={"noise_scale_tokens": "noise_scale_norm_tokens"})
    pairs = noise[noise["group"].isin(GROUPS)].merge(norm, on=keys)
    pairs = pairs.merge(runs[["cell_id", "model", "schedule", "peak_lr"]], on="cell_id").drop(
        columns=["ci_low", "ci_high", "ci_level", "status"]
    )
    found = tables["noise_scale_regression"]
    found = found[(found["cell_id"] == "") & found["group"].isin(GROUPS) & (found["status"] != "too_few")]
    found = found[found["model"].isin(pairs["model"]) & found["schedule"].isin(pairs["schedule"])]
    return tidy(
        "noise_scale_norm_total",
        *(
            select.in_family_order(select.with_families(part.assign(item=item), tables["runs"]), by)
            for item, part, by in (
                ("window", pairs, ["group", "noise_scale_norm_tokens"]),
                ("estimate", found.assign(length=found["smoothing"].map(_length)), ["group", "length"]),
            )
        ),
    )


def _length(smoothing: str) -> float:
    """Windows first, then averages by their decay."""
    return 0.0 if smoothing == WINDOWS else float(smoothing.removeprefix("ema_"))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No window has a trusted noise scale of both the norm layers and all layers.",
            "Add a `noise_scale` section to the study, or probe more updates per window (`noise_scale.every_updates`).",
        )
    windows, estimates = frame[frame["item"] == "window"], frame[frame["item"] == "estimate"]
    figure, axes = layout.panels(3 if len(estimates) else 1, width=5.0, height=4.0)
    _draw_windows(axes[0], windows, estimates)
    if len(estimates):
        _draw_estimates(axes[1], estimates, "slope")
        axes[1].set_ylabel("slope: group = slope × norm")
        highest = estimates.loc[estimates["status"] == "ok", ["slope", "slope_ci_high"]].max().max()
        axes[1].set_xlim(right=axes[1].get_xlim()[1] + 1.3)
        axes[1].set_ylim(0.0, 1.1 * np.fmax(highest, max(PUBLISHED)))
        for slope, name in PUBLISHED.items():
            axes[1].axhline(slope, color=style.FAINT, linewidth=1.0, linestyle=(0, (2, 2)), zorder=1)
            axes[1].annotate(
                name,
                (0.99, slope),
                xycoords=axes[1].get_yaxis_transform(),
                xytext=(0, 2),
                textcoords="offset points",
                ha="right",
                fontsize=10,
                color=style.FAINT,
            )
        _draw_estimates(axes[2], estimates, "correlation")
        _draw_estimates(axes[2], estimates, "detrended_correlation", hollow=True)
        axes[2].set_ylabel("correlation r")
        axes[2].set_ylim(min(0.0, 1.1 * estimates[["correlation_ci_low", "correlation"]].min().min()), 1.02)
    handles = [
        Line2D([], [], color=color, marker="o", label=name)
        for group, (name, color) in GROUPS.items()
        if (frame["group"] == group).any()
    ]
    schedules = style.schedules_in_order(frame)
    if len(schedules) > 1:
        for name, kind, rank in schedules:
            look = style.schedule_look(kind, rank)
            handles.append(
                Line2D(
                    [], [], color=style.FAINT, marker=_marker(schedules, name), linestyle=look.line_style, label=name
                )
            )
    layout.heading(
        figure,
        TITLE,
        f"Model {frame['model'].iloc[0]}; a point is a trusted window of one cell. Lines: slope through the origin of "
        "all windows of a schedule. Middle and right: the same for windows and for moving averages of both parts with "
        "this decay per probe, from updates at which all layers were probed; bars: "
        f"{text.interval(level_of(estimates))}, of probe noise and of how cells differ; of a slope corrected for "
        "what noise takes off it. Right: Pearson's r; hollow: r of logarithms less a quadratic in ln tokens, which a "
        "common trend does not raise. Crosses: untrusted, |G|² is not resolved at more than a quarter of the points.",
        handles,
    )
    return figure


def _marker(schedules: list[tuple[str, str, int]], name: str) -> str:
    """By place in the legend: schedules of different kinds have the same rank, and colours are taken here."""
    return style.MARKERS[[schedule for schedule, _, _ in schedules].index(name) % len(style.MARKERS)]


def _draw_windows(ax: Axes, windows: pd.DataFrame, estimates: pd.DataFrame) -> None:
    lines = estimates[estimates["smoothing"] == WINDOWS]
    ends = np.array([windows["noise_scale_norm_tokens"].min(), windows["noise_scale_norm_tokens"].max()])
    schedules = style.schedules_in_order(windows)
    for (name, kind, rank), (group, (_, color)) in ((one, g) for one in schedules for g in GROUPS.items()):
        points = windows[(windows["schedule"] == name) & (windows["group"] == group)]
        ax.plot(
            points["noise_scale_norm_tokens"],
            points["noise_scale_tokens"],
            _marker(schedules, name),
            color=color,
            alpha=0.6,
            markersize=5.5,
            markeredgewidth=0,
        )
        for slope in lines.loc[(lines["schedule"] == name) & (lines["group"] == group), "slope"]:
            ax.plot(ends, slope * ends, color=color, linestyle=style.schedule_look(kind, rank).line_style)
    lowest, highest = (
        float(f(windows[["noise_scale_norm_tokens", "noise_scale_tokens"]].to_numpy())) for f in (np.min, np.max)
    )
    limits = (lowest / 1.3, highest * 1.3)
    ax.plot(limits, limits, color=style.FAINT, linewidth=1.0, linestyle=(0, (2, 2)))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(*limits)
    ax.set_ylim(*limits)
    for which in ("x", "y"):
        scales.log_steps(ax, which, text.compact)
    ax.set_xlabel("noise scale of the norm layers [tokens]")
    ax.set_ylabel("noise scale of the group [tokens]")


def _draw_estimates(ax: Axes, estimates: pd.DataFrame, column: str, *, hollow: bool = False) -> None:
    smoothings = sorted(estimates["smoothing"].unique(), key=_length)
    schedules = style.schedules_in_order(estimates)
    series = [(one, group) for group in GROUPS for one in schedules]
    for i, ((name, _, _), group) in enumerate(series):
        color = GROUPS[group][1]
        rows = estimates[(estimates["schedule"] == name) & (estimates["group"] == group)]
        shift = (i - (len(series) - 1) / 2) * 0.6 / max(len(series), 1) + (0.06 if hollow else 0.0)
        for row in rows.to_dict("records"):
            x = smoothings.index(row["smoothing"]) + shift
            marks.error_bars(
                ax, x, row[column], row[f"{column}_ci_low"], row[f"{column}_ci_high"], color, alpha=0.8, capsize=2.5
            )
            ax.plot(
                [x],
                [row[column]],
                _marker(schedules, name) if row["status"] == "ok" else "x",
                color=color,
                markerfacecolor="white" if hollow else color,
                zorder=4,
            )
    ax.set_xticks(range(len(smoothings)), [_tick(smoothing) for smoothing in smoothings])
    ax.set_xlabel("smoothing: decay of the moving average")
    ax.grid(axis="x", visible=False)


def _tick(smoothing: str) -> str:
    return WINDOWS if smoothing == WINDOWS else smoothing.removeprefix("ema_")
