"""Checkpoints trained elsewhere."""

from __future__ import annotations

from glidepath.study.figure_list.figure_entry import STATUS, TOKENS_SEEN, VAL_LOSS, FigureEntry
from glidepath.study.tables import Column, Table

TRAJECTORY = Column("cell_id", "string", "-", "trajectory")
AVERAGE = Column("average", "string", "-", "name of the average; raw: the checkpoints themselves")

FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Averaged checkpoints along training",
        4,
        ("averages",),
        Table(
            "checkpoint_averages",
            "Checkpoints trained elsewhere: loss of raw and averaged weights along training, and what averaging gains.",
            (
                TRAJECTORY,
                AVERAGE,
                Column("averaging_scheme", "string", "-", "kind of average; raw"),
                TOKENS_SEEN,
                VAL_LOSS,
                Column("gain", "float64", "nat/token", "loss of the raw weights minus this one; null for raw weights"),
                Column("gain_sem", "float64", "nat/token", "its standard error over validation blocks"),
            ),
        ),
    ),
    FigureEntry(
        "Training that averaging saves",
        4,
        ("checkpoint_steps_saved",),
        Table(
            "checkpoint_savings",
            "Checkpoints trained elsewhere: updates that raw weights still need to be as good as the average is now.",
            (
                TRAJECTORY,
                AVERAGE,
                Column("updates_done", "int64", "updates", "updates that the averaged weights have seen"),
                TOKENS_SEEN,
                Column("updates_saved", "float64", "updates", "updates saved; of `beyond` at least these"),
                Column("updates_saved_low", "float64", "updates", "lower end of its interval; null if not known"),
                Column("updates_saved_high", "float64", "updates", "upper end; null when beyond the trajectory"),
                Column("hours_saved", "float64", "h", "the same in hours; null if not known"),
                STATUS,
                Column("ci_level", "float64", "-", "level of the interval"),
            ),
        ),
    ),
)
