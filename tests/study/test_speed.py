"""Kept speeds, workloads and the journal of jobs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glidepath.study import journal
from glidepath.study.journal import Entry
from glidepath.study.speed import (
    Conditions,
    Speed,
    gpu_here,
    keep_speeds,
    read_speeds,
    runs_warm,
    thinned,
    workloads,
)
from glidepath.study.units import duration, size
from tests.study.studies import GOOD, planned

TWO_CORES = Conditions(cores=2, threads=1, warm=True, gpu=False)
SPEED = Speed(
    device="cpu",
    update_seconds=0.01,
    probed_update_seconds=0.02,
    evaluation_token_seconds=1e-6,
    save_seconds=0.001,
    job_seconds=0.1,
)


def test_a_workload_per_model_and_batch() -> None:
    grid = [{**GOOD["grid"][0], "batch_sequences": [4, 8]}]
    (found,) = workloads(planned(("grid", grid)), TWO_CORES).values()
    assert [w.batch_sequences for w in found] == [4, 8]
    assert all(w.probed and w.processes == 2 and w.warm and w.gpu_share == 0 for w in found)
    assert len({w.digest for w in found}) == 2


@pytest.mark.parametrize(
    "other",
    [
        Conditions(cores=4, threads=1, warm=True, gpu=False),
        Conditions(cores=2, threads=2, warm=True, gpu=False),
        Conditions(cores=2, threads=1, warm=False, gpu=False),
    ],
)
def test_other_conditions_are_other_speeds(other: Conditions) -> None:
    (here,), (there,) = (next(iter(workloads(planned(), c).values())) for c in (TWO_CORES, other))
    assert here.digest != there.digest


def test_a_ramp_is_thinned_to_its_ends_and_its_middle() -> None:
    assert thinned(np.arange(4, 65)).tolist() == [4, 34, 64]
    assert thinned(np.array([2, 8])).tolist() == [2, 8]


def test_speeds_are_added_to_those_that_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "calibration/host.json"
    assert read_speeds(file) == {}
    keep_speeds(file, {"a": SPEED})
    faster = SPEED.model_copy(update={"update_seconds": 0.005})
    keep_speeds(file, {"b": faster})
    assert read_speeds(file) == {"a": SPEED, "b": faster}
    assert [path.name for path in file.parent.iterdir()] == ["host.json"]


def test_conditions_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(gpu_here(), bool)
    assert Conditions(cores=3, threads=2, warm=True, gpu=False).processes == 1
    monkeypatch.delenv("GLIDEPATH_PLAIN", raising=False)
    assert runs_warm()
    monkeypatch.setenv("GLIDEPATH_PLAIN", "1")
    assert not runs_warm()


def entry(output: str, began: float, ended: float, threads: int = 1) -> Entry:
    return Entry("train", output, began, ended, ended - began, threads)


def test_the_journal_tells_how_a_job_ran_last(tmp_path: Path) -> None:
    file = tmp_path / "scratch/journal.jsonl"
    assert journal.read(file) == []
    for one in (entry("a", 0, 5), entry("b", 1, 2, threads=2), entry("a", 10, 13)):
        journal.note(file, one)
    with file.open("a") as cut:
        cut.write(json.dumps({"command": "train"})[:9])
    found = {one.output: one for one in journal.read(file)}
    assert found.keys() == {"a", "b"}
    assert (found["a"].seconds, found["b"].threads) == (3, 2)


seconds = st.integers(0, 60)


@given(st.lists(st.tuples(seconds, seconds).map(lambda pair: (min(pair), max(pair))), max_size=12))
def test_busy_seconds_are_those_in_which_any_job_runs(intervals: list[tuple[int, int]]) -> None:
    busy = sum(any(began <= second < ended for began, ended in intervals) for second in range(61))
    assert journal.busy_seconds([entry("", began, ended) for began, ended in intervals]) == busy


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (duration(0), "0 s"),
        (duration(89), "89 s"),
        (duration(90), "2 min"),
        (duration(420), "7 min"),
        (duration(5400), "1.5 h"),
        (duration(11_520), "3.2 h"),
        (size(83_400), "83 kB"),
        (size(1_240_000), "1.2 MB"),
        (size(999_600), "1 MB"),
        (size(334e6), "334 MB"),
        (size(2.4e12), "2.4 TB"),
    ],
)
def test_amounts_as_text(amount: str, text: str) -> None:
    assert amount == text
