"""Provoked loss spikes, and what averaging does to them."""

from __future__ import annotations

from glidepath.study.tables.table import Column, Table
from glidepath.study.tables.training import TOKENS_SEEN, UPDATES_DONE

WHERE_SPIKED = (
    Column("model", "string", "-", "model", key=True),
    Column("batch_sequences", "int64", "sequences", "batch", key=True),
    Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon", key=True),
    Column("peak_lr", "float64", "-", "peak learning rate of the clean schedule", key=True),
    Column("spiked", "string", "-", "schedule with the spike", key=True),
)

AVERAGE_OR_RAW = Column(
    "average", "string", "-", "name of the average, best_window, or raw: the weights themselves", key=True
)


def _over_replicates(name: str, meaning: str) -> tuple[Column, Column, Column]:
    """A mean over replicates with its interval."""
    return (
        Column(name, "float64", "nat/token", f"{meaning}; mean over replicates"),
        Column(f"{name}_ci_low", "float64", "nat/token", "lower end of its interval; null with one replicate"),
        Column(f"{name}_ci_high", "float64", "nat/token", "upper end"),
    )


def _share_removed(name: str, meaning: str) -> tuple[Column, Column, Column, Column]:
    """A share with its interval."""
    return (
        Column(name, "float64", "-", f"{meaning}; null for raw"),
        Column(f"{name}_se", "float64", "-", "delete-one jackknife standard error over replicates"),
        Column(f"{name}_ci_low", "float64", "-", "lower end of its interval; null with one replicate"),
        Column(f"{name}_ci_high", "float64", "-", "upper end"),
    )


SPIKE_EXCESS = Table(
    "spike_excess",
    "One row per provoked spike, average and evaluated point from the last one before the spike on: loss with the "
    "spike and without, same seeds and data (laws/spike_removal.py).",
    (
        *WHERE_SPIKED,
        Column("clean", "string", "-", "schedule without the spike"),
        AVERAGE_OR_RAW,
        UPDATES_DONE,
        TOKENS_SEEN,
        Column("in_window", "bool", "-", "the point is one of those among which the height is looked for"),
        Column("reaches_spike", "bool", "-", "the first snapshot averaged is not later than the end of the spike"),
        Column("n_replicates", "int64", "-", "pairs of cells"),
        Column("val_loss_clean", "float64", "nat/token", "loss without the spike; mean over replicates"),
        Column("val_loss_spiked", "float64", "nat/token", "loss with the spike; mean over replicates"),
        *_over_replicates("excess", "val_loss_spiked - val_loss_clean"),
        *_over_replicates("rise", "val_loss_spiked less its own value at the first row, before the spike"),
        Column("ci_level", "float64", "-", "level of the intervals"),
    ),
)

SPIKE_REMOVAL = Table(
    "spike_removal",
    "One row per provoked spike and average: how much of the spike it removes (laws/spike_removal.py).",
    (
        *WHERE_SPIKED,
        Column("clean", "string", "-", "schedule without the spike"),
        AVERAGE_OR_RAW,
        Column("averaging_scheme", "string", "-", "as in averages"),
        Column("spike_begin", "int64", "updates", "updates done when the learning rates part"),
        Column("spike_end", "int64", "updates", "updates done when they are the same again"),
        Column("lr_multiple", "float64", "-", "largest ratio of the two learning rates"),
        Column("n_points", "int64", "-", "points among which the height is looked for"),
        Column("n_points_reaching_spike", "int64", "-", "of these, points whose average reaches back to the spike"),
        Column("n_replicates", "int64", "-", "pairs of cells"),
        *_over_replicates("height", "largest excess in the window, of each replicate"),
        *_share_removed("share_removed", "1 - height/height of raw"),
        *_over_replicates("mean_excess", "mean excess over the points of the window"),
        *_share_removed("mean_share_removed", "1 - mean_excess/mean_excess of raw"),
        *_over_replicates("final_excess", "excess at the end of the cells: lasting damage"),
        *_over_replicates("largest_rise", "rise where its mean is largest in the window"),
        Column("ci_level", "float64", "-", "level of the intervals"),
        Column(
            "verdict",
            "string",
            "-",
            "removed, reduced, raised, not resolved, or no spike where raw does not rise; raw itself: "
            "spike, or one of the last two",
        ),
    ),
)
