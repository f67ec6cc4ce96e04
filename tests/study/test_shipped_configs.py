"""The studies in config/ are valid and can be planned, and a dry run accepts them without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glidepath.__main__ import main
from glidepath.study.config import read_study
from glidepath.study.corpus_identity import vocab_size_of
from glidepath.study.segments import plan
from glidepath.study.target import target_of
from tests.study.studies import CORPUS_ID

REPOSITORY = Path(__file__).parents[2]
OTHERS = ("pythia", "import-example")
"""Configurations that are no studies."""
STUDIES = sorted(path for path in (REPOSITORY / "config").glob("*.yaml") if path.stem not in OTHERS)
every_study = pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)


def test_all_of_them_are_found() -> None:
    assert [path.stem for path in STUDIES] == [
        *("batch_size", "h200", "high_lr", "laptop", "quick", "schedules", "sharing", "smoke", "spikes", "transfer")
    ]


@every_study
def test_a_study_is_checked_and_planned(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert main(["plan", str(path), "--no-calibration"]) == 0
    assert capsys.readouterr().out.startswith(f"{path.stem}: ")


@pytest.mark.parametrize("name", ["laptop", "h200"])
def test_the_law_in_size_and_horizon_is_identified(name: str) -> None:
    study = read_study(REPOSITORY / f"config/{name}.yaml")
    vocab_size = vocab_size_of(study.corpus, REPOSITORY)
    cells = plan(study, CORPUS_ID, vocab_size).cells
    reach: dict[str, tuple[set[int], set[int]]] = {}
    for cell in cells:
        if not cell.holdout:
            sizes, horizons = reach.setdefault(cell.schedule_name, (set(), set()))
            sizes.add(cell.n_params_counted)
            horizons.add(cell.token_horizon)
    assert any(len(sizes) >= 3 and len(horizons) >= 4 for sizes, horizons in reach.values())
    assert target_of(study, vocab_size)["model"] in {cell.model_name for cell in cells}


@pytest.mark.workflow
@pytest.mark.xdist_group("dry runs")
@every_study
def test_a_dry_run_accepts_a_study(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--dry-run"]
    done = subprocess.run(
        [*command, "--cores", "1", "--directory", str(tmp_path), "--configfile", str(path), "--quiet", "rules"],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "tokenize" in done.stdout + done.stderr
