"""`glidepath critical-batch`: from files to files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from glidepath.__main__ import main
from glidepath.study import tables
from tests.laws.planted_sweeps import RATIO, REFERENCE, Planted, noise_scale, updates_to


def concluded(
    place: Path, study: Planted, *losses: float, sweeps: tuple[str, ...] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables, read back."""
    runs, evaluations, averages = study.runs_and_losses()
    noise = noise_scale(["constant-b8-lr0.01-r0"], tokens=[10**5, 10**7], values=[500.0, 1500.0])
    given = {tables.RUNS: runs, tables.EVALUATIONS: evaluations, tables.AVERAGES: averages, tables.NOISE_SCALE: noise}
    arguments = ["critical-batch", "--reference-batch", REFERENCE, "--ci-level", 0.9]
    for table, frame in given.items():
        tables.write(table, frame, place / f"{table.name}.parquet")
        arguments += [f"--{table.name.replace('_', '-')}", place / f"{table.name}.parquet"]
    arguments += ["--steps", place / "steps.parquet", "--output", place / "critical.parquet"]
    arguments += ["--sweeps", *sweeps] if sweeps else []
    assert main([str(a) for a in (*arguments, "--target-losses", *losses)]) == 0
    return (
        tables.read(tables.STEPS_TO_LOSS, place / "steps.parquet"),
        tables.read(tables.CRITICAL_BATCH, place / "critical.parquet"),
    )


def test_both_tables_are_written(tmp_path: Path) -> None:
    steps, critical = concluded(tmp_path, Planted(replicates=2, own_sd=0.02), 3.4)
    for table, frame in ((tables.STEPS_TO_LOSS, steps), (tables.CRITICAL_BATCH, critical)):
        assert frame.columns.tolist() == table.names
        assert not frame[table.key].duplicated().any()
    raw = steps[(steps["weights"] == "raw") & (steps["lr_rule"] == "re_tuned")]
    planted = [updates_to(3.4, batch) for batch in raw["batch_sequences"]]
    np.testing.assert_allclose(raw["steps"], planted, rtol=0.1)
    found = critical[(critical["lr_rule"] == "re_tuned") & (critical["definition"] == "step_data_tradeoff")]
    assert len(found) == 2, "raw weights and averages"
    np.testing.assert_allclose(found["critical_batch_sequences"], RATIO, rtol=0.2)
    assert set(found["target"]) == {"given"}
    assert (found["over_noise_scale_total_ci_low"] < found["over_noise_scale_total"]).all()


def test_targets_are_chosen_where_none_are_given(tmp_path: Path) -> None:
    steps, _ = concluded(tmp_path, Planted())
    assert set(steps["target"]) == {"lowest", "half_tokens", "quarter_tokens"}


def test_what_is_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = replace(Planted(), schedules=(("constant", "constant"), ("fast", "linear"), ("cosine", "cosine")))
    steps, _ = concluded(tmp_path, study, 3.4)
    assert set(steps["schedule"]) == {"constant"}
    assert "depends on the horizon: cosine, fast" in capsys.readouterr().out
    study = replace(Planted(), schedules=(("constant", "constant"), ("rsqrt", "inverse_sqrt")))
    steps, _ = concluded(tmp_path, study, 3.4, sweeps=("tiny:rsqrt", "small:constant"))
    assert set(steps["schedule"]) == {"rsqrt"}
    assert "depends on the horizon: constant" in capsys.readouterr().out


def test_without_a_sweep_the_tables_are_empty(tmp_path: Path) -> None:
    steps, critical = concluded(tmp_path, Planted(batches=(4, 8)))
    assert steps.empty
    assert critical.empty
