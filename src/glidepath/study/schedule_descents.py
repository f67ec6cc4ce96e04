"""Schedules of a study's YAML that fall from the end of the warm-up on, smoothly or by steps."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from glidepath.science import schedules
from glidepath.science.schedules import join
from glidepath.study.schedule import MAX_PIECES, SOME, LrPath, Room, Schedule, check_exponent, check_exponential
from glidepath.study.section import Fraction, Positive, Share, StudyError, check_rising


class Decay(Schedule):
    """A descent from the end of the warm-up to the end of the horizon."""

    kind: Literal["linear", "cosine", "one_minus_sqrt", "polynomial", "exponential", "rex"]
    """Shape of the descent."""
    final_lr_fraction: Fraction
    """What it aims at, over the peak: 0 is decay to zero."""
    exponent: Positive | None = None
    """polynomial only, and required there: (1-u)^exponent."""
    refreshes: Annotated[int, Field(ge=1, le=MAX_PIECES, strict=True)] | None = None
    """Sample the profile so many times, equally spaced, and hold it in between; null: at every update."""

    @model_validator(mode="after")
    def _fields_of_kind(self) -> Decay:
        check_exponent("exponent", self.exponent, "kind", self.kind, "polynomial")
        check_exponential(self.kind, self.final_lr_fraction)
        return self

    def lr(self, room: Room) -> LrPath:
        start, stop = room.warmup_steps, room.total_steps
        trunk = room.trunk(start)
        shape: schedules.DecayShape = "power" if self.kind == "polynomial" else self.kind
        final = room.peak_lr * self.final_lr_fraction
        if self.refreshes is None:
            descent = room.decay(shape, room.peak_lr, final, start, stop, self.exponent)
        else:
            if self.refreshes > stop - start:
                raise StudyError(
                    f"{room.where}: refreshes {self.refreshes} of a descent of {stop - start} updates: at most one "
                    "per update. Lower refreshes or raise tokens_per_parameter."
                )
            edges = [room.update_between(start, stop, i / self.refreshes) for i in range(self.refreshes)]
            if len(set(edges)) < len(edges):
                raise StudyError(
                    f"{room.where}: refreshes {self.refreshes} are more than one per update where the batch is large. "
                    "Lower refreshes or raise tokens_per_parameter."
                )
            offsets = [room.length(start, edge) for edge in edges]
            descent = schedules.sampled_decay(
                shape, room.peak_lr, final, offsets, room.length(start, stop), self.exponent or 0.0
            )
        return LrPath(join(trunk, descent), stop - start)

    @property
    def final_fraction(self) -> float:
        return self.final_lr_fraction

    @property
    def shape(self) -> str:
        return self.kind


class HorizonFree(Schedule):
    """A descent that does not know where it ends, from the end of the warm-up on: horizons share it."""

    kind: Literal["inverse_sqrt", "rational"]
    """inverse_sqrt: peak·√(w/t), w the warm-up; rational: peak/(1 + i·peak·weight_decay) after i updates."""
    min_lr_fraction: Fraction = 0.0
    """Never lower than this, over the peak."""

    def lr(self, room: Room) -> LrPath:
        start, stop = room.warmup_steps, room.total_steps
        trunk = room.trunk(start)
        if self.kind == "rational":
            if room.weight_decay <= 0.0:
                raise StudyError(
                    f"{room.where}: a rational schedule with weight_decay {room.weight_decay:g}: its time-scale is "
                    "1/(peak_lr × weight_decay). Give a positive optimizer.weight_decay or choose inverse_sqrt."
                )
            timescale = room.batch_sequences / (room.peak_lr * room.weight_decay)
        else:
            if start < 1:
                raise StudyError(
                    f"{room.where}: an inverse_sqrt schedule without warm-up: its time-scale is the warm-up. Give "
                    "warmup at least one update or choose rational."
                )
            timescale = float(room.length(0, start))
        floor = room.peak_lr * self.min_lr_fraction
        descent = schedules.horizon_free(
            self.kind, room.peak_lr, floor, timescale, room.length(start, stop), room.first(start)
        )
        return LrPath(join(trunk, descent), stop - start)

    @property
    def final_fraction(self) -> float | None:
        return None

    @property
    def shape(self) -> str:
        return self.kind


class Step(Schedule):
    """The peak, then a lower constant from each milestone on."""

    kind: Literal["step"]
    milestones: Annotated[tuple[Share, ...], SOME]
    """Where the learning rate drops, as fractions of the horizon, rising."""
    lr_fractions: Annotated[tuple[Fraction, ...], SOME]
    """What it is from there on, over the peak; as many as milestones."""

    @model_validator(mode="after")
    def _pairs(self) -> Step:
        if len(self.milestones) != len(self.lr_fractions):
            raise ValueError(
                f"milestones has {len(self.milestones)} entries and lr_fractions {len(self.lr_fractions)}: each drop "
                "needs both. Make them equally long"
            )
        check_rising("milestones", self.milestones)
        if self.lr_fractions[-1] == 0.0 or 0.0 in self.lr_fractions:
            raise ValueError("lr_fractions has 0: updates at learning rate 0 are wasted. Shorten the horizon instead")
        return self

    def lr(self, room: Room) -> LrPath:
        edges = [room.update_at(milestone) for milestone in self.milestones]
        for a, b in pairwise([0, *edges, room.total_steps]):
            if a >= b:
                raise StudyError(
                    f"{room.where}: of milestones {list(self.milestones)} two fall on update {b} of "
                    f"{room.total_steps}, or one on its end: each needs an update of its own. Move milestones "
                    "or raise tokens_per_parameter."
                )
        parts = [room.trunk(edges[0])]
        for fraction, (start, stop) in zip(self.lr_fractions, pairwise([*edges, room.total_steps]), strict=True):
            parts.append(room.constant(room.peak_lr * fraction, start, stop))
        return LrPath(join(*parts), room.total_steps - edges[0])

    @property
    def final_fraction(self) -> float:
        return self.lr_fractions[-1]

    @property
    def shape(self) -> str:
        return self.kind
