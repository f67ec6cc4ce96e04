"""Question 3: the batch size."""

from __future__ import annotations

from glidepath.study.figure_list.figure_entry import (
    BATCH_PATHS,
    BATCH_SWEEPS,
    CI_HIGH,
    CI_LEVEL,
    CI_LOW,
    MODEL,
    N_REPLICATES,
    SCHEDULE,
    TOKENS_SEEN,
    TPP,
    VAL_LOSS_SE,
    FigureEntry,
)
from glidepath.study.tables import Column, Table

FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Loss against batch size at equal tokens",
        3,
        ("runs", "noise_scale"),
        Table(
            "batch_size",
            "Final loss at the best peak learning rate of each batch size, with the noise scale of the last window.",
            (
                Column("item", "string", "-", "loss or noise_scale"),
                MODEL,
                *SCHEDULE,
                TPP,
                Column("batch_tokens", "float64", "tokens", "tokens per update, or the noise scale"),
                Column("peak_lr", "float64", "-", "best peak learning rate of the grid; null for the noise scale"),
                Column("n_replicates", "int64", "-", "replicates averaged; null for the noise scale"),
                Column("val_loss", "float64", "nat/token", "validation loss; null for the noise scale"),
                VAL_LOSS_SE,
                Column("edge_of_grid", "bool", "-", "the best peak learning rate is at the edge of its grid"),
            ),
        ),
    ),
    FigureEntry(
        "Updates against tokens to a loss",
        3,
        ("runs", "steps_to_loss", "critical_batch"),
        Table(
            "critical_batch",
            "Updates and training tokens to a loss at every batch, the hyperbola through them, and on it the critical "
            "batches and the noise scale; a panel per rule for the learning rate, and one of averaged weights.",
            (
                Column("item", "string", "-", "batch: measured; fit: on the hyperbola; or what is marked on it"),
                MODEL,
                Column("schedule", "string", "-", "schedule"),
                Column("weights", "string", "-", "raw, or the average"),
                Column("lr_rule", "string", "-", "rule for the peak learning rate"),
                Column("target", "string", "-", "how the target loss was chosen"),
                Column("rank", "int64", "-", "place of the target loss, 0 the lowest: decides colour"),
                Column("target_loss", "float64", "nat/token", "the loss"),
                Column("batch_sequences", "float64", "sequences", "batch"),
                Column("batch_low", "float64", "sequences", "lower end of a mark's interval; null if none"),
                Column("batch_high", "float64", "sequences", "upper end; null if none"),
                Column("tokens", "float64", "tokens", "training tokens to the loss; of the fewest updates null"),
                Column("steps", "float64", "updates", "updates to the loss; of the fewest tokens null"),
                Column("ln_steps_se", "float64", "-", "standard error of ln steps; null if unknown"),
                N_REPLICATES,
                Column("edge_of_grid", "bool", "-", "the learning rate is at the edge of its grid"),
                Column("status", "string", "-", "status of the fit; of a batch whether it is there"),
                CI_LEVEL,
            ),
        ),
        asked_for=BATCH_SWEEPS,
    ),
    FigureEntry(
        "Loss with a growing batch",
        3,
        ("runs", "updates", "evaluations", "batch_saving"),
        Table(
            "batch_path_losses",
            "Loss along training of batch paths and of the fixed batch that they are equal to but for it, every "
            "replicate and their mean, above the batch.",
            (
                Column("item", "string", "-", "replicate or mean: a loss; batch: a batch from its tokens on"),
                Column("schedule", "string", "-", "schedule"),
                Column("rank", "int64", "-", "0: the fixed batch; from 1 on the paths: decides colour and line"),
                MODEL,
                TPP,
                Column("peak_lr", "float64", "-", "peak learning rate of all, the best of the fixed batch"),
                Column("replicate", "int64", "-", "replicate; null for a mean and for the batch"),
                TOKENS_SEEN,
                Column("val_loss", "float64", "nat/token", "loss on the first validation blocks; null for the batch"),
                Column("batch_sequences", "int64", "sequences", "batch; null for a loss"),
            ),
        ),
        asked_for=BATCH_PATHS,
    ),
    FigureEntry(
        "What a growing batch saves",
        3,
        ("runs", "batch_saving"),
        Table(
            "batch_saving",
            "Training tokens that batch paths save at equal loss, along the curves and at the end of training, and "
            "there also seconds.",
            (
                Column("item", "string", "-", "curve; or at the end: tokens, seconds"),
                Column("lr_choice", "string", "-", "equal: both at one peak learning rate; best: each at its own"),
                Column("schedule", "string", "-", "schedule with the batch path"),
                Column("fixed_schedule", "string", "-", "the schedule without"),
                Column("rank", "int64", "-", "place among the paths, from 1 on: decides colour and line"),
                MODEL,
                TPP,
                Column("batch_sequences", "int64", "sequences", "fixed batch, at which paths end"),
                Column("peak_lr", "float64", "-", "peak learning rate of the path"),
                Column("fixed_peak_lr", "float64", "-", "peak learning rate of the fixed batch"),
                Column("val_loss", "float64", "nat/token", "the loss that both reach"),
                Column("saved_fraction", "float64", "-", "1 - path/fixed, of tokens or seconds to it"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                N_REPLICATES,
                Column("edge_of_grid", "bool", "-", "best: one of the two learning rates is at the edge of its grid"),
            ),
        ),
        asked_for=BATCH_PATHS,
    ),
)
