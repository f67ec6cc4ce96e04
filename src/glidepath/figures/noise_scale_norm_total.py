"""Noise scale of all layers against that of the norm layers, which is nearly free to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from glidepath.figures import noise_scale, select, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Do the norm layers predict the noise scale?"
FEWEST_WINDOWS = 4


def data(tables: Tables) -> pd.DataFrame:
    """Trusted windows of all probed cells of the main model, and per schedule the line total = slope · norm.

    The slope is the geometric mean of total / norm and the correlation is of logarithms, since noise scales
    span decades.
    """
    noise = tables["noise_scale"]
    noise = noise[(noise["status"] == "ok") & (noise["noise_scale_tokens"] > 0)]
    runs = noise_scale.probed_to_the_end(select.main_model(select.among(tables["runs"], noise)), noise)
    keys = ["cell_id", "window", "tokens_seen"]
    norm = noise[noise["group"] == "norm"][[*keys, "noise_scale_tokens"]]
    total = noise[noise["group"] == "total"][[*keys, "noise_scale_tokens"]]
    pairs = norm.merge(total, on=keys, suffixes=("_norm", "_total"))
    pairs = pairs.merge(runs[["cell_id", "model", "schedule", "peak_lr"]], on="cell_id").assign(item="window")
    pairs = pairs.rename(
        columns={
            "noise_scale_tokens_norm": "noise_scale_norm_tokens",
            "noise_scale_tokens_total": "noise_scale_total_tokens",
        }
    )
    lines = [_line(rows) for _, rows in pairs.groupby("schedule", sort=True) if len(rows) >= FEWEST_WINDOWS]
    parts = [pairs, pd.concat(lines) if lines else pairs.iloc[:0]]
    return tidy(
        "noise_scale_norm_total",
        *(
            select.in_family_order(select.with_families(part, tables["runs"]), ["noise_scale_norm_tokens"])
            for part in parts
        ),
    )


def _line(rows: pd.DataFrame) -> pd.DataFrame:
    """Both ends of one schedule's line."""
    log_norm, log_total = np.log(rows["noise_scale_norm_tokens"]), np.log(rows["noise_scale_total_tokens"])
    slope = float(np.exp(np.mean(log_total - log_norm)))
    spread = float(np.std(log_norm) * np.std(log_total))
    correlation = float(np.corrcoef(log_norm, log_total)[0, 1]) if spread > 0 else float("nan")
    ends = np.array([rows["noise_scale_norm_tokens"].min(), rows["noise_scale_norm_tokens"].max()])
    return pd.DataFrame(
        {
            "item": "line",
            "model": rows["model"].iloc[0],
            "schedule": rows["schedule"].iloc[0],
            "noise_scale_norm_tokens": ends,
            "noise_scale_total_tokens": slope * ends,
            "slope": slope,
            "correlation": correlation,
            "n_windows": len(rows),
        }
    )


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return style.nothing_to_draw(
            TITLE,
            "No window has a trusted noise scale of both the norm layers and all layers.",
            "Add a `noise_scale` section to the study, or probe more updates per window (`noise_scale.every_updates`).",
        )
    figure, (ax,) = style.panels(1)
    windows, lines = frame[frame["item"] == "window"], frame[frame["item"] == "line"]
    for name, kind, rank in style.schedules_in_order(frame):
        look = style.schedule_look(kind, rank)
        points = windows[windows["schedule"] == name]
        ax.plot(
            points["noise_scale_norm_tokens"],
            points["noise_scale_total_tokens"],
            look.marker,
            color=look.color,
            alpha=0.75,
            markeredgewidth=0,
            label=name,
        )
        line = lines[lines["schedule"] == name]
        if len(line):
            label = f"total = {line['slope'].iloc[0]:.2f} × norm, r = {line['correlation'].iloc[0]:.2f}"
            ax.plot(
                line["noise_scale_norm_tokens"],
                line["noise_scale_total_tokens"],
                color=look.color,
                linestyle=look.line_style,
                label=label,
            )
    ax.set_xscale("log")
    ax.set_yscale("log")
    lowest = float(frame[["noise_scale_norm_tokens", "noise_scale_total_tokens"]].min().min())
    highest = float(frame[["noise_scale_norm_tokens", "noise_scale_total_tokens"]].max().max())
    limits = (lowest / 1.3, highest * 1.3)
    ax.plot(limits, limits, color=style.FAINT, linewidth=1.0, linestyle=(0, (2, 2)), label="total = norm")
    ax.set_xlim(*limits)
    ax.set_ylim(*limits)
    for which in ("x", "y"):
        style.log_steps(ax, which, text.compact)
    ax.set_xlabel("noise scale of the norm layers [tokens]")
    ax.set_ylabel("noise scale of all layers [tokens]")
    figure.legend(loc="outside right upper")
    style.heading(
        figure,
        TITLE,
        f"Model {windows['model'].iloc[0]}; a point is a trusted window of one cell. Slope: geometric mean "
        f"of total / norm; r: Pearson correlation of the logarithms; from {FEWEST_WINDOWS} windows on.",
    )
    return figure
