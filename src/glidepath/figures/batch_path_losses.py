"""Loss along training with a growing and with a fixed batch, above the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, scales, select, style, text
from glidepath.figures.batch_paths import LOOKS, names_by_rank, shown_pairs
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Loss with a growing batch"
LAST_PART = 0.4
"""Part of the horizon that the right panels enlarge."""


def data(tables: Tables) -> pd.DataFrame:
    """Losses and batches of the fixed schedule with most batch paths, all at the fixed one's best learning rate."""
    runs = tables["runs"]
    pairs = shown_pairs(tables["batch_saving"], runs)
    pairs = pairs[pairs["lr_choice"] == "equal"]
    if pairs.empty:
        return tidy("batch_path_losses")
    first = pairs.iloc[0]
    ranks = {str(first["fixed_schedule"]): 0, **dict(zip(pairs["schedule"], pairs["rank"], strict=True))}
    where = ["model", "tokens_per_parameter", "batch_sequences", "peak_lr"]
    cells = select.completed(runs)
    cells = cells[(cells[where] == first[where]).all(axis=1) & cells["schedule"].isin(ranks)]
    cells = cells[["cell_id", "model", "schedule", "tokens_per_parameter", "peak_lr", "replicate", "context_length"]]
    cells = cells.assign(rank=cells["schedule"].map(ranks)).sort_values(["rank", "replicate"], kind="stable")
    losses = select.first_domain(tables["evaluations"])
    losses = losses.loc[losses["eval_set"] == "subset", ["cell_id", "tokens_seen", "val_loss"]]
    curves = cells.merge(losses, on="cell_id")
    keys = ["model", "schedule", "rank", "tokens_per_parameter", "peak_lr", "tokens_seen"]
    means = curves.groupby(keys, as_index=False).agg(val_loss=("val_loss", "mean"))
    means = means.sort_values(["rank", "tokens_seen"])
    # All replicates of a schedule have the same batches.
    one_each = cells.drop_duplicates("schedule")
    return tidy(
        "batch_path_losses",
        curves.assign(item="replicate"),
        means.assign(item="mean"),
        *(_batches(cell, tables["updates"]).assign(item="batch") for _, cell in one_each.iterrows()),
    )


def _batches(cell: pd.Series[Any], updates: pd.DataFrame) -> pd.DataFrame:
    """Where a batch begins, and where the last one ends. The last update, which takes what is left, is no batch."""
    applied = updates[updates["cell_id"] == cell["cell_id"]].sort_values("step")
    batch, seen = applied["batch_tokens"].to_numpy(), applied["tokens_seen"].to_numpy()
    whole = batch[:-1] if len(batch) > 1 else batch
    begins = np.flatnonzero(np.diff(whole, prepend=-1))
    names = ["model", "schedule", "rank", "tokens_per_parameter", "peak_lr"]
    return pd.DataFrame(
        {
            **{name: cell[name] for name in names},
            "tokens_seen": [*(seen - batch)[begins], seen[-1]],
            "batch_sequences": whole[[*begins, -1]] // int(cell["context_length"]),
        }
    )


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No schedule with a batch path was trained beside the one that is equal but for it.",
            "Give a schedule of the study a `batch` and train it at a learning rate that the other one has too.",
        )
    figure = Figure(figsize=(11.6, 6.2))
    (whole, last), (whole_batch, last_batch) = figure.subplots(
        2, 2, sharex="col", gridspec_kw={"height_ratios": [3.2, 1.0]}
    )
    names = names_by_rank(frame)
    for rank in names:
        rows = frame[frame["rank"] == rank]
        for ax in (whole, last):
            _draw_losses(ax, rows, rank)
        for ax in (whole_batch, last_batch):
            _draw_batch(ax, rows[rows["item"] == "batch"], rank)
    losses = frame[frame["item"] != "batch"]
    horizon = float(losses["tokens_seen"].max())
    whole.set_xscale("log")
    whole.set_xlim(float(losses["tokens_seen"].min()) / 1.1, horizon * 1.05)
    scales.log_steps(whole, "x", text.compact)
    shown = losses.loc[losses["tokens_seen"] >= (1 - LAST_PART) * horizon, "val_loss"]
    margin = 0.06 * float(np.ptp(shown)) or 0.01
    last.set_xlim((1 - LAST_PART) * horizon, horizon * 1.01)
    last.set_ylim(float(shown.min()) - margin, float(shown.max()) + margin)
    scales.count_axis(last, "x", most=5)
    whole.set_title("whole training")
    last.set_title(f"last {100 * LAST_PART:.0f} %")
    whole.set_ylabel("validation loss [nat/token]")
    whole_batch.set_ylabel("batch [seq.]")
    for ax in (whole_batch, last_batch):
        ax.set_ylim(0, 1.12 * float(frame["batch_sequences"].max()))
        ax.set_xlabel("training tokens")
    handles = [
        Line2D([], [], color=LOOKS[rank][0], linestyle=LOOKS[rank][1], label=f"{name}, fixed" if rank == 0 else name)
        for rank, name in names.items()
    ]
    layout.heading(figure, TITLE, _note(frame), handles)
    return figure


def _draw_losses(ax: Axes, rows: pd.DataFrame, rank: int) -> None:
    color, line, _ = LOOKS[rank]
    for _, curve in rows[rows["item"] == "replicate"].groupby("replicate"):
        ax.plot(curve["tokens_seen"], curve["val_loss"], color=color, linewidth=0.8, alpha=0.35)
    mean = rows[rows["item"] == "mean"]
    ax.plot(mean["tokens_seen"], mean["val_loss"], color=color, linestyle=line)


def _draw_batch(ax: Axes, rows: pd.DataFrame, rank: int) -> None:
    color, line, _ = LOOKS[rank]
    # Nothing is before the first update on a logarithmic axis.
    tokens = np.maximum(rows["tokens_seen"].to_numpy(float), 1.0)
    ax.step(tokens, rows["batch_sequences"].to_numpy(float), where="post", color=color, linestyle=line, linewidth=1.8)


def _note(frame: pd.DataFrame) -> str:
    first = frame.iloc[0]
    n = int(frame["replicate"].nunique())
    replicates = f"Thin: {n} replicates; thick: their mean." if n > 1 else "One replicate."
    return (
        f"Model {first['model']}, {first['tokens_per_parameter']:g} tokens per parameter, all at the peak learning "
        f"rate {text.learning_rate(first['peak_lr'])}, the best of the fixed batch. Loss on the first validation "
        f"blocks. {replicates} Below: sequences per update."
    )
