"""Schedules of a study's YAML that rise and fall: again and again, or once."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from glidepath.science.schedules import Path, join
from glidepath.study.schedule import MAX_PIECES, LrPath, Room, Schedule
from glidepath.study.section import Flag, Fraction, Number, Share, StudyError


class Cyclic(Schedule):
    """Repeated descents from the peak to a floor, from the end of the warm-up on."""

    kind: Literal["cyclic"]
    cycles: Annotated[int, Field(ge=1, le=MAX_PIECES // 4, strict=True)]
    """Descents."""
    cycle_shape: Literal["linear", "cosine"]
    """Shape of each leg."""
    final_lr_fraction: Fraction
    """The floor, over the peak."""
    restart: Flag
    """true: jump back to the peak (cosine: SGDR); false: rise as it fell."""

    @model_validator(mode="after")
    def _positive_rise(self) -> Cyclic:
        if not self.restart and self.final_lr_fraction == 0.0 and self.cycles > 1:
            raise ValueError(
                "final_lr_fraction 0 with restart false: the first update of each rise would do nothing. Make it "
                "positive or restart true"
            )
        return self

    def lr(self, room: Room) -> LrPath:
        start, stop = room.warmup_steps, room.total_steps
        legs = self.cycles if self.restart else 2 * self.cycles - 1
        if stop - start < 2 * legs:
            raise StudyError(
                f"{room.where}: {self.cycles} cycles in {stop - start} updates after the warm-up: every leg needs two. "
                "Lower cycles or raise tokens_per_parameter."
            )
        floor = room.peak_lr * self.final_lr_fraction
        parts = [room.trunk(start)]
        edges = [room.update_between(start, stop, i / legs) for i in range(legs + 1)]
        for i, (a, b) in enumerate(pairwise(edges)):
            falls = self.restart or i % 2 == 0
            begin, end = (room.peak_lr, floor) if falls else (floor, room.peak_lr)
            parts.append(room.decay(self.cycle_shape, begin, end, a, b))
        return LrPath(join(*parts), edges[-1] - edges[-2])

    @property
    def final_fraction(self) -> float:
        return self.final_lr_fraction

    @property
    def shape(self) -> str:
        return self.cycle_shape


class OneCycle(Schedule):
    """One rise and one descent, with the momentum falling and rising inversely (Smith & Topin 2018); it has a warm-up
    of its own, and that of the study does not apply."""

    kind: Literal["one_cycle"]
    cycle_shape: Literal["linear", "cosine"]
    """Shape of both legs."""
    rise_fraction: Share
    """Where the peak is, over the horizon."""
    initial_lr_fraction: Annotated[Number, Field(gt=0, le=1)]
    """Where it starts, over the peak."""
    final_lr_fraction: Fraction
    """What it aims at, over the peak."""
    adam_beta1_at_peak: Annotated[Number, Field(ge=0, lt=1)] | None = None
    """Lowest momentum, at the peak; elsewhere it goes up to optimizer.adam_beta1. null: it is not cycled."""

    def lr(self, room: Room) -> LrPath:
        peak = room.peak_lr
        top, stop = self._top(room), room.total_steps
        rise = room.decay(self.cycle_shape, peak * self.initial_lr_fraction, peak, 0, top)
        fall = room.decay(self.cycle_shape, peak, peak * self.final_lr_fraction, top, stop)
        return LrPath(join(rise, fall), stop - top, own_warmup_steps=top)

    def beta1(self, room: Room, adam_beta1: float) -> Path:
        if self.adam_beta1_at_peak is None:
            return super().beta1(room, adam_beta1)
        top, low = self._top(room), self.adam_beta1_at_peak
        fall = room.decay(self.cycle_shape, adam_beta1, low, 0, top)
        rise = room.decay(self.cycle_shape, low, adam_beta1, top, room.total_steps)
        return join(fall, rise)

    def _top(self, room: Room) -> int:
        top = room.update_at(self.rise_fraction)
        if not 1 <= top < room.total_steps:
            raise StudyError(
                f"{room.where}: rise_fraction {self.rise_fraction:g} of {room.total_steps} updates leaves one leg "
                "without an update. Change rise_fraction or raise tokens_per_parameter."
            )
        return top

    @property
    def final_fraction(self) -> float:
        return self.final_lr_fraction

    @property
    def shape(self) -> str:
        return self.cycle_shape
