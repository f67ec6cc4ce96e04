"""Losses by position of real snapshot files, to the study's table."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from glidepath.corpus.store import TokenStore
from glidepath.stages import collect_positions
from glidepath.stages import position_losses as stage
from glidepath.study import tables
from glidepath.study.averaging_config import SnapshotGrid
from glidepath.study.identity import canonical_json
from glidepath.study.layout import position_directory, segment_directory
from glidepath.study.positions import POSITIONS_VERSION, PositionSpec, chain_of_positions
from glidepath.training import snapshots
from glidepath.training.model import Decoder
from glidepath.training.position_losses import position_losses
from tests.figures.planted import filled
from tests.training.small import counting_tokens, segment_spec

WHOLE = segment_spec(start=90, stop=100)
SPEC = PositionSpec(positions_version=POSITIONS_VERSION, segment="tail", evaluate_at=(95, 100))


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Decoder:
    """Snapshots of update u are the initial weights of seed u: 60 … 90 in the trunk, 95 and 100 behind it."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TokenStore, "open", lambda _: counting_tokens())
    decoder = Decoder(WHOLE.trajectory.model, torch.device("cpu"))
    for segment, updates in (("trunk", (64, 80, 90)), ("tail", (95, 100))):
        folder = Path("scratch") / segment
        folder.mkdir(parents=True)
        for update in updates:
            decoder.initialise(update)
            snapshots.save_part(folder, update, decoder.weights)
        parts = [snapshots.part_path(folder, update) for update in updates]
        directory = Path(segment_directory(segment))
        snapshots.join(parts, directory / "snapshots.safetensors", {})
        record = canonical_json({"spec": WHOLE.model_dump(mode="json")})
        (directory / "segment.json").write_text(record, encoding="utf-8")
    return decoder


def run(spec: PositionSpec = SPEC) -> pd.DataFrame:
    output = Path(position_directory(spec.position_id))
    stage.main(argparse.Namespace(
        spec=spec.model_dump_json(), snapshots=Path(segment_directory(spec.segment)) / "snapshots.safetensors",
        corpus=Path("corpus"), output=output, threads=1, gpu_share=0,
    ))  # fmt: skip
    return tables.read(stage.OF_SEGMENT, output / "losses.parquet")


def test_every_snapshot_is_evaluated_on_the_first_domain(decoder: Decoder) -> None:
    found = run()
    assert found["updates_done"].unique().tolist() == [95, 100]
    # The first six updates have half the batch.
    assert found["tokens_seen"].unique().tolist() == [(95 - 3) * 96, (100 - 3) * 96]
    for update, rows in found.groupby("updates_done"):
        decoder.initialise(int(update))
        mean, sem, n = position_losses(decoder, counting_tokens().validation("counting"))
        assert rows["position"].tolist() == list(range(1, 13))
        np.testing.assert_allclose(rows["val_loss"], mean, rtol=1e-6)
        np.testing.assert_allclose(rows["val_loss_sem"], sem, rtol=1e-5)
        assert set(rows["n_eval_tokens"]) == {n}


@pytest.mark.usefixtures("decoder")
def test_what_has_been_measured_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(SPEC.model_copy(update={"evaluate_at": (100,)}))
    evaluated: list[int] = []
    evaluate = stage.position_losses
    monkeypatch.setattr(stage, "position_losses", lambda *a: (evaluated.append(1), evaluate(*a))[1])
    found = run()
    assert len(evaluated) == 1
    assert found["updates_done"].unique().tolist() == [95, 100]
    pd.testing.assert_frame_equal(found[found["updates_done"] == 100].reset_index(drop=True), before)
    run(SPEC.model_copy(update={"positions_version": POSITIONS_VERSION + 1}))
    assert len(evaluated) == 3


@pytest.mark.usefixtures("decoder")
def test_a_cell_that_diverged_has_losses_up_to_there() -> None:
    assert run(SPEC.model_copy(update={"evaluate_at": (95, 105)}))["updates_done"].unique().tolist() == [95]
    assert run(SPEC.model_copy(update={"evaluate_at": (105,)})).empty


@pytest.mark.usefixtures("decoder")
def test_they_are_put_together_along_a_cells_chain() -> None:
    grid = SnapshotGrid(first_update=64, per_octave=4)
    for spec in chain_of_positions(["trunk", "tail"], [90, 100], grid, 4):
        run(spec)
    plan = filled(
        tables.PLAN,
        [
            {"cell_id": "longer", "schedule": "constant", "segments": "trunk tail", "segment_ends": "90 100"},
            {"cell_id": "shorter", "schedule": "constant", "segments": "trunk", "segment_ends": "90"},
            {"cell_id": "other", "schedule": "linear", "segments": "another", "segment_ends": "80"},
        ],
    )
    tables.write(tables.PLAN, plan, Path("plan.parquet"))
    collect_positions.main(argparse.Namespace(
        plan=Path("plan.parquet"), temporal='{"schedules": ["constant"], "points_per_octave": 4}',
        snapshots=grid.model_dump_json(), store=Path("store/position_losses"), output=Path("position_losses.parquet"),
    ))  # fmt: skip
    found = tables.read(tables.POSITION_LOSSES, Path("position_losses.parquet"))
    points = found.groupby("cell_id")["updates_done"].unique()
    assert {cell: list(map(int, updates)) for cell, updates in points.items()} == {
        "longer": [64, 80, 90, 100],
        "shorter": [64, 80, 90],
    }
