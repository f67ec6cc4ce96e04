"""A schedule of a study's YAML that is given by points, there or in a file."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path as PathOnDisk
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from glidepath.science import schedules
from glidepath.science.schedules import Path, join
from glidepath.study.schedule import MAX_PIECES, LrPath, Room, Schedule
from glidepath.study.section import Number, Text, check_rising


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
        check_rising("points", where)
        if self.unit == "fraction" and where[-1] > 1.0:
            raise ValueError(f"points has the position {where[-1]:g}: a fraction of the horizon is at most 1. Lower it")
        if self.points[0][1] <= 0.0:
            raise ValueError(
                f"points.0 has the multiplier {self.points[0][1]:g}: the first update would do nothing. Make it "
                "positive"
            )
        for i, (position, multiplier) in enumerate(self.points):
            at_the_end = self.unit == "fraction" and position == 1.0 and self.interpolation == "linear"
            if multiplier < 0.0 or (multiplier == 0.0 and not at_the_end):
                raise ValueError(
                    f"points.{i} has the multiplier {multiplier:g}: it must be positive, but for a line that ends at "
                    "the fraction 1. Raise it"
                )
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
        at_peak = [min(edge, end) for edge, value in zip(edges, known, strict=True) if value == highest]
        rise, descent = (int(np.searchsorted(room.at, edge)) for edge in (at_peak[0], at_peak[-1]))
        return LrPath(join(reached, held), room.total_steps - descent, own_warmup_steps=rise)

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
