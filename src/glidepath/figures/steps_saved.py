"""How much longer the raw weights train until they are as good as an average is now, a column per learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, scales, select, style, text
from glidepath.figures.frames import level_of, tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Steps saved by averaging"
MOST_COLUMNS = 3
MOST_AVERAGES = 4
LOOKS = (("#E69F00", "s"), ("#0072B2", "o"), ("#CC79A7", "^"), ("#009E73", "D"))
"""Colour and marker by rank: the average that saves most first."""
POINT = ["peak_lr", "tokens_seen"]


def data(tables: Tables) -> pd.DataFrame:
    """The averages that save most, of the main model and batch and of the schedule with most points."""
    rows = tables["steps_saved"]
    runs = tables["runs"].merge(rows[["model", "schedule", "peak_lr", "batch_sequences"]].drop_duplicates())
    main = select.main_model(runs)
    rows = rows[rows["model"].isin(main["model"]) & rows["batch_sequences"].isin(main["batch_sequences"])]
    rows = rows[rows["status"] != "none"]
    if rows.empty:
        return tidy("steps_saved")
    rows = rows[rows["schedule"] == rows["schedule"].value_counts().sort_index().idxmax()]
    rows = rows[rows["peak_lr"].isin(select.nearest_the_best(rows, "val_loss_averaged", MOST_COLUMNS))]
    last_tokens = rows.groupby("peak_lr")["tokens_seen"].max()
    # Compared at the points that they share: an average that is defined late has seen more tokens.
    losses = rows.pivot_table(index=POINT, columns="average", values="val_loss_averaged")
    excess = losses.sub(losses.min(axis=1), axis=0).mean().sort_index().sort_values(kind="stable")
    ranks = {str(name): rank for rank, name in enumerate(excess.index[:MOST_AVERAGES])}
    rows = rows[rows["average"].isin(ranks)]
    rows = rows.assign(
        rank=rows["average"].map(ranks),
        n_averages=len(excess),
        batch_tokens=int(runs.loc[runs["model"] == rows["model"].iloc[0], "batch_tokens"].iloc[0]),
        last_tokens=rows["peak_lr"].map(last_tokens),
    )
    return tidy("steps_saved", rows.sort_values(["peak_lr", "rank", "updates_done"], kind="stable"))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No average was better than the raw weights, or no checkpoints were averaged.",
            "Add an `averaging` section to the study that names a constant schedule.",
        )
    rates = sorted(frame["peak_lr"].unique())
    figure, axes = layout.panels(len(rates), columns=MOST_COLUMNS, width=3.8, height=4.0, share_x=True, share_y=True)
    for ax, lr in zip(axes, rates, strict=True):
        rows = frame[frame["peak_lr"] == lr]
        tokens = np.sort(rows["tokens_seen"].unique())
        ax.plot(tokens, rows["last_tokens"].iloc[0] - tokens, color=style.FAINT, linewidth=1.2, linestyle=(0, (2, 2)))
        for rank, of_average in rows.groupby("rank"):
            _draw_average(ax, of_average, *LOOKS[int(str(rank))])
        ax.set_title(f"peak {text.learning_rate(lr)}")
        ax.set_xlabel("training tokens")
        ax.set_xscale("log")
    highest = float(frame["tokens_saved"].max())
    axes[0].set_ylim(0.0, 1.15 * highest if highest > 0 else 1.0)
    for ax in axes:
        scales.log_steps(ax, "x", text.compact)
    scales.count_axis(axes[0], "y")
    axes[0].set_ylabel("training tokens saved")
    names = frame.drop_duplicates("rank").sort_values("rank")["average"]
    handles = [
        Line2D([], [], color=LOOKS[rank][0], marker=LOOKS[rank][1], label=name) for rank, name in enumerate(names)
    ]
    handles += [
        Line2D([], [], color=style.FAINT, linestyle=(0, (2, 2)), label="rest of the training"),
        Line2D([], [], color=style.INK, marker="o", markerfacecolor="white", linestyle="none", label="at least these"),
    ]
    layout.heading(figure, TITLE, _note(frame), handles)
    return figure


def _draw_average(ax: Axes, rows: pd.DataFrame, color: str, marker: str) -> None:
    reached = rows[rows["status"] == "reached"].sort_values("tokens_seen")
    known = reached[np.isfinite(reached["tokens_saved_low"])]
    # An open end is drawn up to where the training ends.
    high = known["tokens_saved_high"].fillna(float(rows["last_tokens"].iloc[0]) - known["tokens_seen"])
    ax.fill_between(known["tokens_seen"], known["tokens_saved_low"], high, color=color, alpha=0.12, linewidth=0)
    ax.plot(reached["tokens_seen"], reached["tokens_saved"], color=color, linewidth=1.6, marker=marker)
    beyond = rows[rows["status"] == "beyond"]
    ax.plot(
        beyond["tokens_seen"],
        beyond["tokens_saved"],
        linestyle="none",
        marker=marker,
        color=color,
        markerfacecolor="white",
        markeredgewidth=1.4,
    )


def _note(frame: pd.DataFrame) -> str:
    first = frame.iloc[0]
    omitted = int(first["n_averages"]) - frame["average"].nunique()
    more = f" {omitted} averages of higher loss are in the table only." if omitted else ""
    return (
        f"Model {first['model']}, snapshots of {first['schedule']}, {text.compact(first['batch_tokens'])} tokens per "
        "update: training tokens until the raw weights first reach the loss that the average has already, means over "
        f"replicates. Hollow: they do not within their training, which the saving is then at least. Bands: "
        f"{text.interval(level_of(frame))}, up to the end of training where they are open.{more}"
    )
