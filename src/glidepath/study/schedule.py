"""What every schedule of a study is: a path of learning rates in the room that a cell gives it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from glidepath.science import schedules
from glidepath.science.schedules import Path, Positions, join
from glidepath.study.batch_ramp import BatchRamp
from glidepath.study.section import Section, StudyError

MAX_PIECES = 400
"""A path travels on the command line of its jobs, which holds so many pieces."""
SOME = Field(min_length=1, max_length=MAX_PIECES)


@dataclass(frozen=True)
class Room:
    """What a cell gives its schedule."""

    peak_lr: float
    warmup_steps: int
    at: Positions
    """Sequences trained before every update and after the last, [updates + 1]."""
    weight_decay: float
    """Decoupled weight decay at the peak."""
    batch_sequences: int
    """The cell's batch; of a ramp, its end."""
    context_length: int
    where: str
    """Names the cell in a message."""

    @property
    def total_steps(self) -> int:
        return len(self.at) - 1

    def length(self, start: int, stop: int) -> int:
        """Sequences of the updates `start … stop-1`."""
        return int(self.at[stop] - self.at[start])

    def first(self, start: int) -> int:
        """Sequences of the update that begins there; of the last one at the end."""
        return self.length(min(start, self.total_steps - 1), min(start, self.total_steps - 1) + 1)

    def update_at(self, fraction: float) -> int:
        """The update that begins nearest to a fraction of the horizon [tokens]."""
        return self.update_between(0, self.total_steps, fraction)

    def update_between(self, start: int, stop: int, fraction: float) -> int:
        """The update that begins nearest to a fraction of the tokens between two updates."""
        return int(np.argmin(np.abs(self.at - self.at[start] - fraction * self.length(start, stop))))

    def constant(self, value: float, start: int, stop: int) -> Path:
        return schedules.constant(value, self.length(start, stop))

    def decay(
        self,
        shape: schedules.DecayShape,
        start_value: float,
        final: float,
        start: int,
        stop: int,
        exponent: float | None = None,
    ) -> Path:
        return schedules.decay(shape, start_value, final, self.length(start, stop), self.first(start), exponent or 0.0)

    def trunk(self, stop: int) -> Path:
        """Warm-up, then the peak, up to update `stop`. Raises StudyError if the warm-up alone is longer."""
        if self.warmup_steps > stop or self.total_steps <= self.warmup_steps:
            raise StudyError(
                f"{self.where}: the schedule is longer than its horizon: {self.warmup_steps} updates of warmup and at "
                f"least {max(self.total_steps - stop, 1)} after it, but the horizon has {self.total_steps}. Shorten "
                "warmup or decay, or raise tokens_per_parameter."
            )
        warmup = schedules.warmup(self.peak_lr, self.length(0, self.warmup_steps), self.first(0))
        return join(warmup, self.constant(self.peak_lr, self.warmup_steps, stop))


@dataclass(frozen=True)
class LrPath:
    """Learning rates of a cell, and how they end."""

    path: Path
    decay_steps: int
    """Length of the final descent [updates]."""
    own_warmup_steps: int | None = None
    """Length of its own rise to the peak, where the warm-up of the study does not apply [updates]."""


class Schedule(Section):
    """What every kind has: its path and, for tables, how it ends."""

    kind: str
    batch: BatchRamp | None = None
    """Path of the batch up to the cell's batch; null: that batch all along. The learning rate follows the tokens."""

    @abstractmethod
    def lr(self, room: Room) -> LrPath:
        """The learning-rate path in a room. Raises StudyError if it does not fit."""

    def beta1(self, room: Room, adam_beta1: float) -> Path:
        """The path of AdamW's first-moment decay."""
        return room.constant(adam_beta1, 0, room.total_steps)

    @property
    @abstractmethod
    def final_fraction(self) -> float | None:
        """Learning rate that it aims at over the peak; None if it depends on the run."""

    @property
    @abstractmethod
    def shape(self) -> str:
        """Shape of the final descent, "none" without one."""


def check_exponent(key: str, exponent: float | None, of: str, shape: str, needs: str) -> None:
    """Raises ValueError for an exponent that its shape does not have, or lacks."""
    if (shape == needs) != (exponent is not None):
        rule = f"only {of} {needs} has it. Remove it" if exponent else f"{of} {needs} needs it. Add it"
        raise ValueError(f"{key} {exponent} with {of} {shape}: {rule}")


def check_exponential(shape: str, final_lr_fraction: float) -> None:
    """Raises ValueError for an exponential to zero."""
    if shape == "exponential" and final_lr_fraction == 0.0:
        raise ValueError("final_lr_fraction 0 with an exponential: it never gets there. Give, say, 0.01")
