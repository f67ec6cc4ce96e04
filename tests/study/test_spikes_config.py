"""Pairs of spiked and clean cells must be there: averaged, in one block, with replicates."""

from __future__ import annotations

from typing import Any

import pytest

from glidepath.study.config import parse_study
from glidepath.study.section import StudyError
from glidepath.study.segments import plan
from glidepath.study.spikes import check_spikes
from tests.study.studies import CORPUS_ID, VOCAB_SIZE, changed

JUMP = {
    "kind": "points",
    "unit": "tokens",
    "interpolation": "step",
    # Updates of 256 tokens: 64 before the spike, 8 in it.
    "points": [[0, 1], [64 * 256, 4], [72 * 256, 1]],
}


def with_spikes(*changes: tuple[str, Any]) -> dict[str, Any]:
    return changed(
        ("schedules.jump", dict(JUMP)),
        ("warmup", {"steps": 0}),
        ("grid.0.schedules", ["constant", "jump"]),
        ("grid.0.replicates", [0, 1]),
        ("averaging.schedules", ["constant", "jump"]),
        ("noise_scale", None),
        ("spikes", {"clean": "constant", "spiked": ["jump"]}),
        *changes,
    )


def test_spiked_and_clean_cells_are_one_trajectory_up_to_the_spike() -> None:
    planned = plan(parse_study(with_spikes(), "of the test"), CORPUS_ID, VOCAB_SIZE)
    chains = {
        cell.schedule_name: planned.chains[cell.cell_id]
        for cell in planned.cells
        if (cell.replicate, cell.peak_lr, cell.tokens_per_parameter) == (0, 0.01, 20)
    }
    shared = [name for name in chains["jump"] if name in chains["constant"]]
    assert planned.segments[shared[-1]].spec.stop == 64


def check(*changes: tuple[str, Any]) -> None:
    study = parse_study(with_spikes(*changes), "of the test")
    check_spikes(study, plan(study, CORPUS_ID, VOCAB_SIZE))


def test_a_plan_that_can_be_judged_is_accepted() -> None:
    check()
    check(("spikes", None))


def test_a_warm_up_that_points_do_not_have_is_refused() -> None:
    with pytest.raises(StudyError, match=r"share no training before the spike.*warmup: \{steps: 0\}"):
        check(("warmup", {"steps": 4}))


def test_a_spike_without_another_learning_rate_is_refused() -> None:
    with pytest.raises(StudyError, match=r"the same training.*Change the learning rate"):
        check(("schedules.jump.points", [[0, 1], [64 * 256, 1]]))


def test_a_window_without_evaluated_points_is_refused() -> None:
    with pytest.raises(StudyError, match=r"window_fraction 0.01: no average.*after update 64.*Raise it"):
        check(("spikes.window_fraction", 0.01))


def test_one_replicate_is_refused() -> None:
    data = with_spikes(("grid.0.replicates", [0]))
    with pytest.raises(StudyError, match=r"'jump' has 1 replicates.*give it replicates"):
        parse_study(data, "of the test")


def test_cells_of_different_blocks_are_no_pairs() -> None:
    block = with_spikes()["grid"][0]
    data = with_spikes(("grid", [block | {"schedules": ["constant"]}, block | {"schedules": ["jump"]}]))
    with pytest.raises(StudyError, match=r"'jump' has 0 replicates in blocks.*Put both in one block"):
        parse_study(data, "of the test")
