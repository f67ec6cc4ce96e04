"""Where along training the loss of every position is evaluated: one job per segment whose snapshots are."""

from __future__ import annotations

from collections.abc import Iterable

from glidepath.study.averages import evaluated_points
from glidepath.study.averaging_config import SnapshotGrid
from glidepath.study.config import StudyConfig
from glidepath.study.identity import digest
from glidepath.study.segments import Plan
from glidepath.study.specs import Spec

POSITIONS_VERSION = 1
"""Version of what a loss by position is and how it is evaluated. Raise it when a change moves any of them."""


class PositionSpec(Spec):
    """What decides the losses by position at the points of one segment. Model, corpus and path are in its record."""

    positions_version: int
    segment: str
    evaluate_at: tuple[int, ...]
    """Updates whose snapshots are evaluated, ascending; all in this segment."""

    @property
    def position_id(self) -> str:
        """Name of its directory in the store."""
        return f"{self.segment}-{digest(self.model_dump(mode='json'))}"


def position_spec(segment: str, start: int, stop: int, snapshots: SnapshotGrid, points_per_octave: int) -> PositionSpec:
    """The points of one segment: those of the grid common to all cells, and its end."""
    points = {*evaluated_points(snapshots, points_per_octave, stop), stop}
    return PositionSpec(
        positions_version=POSITIONS_VERSION,
        segment=segment,
        evaluate_at=tuple(sorted(point for point in points if start < point <= stop)),
    )


def position_specs(planned: Plan, study: StudyConfig) -> dict[str, PositionSpec]:
    """By segment, for the segments that cells of the schedules named in `temporal` run through."""
    if study.temporal is None or study.averaging is None:
        return {}
    specs: dict[str, PositionSpec] = {}
    for cell in planned.cells:
        if cell.schedule_name in study.temporal.schedules:
            for name in planned.chains[cell.cell_id]:
                spec = planned.segments[name].spec
                specs[name] = position_spec(
                    name, spec.start, spec.stop, study.averaging.snapshots, study.temporal.points_per_octave
                )
    return specs


def chain_of_positions(
    segments: Iterable[str], ends: Iterable[int], snapshots: SnapshotGrid, points_per_octave: int
) -> list[PositionSpec]:
    """The same along one cell's chain, as `segments` and `segment_ends` of `plan` tell it."""
    found, start = [], 0
    for name, stop in zip(segments, ends, strict=True):
        found.append(position_spec(name, start, stop, snapshots, points_per_octave))
        start = stop
    return found
