"""The five answers, from the tables alone."""

from __future__ import annotations

from glidepath.report import averaging, batch, loss, peak_lr, schedule
from glidepath.report.answer import Answer, Tables, Target

QUESTIONS = (schedule, peak_lr, batch, averaging, loss)

NEEDED_TABLES = (
    "plan",
    "runs",
    "comparisons",
    "averages",
    "noise_scale",
    "ema_view",
    *(
        f"laws/{law}/{table}"
        for law in ("lr_optimum", "lr_horizon", "loss_horizon")
        for table in ("parameters", "predictions", "scores")
    ),
)


def answers(tables: Tables, target: Target) -> tuple[Answer, ...]:
    """An answer to each question, in order; what was not measured is said to be so."""
    return tuple(question.answer(tables, target) for question in QUESTIONS)
