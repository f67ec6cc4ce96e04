"""What a study did cost, from hand-made records and journals."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from glidepath.__main__ import main
from glidepath.stages.cells import plan_frame
from glidepath.study import journal, tables
from glidepath.study.averages import average_specs
from glidepath.study.layout import average_directory, position_directory, segment_directory
from tests.stages.places import write_segment
from tests.study.studies import GOOD, planned, study

PREDICTED_AT = 1000.0
JOURNAL = Path("scratch/journal.jsonl")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records of all segments, which took 10 s each for themselves, and the tables that the stage reads."""
    monkeypatch.chdir(tmp_path)
    plan = planned()
    for segment in plan.segments.values():
        write_segment(tmp_path, segment, 3.0, timing={"total": 10.0}, threads=1)
        os.utime(Path(segment_directory(segment.segment_id)) / "segment.json", (PREDICTED_AT + 50, PREDICTED_AT + 50))
    cells = plan_frame(plan, average_specs(plan, study().averaging), 1_000_000)
    tables.write(tables.PLAN, cells, Path("results/good/plan.parquet"))
    assert (
        main(["plan", str(write_study(tmp_path)), "--no-calibration", "--output", "results/good/budget.parquet"]) == 0
    )
    budget = tables.read(tables.BUDGET, Path("results/good/budget.parquet"))
    budget = budget.assign(core_seconds=100.0, wall_seconds=50.0, predicted_at=PREDICTED_AT)
    tables.write(tables.BUDGET, budget, Path("results/good/budget.parquet"))
    return tmp_path


def write_study(folder: Path) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    return path


def noted(command: str, output: str, began: float, ended: float) -> None:
    journal.note(JOURNAL, journal.Entry(command, output, PREDICTED_AT + began, PREDICTED_AT + ended, ended - began, 1))


def spending() -> pd.DataFrame:
    arguments = ["--plan", "results/good/plan.parquet", "--budget", "results/good/budget.parquet"]
    arguments += ["--corpus", "store/corpora/c", "--results", "results/good", "--journal", str(JOURNAL)]
    assert main(["spending", *arguments, "--output", "results/good/spending.parquet"]) == 0
    return tables.read(tables.SPENDING, Path("results/good/spending.parquet")).set_index("stage")


@pytest.mark.usefixtures("place")
def test_without_a_journal_training_is_known_from_its_records() -> None:
    rows, n = spending(), len(planned().segments)
    assert rows.loc["train", "core_seconds"] == 10.0 * n
    assert rows.loc["train", "core_seconds_ratio"] == pytest.approx(n / 10)
    assert pd.isna(rows.loc["train", "wall_seconds"])
    assert (rows.loc["average", "jobs"], rows.loc["average", "jobs_measured"]) == (8, 0)
    assert pd.isna(rows.loc["total", "core_seconds_ratio"])
    assert rows.loc["total", "jobs_before_prediction"] == 0


@pytest.mark.usefixtures("place")
def test_with_a_journal_everything_is_known() -> None:
    """Tokenising from 0 to 20 s, then segments of 12 s, two at a time, averages of 2 s, and an analysis of 5 s."""
    plan = planned()
    noted("tokenize", "store/corpora/c", 0.0, 20.0)
    for i, name in enumerate(plan.segments):
        noted("train", segment_directory(name), 20.0 + 12.0 * (i // 2), 32.0 + 12.0 * (i // 2))
    for spec in average_specs(plan, study().averaging).values():
        noted("average", average_directory(spec.average_id), 500.0, 502.0)
    # Losses by position of one of the segments, and of another study's.
    noted("position-losses", f"{position_directory(next(iter(plan.segments)))}-0123456789", 502.0, 503.0)
    noted("position-losses", f"{position_directory('another')}-0123456789", 502.0, 903.0)
    noted("compare", "results/good/comparisons.parquet", 510.0, 515.0)
    noted("compare", "results/another/comparisons.parquet", 0.0, 900.0)
    noted("compare", "results/good_long/comparisons.parquet", 0.0, 900.0)
    noted("report", "results/good/report.html", 515.0, 600.0)
    rows, n = spending(), len(plan.segments)
    assert rows["core_seconds"].to_dict() == {
        "tokenize": 20.0,
        "train": 12.0 * n,
        "average": 17.0,
        "coordinate_check": 0.0,
        "analysis": 5.0,
        "total": 42.0 + 12.0 * n,
    }
    assert rows.loc["train", "wall_seconds"] == 12.0 * ((n + 1) // 2)
    assert rows.loc["total", "wall_seconds"] == 20.0 + 12.0 * ((n + 1) // 2) + 3.0 + 5.0
    assert rows.loc["total", "wall_seconds_ratio"] == pytest.approx(rows.loc["total", "wall_seconds"] / 50.0)


@pytest.mark.usefixtures("place")
def test_the_coordinate_check_is_a_stage_of_its_own() -> None:
    Path("results/good/coordinate_check.parquet").touch()
    assert pd.isna(spending().loc["coordinate_check", "core_seconds"])
    noted("coordinate-check", "results/good/coordinate_check.parquet", 505.0, 508.0)
    noted("compare", "results/good/comparisons.parquet", 510.0, 515.0)
    rows = spending()
    assert (rows.loc["coordinate_check", "jobs"], rows.loc["coordinate_check", "core_seconds"]) == (1, 3.0)
    assert rows.loc["analysis", "core_seconds"] == 5.0


@pytest.mark.usefixtures("place")
def test_jobs_before_the_prediction_are_counted() -> None:
    first, *_ = planned().segments
    noted("train", segment_directory(first), -30.0, -10.0)
    rows = spending()
    assert rows.loc["train", "jobs_before_prediction"] == rows.loc["total", "jobs_before_prediction"] == 1
    assert rows.loc["train", "core_seconds"] == 10.0 * (len(planned().segments) - 1) + 20.0


def test_commands_note_themselves(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(journal.VARIABLE, str(JOURNAL))
    assert main(["plan", str(place / "absent.yaml"), "--no-calibration"]) == 2
    assert not JOURNAL.exists()
    spending()
    (one,) = journal.read(JOURNAL)
    assert (one.command, one.output, one.threads) == ("spending", "results/good/spending.parquet", 1)
    assert 0 < one.seconds < 60
    assert 0 < one.cpu_seconds < 60
