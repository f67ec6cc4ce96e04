"""`glidepath fit`: every law writes its three tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from glidepath.__main__ import main
from glidepath.study import tables
from glidepath.study.law_list import FINAL_LOSSES, LAW_TABLES
from tests.synthetic import Study, Truth

LAWS = [law for law, needed in LAW_TABLES.items() if needed == FINAL_LOSSES]
STUDY = Study(
    schedules={"cosine": Truth(), "wsd": Truth(K=2.5)},
    models={"a": 1_000_000, "b": 3_000_000, "c": 9_000_000},
    tokens_per_parameter=(5.0, 10.0, 20.0, 40.0),
    lr_factors=(0.25, 0.5, 1.0, 2.0, 4.0),
    size_amplitude=1.0,
    n_blocks=8,
).noisy(0.002, 0)


def fit(tmp_path: Path, law: str, runs: pd.DataFrame, blocks: pd.DataFrame, seed: int = 0) -> dict[str, pd.DataFrame]:
    tables.write(tables.RUNS, runs, tmp_path / "runs.parquet")
    tables.write(tables.BLOCK_LOSSES, blocks, tmp_path / "block_losses.parquet")
    arguments = [
        "--law", law, "--results", tmp_path, "--reference-schedule", "cosine", "--ci-level", 0.9,
        "--bootstrap-samples", 20, "--seed", seed, "--output-directory", tmp_path / law,
    ]  # fmt: skip
    assert main(["fit", *map(str, arguments)]) == 0
    return {table.name: tables.read(table, tmp_path / law / f"{table.name}.parquet") for table in tables.LAW_TABLES}


# These need models that differ in width or depth alone, repeated text, sizes at equal compute, or batches: see
# tests/laws.
OTHER_GRIDS = {"lr_transfer", "loss_data_constrained", "isoflop", "lr_batch_surface"}


@pytest.mark.parametrize("law", sorted(set(LAWS) - OTHER_GRIDS))
def test_tables_are_written(tmp_path: Path, law: str) -> None:
    found = fit(tmp_path, law, *STUDY.tables())
    assert set(found["parameters"]["schedule"]) == {"cosine", "wsd"}
    assert {"converged"} <= set(found["parameters"]["status"])
    assert not found["predictions"].empty
    assert not found["scores"].empty
    assert "declared" not in set(found["scores"]["holdout"])


@pytest.mark.parametrize("law", sorted(LAWS))
def test_one_cell_is_enough_to_say_that_it_is_not_enough(tmp_path: Path, law: str) -> None:
    one = replace(STUDY, models={"a": 1_000_000}, tokens_per_parameter=(20.0,), lr_factors=(1.0,), n_replicates=1)
    found = fit(tmp_path, law, *one.tables())
    assert set(found["parameters"]["status"]) <= {"failed", "not_identified"}
    assert found["predictions"].empty
    assert set(found["scores"]["n_hidden"]) <= {0}


def test_declared_holdout_is_scored(tmp_path: Path) -> None:
    runs, blocks = STUDY.tables()
    runs["holdout"] = runs["tokens_per_parameter"] == 40
    found = fit(tmp_path, "loss_horizon", runs, blocks)["scores"].query("holdout == 'declared'")
    assert len(found) == 6
    assert set(found["status"]) == {"scored"}
    assert (found["mean_absolute_error"] < 0.03).all()
    assert (found["mean_absolute_error"] < found["baseline_mean_absolute_error"]).all()


def test_same_seed_same_files(tmp_path: Path) -> None:
    runs, blocks = STUDY.tables()
    one, other = (fit(tmp_path / name, "lr_horizon", runs, blocks, seed=3) for name in ("a", "b"))
    for name in one:
        pd.testing.assert_frame_equal(one[name], other[name])


def test_all_cells_hidden_or_lost(tmp_path: Path) -> None:
    runs, blocks = STUDY.tables()
    runs["holdout"] = True
    with pytest.raises(ValueError, match="no cell of the study is completed and open to fits"):
        fit(tmp_path, "lr_optimum", runs, blocks)


def test_hidden_runs_that_lost_a_replicate_hide_nothing(tmp_path: Path) -> None:
    """The only hidden learning rate diverged once: nothing declared is left to score, and the law is fitted."""
    runs, blocks = STUDY.tables()
    hidden = runs["tokens_per_parameter"] == 40
    runs["holdout"] = hidden
    runs = runs[~hidden | (runs["peak_lr"] == 1e-3)]
    lost = runs["holdout"] & (runs["replicate"] == 1)
    runs.loc[lost, "status"], runs.loc[lost, "val_loss"] = "diverged", None
    found = fit(tmp_path, "loss_horizon", runs, blocks[blocks["cell_id"].isin(runs["cell_id"])])
    assert "declared" not in set(found["scores"]["holdout"])
    assert len(found["parameters"])
