"""Question 1: the schedule."""

from __future__ import annotations

from glidepath.study.figure_list.figure_entry import (
    BATCH_TOKENS,
    CI_HIGH,
    CI_LEVEL,
    CI_LOW,
    EXTRAPOLATED,
    LOSS_HORIZON,
    MODEL,
    N_REPLICATES,
    PEAK_LR,
    SCHEDULE,
    TOKENS_SEEN,
    TPP,
    FigureEntry,
)
from glidepath.study.tables import Column, Table

FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Learning-rate schedules as applied",
        1,
        ("runs", "updates"),
        Table(
            "schedules",
            "Applied learning rate of each schedule at one horizon and one peak.",
            (
                MODEL,
                *SCHEDULE,
                Column("cell_id", "string", "-", "cell the learning rates were read from"),
                TPP,
                PEAK_LR,
                Column("step", "int64", "updates", "0-based index of the update"),
                TOKENS_SEEN,
                Column("lr", "float64", "-", "learning rate applied"),
            ),
        ),
    ),
    FigureEntry(
        "Learning rates, and how much each update weighs in the final weights",
        1,
        ("runs", "updates", "ema_view"),
        Table(
            "update_coefficients",
            "AdamW as an average of its updates: learning rates of the hidden matrices, and the weight of every update "
            "in the final weights, for each schedule at one horizon and one peak.",
            (
                MODEL,
                *SCHEDULE,
                Column("cell_id", "string", "-", "cell the learning rates were read from"),
                TPP,
                PEAK_LR,
                Column("step", "int64", "updates", "0-based index of the update"),
                TOKENS_SEEN,
                Column("lr", "float64", "-", "learning rate applied to the hidden matrices"),
                Column("log10_coefficient", "float64", "-", "log10 of the update's weight; null at learning rate 0"),
                Column("initial_coefficient", "float64", "-", "weight of the initial values in the final ones"),
                Column("effective_updates", "float64", "updates", "effective number of averaged updates"),
            ),
        ),
    ),
    FigureEntry(
        "Validation loss along training",
        1,
        ("runs", "evaluations"),
        Table(
            "loss_curves",
            "Subset validation loss of each schedule at its best peak learning rate, longest common horizon.",
            (
                MODEL,
                *SCHEDULE,
                TPP,
                PEAK_LR,
                N_REPLICATES,
                TOKENS_SEEN,
                Column("val_loss", "float64", "nat/token", "mean over replicates, first validation blocks only"),
                Column("val_loss_min", "float64", "nat/token", "lowest replicate"),
                Column("val_loss_max", "float64", "nat/token", "highest replicate"),
                Column("bits_per_byte", "float64", "bit/byte", "mean over replicates"),
            ),
        ),
    ),
    FigureEntry(
        "Paired difference to the reference schedule",
        1,
        ("runs", "comparisons"),
        Table(
            "schedule_differences",
            "Difference of each schedule to the reference, each at its own best peak learning rate.",
            (
                MODEL,
                *SCHEDULE,
                Column("reference_schedule", "string", "-", "schedule it is compared with"),
                TPP,
                BATCH_TOKENS,
                Column(
                    "difference",
                    "float64",
                    "nat/token",
                    "loss minus the reference's loss, paired; negative is better",
                ),
                Column("difference_relative", "float64", "-", "difference over the reference's loss"),
                Column("standard_error", "float64", "nat/token", "of difference"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                Column(
                    "minimum_detectable_difference",
                    "float64",
                    "nat/token",
                    "two-sided at the interval's level, power 80 %",
                ),
                N_REPLICATES,
                Column(
                    "edge_of_grid",
                    "bool",
                    "-",
                    "one of the two best learning rates is at the edge of its grid",
                ),
                Column("verdict", "string", "-", "better, worse or not resolved"),
            ),
        ),
    ),
    FigureEntry(
        "Compute saved against the reference schedule",
        1,
        ("runs", "comparisons", f"{LOSS_HORIZON}/predictions"),
        Table(
            "compute_saving",
            "Fraction of the training tokens that a schedule saves to reach the reference's loss.",
            (
                MODEL,
                *SCHEDULE,
                Column("reference_schedule", "string", "-", "schedule it is compared with; empty if unknown"),
                TPP,
                Column(
                    "compute_saving",
                    "float64",
                    "-",
                    "1 - tokens needed / tokens of the reference; negative is a loss",
                ),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                EXTRAPOLATED,
            ),
        ),
    ),
)
