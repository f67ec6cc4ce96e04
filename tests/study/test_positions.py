"""Where losses by position are evaluated."""

from __future__ import annotations

from typing import Any

import pytest

from glidepath.study.positions import PositionSpec, chain_of_positions, position_specs
from glidepath.study.section import StudyError
from tests.study.studies import MISSING, planned, study

TEMPORAL = ("temporal", {"schedules": ["constant"], "points_per_octave": 2})


def specs(*changes: tuple[str, Any]) -> dict[str, PositionSpec]:
    return position_specs(planned(TEMPORAL, *changes), study(TEMPORAL, *changes))


def test_one_per_segment_of_the_named_schedules() -> None:
    plan, found = planned(TEMPORAL), specs()
    constant = [cell for cell in plan.cells if cell.schedule_name == "constant"]
    assert set(found) == {segment for cell in constant for segment in plan.chains[cell.cell_id]}
    for name, spec in found.items():
        segment = plan.segments[name].spec
        assert spec.evaluate_at[-1] == segment.stop
        assert min(spec.evaluate_at) > segment.start
        assert set(spec.evaluate_at) <= set(segment.recording.snapshot_at)


def test_it_trains_and_averages_nothing_anew() -> None:
    assert set(planned().segments) == set(planned(TEMPORAL).segments)


def test_the_table_of_cells_says_where_they_are() -> None:
    """`segments` and `segment_ends` of a cell lead to the directories that the jobs wrote."""
    plan, found = planned(TEMPORAL), specs()
    averaging = study(TEMPORAL).averaging
    assert averaging is not None
    for cell in (cell for cell in plan.cells if cell.schedule_name == "constant"):
        chain = plan.chains[cell.cell_id]
        ends = [plan.segments[name].spec.stop for name in chain]
        assert chain_of_positions(chain, ends, averaging.snapshots, 2) == [found[name] for name in chain]


def test_more_points_are_another_job_and_a_longer_horizon_is_not() -> None:
    def ids(*changes: tuple[str, Any]) -> set[str]:
        return {spec.position_id for spec in specs(*changes).values()}

    assert ids() < ids(("grid.0.tokens_per_parameter", [10, 20, 80]))
    assert not ids() & ids(("temporal.points_per_octave", 8))


def test_none_without_the_section() -> None:
    assert position_specs(planned(), study()) == {}


def test_schedules_whose_snapshots_are_not_kept_are_refused() -> None:
    with pytest.raises(StudyError, match=r"'wsd', which is not one of averaging.schedules \(constant\)"):
        study(("temporal", {"schedules": ["wsd"]}))
    with pytest.raises(StudyError, match=r"averaging.schedules \(none\)"):
        study(("temporal", {"schedules": ["constant"]}), ("averaging", MISSING))


def test_the_law_without_its_losses_is_refused() -> None:
    with pytest.raises(StudyError, match="temporal without a section temporal"):
        study(("analysis.laws", ["temporal"]))
