"""The five answers, from the tables alone."""

from __future__ import annotations

from glidepath.report import averaging, batch, loss, peak_lr, schedule
from glidepath.report.answer import Answer, Tables, Target
from glidepath.study.batch_pairs import batch_pairs
from glidepath.study.batch_sweeps import batch_sweeps
from glidepath.study.config import StudyConfig

QUESTIONS = (schedule, peak_lr, batch, averaging, loss)

NEEDED_TABLES = (
    "plan",
    "runs",
    "comparisons",
    "law_comparison",
    "averages",
    "steps_saved",
    "cooldown_oracle",
    "cooldown_oracle_scores",
    "noise_scale",
    "ema_view",
    *(
        f"laws/{law}/{table}"
        for law in ("lr_optimum", "lr_horizon", "loss_horizon")
        for table in ("parameters", "predictions", "scores")
    ),
)


def tables_for(study: StudyConfig) -> tuple[str, ...]:
    """Tables that the answers of a study rest on."""
    asked = ["laws/lr_transfer/parameters"] if "lr_transfer" in study.analysis.laws else []
    asked += ["coordinate_slopes"] if study.coordinate_check else []
    asked += ["critical_batch"] if batch_sweeps(study) else []
    asked += ["batch_saving"] if batch_pairs(study) else []
    return (*NEEDED_TABLES, *asked)


def answers(tables: Tables, target: Target) -> tuple[Answer, ...]:
    """An answer to each question, in order; what was not measured is said to be so."""
    return tuple(question.answer(tables, target) for question in QUESTIONS)
