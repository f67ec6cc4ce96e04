"""Pairs of spiked and clean cells must be there, averaged and with replicates, and differ by a spike."""

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
    with pytest.raises(StudyError, match=r"the same training.*Raise the learning rate"):
        check(("schedules.jump.points", [[0, 1], [64 * 256, 1]]))


@pytest.mark.parametrize(
    "points",
    [
        # Lower for a few updates; first higher, then lower; a descent to the end.
        [[0, 1], [64 * 256, 0.25], [72 * 256, 1]],
        [[0, 1], [64 * 256, 4], [72 * 256, 0.5], [80 * 256, 1]],
        [[0, 1], [64 * 256, 0.25]],
    ],
)
def test_a_lower_learning_rate_is_no_spike(points: list[list[float]]) -> None:
    with pytest.raises(StudyError, match=r"spiked jump has at update (64|72) .*below the 0.01 .*nowhere lower"):
        check(("schedules.jump.points", points))


def test_a_cooldown_is_no_spike() -> None:
    with pytest.raises(StudyError, match=r"spiked wsd has at update .*below the 0.01 of spikes.clean constant"):
        check(
            ("grid.0.schedules", ["constant", "wsd"]),
            ("averaging.schedules", ["constant", "wsd"]),
            ("spikes", {"clean": "constant", "spiked": ["wsd"]}),
        )


def test_a_spike_that_does_not_end_is_refused() -> None:
    with pytest.raises(StudyError, match=r"ends d16-jump-.* at the learning rate 0.04, above the 0.01 .*come back"):
        check(("schedules.jump.points", [[0, 1], [64 * 256, 4]]))


def test_only_learning_rates_may_differ() -> None:
    ramp = {"kind": "stages", "milestones": [0.8], "batch_fractions": [0.5]}
    with pytest.raises(StudyError, match=r"jump differs from spikes.clean constant in more .*Give both the same batch"):
        check(("schedules.constant.batch", ramp))


def test_a_spike_off_a_line_and_back_to_it_is_accepted() -> None:
    """The same values by another recipe differ in their last bits, and are not lower for that."""
    update = 256
    line = [[0, 1], [64 * update, 1], [164 * update, 0.2]]
    spike = [*line[:2], [65 * update, 4], [84 * update, 0.84], line[2]]
    jump = JUMP | {"interpolation": "linear"}
    check(
        ("schedules.line", jump | {"points": line}),
        ("schedules.jump", jump | {"points": spike}),
        ("grid.0.schedules", ["constant", "line", "jump"]),
        ("averaging.schedules", ["line", "jump"]),
        ("spikes", {"clean": "line", "spiked": ["jump"]}),
    )


def test_a_window_without_evaluated_points_is_refused() -> None:
    with pytest.raises(StudyError, match=r"window_fraction 0.01: no average.*after update 64.*Raise it"):
        check(("spikes.window_fraction", 0.01))


def test_one_replicate_is_refused() -> None:
    data = with_spikes(("grid.0.replicates", [0]))
    with pytest.raises(StudyError, match=r"'jump' has 1 replicates .*at model d16, peak_lr 0.01, .*give it replicates"):
        parse_study(data, "of the test")


BLOCK: dict[str, Any] = with_spikes()["grid"][0]


@pytest.mark.parametrize(
    ("blocks", "refused"),
    [
        # One replicate each at two peaks.
        ([{"replicates": [0], "peak_lrs": [0.01]}, {"replicates": [1], "peak_lrs": [0.02]}], "1 .*peak_lr 0.01,"),
        # Two at one peak, one at the other.
        ([{"peak_lrs": [0.01]}, {"replicates": [1], "peak_lrs": [0.02]}], "1 .*peak_lr 0.02,"),
        ([{"tokens_per_parameter": [10]}, {"schedules": ["jump"], "tokens_per_parameter": [20]}], "0 .*parameter 20 "),
        ([{}, {"batch_sequences": [8], "replicates": [0]}], "1 .*batch_sequences 8:"),
        # Other seeds are no pairs.
        ([{"schedules": ["constant"]}, {"schedules": ["jump"], "replicates": [1, 2]}], "1 .*peak_lr 0.01,"),
    ],
)
def test_two_pairs_are_needed_wherever_the_spiked_schedule_is_trained(
    blocks: list[dict[str, Any]], refused: str
) -> None:
    with pytest.raises(StudyError, match=rf"'jump' has {refused}.*Put both in one block"):
        parse_study(with_spikes(("grid", [BLOCK | block for block in blocks])), "of the test")


def test_pairs_may_come_from_several_blocks() -> None:
    check(("grid", [BLOCK | {"schedules": ["constant"], "replicates": [0, 1, 2]}, BLOCK | {"schedules": ["jump"]}]))
    check(("grid", [BLOCK | {"replicates": [0]}, BLOCK | {"replicates": [1]}]))
