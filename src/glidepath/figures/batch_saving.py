"""What a growing batch saves at equal loss: along the curves, and at the end of training in tokens and in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from glidepath.figures import layout, marks, style, text
from glidepath.figures.batch_paths import LOOKS, names_by_rank, shown_pairs
from glidepath.figures.frames import level_of, tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "What a growing batch saves"
AT_END = (
    ("tokens", "equal", "tokens,\none LR"),
    ("tokens", "best", "tokens,\nown LRs"),
    ("seconds", "equal", "seconds,\none LR"),
)
"""Item, choice of learning rates and label of the groups at the end."""


def data(tables: Tables) -> pd.DataFrame:
    """Savings of the paths shown (`batch_paths`)."""
    rows = shown_pairs(tables["batch_saving"], tables["runs"])
    end, curve = rows["at"] == "end", (rows["at"] == "curve") & (rows["lr_choice"] == "equal")
    parts = [_as(rows[curve].sort_values(["rank", "point"], kind="stable"), "curve", "tokens")]
    for item, lr_choice, _ in AT_END:
        parts.append(_as(rows[end & (rows["lr_choice"] == lr_choice)].sort_values("rank"), item, item))
    return tidy("batch_saving", *parts)


def _as(rows: pd.DataFrame, item: str, unit: str) -> pd.DataFrame:
    name = f"{unit}_saved_fraction"
    rows = rows.assign(item=item, saved_fraction=rows[name], ci_low=rows[f"{name}_low"], ci_high=rows[f"{name}_high"])
    known: pd.DataFrame = rows[np.isfinite(rows["saved_fraction"])]
    return known


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No schedule with a batch path was trained beside the one that is equal but for it.",
            "Give a schedule of the study a `batch` and train it with replicates that the other one has too.",
        )
    figure = Figure(figsize=(11.6, 5.0))
    along, end = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [1.7, 1.0]})
    names = names_by_rank(frame)
    for rank in names:
        _draw_curve(along, frame[(frame["rank"] == rank) & (frame["item"] == "curve")], rank)
    _draw_ends(end, frame[frame["item"] != "curve"], list(names))
    for ax in (along, end):
        ax.axhline(0.0, color=style.FAINT, linewidth=1.2, zorder=1.5)
    _limit(along, frame)
    along.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    along.set_ylabel("saved at equal loss")
    along.set_xlabel("validation loss [nat/token]")
    along.set_title("along training: tokens")
    if (frame["item"] == "curve").any():
        along.invert_xaxis()
    end.set_title("at the end")
    handles = [
        Line2D([], [], color=LOOKS[rank][0], linestyle=LOOKS[rank][1], marker=LOOKS[rank][2], label=name)
        for rank, name in names.items()
    ]
    layout.heading(figure, TITLE, _note(frame), handles)
    return figure


def _draw_curve(ax: Axes, rows: pd.DataFrame, rank: int) -> None:
    color, line, _ = LOOKS[rank]
    ax.plot(rows["val_loss"], rows["saved_fraction"], color=color, linestyle=line)
    ax.fill_between(rows["val_loss"], rows["ci_low"], rows["ci_high"], color=color, alpha=0.15, linewidth=0)


def _draw_ends(ax: Axes, rows: pd.DataFrame, ranks: list[int]) -> None:
    """Groups beside each other, the paths of a group side by side."""
    shown = [
        (label, group)
        for item, lr_choice, label in AT_END
        if len(group := rows[(rows["item"] == item) & (rows["lr_choice"] == lr_choice)])
    ]
    for place, (_, group) in enumerate(shown):
        for i, rank in enumerate(ranks):
            x = place + 0.5 * (i - (len(ranks) - 1) / 2) / max(len(ranks), 1)
            color, _, marker = LOOKS[rank]
            here = group[group["rank"] == rank]
            values = here[["saved_fraction", "ci_low", "ci_high"]].to_numpy(float)
            for (saved, low, high), at_edge in zip(values, here["edge_of_grid"], strict=True):
                ax.plot(x, saved, marker, color=color, markerfacecolor="white" if at_edge else color, zorder=3)
                marks.error_bars(ax, x, saved, low, high, color)
    ax.set_xticks(range(len(shown)), [label for label, _ in shown])
    ax.set_xlim(-0.6, len(shown) - 0.4)
    ax.grid(visible=False, axis="x")


def _limit(ax: Axes, frame: pd.DataFrame) -> None:
    """Estimates decide the limits, and the intervals at the end as far as they say anything: no path saves more than
    all tokens. Others may reach beyond."""
    ends = frame[frame["item"] != "curve"]
    intervals = pd.concat([ends["ci_low"], ends["ci_high"]]).clip(-1.0, 1.0)
    values = pd.concat([frame["saved_fraction"], intervals, pd.Series([0.0])]).dropna()
    low, high = float(values.min()), float(values.max())
    margin = 0.08 * (high - low) or 0.05
    ax.set_ylim(low - margin, high + margin)


def _note(frame: pd.DataFrame) -> str:
    first = frame.iloc[0]
    equal = frame.loc[frame["lr_choice"] == "equal", "peak_lr"]
    at = f" at the peak learning rate {text.learning_rate(equal.iloc[0])}" if len(equal) else ""
    n = int(frame["n_replicates"].max())
    interval = (
        f"Bands and bars: {text.interval(level_of(frame))} over {n} replicates."
        if n > 1
        else "One replicate: no intervals."
    )
    edge = " Hollow: a best learning rate at the edge of its grid." if frame["edge_of_grid"].any() else ""
    return (
        f"Model {first['model']}, {first['tokens_per_parameter']:g} tokens per parameter, against "
        f"{first['fixed_schedule']} with {first['batch_sequences']} sequences per update{at}: what it takes to the "
        "same loss, (fixed - growing)/fixed. Left: the first validation blocks; right: all validation tokens, at the "
        "higher of the two final losses; own LRs: each at its best one. Tokens are time at a fixed number "
        f"of tokens per second, seconds are this machine's. {interval}{edge}"
    )
