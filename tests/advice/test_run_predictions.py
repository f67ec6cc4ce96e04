"""Hidden runs are predicted from what is left, and what cannot be predicted says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from glidepath.__main__ import main
from glidepath.advice.run_predictions import Asked, hidden_runs, run_predictions
from glidepath.laws.law import Settings
from glidepath.study import tables
from glidepath.study.final_losses import final_losses
from tests.synthetic import Study, Truth

SETTINGS = Settings("", 0.9, 200, 0)
STUDY = Study(
    schedules={"wsd": Truth()},
    models={"a": 1_000_000},
    tokens_per_parameter=(5.0, 10.0, 20.0, 40.0, 80.0),
    lr_factors=(0.25, 0.5, 1.0, 2.0, 4.0),
    n_blocks=8,
).noisy(0.002, 0)


def with_hidden(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    runs, blocks = study.tables()
    return runs.assign(holdout=runs["tokens_per_parameter"] == 80.0), blocks


def test_the_longest_horizon_is_predicted_with_an_interval_that_holds_it() -> None:
    runs, blocks = with_hidden(STUDY)
    best = runs[runs["holdout"]].groupby("peak_lr")["val_loss"].mean().idxmin()
    asked = [run for run in hidden_runs(runs) if run.peak_lr == best]
    found = run_predictions(final_losses(runs, blocks), asked, SETTINGS)
    believed = found[found["believed"]]
    assert len(believed) == len(asked) > 1
    assert (believed["error"].abs() < 0.03).all()
    assert ((believed["val_loss"] > believed["low_90"]) & (believed["val_loss"] < believed["high_90"])).all()
    assert believed["extrapolation"].tolist() == pytest.approx([2.0] * len(asked), rel=0.01)
    assert (believed["high_50"] - believed["low_50"] < believed["high_90"] - believed["low_90"]).all()
    # One row per law, and only the believed one has an interval.
    assert found.groupby("run")["believed"].sum().eq(1).all()
    assert found.loc[~found["believed"], "low_90"].isna().all()


def test_a_peak_off_the_best_one_is_predicted_to_cost() -> None:
    runs, blocks = with_hidden(STUDY)
    losses = final_losses(runs, blocks)
    run = Asked("best", 1e6, 8e7, "wsd", int(runs["batch_sequences"].iloc[0]), "a")
    four_times = replace(run, name="off", peak_lr=4 * float(runs["peak_lr"].median()))
    best, off = (run_predictions(losses, [one], SETTINGS).iloc[0]["val_loss_predicted"] for one in (run, four_times))
    assert off > best + 0.02


def test_what_a_peak_off_the_best_one_costs_is_part_of_what_every_law_says() -> None:
    """The laws differ by as much as at the best peak, and no law's error is that of the peak."""
    runs, blocks = with_hidden(STUDY)
    run = Asked("best", 1e6, 8e7, "wsd", int(runs["batch_sequences"].iloc[0]), "a")
    four_times = replace(run, name="off", peak_lr=4 * float(runs["peak_lr"].median()))
    said = run_predictions(final_losses(runs, blocks), [run, four_times], SETTINGS)
    best, off = (said.loc[said["run"] == name].set_index("law")["val_loss_predicted"] for name in ("best", "off"))
    assert len(best) > 1
    cost = off - best
    assert cost.iloc[0] > 0.02
    assert cost.tolist() == pytest.approx([cost.iloc[0]] * len(cost))


@pytest.mark.parametrize(("column", "word"), [("n_params_counted", "size"), ("token_horizon", "horizon")])
def test_a_hidden_run_of_unknown_size_or_horizon_is_listed(column: str, word: str, tmp_path: Path) -> None:
    runs, blocks = with_hidden(STUDY)
    losses, lost = final_losses(runs, blocks), runs["holdout"].idxmax()
    runs[column] = runs[column].astype("Float64")
    runs.loc[lost, column] = pd.NA
    found = run_predictions(losses, hidden_runs(runs), SETTINGS)
    assert set(found["run"]) == set(runs.loc[runs["holdout"], "cell_id"])
    (row,) = found[found["run"] == runs.loc[lost, "cell_id"]].to_dict("records")
    assert (row["law"], row["believed"]) == ("none", False)
    assert f"its {word} is not known" in row["reason"]
    tables.write(tables.RUN_PREDICTIONS, found, tmp_path / "p.parquet")


def test_an_unknown_schedule_is_a_reason_and_not_an_error(tmp_path: Path) -> None:
    runs, blocks = with_hidden(STUDY)
    run = Asked("other", 1e6, 8e7, "cosine", int(runs["batch_sequences"].iloc[0]))
    (row,) = run_predictions(final_losses(runs, blocks), [run], SETTINGS).to_dict("records")
    assert row["law"] == "none"
    assert "'cosine'" in row["reason"]
    tables.write(
        tables.RUN_PREDICTIONS, run_predictions(final_losses(runs, blocks), [run], SETTINGS), tmp_path / "p.parquet"
    )
    tables.write(
        tables.RUN_PREDICTIONS, run_predictions(final_losses(runs, blocks), [], SETTINGS), tmp_path / "e.parquet"
    )


def test_the_command_predicts_hidden_runs_and_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, blocks = with_hidden(STUDY)
    tables.write(tables.RUNS, runs, tmp_path / "runs.parquet")
    tables.write(tables.BLOCK_LOSSES, blocks, tmp_path / "block_losses.parquet")
    given = ["predict", "--results", str(tmp_path), "--bootstrap-samples", "100"]
    file = tmp_path / "run_predictions.parquet"
    assert main([*given, "--hidden", "--output", str(file)]) == 0
    found = tables.read(tables.RUN_PREDICTIONS, file)
    assert set(found["run"]) == set(runs.loc[runs["holdout"], "cell_id"])
    assert "it came to" in capsys.readouterr().out
    (tmp_path / "runs.csv").write_text("name,n_params,tokens,schedule\nreal,1e6,3.2e8,wsd\nother,1e6,3.2e8,cosine\n")
    assert main([*given, "--runs", str(tmp_path / "runs.csv")]) == 0
    real, other = capsys.readouterr().out.splitlines()
    assert "8 times beyond what was fitted" in real
    assert other.startswith("other: not predicted")
    assert main([*given, "--n-params", "1e6"]) == 2
    assert "Give --tokens" in capsys.readouterr().err
    for peak_lr in ("0", "-0.1"):
        assert main([*given, "--n-params", "1e6", "--tokens", "3.2e8", "--peak-lr", peak_lr]) == 2
        assert f"peak_lr {float(peak_lr)}: a positive number is needed" in capsys.readouterr().err


def test_hidden_runs_are_those_that_completed() -> None:
    runs, _ = with_hidden(STUDY)
    runs.loc[runs["holdout"].idxmax(), "status"] = "diverged"
    names = [run.name for run in hidden_runs(runs)]
    assert len(names) == int(runs["holdout"].sum()) - 1
    assert np.isfinite([run.val_loss for run in hidden_runs(runs)]).all()
