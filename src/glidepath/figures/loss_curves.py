"""Validation loss along training, one line per schedule at its best peak learning rate."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from glidepath.figures import layout, marks, scales, select, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Validation loss along training"
LAST_PART = 0.4
"""Part of the horizon that the right panel enlarges."""


def data(tables: Tables) -> pd.DataFrame:
    """Losses along training averaged over replicates, at the longest horizon that most schedules have: those on the
    validation subset, or of imported logs, which have no subset, those that they tell."""
    losses = tables["evaluations"]
    runs = select.main_model(select.among(tables["runs"], losses))
    best = select.at_best_lr(runs)
    best = best[best["tokens_per_parameter"] == select.common_horizon(best)]
    cells = select.completed(runs).merge(best[[*select.GROUP, "peak_lr"]], on=[*select.GROUP, "peak_lr"])
    # The subset losses are those of the first domain only; domains never mix.
    along = "subset" if (losses["eval_set"] == "subset").any() else "full"
    losses = losses[(losses["eval_set"] == along) & np.isfinite(losses["val_loss"])]
    losses = losses[losses["domain"] == losses["domain"].iloc[0]] if len(losses) else losses
    frame = losses[["cell_id", "tokens_seen", "val_loss", "bits_per_byte"]].merge(
        cells[["cell_id", "model", "schedule", "tokens_per_parameter", "peak_lr"]], on="cell_id"
    )
    keys = ["model", "schedule", "tokens_per_parameter", "peak_lr", "tokens_seen"]
    frame = frame.groupby(keys, as_index=False).agg(
        n_replicates=("val_loss", "size"),
        val_loss_min=("val_loss", "min"),
        val_loss_max=("val_loss", "max"),
        val_loss=("val_loss", "mean"),
        bits_per_byte=("bits_per_byte", "mean"),
    )
    frame = select.with_families(frame, tables["runs"])
    return tidy("loss_curves", select.in_family_order(frame, ["schedule", "tokens_seen"]))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No completed cell has losses along training.",
            "Cells are evaluated from `evaluation.first_update` on; lower it if the horizons are shorter.",
        )
    figure, (whole, last) = layout.panels(2, width=5.4, height=4.2)
    horizon = float(frame["tokens_seen"].max())
    ends = []
    for name, kind, rank in style.schedules_in_order(frame):
        rows = frame[frame["schedule"] == name]
        look = style.schedule_look(kind, rank)
        for ax in (whole, last):
            ax.plot(rows["tokens_seen"], rows["val_loss"], color=look.color, linestyle=look.line_style)
            if (rows["n_replicates"] > 1).any():
                ax.fill_between(
                    rows["tokens_seen"],
                    rows["val_loss_min"],
                    rows["val_loss_max"],
                    color=look.color,
                    alpha=0.15,
                    linewidth=0,
                )
        label = f"{name}\N{EN SPACE}{text.learning_rate(rows['peak_lr'].iloc[0])}"
        ends.append((float(rows["tokens_seen"].iloc[-1]), float(rows["val_loss"].iloc[-1]), label, look.color))
    shown = frame[frame["tokens_seen"] >= (1 - LAST_PART) * horizon]
    low, high = float(shown["val_loss_min"].min()), float(shown["val_loss_max"].max())
    margin = 0.06 * (high - low) or 0.01
    last.set_xlim((1 - LAST_PART) * horizon, horizon)
    last.set_ylim(low - margin, high + margin)
    whole.set_xscale("log")
    scales.log_ticks(whole, "x", octaves(frame["tokens_seen"].min(), horizon), text.compact, most=5)
    scales.count_axis(last, "x", most=4)
    whole.set_title("whole training")
    last.set_title(f"last {100 * LAST_PART:.0f} %")
    whole.set_ylabel("validation loss [nat/token]")
    for ax in (whole, last):
        ax.set_xlabel("training tokens")
    bits_per_nat = float((frame["bits_per_byte"] / frame["val_loss"]).median())
    if np.isfinite(bits_per_nat) and bits_per_nat > 0:
        bits = whole.secondary_yaxis(
            "right", functions=(partial(operator.mul, bits_per_nat), partial(operator.mul, 1 / bits_per_nat))
        )
        bits.set_ylabel("bit/byte", color=style.FAINT)
        bits.yaxis.set_major_locator(MaxNLocator(5))
        bits.spines["right"].set_visible(True)
    marks.end_labels(last, ends, gap=0.07)
    first = frame.iloc[0]
    layout.heading(
        figure,
        TITLE,
        f"Model {first['model']}, {first['tokens_per_parameter']:g} tokens per parameter; each schedule at "
        "its best peak learning rate (beside its name). Loss on the first validation blocks only: curves "
        "compare with each other, not with final losses. Bands: lowest to highest of up to "
        f"{int(frame['n_replicates'].max())} replicates.",
    )
    return figure


def octaves(low: float, high: float) -> list[float]:
    """Values a factor of two apart that end at `high`."""
    n = int(np.floor(np.log2(high / low))) if high > low > 0 else 0
    return [high / 2**i for i in range(n, -1, -1)]
