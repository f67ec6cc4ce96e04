"""Averages beside raw weights and the real cooldowns of the same trunk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.stages import collect_averages
from glidepath.stages.collect_averages import best_cooldown
from glidepath.study import tables

DEFAULTS: dict[str, Any] = {"string": "", "int64": 0, "float64": 0.0, "float32": 0.0, "bool": False}


def run(cell_id: str, **fields: Any) -> dict[str, Any]:
    """A row of `runs`, everything of no interest zero or empty."""
    return {column.name: DEFAULTS[column.type] for column in tables.RUNS.columns} | {
        "cell_id": cell_id,
        "status": "completed",
        "schedule_kind": "wsd",
        "total_steps": 100,
        "token_horizon": 25_600,
        "trunk_id": "t",
        **fields,
    }


RUNS = pd.DataFrame(
    [
        run("constant", schedule_kind="constant", average="constant-avg", val_loss=3.0),
        run("short", total_steps=50, token_horizon=12_800, val_loss=1.0),
        run("larger batches at its end", token_horizon=51_200, val_loss=0.9),
        run("other trunk", trunk_id="u", val_loss=1.1),
        run("cosine", schedule_kind="cosine", val_loss=1.2),
        run("diverged", status="diverged", val_loss=None),
        run("good", val_loss=2.0),
        run("better", val_loss=1.5),
    ]
)
BLOCKS = {
    "constant": [3.0, 3.2, 2.8, 3.0],
    "good": [2.0, 2.2, 1.8, 2.0],
    "better": [1.5, 1.7, 1.3, 1.5],
}
AVERAGED = {("window", 0.1, 0.0): [2.0, 2.3, 1.9, 1.8], ("ema", 0.2, 0.05): [2.5, 2.5, 2.5, 2.5]}


def test_the_best_cooldown_of_the_same_trunk_and_length_is_chosen() -> None:
    found = best_cooldown(RUNS.iloc[0], RUNS)
    assert found is not None
    assert found["cell_id"] == "better"


def test_a_cooldown_is_not_compared_with_itself() -> None:
    found = best_cooldown(RUNS[RUNS["cell_id"] == "better"].iloc[0], RUNS)
    assert found is not None
    assert found["cell_id"] == "good"


def test_there_may_be_none() -> None:
    assert best_cooldown(RUNS.iloc[0], RUNS[RUNS["cell_id"].isin(["constant", "cosine", "diverged"])]) is None


def collected(place: Path, runs: pd.DataFrame, averaged: dict[tuple[str, float, float], list[float]]) -> pd.DataFrame:
    tables.write(tables.RUNS, runs, place / "runs.parquet")
    blocks = [
        {"cell_id": cell_id, "domain": domain, "block": i, "loss": np.float32(loss + (domain == "c"))}
        for domain in ("python", "c")
        for cell_id, losses in BLOCKS.items()
        for i, loss in enumerate(losses)
    ]
    tables.write(tables.BLOCK_LOSSES, pd.DataFrame(blocks), place / "block_losses.parquet")
    scheme = ("averaging_scheme", "window_fraction", "ema_timescale_fraction")
    losses = [
        dict(zip(scheme, key, strict=True))
        | {"window_checkpoints": 3, "checkpoint_interval_steps": 5, "updates_done": 100, "tokens_seen": 25_600}
        | {"val_loss_averaged": float(np.mean(values))}
        for key, values in averaged.items()
    ]
    per_block = [
        dict(zip(scheme, key, strict=True)) | {"block": i, "loss": np.float32(value)}
        for key, values in averaged.items()
        for i, value in enumerate(values)
    ]
    for table, rows in ((tables.AVERAGE_LOSSES, losses), (tables.AVERAGE_BLOCK_LOSSES, per_block)):
        frame = pd.DataFrame(rows, columns=table.names) if rows else tables.empty(table)
        tables.write(table, frame, place / f"store/constant-avg/{table.name}.parquet")
    collect_averages.main(
        argparse.Namespace(
            runs=place / "runs.parquet",
            block_losses=place / "block_losses.parquet",
            store=place / "store",
            output=place / "averages.parquet",
        )
    )
    return tables.read(tables.AVERAGES, place / "averages.parquet").set_index("averaging_scheme")


def test_paired_differences_by_hand(tmp_path: Path) -> None:
    """Window: gains 1.0, .9, .9, 1.2 over raw weights, gaps .5, .6, .6, .3 to the cooldown."""
    found = collected(tmp_path, RUNS, AVERAGED)
    assert list(found.index) == ["window", "ema"]
    window = found.loc["window"]
    assert window["val_loss_raw"] == pytest.approx(3.0)
    assert window["val_loss_averaged"] == pytest.approx(2.0)
    assert window["gain"] == pytest.approx(1.0)
    assert window["gain_sem"] == pytest.approx(np.std([1.0, 0.9, 0.9, 1.2], ddof=1) / 2, rel=1e-5)
    assert window["cooldown_cell_id"] == "better"
    assert window["val_loss_cooldown"] == pytest.approx(1.5)
    assert window["gap_to_cooldown"] == pytest.approx(0.5)
    assert window["gap_to_cooldown_sem"] == pytest.approx(np.std([0.5, 0.6, 0.6, 0.3], ddof=1) / 2, rel=1e-5)
    assert window["closed_fraction"] == pytest.approx(1.0 / 1.5)
    assert found.loc["ema", "gain"] == pytest.approx(0.5)
    assert (found["updates_done"] == 100).all()


def test_without_a_cooldown_its_columns_are_null(tmp_path: Path) -> None:
    found = collected(tmp_path, RUNS[RUNS["schedule_kind"] != "wsd"], AVERAGED)
    columns = ["cooldown_cell_id", "val_loss_cooldown", "gap_to_cooldown", "gap_to_cooldown_sem", "closed_fraction"]
    assert found[columns].isna().all(axis=None)
    assert found["gain"].notna().all()


def test_a_diverged_cell_has_no_averages(tmp_path: Path) -> None:
    assert collected(tmp_path, RUNS, {}).empty
