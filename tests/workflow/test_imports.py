"""Imported runs through Snakemake to their report, where PyTorch is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from glidepath.study import tables
from tests.workflow.conftest import Workplace

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("studies of their own")]


@pytest.fixture
def without_torch(untouched: Workplace) -> dict[str, str]:
    """Environment in which PyTorch cannot be imported."""
    folder = untouched.root / "no_torch"
    folder.mkdir()
    (folder / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    return {"PYTHONPATH": str(folder)}


def configured(root: Path, data: dict[str, object]) -> tuple[str, str]:
    (root / "config/mine.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return "--configfile", "config/mine.yaml"


def test_a_table_of_sizes_tokens_and_losses(untouched: Workplace, without_torch: dict[str, str]) -> None:
    """Three columns, every law that an import can have: those that miss something say so, and the report is made."""
    points = [(n, d, 1.8 + 400 * n**-0.34 + 410 * d**-0.28) for n in (1e7, 4e7, 2e8) for d in (1e9, 4e9, 2e10, 8e10)]
    rows = "".join(f"{n:.0f},{d:.0f},{loss:.5f}\n" for n, d, loss in points)
    (untouched.root / "points.csv").write_text("N,D,loss\n" + rows)
    source = {
        **{"name": "points", "format": "csv", "paths": ["points.csv"], "rows": "runs", "run": {"kind": "row"}},
        "columns": {"n_params_non_embedding": "N", "token_horizon": "D", "val_loss": "loss"},
    }
    target = {"n_params": 1.0e9, "tokens_per_parameter": 20.0}
    data = {"imports": "mine", "sources": [source], "analysis": {"bootstrap_samples": 100}, "target": target}
    untouched.snakemake(*configured(untouched.root, data), **without_torch)
    results = untouched.root / "results/mine"
    runs = tables.read(tables.RUNS, results / "runs.parquet")
    assert (runs["status"] == "completed").all()
    assert len(runs) == len(points)
    assert "loss_size_horizon" in (results / "report.html").read_text(encoding="utf-8")
    assert (results / "recommendation.json").is_file()


def test_the_example(untouched: Workplace, without_torch: dict[str, str]) -> None:
    """The configuration that ships, with two of its laws; a second run has nothing to do."""
    data = yaml.safe_load((untouched.root / "config/import-example.yaml").read_text())
    data["analysis"] = {"laws": ["loss_horizon", "convex_bound"], "bootstrap_samples": 100}
    asked = configured(untouched.root, data)
    untouched.snakemake(*asked, **without_torch)
    report = (untouched.root / "results/import_example/report.html").read_text(encoding="utf-8")
    assert "400M_wsd_20000_24000" in report or "wsd_20000_24000" in report
    assert untouched.planned(*asked) == {}
