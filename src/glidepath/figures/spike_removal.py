"""A provoked loss spike under every average: what it costs along training, and how much of it is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.study.averaging_config import RAW

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "What averaging does to a loss spike"
PANEL = ["model", "spiked", "tokens_per_parameter", "peak_lr"]
MOST_PANELS = 3
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#882255", "#8c6d31", "#332288")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.8)), (0, (1.4, 1.3)))
SHARES = {"height": ("share_removed", "o"), "mean": ("mean_share_removed", "D")}
"""Column and marker of the two shares."""


def data(tables: Tables) -> pd.DataFrame:
    """Excess along training, and both shares of every average, in the order of the study's averages."""
    excess, removal = tables["spike_excess"], tables["spike_removal"]
    begins = removal.drop_duplicates([*PANEL, "batch_sequences"])[[*PANEL, "batch_sequences", "spike_begin"]]
    points = excess.merge(begins, on=[*PANEL, "batch_sequences"])
    points = points.assign(
        item="point",
        updates_after=points["updates_done"] - points["spike_begin"],
        value=points["excess"],
        ci_low=points["excess_ci_low"],
        ci_high=points["excess_ci_high"],
        verdict="",
    )
    averages = removal[removal["average"] != RAW]
    shares = [
        averages.assign(
            item=item,
            in_window=False,
            value=averages[column],
            ci_low=averages[f"{column}_ci_low"],
            ci_high=averages[f"{column}_ci_high"],
        )
        for item, (column, _) in SHARES.items()
    ]
    return tidy("spike_removal", points, *shares)


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No pair of cells with and without a provoked spike was averaged.",
            "Add a `spikes` section to the study, as config/spikes.yaml does.",
        )
    panels = list(frame.groupby(PANEL, sort=False))
    shown = panels[:MOST_PANELS]
    averages = [name for name in frame["average"].unique() if name != RAW]
    looks = {name: (COLORS[i % len(COLORS)], LINES[i // len(COLORS) % len(LINES)]) for i, name in enumerate(averages)}
    first = frame.iloc[0]
    alike = frame[["model", "tokens_per_parameter", "peak_lr"]].drop_duplicates().shape[0] == 1
    figure, axes = layout.panels(2 * len(shown), columns=len(shown), width=5.0, height=3.6)
    for i, ((model, spiked, tpp, peak), rows) in enumerate(shown):
        above, below = axes[i], axes[len(shown) + i]
        _draw_excess(above, rows[rows["item"] == "point"], looks)
        _draw_shares(below, rows[rows["item"] != "point"], looks)
        above.set_title(str(spiked) if alike else f"{spiked}, {model}, {tpp:g} tokens/parameter, {peak:g}")
        above.set_xlabel("updates since the spike began")
        below.set_xlabel("share removed")
        if i:
            below.set_yticklabels([])
    axes[0].set_ylabel("excess loss [nat/token]")
    handles = [Line2D([], [], color=style.INK, marker=".", label="raw weights")]
    handles += [Line2D([], [], color=color, linestyle=line, label=name) for name, (color, line) in looks.items()]
    omitted = f" {len(panels) - len(shown)} more spikes are in the Parquet only." if len(panels) > len(shown) else ""
    level = text.interval(level_of(frame))
    layout.heading(
        figure,
        TITLE,
        f"Model {first['model']}, {first['tokens_per_parameter']:g} tokens per parameter, peak learning rate "
        f"{text.learning_rate(first['peak_lr'])}. "
        * alike
        + f"Above: loss with the spike minus loss without it, same seeds and data; mean of "
        f"{int(frame['n_replicates'].max())} replicates, band of the raw weights: {level}. Grey: the window in which "
        f"the height is looked for. Below: share of the spike that an average removes, with {level}: of its height "
        f"(dot) and of its mean over the window (diamond), and the verdict on the height.{omitted}",
        handles,
    )
    return figure


def _draw_excess(ax: Axes, points: pd.DataFrame, looks: dict[str, tuple[str, Any]]) -> None:
    window = points.loc[points["in_window"], "updates_after"].astype(float)
    if len(window):
        ax.axvspan(0.0, float(window.max()), color=style.GRID, alpha=0.5, linewidth=0, zorder=0)
    ax.axhline(0.0, color=style.FAINT, linewidth=1.0)
    for name, (color, line) in looks.items():
        rows = points[points["average"] == name]
        ax.plot(rows["updates_after"].astype(float), rows["value"], color=color, linestyle=line, linewidth=1.8)
    raw = points[points["average"] == RAW]
    at = raw["updates_after"].astype(float)
    ax.plot(at, raw["value"], color=style.INK, marker=".", linewidth=1.6, markersize=4)
    if np.isfinite(raw["ci_low"]).all():
        ax.fill_between(at, raw["ci_low"], raw["ci_high"], color=style.INK, alpha=0.15, linewidth=0)


def _draw_shares(ax: Axes, shares: pd.DataFrame, looks: dict[str, tuple[str, Any]]) -> None:
    names = list(looks)[::-1]
    for i, name in enumerate(names):
        for item, (_, marker) in SHARES.items():
            for _, row in shares[(shares["average"] == name) & (shares["item"] == item)].iterrows():
                y, color = i + (0.15 if item == "height" else -0.15), looks[name][0]
                if np.isfinite(row["ci_low"]) and np.isfinite(row["ci_high"]):
                    ax.plot([row["ci_low"], row["ci_high"]], [y, y], color=color, linewidth=1.8)
                ax.plot(
                    [row["value"]], [y], marker, color=color, markerfacecolor=color if item == "height" else "white"
                )
                if item == "height":
                    ax.annotate(
                        row["verdict"], (1.0, i), xycoords=("axes fraction", "data"), ha="right", va="center",
                        xytext=(-4, 0), textcoords="offset points", fontsize=10.5, color=style.FAINT,
                    )  # fmt: skip
    ax.axvline(0.0, color=style.FAINT, linewidth=1.0)
    ax.axvline(1.0, color=style.FAINT, linewidth=1.0, linestyle=(0, (1.2, 1.6)))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.6, len(names) - 0.4)
    finite = shares[["value", "ci_low", "ci_high"]].to_numpy(np.float64)
    low = min(0.0, float(np.nanmin(finite))) if np.isfinite(finite).any() else 0.0
    ax.set_xlim(low - 0.08, 1.0 + 0.35 * (1.0 - low))
