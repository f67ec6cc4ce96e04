"""Question 5: laws of loss curves on schedules that were hidden from them."""

from __future__ import annotations

from glidepath.study.figure_list.figure_entry import (
    ANNEALING,
    CURVES_OF,
    EXTRAPOLATED,
    MODEL,
    PEAK_LR,
    SCHEDULE,
    TPP,
    VAL_LOSS,
    FigureEntry,
)
from glidepath.study.tables import Column, Table
from glidepath.study.tables.curve_laws import BANDS, OPTIMISED_SCHEDULE

FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Loss curves hidden from the law that predicts them",
        5,
        ("runs", CURVES_OF),
        Table(
            "curve_predictions",
            "Measured and predicted loss along training of runs that were hidden from the law, with bands.",
            (
                Column("law", "string", "-", "law"),
                MODEL,
                Column("batch_sequences", "int64", "sequences", "batch"),
                *SCHEDULE,
                PEAK_LR,
                TPP,
                Column("updates_done", "int64", "updates", "updates done"),
                VAL_LOSS,
                Column("val_loss_predicted", "float64", "nat/token", "prediction without these runs"),
                *BANDS,
                Column("baseline", "float64", "nat/token", "loss of the most similar fitted run there"),
                EXTRAPOLATED,
            ),
        ),
        asked_for=ANNEALING,
    ),
    FigureEntry(
        "The schedule that the best law asks for",
        5,
        ("verify/optimised_schedule",),
        Table(
            "optimised_schedule",
            "Learning rate of the optimised schedule and of the best trained one, with their predicted final losses.",
            tuple(Column(c.name, c.type, c.unit, c.meaning) for c in OPTIMISED_SCHEDULE.columns),
        ),
        asked_for="verify",
    ),
)
