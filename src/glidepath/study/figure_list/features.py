"""Question 5: loss by position, and what features of a schedule say of its loss."""

from __future__ import annotations

from glidepath.study.figure_list.figure_entry import (
    CI_HIGH,
    CI_LEVEL,
    CI_LOW,
    EXTRAPOLATED,
    MODEL,
    N_REPLICATES,
    PEAK_LR,
    SCHEDULE,
    TPP,
    FigureEntry,
)
from glidepath.study.tables import Column, Table

TEMPORAL = "laws/temporal"
SCHEDULE_FEATURES = "laws/schedule_features"

FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Loss by position in the sequence, and where its plateau goes",
        5,
        ("runs", "position_losses", f"{TEMPORAL}/predictions"),
        Table(
            "position_losses",
            "Loss at every position at some checkpoints of one training with the hyperbola of each, and its mean along "
            "training with the temporal law.",
            (
                Column("item", "string", "-", "position, hyperbola, mean or law"),
                MODEL,
                *SCHEDULE,
                TPP,
                PEAK_LR,
                N_REPLICATES,
                Column("tokens_seen", "float64", "tokens", "training tokens seen"),
                Column("position", "float64", "tokens", "tokens of context; null for mean and law"),
                Column("val_loss", "float64", "nat/token", "validation loss on the first domain"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                EXTRAPOLATED,
            ),
        ),
        TEMPORAL,
    ),
    FigureEntry(
        "Loss predicted from features of the schedule",
        5,
        ("runs", f"{SCHEDULE_FEATURES}/predictions"),
        Table(
            "schedule_features",
            "Loss of every schedule and peak learning rate as predicted by a regression that has not seen its family "
            "of schedules, against the measured one.",
            (
                MODEL,
                *SCHEDULE,
                TPP,
                PEAK_LR,
                N_REPLICATES,
                Column("val_loss", "float64", "nat/token", "measured loss, mean over replicates"),
                Column("predicted", "float64", "nat/token", "predicted loss"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
            ),
        ),
        SCHEDULE_FEATURES,
    ),
)
