"""The schedules of a study's YAML, one class per kind: its keys, and the path of learning rates it stands for.

Peak, warm-up and horizon are not part of a schedule; they come with the `Room` that a cell gives it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from glidepath.science import schedules
from glidepath.science.schedules import Path, join
from glidepath.study.points import Points
from glidepath.study.schedule import MAX_PIECES, LrPath, Room, Schedule
from glidepath.study.section import Count, Flag, Fraction, Number, Positive, Share, StudyError, check_rising

CooldownShape = Literal["linear", "cosine", "one_minus_sqrt", "mirror_cosine", "square", "power", "exponential"]
SOME = Field(min_length=1, max_length=MAX_PIECES)


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
        _check_exponent("exponent", self.exponent, "kind", self.kind, "polynomial")
        _check_exponential(self.kind, self.final_lr_fraction)
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
        _check_exponent("decay_exponent", self.decay_exponent, "decay_shape", self.decay_shape, "power")
        _check_exponential(self.decay_shape, self.final_lr_fraction)
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


def _check_length(room: Room, decay_fraction: float | None, start: int, stop: int) -> None:
    """Raises StudyError if nothing is left for a cooldown."""
    if start >= stop:
        raise StudyError(
            f"{room.where}: decay_fraction {decay_fraction} of {stop} updates is less than half an update. Raise "
            "decay_fraction or tokens_per_parameter."
        )


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


ScheduleConfig = Annotated[
    Constant | Decay | WSD | WSDS | Step | HorizonFree | Cyclic | OneCycle | Plateau | Points,
    Field(discriminator="kind"),
]


def _check_exponent(key: str, exponent: float | None, of: str, shape: str, needs: str) -> None:
    if (shape == needs) != (exponent is not None):
        rule = f"only {of} {needs} has it. Remove it" if exponent else f"{of} {needs} needs it. Add it"
        raise ValueError(f"{key} {exponent} with {of} {shape}: {rule}")


def _check_exponential(shape: str, final_lr_fraction: float) -> None:
    if shape == "exponential" and final_lr_fraction == 0.0:
        raise ValueError("final_lr_fraction 0 with an exponential: it never gets there. Give, say, 0.01")
