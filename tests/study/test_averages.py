"""Which averages a study asks for."""

from __future__ import annotations

from typing import Any

from glidepath.science.schedules import Stage
from glidepath.study.averages import AverageSpec, average_specs
from tests.study.studies import MISSING, planned, study


def specs(*changes: tuple[str, Any]) -> dict[str, AverageSpec]:
    return average_specs(planned(*changes), study(*changes).averaging)


def test_one_per_cell_that_keeps_snapshots() -> None:
    plan = planned()
    found = specs()
    assert set(found) == {cell.cell_id for cell in plan.cells if cell.schedule_name == "constant"}
    for cell in plan.cells:
        if spec := found.get(cell.cell_id):
            assert spec.snapshot_at == cell.snapshot_at
            assert spec.snapshot_at[-1] == cell.total_steps
            assert spec.segments == plan.chains[cell.cell_id]
            assert spec.batch_sequences == (Stage(4, cell.total_steps),)


def test_none_without_averaging() -> None:
    assert specs(("averaging", MISSING)) == {}


def test_the_name_is_the_content() -> None:
    names = {spec.average_id for spec in specs().values()}
    assert len(names) == 4
    assert names == {spec.average_id for spec in specs(("grid.0.peak_lrs", [0.02, 0.01])).values()}
    assert names < {spec.average_id for spec in specs(("grid.0.peak_lrs", [0.01, 0.02, 0.04])).values()}
    assert not names & {spec.average_id for spec in specs(("averaging.window_fractions", [0.2])).values()}


def test_a_spec_travels_as_json() -> None:
    for spec in specs().values():
        assert AverageSpec.model_validate_json(spec.model_dump_json()) == spec
