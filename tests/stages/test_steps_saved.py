"""From the store of averages to the table: replicates, nested trunks, FLOPs and hours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.stages import steps_saved
from glidepath.study import tables
from tests.stages import planted_averages as planted
from tests.stages.planted_averages import BATCH_TOKENS, N_PARAMS, PEAKS, POINTS, Planted


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store")
    planted.write_store(path)
    return path


def saved(study: Planted, store: Path, place: Path) -> pd.DataFrame:
    study.write(place)
    output = place / "steps_saved.parquet"
    steps_saved.main(argparse.Namespace(runs=place / "runs.parquet", store=store, ci_level=0.9, output=output))
    return tables.read(tables.STEPS_SAVED, output)


def test_savings_are_those_planted(store: Path, tmp_path: Path) -> None:
    """Raw weights reach floor(0.9·t) when they have fallen by the gain: at 0.9·t·exp(gain/slope)."""
    frame = saved(planted.study(), store, tmp_path)
    assert (frame["n_replicates"] == 2).all()
    windows = frame[(frame["average"] == "window_20") & (frame["peak_lr"] == PEAKS[0])]
    assert windows["updates_done"].tolist() == list(POINTS)
    mean_gain = np.mean([planted.gain(PEAKS[0], replicate) for replicate in (0, 1)])
    factor = 0.9 * np.exp(mean_gain / planted.slope(PEAKS[0]))
    inside = windows["tokens_seen"] * factor < POINTS[-1] * BATCH_TOKENS
    reached = windows[inside]
    assert len(reached) >= 5
    assert (reached["status"] == "reached").all()
    np.testing.assert_allclose(reached["tokens_saved"], (factor - 1) * reached["tokens_seen"], rtol=1e-4)
    np.testing.assert_allclose(reached["updates_saved"], reached["tokens_saved"] / BATCH_TOKENS)
    np.testing.assert_allclose(reached["flops_saved"], 6 * N_PARAMS * reached["tokens_saved"])
    np.testing.assert_allclose(reached["hours_saved"], reached["tokens_saved"] / 500 / 3600)
    assert (windows[~inside]["status"] == "beyond").all()


def test_an_average_has_rows_where_it_is_defined(store: Path, tmp_path: Path) -> None:
    frame = saved(planted.study(), store, tmp_path)
    older = frame[(frame["average"] == "older") & (frame["peak_lr"] == PEAKS[0])]
    assert older["updates_done"].tolist() == [point for point in POINTS if point >= 64]


def test_each_trunk_counts_once(store: Path, tmp_path: Path) -> None:
    """A shorter cell on a trunk changes nothing, nor does a replicate of a shorter horizon."""
    before = saved(planted.study(), store, tmp_path)
    study = planted.study()
    longest = study.runs[0]
    shorter = {"total_steps": 161, "token_horizon": 161 * BATCH_TOKENS}
    shorter |= {name: " ".join(longest[name].split()[:2]) for name in ("segments", "averages")}
    study.runs.insert(0, longest | shorter | {"cell_id": "shorter"})
    study.runs.append(longest | shorter | {"cell_id": "third replicate", "replicate": 2})
    pd.testing.assert_frame_equal(saved(study, store, tmp_path), before)


@pytest.mark.parametrize("status", ["diverged", "excluded"])
def test_a_learning_rate_that_lost_a_replicate_saves_nothing(status: str, store: Path, tmp_path: Path) -> None:
    study = planted.study()
    study.runs[0]["status"] = status
    assert (study.runs[0]["peak_lr"], study.runs[0]["schedule"]) == (PEAKS[0], "constant")
    frame = saved(study, store, tmp_path)
    assert sorted(frame["peak_lr"].unique()) == list(PEAKS[1:])


def test_of_horizons_the_longest_that_is_not_held_out(store: Path, tmp_path: Path) -> None:
    study = planted.study()
    trunks = [row for row in study.runs if row["schedule"] == "constant"]
    for row in trunks:
        averages = " ".join(row["averages"].split()[:2])
        shorter = {"total_steps": 161, "token_horizon": 161 * BATCH_TOKENS, "tokens_per_parameter": 0.5}
        study.runs.append(row | shorter | {"averages": averages, "cell_id": f"shorter {row['cell_id']}"})
        row["holdout"] = True
    frame = saved(study, store, tmp_path)
    assert frame["updates_done"].max() == 161
    assert set(frame["peak_lr"]) == set(PEAKS)


@pytest.mark.parametrize("change", [{"averages": ""}, {"status": "diverged"}, {"holdout": True}])
def test_without_averaged_cells_the_table_is_empty(change: dict[str, Any], store: Path, tmp_path: Path) -> None:
    study = planted.study()
    study.runs = [row | change for row in study.runs]
    assert saved(study, store, tmp_path).empty
