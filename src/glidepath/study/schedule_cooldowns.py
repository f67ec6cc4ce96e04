"""Schedules of a study's YAML that stay at the peak and cool down at the end, or at several ends."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from glidepath.science.schedules import Path, join
from glidepath.study.schedule import SOME, LrPath, Room, Schedule, check_exponent, check_exponential
from glidepath.study.section import Count, Fraction, Number, Positive, Share, StudyError, check_rising

CooldownShape = Literal["linear", "cosine", "one_minus_sqrt", "mirror_cosine", "square", "power", "exponential"]


class Cooldown(Schedule):
    """The keys of a cooldown."""

    final_lr_fraction: Fraction
    """What the cooldown aims at, over the peak: 0 is decay to zero."""
    decay_shape: CooldownShape
    """Shape of the cooldown."""
    decay_exponent: Positive | None = None
    """power only, and required there: (1-u)^decay_exponent."""

    @model_validator(mode="after")
    def _fields_of_shape(self) -> Cooldown:
        check_exponent("decay_exponent", self.decay_exponent, "decay_shape", self.decay_shape, "power")
        check_exponential(self.decay_shape, self.final_lr_fraction)
        return self

    @property
    def final_fraction(self) -> float:
        return self.final_lr_fraction

    @property
    def shape(self) -> str:
        return self.decay_shape

    def cooldown(self, room: Room, start: int, stop: int) -> Path:
        """From the peak at update `start` on."""
        final = room.peak_lr * self.final_lr_fraction
        return room.decay(self.decay_shape, room.peak_lr, final, start, stop, self.decay_exponent)


class WSD(Cooldown):
    """Warm-up, constant, then a cooldown to the end of the horizon."""

    kind: Literal["wsd"]
    decay_fraction: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Length of the cooldown over the horizon (or give decay_steps)."""
    decay_steps: Count | None = None
    """Length of the cooldown [updates] (or give decay_fraction)."""

    @model_validator(mode="after")
    def _one_length(self) -> WSD:
        if (self.decay_fraction is None) == (self.decay_steps is None):
            raise ValueError(
                f"decay_fraction {self.decay_fraction} and decay_steps {self.decay_steps}: a wsd "
                "schedule needs exactly one of them, the other null. Give one"
            )
        if self.decay_steps and self.batch:
            raise ValueError(
                f"decay_steps {self.decay_steps} with a batch ramp: updates are no measure of tokens there. Give "
                "decay_fraction instead"
            )
        return self

    def lr(self, room: Room) -> LrPath:
        stop = room.total_steps
        start = stop - self.decay_steps if self.decay_steps else room.update_at(1.0 - (self.decay_fraction or 0.0))
        if start < 0:
            raise StudyError(
                f"{room.where}: decay_steps {self.decay_steps} is longer than its horizon of {stop} updates. Lower "
                "decay_steps or raise tokens_per_parameter."
            )
        _check_length(room, self.decay_fraction, start, stop)
        return LrPath(join(room.trunk(start), self.cooldown(room, start, stop)), stop - start)


class WSDS(Cooldown):
    """WSD-S: a cooldown at each of several ends, after which training goes on from the cooled weights at the peak
    (Wen et al. 2024)."""

    kind: Literal["wsd_s"]
    ends: Annotated[tuple[Share, ...], SOME]
    """Ends of the cooldowns before the last one, as fractions of the horizon, rising."""
    decay_fraction: Share
    """Length of each cooldown over its end."""

    @model_validator(mode="after")
    def _order(self) -> WSDS:
        check_rising("ends", self.ends)
        for before, end in pairwise([*self.ends, 1.0]):
            if end * (1.0 - self.decay_fraction) < before:
                raise ValueError(
                    f"decay_fraction {self.decay_fraction} of the end {end:g} begins before the end {before:g}. "
                    "Lower decay_fraction or remove an end"
                )
        return self

    def lr(self, room: Room) -> LrPath:
        parts: list[Path] = []
        begin = start = stop = 0
        for end in (*self.ends, 1.0):
            start, stop = room.update_at(end * (1.0 - self.decay_fraction)), room.update_at(end)
            _check_length(room, self.decay_fraction, start, stop)
            parts += [room.constant(room.peak_lr, begin, start) if parts else room.trunk(start)]
            parts += [self.cooldown(room, start, stop)]
            begin = stop
        return LrPath(join(*parts), stop - start)


def _check_length(room: Room, decay_fraction: float | None, start: int, stop: int) -> None:
    """Raises StudyError if nothing is left for a cooldown."""
    if start >= stop:
        raise StudyError(
            f"{room.where}: decay_fraction {decay_fraction} of {stop} updates is less than half an update. Raise "
            "decay_fraction or tokens_per_parameter."
        )
