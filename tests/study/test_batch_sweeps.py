"""Peak learning rates that follow the batch, and which schedules tell a critical batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from glidepath.__main__ import main
from glidepath.study.batch_sweeps import batch_sweeps, no_sweeps
from glidepath.study.cells import cells
from glidepath.study.config import StudyConfig
from glidepath.study.section import StudyError
from tests.study.studies import CORPUS_ID, VOCAB_SIZE, changed, study

BATCHES = [2, 4, 16]


def with_rule(rule: str | None, *changes: tuple[str, Any]) -> StudyConfig:
    batch_lr = None if rule is None else {"rule": rule, "at_batch_sequences": 4}
    return study(("grid.0.batch_sequences", BATCHES), ("grid.0.batch_lr", batch_lr), *changes)


def ids(config: StudyConfig) -> set[str]:
    return {cell.cell_id for cell in cells(config, CORPUS_ID, VOCAB_SIZE)}


@pytest.mark.parametrize(
    ("rule", "of_002"),
    [("none", [0.02] * 3), ("sqrt", [0.01414213562, 0.02, 0.04]), ("linear", [0.01, 0.02, 0.08])],
)
def test_peaks_are_carried_from_their_batch(rule: str, of_002: list[float]) -> None:
    """0.02 at 4 sequences; to ten digits, so that a recipe is the same number everywhere."""
    found: dict[int, set[float]] = {batch: set() for batch in BATCHES}
    for cell in cells(with_rule(rule), CORPUS_ID, VOCAB_SIZE):
        found[cell.batch_sequences].add(cell.peak_lr)
        assert cell.trajectory.path.arrays().lr.max() == cell.peak_lr
    for batch, expected in zip(BATCHES, of_002, strict=True):
        assert max(found[batch]) == expected
        assert len(found[batch]) == 2


def test_cells_that_the_rule_leaves_as_they_are_keep_their_identity() -> None:
    """At the batch that the rates are meant for, and everywhere under none."""
    peaks = ("grid.0.peak_lrs", [0.01, 0.03])
    plain = ids(with_rule(None, peaks))
    assert ids(with_rule("none", peaks)) == plain
    at_reference = {name for name in plain if "-b4-" in name}
    assert len(at_reference) == len(plain) // 3
    assert ids(with_rule("sqrt", peaks)) & plain == at_reference


def test_a_carried_rate_must_leave_some_weight() -> None:
    with pytest.raises(StudyError, match=r"batch_sequences 16: peak_lr 20 × weight decay 0.1"):
        cells(with_rule("linear", ("grid.0.peak_lrs", [5.0])), CORPUS_ID, VOCAB_SIZE)


@pytest.mark.parametrize(
    ("batch_lr", "says"),
    [
        ({"rule": "cube"}, "grid.0.batch_lr.rule = 'cube'"),
        ({}, "grid.0.batch_lr.rule: the key is required"),
        ({"rule": "sqrt"}, "grid.0.batch_lr.at_batch_sequences: the key is required"),
        ({"rule": "sqrt", "at_batch_sequences": 0}, "grid.0.batch_lr.at_batch_sequences = 0"),
        ("sqrt", "grid.0.batch_lr = 'sqrt': a mapping is needed"),
    ],
)
def test_a_rule_that_is_none_is_refused(batch_lr: Any, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        study(("grid.0.batch_lr", batch_lr))


@pytest.mark.parametrize("losses", [[], [0.0], [3.0, 3.0]])
def test_target_losses_are_positive_and_different(losses: list[float]) -> None:
    with pytest.raises(StudyError, match=r"analysis\.critical_batch_target_losses"):
        study(("analysis.critical_batch_target_losses", losses))


def test_sweeps_are_of_schedules_without_a_horizon() -> None:
    """linear_0 and wsd decay; their batches tell nothing along the way."""
    assert batch_sweeps(with_rule("sqrt")) == {("d16", "constant"): (2, 4, 16)}
    assert no_sweeps(with_rule("sqrt")) == [], "their model has a sweep"
    decaying = with_rule(
        "sqrt",
        ("averaging", None),
        ("noise_scale", None),
        ("grid.0.schedules", ["linear_0", "wsd"]),
        ("analysis.reference_schedule", "wsd"),
    )
    assert [sentence.split(": ")[1].split(",")[0] for sentence in no_sweeps(decaying)] == [
        "it decays to its horizon",
        "it decays to its horizon",
    ]


def test_target_losses_need_a_sweep() -> None:
    """Beside one they are taken; without one they would have no effect."""
    losses = ("analysis.critical_batch_target_losses", [3.0])
    assert study(("grid.0.batch_sequences", BATCHES), losses).analysis.critical_batch_target_losses == (3.0,)
    with pytest.raises(
        StudyError, match=r"critical_batch_target_losses \[3.0\] has no sweep .* trained at three batches"
    ):
        study(losses)
    more = {**study().model_dump(mode="json")["grid"][0], "schedules": ["linear_0"], "batch_sequences": [8]}
    grid = [{**more, "schedules": ["constant"], "batch_sequences": BATCHES}, more]
    with pytest.raises(StudyError, match=r"target.batch_sequences 8 is not among them"):
        study(("grid", grid), ("target.batch_sequences", 8), losses)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("grid.0.batch_sequences", [4, 16]), ""),
        (("target.batch_sequences", 8), "at batches 2, 4, 16 tells no critical batch: target.batch_sequences 8 is not"),
        (("grid.0.holdout", True), ""),
        (
            ("schedules.constant.batch", {"kind": "linear", "start_fraction": 0.5, "multiple_of": 1}),
            "its batch is no fixed one",
        ),
    ],
    ids=["two batches", "not the target's", "hidden", "a ramp"],
)
def test_what_is_no_sweep(change: tuple[str, Any], why: str) -> None:
    """With a sentence where there are three batches."""
    visible = {
        "models": ["d16"], "schedules": ["linear_0"], "peak_lrs": [0.01], "tokens_per_parameter": [5],
        "batch_sequences": [8, 4],
    }  # fmt: skip
    grid = study().model_dump(mode="json")["grid"][0] | {"batch_sequences": BATCHES}
    changes = [("grid", [grid, visible]), ("averaging", None), ("noise_scale", None), ("warmup", {"tokens": 1024})]
    assert batch_sweeps(study(*changes))
    another = study(*changes, change)
    assert batch_sweeps(another) == {}
    told = [sentence for sentence in no_sweeps(another) if "constant" in sentence.split(" at ")[0]]
    assert len(told) == bool(why)
    assert why in "".join(told)


@pytest.mark.parametrize(
    "change",
    [
        ("warmup", {"fraction": 0.1}),
        (
            "optimizer",
            {"weight_decay": None, "weight_decay_policy": "constant_timescale", "weight_decay_timescale_fraction": 0.2},
        ),
    ],
    ids=["warm-up of the horizon", "memory of the horizon"],
)
def test_a_sweep_that_depends_on_its_horizon_has_one(change: tuple[str, Any]) -> None:
    changes = [("averaging", None), ("noise_scale", None), ("grid.0.batch_sequences", BATCHES), change]
    one, two = (study(*changes, ("grid.0.tokens_per_parameter", horizons)) for horizons in ([10], [10, 20]))
    assert ("d16", "constant") in batch_sweeps(one)
    assert ("d16", "constant") not in batch_sweeps(two)
    assert any(
        sentence.startswith("d16 with constant at batches 2, 4, 16") and "of which there are several" in sentence
        for sentence in no_sweeps(two)
    )


def test_the_plan_says_why_there_is_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        yaml.safe_dump(changed(("grid.0.batch_sequences", [2, 4, 16]), ("warmup", {"fraction": 0.1}))), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["plan", str(path), "--no-calibration"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "tells no critical batch" in line]
    assert [line.split(" at ")[0] for line in told] == ["d16 with constant", "d16 with linear_0", "d16 with wsd"]
