"""Averages beside raw weights and the real cooldowns of the same trunk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.stages import collect_averages
from glidepath.stages.collect_averages import best_cooldown, best_window
from glidepath.study import tables

DEFAULTS: dict[str, Any] = {"string": "", "int64": 0, "float64": 0.0, "float32": 0.0, "bool": False}


def run(cell_id: str, **fields: Any) -> dict[str, Any]:
    """A row of `runs`, everything of no interest zero or empty."""
    return {column.name: DEFAULTS[column.type] for column in tables.RUNS.columns} | {
        "cell_id": cell_id,
        "status": "completed",
        "schedule_kind": "wsd",
        "total_steps": 100,
        "decay_steps": 20,
        "token_horizon": 25_600,
        "segments": f"t {cell_id}",
        "segment_ends": "81 100",
        **fields,
    }


RUNS = pd.DataFrame(
    [
        run("constant", schedule_kind="constant", averages="trunk-avg tail-avg", val_loss=3.0),
        run(
            "short",
            segments="t short",
            segment_ends="41 50",
            total_steps=50,
            decay_steps=10,
            token_horizon=12_800,
            val_loss=1.0,
        ),
        run("larger batches at its end", token_horizon=51_200, val_loss=0.9),
        run("other trunk", segments="u end", val_loss=1.1),
        run("alike for a while", segments="t other end", segment_ends="41 81 100", val_loss=1.0),
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
    "short": [2.0, 2.2, 1.8, 2.0],
}
RAW_AT_50 = [3.5, 3.7, 3.3, 3.5]
AVERAGED = {
    ("raw", "raw"): BLOCKS["constant"],
    ("narrow", "window"): [2.0, 2.3, 1.9, 1.8],
    ("wide", "window"): [2.1, 2.1, 2.0, 1.7],
    ("ema", "ema"): [2.5, 2.5, 2.5, 2.5],
}


def test_the_best_cooldown_of_the_same_trunk_and_length_is_chosen() -> None:
    found = best_cooldown(RUNS.iloc[0], 25_600, RUNS)
    assert found is not None
    assert found["cell_id"] == "better"


def test_a_cooldown_is_not_compared_with_itself() -> None:
    found = best_cooldown(RUNS[RUNS["cell_id"] == "better"].iloc[0], 25_600, RUNS)
    assert found is not None
    assert found["cell_id"] == "good"


def test_a_held_out_cooldown_is_the_last_choice() -> None:
    hidden = RUNS.assign(holdout=RUNS["cell_id"] == "better")
    found = best_cooldown(RUNS.iloc[0], 25_600, hidden)
    assert found is not None
    assert found["cell_id"] == "good"
    alone = best_cooldown(RUNS.iloc[0], 25_600, hidden[hidden["cell_id"] != "good"])
    assert alone is not None
    assert alone["cell_id"] == "better"


def test_there_may_be_none() -> None:
    assert best_cooldown(RUNS.iloc[0], 25_600, RUNS[RUNS["cell_id"].isin(["constant", "cosine", "diverged"])]) is None


def collected(place: Path, runs: pd.DataFrame, averaged: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """Averages at update 100, the end, of the tail; of the trunk one at update 50, the raw weights and an EMA."""
    tables.write(tables.RUNS, runs, place / "runs.parquet")
    blocks = [
        {"cell_id": cell_id, "domain": domain, "block": i, "loss": np.float32(loss + (domain == "c"))}
        for domain in ("python", "c")
        for cell_id, losses in BLOCKS.items()
        for i, loss in enumerate(losses)
    ]
    tables.write(tables.BLOCK_LOSSES, pd.DataFrame(blocks), place / "block_losses.parquet")
    before = {("raw", "raw"): RAW_AT_50, ("ema", "ema"): [3.0, 3.2, 2.8, 3.0]} if averaged else {}
    for segment, point, parts in (("trunk", 50, before), ("tail", 100, averaged)):
        write_records(place / f"store/{segment}-avg", point, parts)
    collect_averages.main(
        argparse.Namespace(
            runs=place / "runs.parquet",
            block_losses=place / "block_losses.parquet",
            store=place / "store",
            output=place / "averages.parquet",
        )
    )
    return tables.read(tables.AVERAGES, place / "averages.parquet")


def write_records(folder: Path, point: int, averaged: dict[tuple[str, str], list[float]]) -> None:
    """What the job of a segment writes; losses of the second domain are one higher."""
    losses = []
    per_block = []
    for (name, scheme), values in averaged.items():
        for domain in ("python", "c"):
            key = {"updates_done": point, "average": name, "domain": domain}
            loss = float(np.mean(values)) + (domain == "c")
            losses.append(
                key
                | {"tokens_seen": 256 * point, "averaging_scheme": scheme, "window_checkpoints": 3}
                | {"effective_checkpoints": 3.0, "window_tokens": 512, "window_fraction": 0.1, "lag_tokens": 256.0}
                | {"val_loss": loss, "bits_per_byte": 0.5 * loss}
            )
            per_block += [key | {"block": i, "loss": np.float32(v + (domain == "c"))} for i, v in enumerate(values)]
    for table, rows in ((tables.AVERAGE_LOSSES, losses), (tables.AVERAGE_BLOCK_LOSSES, per_block)):
        frame = pd.DataFrame(rows, columns=table.names) if rows else tables.empty(table)
        tables.write(table, frame, folder / f"{table.name}.parquet")


def at(found: pd.DataFrame, **key: Any) -> pd.Series[Any]:
    """The one row with these values."""
    for column, value in ({"domain": "python", "updates_done": 100} | key).items():
        found = found[found[column] == value]
    assert len(found) == 1
    return found.iloc[0]


def test_paired_differences_by_hand(tmp_path: Path) -> None:
    """Narrow window: gains 1.0, .9, .9, 1.2 over raw weights, gaps .5, .6, .6, .3 to the cooldown."""
    found = collected(tmp_path, RUNS, AVERAGED)
    window = at(found, average="narrow")
    assert window["averaging_scheme"] == "window"
    assert window["val_loss_raw"] == pytest.approx(3.0)
    assert window["val_loss_averaged"] == pytest.approx(2.0)
    assert window["bits_per_byte_raw"] == pytest.approx(1.5)
    assert window["bits_per_byte_averaged"] == pytest.approx(1.0)
    assert window["gain"] == pytest.approx(1.0)
    assert window["gain_sem"] == pytest.approx(np.std([1.0, 0.9, 0.9, 1.2], ddof=1) / 2, rel=1e-5)
    assert window["cooldown_cell_id"] == "better"
    assert window["val_loss_cooldown"] == pytest.approx(1.5)
    assert window["gap_to_cooldown"] == pytest.approx(0.5)
    assert window["gap_to_cooldown_sem"] == pytest.approx(np.std([0.5, 0.6, 0.6, 0.3], ddof=1) / 2, rel=1e-5)
    assert window["closed_fraction"] == pytest.approx(1.0 / 1.5)
    assert at(found, average="ema")["gain"] == pytest.approx(0.5)
    assert at(found, average="ema", domain="c")["val_loss_raw"] == pytest.approx(4.0)
    assert at(found, average="ema", domain="c")["val_loss_cooldown"] == pytest.approx(2.5)
    assert "raw" not in set(found["average"])


def test_points_along_training_have_rows_of_their_own(tmp_path: Path) -> None:
    """At 50 updates another cooldown of the trunk ends, the short one."""
    found = collected(tmp_path, RUNS, AVERAGED)
    early = at(found, average="ema", updates_done=50)
    assert early["gain"] == pytest.approx(0.5)
    assert early["tokens_seen"] == 12_800
    assert early["cooldown_cell_id"] == "short"
    assert early["gap_to_cooldown"] == pytest.approx(1.0)
    assert found.groupby("updates_done")["at_end"].unique().map(list).to_dict() == {50: [False], 100: [True]}


def test_the_best_window_is_scored_on_other_blocks_than_it_is_chosen_on(tmp_path: Path) -> None:
    """Blocks 0 and 2 prefer the narrow window, 1 and 3 the wide one: each half is scored with the other's choice."""
    best = at(collected(tmp_path, RUNS, AVERAGED), average="best_window")
    assert best["averaging_scheme"] == "best_window"
    assert best["val_loss_averaged"] == pytest.approx(np.mean([2.1, 2.3, 2.0, 1.8]))


