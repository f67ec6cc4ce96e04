"""`glidepath compare` on a study of three schedules whose noise can be computed in the head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from glidepath.__main__ import main
from glidepath.study import tables
from tests.synthetic import Study, Truth, run

LRS = (1e-3, 2e-3, 4e-3)
MEANS = {"cosine": (3.3, 3.0, 3.1), "wsd": (3.2, 2.8, 3.0), "linear": (3.1, 3.01, 2.99)}
"""By learning rate; the best of linear is at the edge of its grid and not that of cosine."""
OWN = {"cosine": 0.01, "wsd": -0.01, "linear": 0.0}
"""Half the difference of the two replicates."""


def three_schedules(replicates: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, blocks = [], []
    for schedule, means in MEANS.items():
        for lr, mean in zip(LRS, means, strict=True):
            for r in range(replicates):
                cell_id = f"{schedule}-{lr}-{r}"
                loss = mean + OWN[schedule] * (1 - 2 * r)
                where = {"model": "tiny", "tokens_per_parameter": 20.0, "batch_sequences": 8, "token_horizon": 5120}
                rows.append(run(cell_id=cell_id, schedule=schedule, peak_lr=lr, replicate=r, val_loss=loss, **where))
                swing = {"cosine": 0.0, "wsd": 0.02, "linear": 0.04}[schedule]
                losses = np.array([loss - swing, loss + swing], dtype=np.float32)
                blocks.append(pd.DataFrame({"cell_id": cell_id, "domain": "d", "block": [0, 1], "loss": losses}))
    return pd.DataFrame(rows, columns=tables.RUNS.names), pd.concat(blocks, ignore_index=True)


def compare(tmp_path: Path, frames: tuple[pd.DataFrame, pd.DataFrame], reference: str = "cosine") -> pd.DataFrame:
    tables.write(tables.RUNS, frames[0], tmp_path / "runs.parquet")
    tables.write(tables.BLOCK_LOSSES, frames[1], tmp_path / "blocks.parquet")
    arguments = [
        "--runs", tmp_path / "runs.parquet", "--block-losses", tmp_path / "blocks.parquet",
        "--reference-schedule", reference, "--ci-level", 0.95, "--output", tmp_path / "out.parquet",
    ]  # fmt: skip
    assert main(["compare", *map(str, arguments)]) == 0
    return tables.read(tables.COMPARISONS, tmp_path / "out.parquet").set_index("schedule", drop=False)


def test_best_against_best(tmp_path: Path) -> None:
    found = compare(tmp_path, three_schedules())
    assert sorted(found["schedule"]) == ["linear", "wsd"]
    assert found["difference"].to_dict() == pytest.approx({"wsd": -0.2, "linear": -0.01})
    assert found["difference_relative"]["wsd"] == pytest.approx(-0.2 / 3.0)
    assert found["peak_lr"].to_dict() == {"wsd": 2e-3, "linear": 4e-3}
    assert set(found["reference_peak_lr"]) == {2e-3}
    assert found["edge_of_grid"].to_dict() == {"wsd": False, "linear": True}
    assert set(found["n_replicates"]) == {2}


def test_standard_error_by_hand(tmp_path: Path) -> None:
    """At each of three positions the schedules' replicates deviate by ±0.01, ∓0.01 and 0: own² = 3·4e-4/(3·2·1), all
    positions alike, so position² = 0. Blocks differ by ±0.02 (wsd) and ±0.04 (linear), over two blocks."""
    found = compare(tmp_path, three_schedules())
    own_variance = 3 * 4 * 0.01**2 / 6
    for schedule, swing in (("wsd", 0.02), ("linear", 0.04)):
        row = found.loc[schedule]
        standard_error = (2 * own_variance / 2 + 2 * swing**2 / 2) ** 0.5
        assert row["standard_error"] == pytest.approx(standard_error, rel=1e-5)
        assert row["degrees_of_freedom"] == 6
        half = stats.t(6).ppf(0.975) * standard_error
        assert row["ci_low"] == pytest.approx(row["difference"] - half, rel=1e-5)
        assert row["ci_high"] == pytest.approx(row["difference"] + half, rel=1e-5)
    assert found["verdict"].to_dict() == {"wsd": "better", "linear": "not resolved"}


def test_the_reference_decides_the_sign(tmp_path: Path) -> None:
    found = compare(tmp_path, three_schedules(), "wsd")
    assert found.loc["cosine", "difference"] == pytest.approx(0.2)
    assert found.loc["cosine", "verdict"] == "worse"


def test_without_replicates_nothing_is_resolved(tmp_path: Path) -> None:
    found = compare(tmp_path, three_schedules(replicates=1))
    assert set(found["verdict"]) == {"not resolved"}
    assert found[["standard_error", "ci_low", "ci_high"]].isna().all(axis=None)


def test_hidden_and_diverged_cells_take_no_part(tmp_path: Path) -> None:
    runs, blocks = three_schedules()
    runs["holdout"] = (runs["schedule"] == "wsd") & (runs["peak_lr"] == 2e-3)
    linear = (runs["schedule"] == "linear") & (runs["peak_lr"] == 4e-3)
    runs.loc[linear, ["status", "val_loss"]] = ["diverged", np.nan]
    found = compare(tmp_path, (runs, blocks))
    assert found["val_loss"].to_dict() == pytest.approx({"wsd": 3.0, "linear": 3.01})


def test_replicates_of_one_side_only_are_not_paired(tmp_path: Path) -> None:
    runs, blocks = three_schedules()
    runs = runs[~((runs["schedule"] == "wsd") & (runs["replicate"] == 1))]
    found = compare(tmp_path, (runs, blocks))
    assert found["n_replicates"].to_dict() == {"wsd": 1, "linear": 2}
    assert found.loc["wsd", "difference"] == pytest.approx(2.79 - 3.01)


def test_a_reference_never_trained(tmp_path: Path) -> None:
    assert compare(tmp_path, three_schedules(), "constant").empty


def test_every_model_and_horizon_has_its_comparison(tmp_path: Path) -> None:
    study = Study(
        schedules={"cosine": Truth(), "wsd": Truth(irreducible_loss=1.9)}, models={"a": 1_000_000, "b": 2_000_000},
        tokens_per_parameter=(5.0, 20.0),
    ).noisy(0.001, 0)  # fmt: skip
    found = compare(tmp_path, study.tables())
    assert len(found) == 4
    assert set(found["verdict"]) == {"better"}
    assert ((found["ci_low"] < -0.1) & (found["ci_high"] > -0.1)).all()
