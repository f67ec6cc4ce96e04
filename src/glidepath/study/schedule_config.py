"""The schedules of a study's YAML, one class per kind: its keys, and the path of learning rates it stands for.

Peak, warm-up and horizon are not part of a schedule; they come with the `Room` that a cell gives it.
"""

from __future__ import annotations

import csv
import math
from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path as PathOnDisk
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from glidepath.science import schedules
from glidepath.science.schedules import Path, Positions, join
from glidepath.study.section import Count, Flag, Fraction, Number, Positive, Section, StudyError, Text

CooldownShape = Literal["linear", "cosine", "one_minus_sqrt", "mirror_cosine", "square", "power", "exponential"]
MAX_PIECES = 400
"""A path travels on the command line of its jobs, which holds so many pieces."""
Share = Annotated[Number, Field(gt=0, lt=1)]
"""Part of the horizon, neither none nor all of it."""
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
        """The update that begins nearest to a fraction of the horizon."""
        return int(np.argmin(np.abs(self.at - fraction * self.at[-1])))

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


class LinearRamp(Section):
    """The batch grows linearly in tokens, to the cell's batch."""

    kind: Literal["linear"]
    start_fraction: Share
    """First batch over the cell's batch."""
    until: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """Where the cell's batch is reached, over the horizon."""
    multiple_of: Count = 1
    """Batches are rounded up to a multiple of so many sequences."""

    def wanted(self, progress: float, batch_sequences: int) -> int:
        """Sequences of the update that begins at a fraction of the horizon."""
        share = self.start_fraction + (1.0 - self.start_fraction) * min(progress / self.until, 1.0)
        return self.multiple_of * math.ceil(round(share * batch_sequences / self.multiple_of, 9))


class Stages(Section):
    """The batch jumps at given points, to the cell's batch."""

    kind: Literal["stages"]
    milestones: Annotated[tuple[Share, ...], SOME]
    """Where the batch grows, as fractions of the horizon, rising."""
    batch_fractions: Annotated[tuple[Share, ...], SOME]
    """Batch before each of them, over the cell's batch."""

    @model_validator(mode="after")
    def _pairs(self) -> Stages:
        if len(self.milestones) != len(self.batch_fractions):
            raise ValueError(
                f"milestones has {len(self.milestones)} entries and batch_fractions {len(self.batch_fractions)}: each "
                "stage needs both. Make them equally long"
            )
        _check_rising("milestones", self.milestones)
        return self

    def wanted(self, progress: float, batch_sequences: int) -> int:
        """Sequences of the update that begins at a fraction of the horizon."""
        stage = sum(milestone <= progress for milestone in self.milestones)
        return max(1, round([*self.batch_fractions, 1.0][stage] * batch_sequences))


BatchRamp = Annotated[LinearRamp | Stages, Field(discriminator="kind")]


