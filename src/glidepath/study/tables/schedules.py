"""Schedules against each other, and as averages of their updates."""

from __future__ import annotations

from glidepath.study.tables.plan import CELL
from glidepath.study.tables.table import Column, Table

EMA_VIEW = Table(
    "ema_view",
    "AdamW as an average of its updates: how much of the final weights of each kind of parameter is initialisation, "
    "and how many updates the rest averages (science/ema_view.py).",
    (
        CELL,
        Column("group", "string", "-", "kind of parameter: norm, matrix, embedding, head, embedding_head", key=True),
        Column("lr_multiplier", "float64", "-", "what the kind multiplies the applied learning rate by"),
        Column("weight_decay_multiplier", "float64", "-", "what the kind multiplies the applied weight decay by"),
        Column("initial_coefficient", "float64", "-", "weight of the initial values in the final ones"),
        Column("effective_updates", "float64", "updates", "1/Σĉ² over the updates' weights ĉ, which sum to 1"),
        Column("peak_coefficient", "float64", "-", "largest weight of one update"),
        Column("peak_fraction", "float64", "-", "tokens seen with that update, over the horizon"),
        Column(
            "timescale_fraction",
            "float64",
            "-",
            "memory at the largest learning rate × weight decay, over the run: batch_tokens / (lr·decay·token_horizon)",
        ),
        Column("status", "string", "-", "ok, or why there are no numbers"),
    ),
)

INTERVAL = (
    Column("ci_low", "float64", "as value", "lower end of the interval; null when not identified"),
    Column("ci_high", "float64", "as value", "upper end of the interval; null when not identified"),
    Column("ci_level", "float64", "-", "level of the interval"),
)

COMPARISONS = Table(
    "comparisons",
    "Paired difference in validation loss between two schedules, each at its own best peak learning rate.",
    (
        Column("model", "string", "-", "model", key=True),
        Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon", key=True),
        Column("batch_sequences", "int64", "sequences", "batch", key=True),
        Column("schedule", "string", "-", "schedule judged", key=True),
        Column("reference_schedule", "string", "-", "schedule it is compared with", key=True),
        Column("peak_lr", "float64", "-", "best peak LR of the schedule on the grid"),
        Column("reference_peak_lr", "float64", "-", "best peak LR of the reference on the grid"),
        Column("edge_of_grid", "bool", "-", "one of the two best LRs is at the edge of its grid"),
        Column("val_loss", "float64", "nat/token", "mean over replicates"),
        Column("reference_val_loss", "float64", "nat/token", "mean over replicates"),
        Column("difference", "float64", "nat/token", "val_loss - reference_val_loss, mean of paired differences"),
        Column("difference_relative", "float64", "-", "difference / reference_val_loss"),
        Column(
            "standard_error",
            "float64",
            "nat/token",
            "of difference: replicates (pooled) and validation blocks",
        ),
        Column("degrees_of_freedom", "int64", "-", "behind the replicate part of the error"),
        Column("n_replicates", "int64", "-", "replicates both schedules have"),
        Column(
            "minimum_detectable_difference", "float64", "nat/token", "two-sided at the interval's level, power 80 %"
        ),
        *INTERVAL,
        Column("verdict", "string", "-", "better, worse or not resolved"),
    ),
)
