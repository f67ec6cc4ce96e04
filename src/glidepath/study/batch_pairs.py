"""Which schedules of a study differ in their batch path only: what a batch path is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from glidepath.study.config import StudyConfig


@dataclass(frozen=True)
class BatchPair:
    """Names of two schedules that are equal but for the batch, both trained somewhere."""

    schedule: str
    """With a batch path."""
    fixed_schedule: str
    """Without."""


def batch_pairs(study: StudyConfig) -> tuple[BatchPair, ...]:
    """Every schedule with a batch path beside the equal one without, in the order of the study's schedules; one that
    has no equal is left out."""
    trained = {name for block in study.grid for name in block.schedules}
    schedules = {name: schedule for name, schedule in study.schedules.items() if name in trained}
    fixed = {
        schedule.model_dump_json(exclude={"batch"}): name
        for name, schedule in reversed(schedules.items())
        if schedule.batch is None
    }
    recipes = {
        name: schedule.model_dump_json(exclude={"batch"}) for name, schedule in schedules.items() if schedule.batch
    }
    return tuple(BatchPair(name, fixed[recipe]) for name, recipe in recipes.items() if recipe in fixed)