def batch_of_every_update(ramp: LinearRamp | Stages | None, batch_sequences: int, sequences: int) -> list[int]:
    """Sequences of every update, `sequences` in all; the last update takes what is left."""
    if ramp is None:
        return [batch_sequences] * (sequences // batch_sequences)
    found: list[int] = []
    done = 0
    while done < sequences:
        found.append(min(ramp.wanted(done / sequences, batch_sequences), sequences - done))
        done += found[-1]
    return found


class Schedule(Section):
    """What every kind has: its path and, for tables, how it ends."""

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
            edges = [start + (stop - start) * i // self.refreshes for i in range(self.refreshes)]
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
            timescale = room.first(start) / (room.peak_lr * room.weight_decay)
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
        _check_rising("milestones", self.milestones)
        if self.lr_fractions[-1] == 0.0 or 0.0 in self.lr_fractions:
            raise ValueError("lr_fractions has 0: updates at learning rate 0 are wasted. Shorten the horizon instead")
        return self

    def lr(self, room: Room) -> LrPath:
        edges = [room.update_at(milestone) for milestone in self.milestones]
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
        _check_rising("ends", self.ends)
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
        edges = [start + (stop - start) * i // legs for i in range(legs + 1)]
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
        return LrPath(join(rise, fall), stop - top)

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


class Points(Schedule):
    """Any path, by points: the whole of it, warm-up included; that of the study does not apply."""

    kind: Literal["points"]
    points: Annotated[tuple[tuple[Number, Number], ...], Field(min_length=2, max_length=MAX_PIECES)]
    """Pairs of position and multiplier of the peak, rising in position, from 0 on (or give file)."""
    file: Text | None = None
    """Instead of points: a CSV or Parquet file with the columns position and multiplier. Its content, not its name, is
    part of the study."""
    unit: Literal["fraction", "tokens"]
    """Unit of the positions: of the horizon, or training tokens, which several horizons can share."""
    interpolation: Literal["linear", "step"]
    """linear between neighbours, or each held until the next; the last is held to the end."""

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("file"), str):
            return data
        if data.get("points") is not None:
            raise ValueError("points and file are both given: they say the same thing twice. Remove one")
        return {**data, "points": _points_in(PathOnDisk(data["file"])), "file": None}

    @model_validator(mode="after")
    def _order(self) -> Points:
        where = [position for position, _ in self.points]
        if where[0] != 0.0:
            raise ValueError(f"points.0 is at {where[0]:g}: the first point says where training starts. Put it at 0")
        _check_rising("points", where)
        if self.unit == "fraction" and where[-1] > 1.0:
            raise ValueError(f"points has the position {where[-1]:g}: a fraction of the horizon is at most 1. Lower it")
        if self.points[0][1] <= 0.0:
            raise ValueError(
                f"points.0 has the multiplier {self.points[0][1]:g}: the first update would do nothing. Make it "
                "positive"
            )
        for i, (_, multiplier) in enumerate(self.points):
            if multiplier < 0.0:
                raise ValueError(f"points.{i} has the multiplier {multiplier:g}: it must not be negative. Raise it")
        return self

    def lr(self, room: Room) -> LrPath:
        edges = [self._edge(position, room) for position, _ in self.points]
        known = [room.peak_lr * multiplier for _, multiplier in self.points]
        end = room.length(0, room.total_steps)
        parts: list[Path] = []
        for (a, b), (value, following) in zip(pairwise(edges), pairwise(known), strict=True):
            if a == b or a >= end:
                continue
            target = value if self.interpolation == "step" else following
            first = room.first(int(np.searchsorted(room.at, a)))
            parts.append(schedules.decay("linear", value, target, b - a, first))
        reached = join(*parts)
        if schedules.length(reached) > end:
            reached = schedules.clip(reached, end)
        held = schedules.constant(known[-1], end - schedules.length(reached))
        highest = max(known)
        last_at_peak = max(edge for edge, value in zip(edges, known, strict=True) if value == highest)
        return LrPath(join(reached, held), room.total_steps - int(np.searchsorted(room.at, min(last_at_peak, end))))

    def _edge(self, position: float, room: Room) -> int:
        """A position in sequences, at an update's begin; beyond the horizon as if its last batch went on."""
        target = position * room.at[-1] if self.unit == "fraction" else position / room.context_length
        if target <= room.at[-1]:
            return int(room.at[np.argmin(np.abs(room.at - target))])
        end, last = int(room.at[-1]), room.first(room.total_steps)
        return end + last * round((target - end) / last)

    @property
    def final_fraction(self) -> float | None:
        return self.points[-1][1] if self.unit == "fraction" else None

    @property
    def shape(self) -> str:
        return self.kind


ScheduleConfig = Annotated[
    Constant | Decay | WSD | WSDS | Step | HorizonFree | Cyclic | OneCycle | Plateau | Points,
    Field(discriminator="kind"),
]


def _points_in(path: PathOnDisk) -> list[list[float]]:
    """Rows of a file of points. Raises ValueError for a file that cannot be read or has other columns."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        else:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        return [[float(row["position"]), float(row["multiplier"])] for row in rows]
    except OSError as error:
        raise ValueError(f"file {path} cannot be read: {error}. Give an existing CSV or Parquet file") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"file {path} is not a table of numbers with the columns position and multiplier ({error!r}). Correct it"
        ) from error


def _check_exponent(key: str, exponent: float | None, of: str, shape: str, needs: str) -> None:
    if (shape == needs) != (exponent is not None):
        rule = f"only {of} {needs} has it. Remove it" if exponent else f"{of} {needs} needs it. Add it"
        raise ValueError(f"{key} {exponent} with {of} {shape}: {rule}")


def _check_exponential(shape: str, final_lr_fraction: float) -> None:
    if shape == "exponential" and final_lr_fraction == 0.0:
        raise ValueError("final_lr_fraction 0 with an exponential: it never gets there. Give, say, 0.01")


def _check_rising(key: str, where: tuple[float, ...] | list[float]) -> None:
    for a, b in pairwise(where):
        if not a < b:
            raise ValueError(f"{key} has {b:g} after {a:g}: they must rise. Sort them")
