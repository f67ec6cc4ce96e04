"""The progress line, from files alone."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from glidepath.stages import progress
from glidepath.stages.progress import line, look, seconds_left
from glidepath.training.lock import locked

WATCHED: dict[str, Any] = {
    "study": "toy",
    "cores": 2,
    "segments": {
        "a-u0-100-11": {"flops": 100.0, "updates": 100},
        "b-u0-200-22": {"flops": 200.0, "updates": 200},
        "c-u0-300-33": {"flops": 300.0, "updates": 300},
    },
    "averages": ["store/averages/x/block_losses.parquet"],
    "results": ["results/toy/runs.parquet", "results/toy/report.html", "results/toy/plan.parquet"],
}


def put(root: Path, name: str, text: str = "") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def half_way(tmp_path: Path) -> Iterator[Path]:
    """The first job is done, the second runs and is half way, one result is there."""
    put(tmp_path, "store/segments/a-u0-100-11/segment.json")
    put(tmp_path, "scratch/segments/b-u0-200-22/progress", "100")
    put(tmp_path, "results/toy/plan.parquet")
    with locked(tmp_path / "scratch/segments/b-u0-200-22"):
        yield tmp_path


def test_done_and_running(half_way: Path) -> None:
    now = look(WATCHED, half_way)
    assert (now.flops_done, now.flops_total) == (200.0, 600.0)
    assert (now.segments_done, now.segments_total) == (1, 3)
    assert now.running == (("b-u0-200-22", 0.5),)
    assert (now.others_done, now.others_total) == (1, 4)
    assert not now.finished


def test_the_line_of_a_person(half_way: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A third in 100 s of training leaves 200 s, and three other jobs of 1.5 s on two cores."""
    nothing = look(WATCHED, tmp_path_factory.mktemp("empty"))
    now = look(WATCHED, half_way)
    assert line(WATCHED, nothing, now, 160.0, 100.0) == (
        "toy: training 33 %, 1/3 jobs; other files 1/4; running b-u0-200 50 %; 3 min gone; about 3 min left"
    )
    assert seconds_left(2, nothing, now, 100.0) == pytest.approx(200 + 3 * 1.5 / 2)


def test_what_an_earlier_run_trained_does_not_count_for_the_rate(half_way: Path) -> None:
    first = look(WATCHED, half_way)
    put(half_way, "scratch/segments/b-u0-200-22/progress", "200")
    assert seconds_left(2, first, look(WATCHED, half_way), 10.0) == pytest.approx(300 * 10 / 100 + 2.25)


def test_nothing_trained_yet(tmp_path: Path) -> None:
    first = look(WATCHED, tmp_path)
    text = line(WATCHED, first, first, 42.0, 0.0)
    assert text == "toy: training 0 %, 0/3 jobs; other files 0/4; 42 s gone; time left not known yet"


def test_a_progress_file_that_is_just_being_written(tmp_path: Path) -> None:
    put(tmp_path, "scratch/segments/b-u0-200-22/progress", "")
    with locked(tmp_path / "scratch/segments/b-u0-200-22"):
        assert look(WATCHED, tmp_path).running == (("b-u0-200-22", 0.0),)


def test_a_killed_job_does_not_run(tmp_path: Path) -> None:
    """What it had done still counts; its file `lock` outlives it, but not the lock."""
    put(tmp_path, "scratch/segments/b-u0-200-22/progress", "100")
    with locked(tmp_path / "scratch/segments/b-u0-200-22"):
        pass
    now = look(WATCHED, tmp_path)
    assert now.running == ()
    assert now.flops_done == 100.0


def test_many_running_jobs_are_counted(tmp_path: Path) -> None:
    names = [f"s{i}-u0-10-{i}" for i in range(5)]
    watched = WATCHED | {"segments": {name: {"flops": 1.0, "updates": 10} for name in names}}
    with ExitStack() as jobs:
        for name in names:
            put(tmp_path, f"scratch/segments/{name}/progress", "5")
            jobs.enter_context(locked(tmp_path / f"scratch/segments/{name}"))
        now = look(watched, tmp_path)
    assert "running s0-u0-10 50 %, s1-u0-10 50 %, s2-u0-10 50 % and 2 more" in line(watched, now, now, 1.0, 1.0)


def test_when_only_other_jobs_are_left(half_way: Path) -> None:
    for name in WATCHED["segments"]:
        put(half_way, f"store/segments/{name}/segment.json")
    now = look(WATCHED, half_way)
    assert seconds_left(2, now, now, 0.0) == pytest.approx(2.25)


def test_the_display_ends_with_the_run(
    half_way: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in WATCHED["segments"]:
        put(half_way, f"store/segments/{name}/segment.json")
    for name in (*WATCHED["averages"], *WATCHED["results"]):
        put(half_way, name)
    put(half_way, "watch.json", json.dumps(WATCHED))
    monkeypatch.chdir(half_way)
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.01)
    progress.main(argparse.Namespace(watch=Path("watch.json"), parent=None))
    assert capsys.readouterr().err == "toy: training 100 %, 3/3 jobs; other files 4/4; 0 s gone; done\n"


def test_the_display_ends_with_its_parent(half_way: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(half_way, "watch.json", json.dumps(WATCHED))
    monkeypatch.chdir(half_way)
    began = time.monotonic()
    progress.main(argparse.Namespace(watch=Path("watch.json"), parent=1))
    assert time.monotonic() - began < 0.5