def test_the_best_of_one_window_is_that_window() -> None:
    row = pd.Series({"average": "only"})
    losses = np.random.default_rng(0).random(50)
    chosen, scored = best_window([(row, losses)])
    assert chosen is row
    np.testing.assert_array_equal(scored, losses)


def test_choosing_among_windows_that_are_alike_does_not_flatter() -> None:
    """Twenty windows of equal true loss, pure noise: the best on all blocks looks 0.19 better, the scored one not."""
    generator = np.random.default_rng(1)
    flattered, honest = [], []
    for _ in range(200):
        windows = [(pd.Series(dtype=float), 3.0 + generator.standard_normal(96)) for _ in range(20)]
        flattered.append(min(losses.mean() for _, losses in windows))
        honest.append(best_window(windows)[1].mean())
    assert np.mean(flattered) < 2.85
    assert abs(np.mean(honest) - 3.0) < 3 * np.std(honest, ddof=1) / np.sqrt(200)


def test_without_a_cooldown_its_columns_are_null(tmp_path: Path) -> None:
    found = collected(tmp_path, RUNS[RUNS["schedule_kind"] != "wsd"], AVERAGED)
    columns = ["cooldown_cell_id", "val_loss_cooldown", "gap_to_cooldown", "gap_to_cooldown_sem", "closed_fraction"]
    assert found[columns].isna().all(axis=None)
    assert found["gain"].notna().all()


def test_a_cell_that_diverged_at_once_has_no_averages(tmp_path: Path) -> None:
    assert collected(tmp_path, RUNS, {}).empty
