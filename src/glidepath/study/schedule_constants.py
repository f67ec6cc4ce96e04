"""Schedules of a study's YAML whose path is the peak from the end of the warm-up on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glidepath.study.schedule import LrPath, Room, Schedule
from glidepath.study.section import Count, Fraction, Number, Share


class Constant(Schedule):
    """The peak, from the end of the warm-up on."""

    kind: Literal["constant", "schedule_free"]
    """constant; schedule_free: with schedule-free AdamW, which takes gradients at an interpolation of the iterate and
    its average and is evaluated at the average (Defazio et al. 2024)."""

    def lr(self, room: Room) -> LrPath:
        return LrPath(room.trunk(room.total_steps), 0)

    @property
    def final_fraction(self) -> float:
        return 1.0

    @property
    def shape(self) -> str:
        return "none"


class Plateau(Schedule):
    """The peak, lowered by a factor whenever evaluations have stopped to improve."""

    kind: Literal["plateau"]
    factor: Share
    """What the learning rate is multiplied by."""
    patience: Annotated[int, Field(ge=0, strict=True)]
    """Evaluations without improvement that are borne before."""
    evaluate_every_updates: Count
    """Distance of the evaluations that decide: the first validation blocks, as along training."""
    threshold: Annotated[Number, Field(ge=0, lt=1)] = 1.0e-3
    """Relative improvement over the best loss so far that counts as one."""
    min_lr_fraction: Fraction = 0.0
    """Never lower than this, over the peak."""

    def lr(self, room: Room) -> LrPath:
        return LrPath(room.trunk(room.total_steps), 0)

    @property
    def final_fraction(self) -> None:
        return None

    @property
    def shape(self) -> str:
        return "plateau"
