"""What a machine gives a cell, a share of a device and processes, decides when it runs and not what it is."""

from __future__ import annotations

import json
import re

import pytest

from glidepath.study.speed import gpu_share
from tests.workflow.conftest import Workplace

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("studies of their own")]


def test_shares_follow_the_size_and_fill_a_device() -> None:
    assert [gpu_share(n) for n in (1e5, 4.9e6, 1e7, 2.5e7, 5e7, 1.25e8, 3.5e8)] == [0, 0, 25, 50, 50, 100, 100]


def small_study(workplace: Workplace) -> str:
    """Three segments that need no other."""
    grid = [{
        "models": ["d16"], "schedules": ["constant"], "peak_lrs": [0.005, 0.01, 0.02], "tokens_per_parameter": [10],
        "batch_sequences": [4],
    }]  # fmt: skip
    averaging = {"schedules": ["constant"]}
    changes = {"averaging": averaging, "spikes": None, "temporal": None, "analysis": {"reference_schedule": "constant"}}
    return workplace.study("small", study="small", grid=grid, **changes)


def most_at_once(output: str) -> int:
    """How many training jobs ran at the same time, by the announcements of their begin and end."""
    running: set[str] = set()
    most = 0
    # Each job is announced by its rule, and a few lines later by its number.
    begin = r"^(?:local)?rule train_segment:(?:\n    .*)*?\n    jobid: (\d+)"
    pattern = re.compile(rf"{begin}|^Finished jobid: (\d+)", re.MULTILINE)
    for begun, ended in pattern.findall(output):
        running = running | {begun} if begun else running - {ended}
        most = max(most, len(running))
    return most


def test_shares_say_which_cells_run_at_once_and_processes_are_no_part_of_a_cell(untouched: Workplace) -> None:
    config = ("--configfile", small_study(untouched), "--cores", "3")
    untouched.snakemake(*config, "--resources", "gpu_share=100", "--", "tokenize")
    half = ("--set-resources", "train_segment:gpu_share=50")
    two = untouched.snakemake(*config, "--resources", "gpu_share=100", *half, "--", "train")
    assert most_at_once(two.stdout + two.stderr) == 2
    segments = untouched.root / "store/segments"
    alone = {path.name: json.loads((path / "segment.json").read_text()) for path in segments.iterdir()}
    assert len(alone) == 3
    assert {record["processes"] for record in alone.values()} == {1}

    # Other shares and several processes: the cells are the same, so nothing is trained again.
    several = ("--set-resources", "train_segment:gpu_share=100", "train_segment:processes=2")
    assert untouched.planned(*config, *several, "--", "train") == {}

    one = untouched.snakemake(
        *config, "--resources", "gpu_share=100", *several, "--forcerun", "train_segment", "--", "train"
    )
    assert most_at_once(one.stdout + one.stderr) == 1
    for name, expected in alone.items():
        record = json.loads((segments / name / "segment.json").read_text())
        assert record["processes"] == 2
        # At learning rates twice as high, rounding alone moves these losses by a percent.
        assert record["last_finite_loss"] == pytest.approx(expected["last_finite_loss"], rel=1e-5)
