"""From the records of segments to the tables of cells."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from glidepath.stages import cells, collect
from glidepath.study import tables
from glidepath.study.averages import average_specs
from glidepath.study.layout import segment_directory
from glidepath.study.segments import Plan
from tests.stages.places import DOMAINS, N_BLOCKS, write_segment
from tests.study.studies import GOOD, planned, study

ONE = ("grid", [{**GOOD["grid"][0], "peak_lrs": [0.01], "tokens_per_parameter": [20]}])
"""A constant and a wsd cell on a trunk of 212 of 264 updates, and a linear one of its own."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    collect._record.cache_clear()


@pytest.fixture
def toy() -> Plan:
    return planned(ONE)


def collected(place: Path, toy: Plan) -> dict[str, pd.DataFrame]:
    """Tables by name, `runs` by schedule."""
    frame = cells.plan_frame(toy, average_specs(toy, study(ONE).averaging), 1_000_000)
    tables.write(tables.PLAN, frame, place / "plan.parquet")
    collect.main(argparse.Namespace(plan=place / "plan.parquet", output=place / "results"))
    found = {
        table.name: tables.read(table, place / f"results/{table.name}.parquet")
        for table in (tables.RUNS, *collect.GATHERED)
    }
    return found | {"runs": found["runs"].set_index("schedule")}


def chain(toy: Plan, schedule: str) -> list[str]:
    (cell,) = [cell for cell in toy.cells if cell.schedule_name == schedule]
    return list(toy.chains[cell.cell_id])


def write_all(place: Path, toy: Plan) -> None:
    for i, segment in enumerate(toy.segments.values()):
        write_segment(place, segment, loss=float(i + 1))


def test_seconds_of_shared_segments_count_in_full_and_are_no_cells_own(place: Path, toy: Plan) -> None:
    write_all(place, toy)
    runs = collected(place, toy)["runs"]
    assert runs["train_seconds"].to_dict() == {"constant": 264.0, "linear_0": 264.0, "wsd": 264.0}
    assert runs["own_train_seconds"].to_dict() == {"constant": 52.0, "linear_0": 264.0, "wsd": 52.0}
    assert runs["own_steps"].to_dict() == {"constant": 52, "linear_0": 264, "wsd": 52}
    assert (runs["tokens_per_second"] == 256.0).all()
    np.testing.assert_allclose(runs["matmul_peak_fraction"], 256 * 1e6 / 1e9)


def test_a_completed_cell(place: Path, toy: Plan) -> None:
    write_all(place, toy)
    run = collected(place, toy)["runs"].loc["wsd"]
    loss = 1.0 + list(toy.segments).index(chain(toy, "wsd")[-1])
    assert (run["status"], run["reason"]) == ("completed", "")
    assert run["val_loss"] == pytest.approx(loss + 0.15)
    assert run["n_eval_tokens"] == N_BLOCKS * 64
    assert run["train_loss"] == pytest.approx(loss)
    assert run["corpus_id"] == "0123456789"
    assert pd.isna(run["diverged_step"])


def test_every_cell_has_the_rows_of_its_whole_chain(place: Path, toy: Plan) -> None:
    write_all(place, toy)
    found = collected(place, toy)
    for cell in toy.cells:
        steps = found["updates"].loc[found["updates"]["cell_id"] == cell.cell_id, "step"].tolist()
        assert steps == list(range(264))
        blocks = found["block_losses"][found["block_losses"]["cell_id"] == cell.cell_id]
        assert len(blocks) == len(DOMAINS) * N_BLOCKS
        assert blocks["loss"].dtype == np.float32


def test_gradient_statistics_are_those_of_probed_cells(place: Path, toy: Plan) -> None:
    """The wsd cell is not probed, though 212 updates of its trunk are."""
    write_all(place, toy)
    found = collected(place, toy)
    constant = toy.cells[0].cell_id
    assert found["gradient_statistics"]["cell_id"].value_counts().to_dict() == {constant: 264 // 8}
    assert found["runs"]["probed"].to_dict() == {"constant": True, "linear_0": False, "wsd": False}


def test_loss_spikes_of_a_shared_segment_are_those_of_all_its_cells(place: Path, toy: Plan) -> None:
    write_all(place, toy)
    trunk, own = (place / segment_directory(segment) / "updates.parquet" for segment in chain(toy, "wsd"))
    updates = tables.of_segment(tables.UPDATES)
    for file, raised in ((trunk, {100: 2.0, 101: 1.0, 150: 0.5}), (own, {250: 3.0})):
        frame = tables.read(updates, file)
        frame["train_loss"] += frame["step"].map(raised).fillna(0.0)
        tables.write(updates, frame, file)
    runs = collected(place, toy)["runs"]
    assert runs["n_loss_spikes"].to_dict() == {"constant": 2, "linear_0": 0, "wsd": 3}
    assert runs["largest_loss_spike"].to_dict() == {"constant": 2.0, "linear_0": 0.0, "wsd": 3.0}


def test_a_cell_far_above_its_sweep_is_excluded(place: Path) -> None:
    """Two learning rates: the higher one ends 1.5 nat/token above the lower one in every schedule."""
    sweep = planned(("grid", [{**ONE[1][0], "peak_lrs": [0.01, 0.02]}]))
    high = {name for cell in sweep.cells if cell.peak_lr == 0.02 for name in sweep.chains[cell.cell_id]}
    for name, segment in sweep.segments.items():
        write_segment(place, segment, loss=3.0 + 1.5 * (name in high))
    frame = cells.plan_frame(sweep, average_specs(sweep, study(ONE).averaging), 1_000_000)
    tables.write(tables.PLAN, frame, place / "plan.parquet")
    collect.main(argparse.Namespace(plan=place / "plan.parquet", output=place / "results"))
    runs = tables.read(tables.RUNS, place / "results/runs.parquet")
    assert set(zip(runs["peak_lr"], runs["status"], strict=True)) == {(0.01, "completed"), (0.02, "excluded")}
    assert runs.loc[runs["peak_lr"] == 0.02, "reason"].str.startswith("final loss 1.50 nat/token above").all()
    assert runs.loc[runs["peak_lr"] == 0.02, "val_loss"].notna().all()


def test_a_diverged_trunk_makes_all_its_cells_diverge(place: Path, toy: Plan) -> None:
    trunk = chain(toy, "wsd")[0]
    for segment in toy.segments.values():
        if trunk in (segment.segment_id, segment.parent):
            write_segment(place, segment, loss=3.0, diverged_step=100, last_finite_loss=5.5)
        else:
            write_segment(place, segment, loss=3.0)
    found = collected(place, toy)
    runs = found["runs"]
    assert runs["status"].to_dict() == {"constant": "diverged", "linear_0": "completed", "wsd": "diverged"}
    wsd = runs.loc["wsd"]
    assert (wsd["reason"], wsd["diverged_step"]) == ("diverged at update 100", 100)
    assert wsd["last_finite_loss"] == 5.5
    assert wsd[["val_loss", "n_eval_tokens", "tokens_per_second", "matmul_peak_fraction"]].isna().all()
    assert (wsd["train_seconds"], wsd["own_train_seconds"]) == (100.0, 0.0)
    assert not set(found["block_losses"]["cell_id"]) & set(runs.loc[["constant", "wsd"], "cell_id"])


def test_a_diverged_cooldown_leaves_its_trunk_alone(place: Path, toy: Plan) -> None:
    cooldown = chain(toy, "wsd")[-1]
    for name, segment in toy.segments.items():
        diverged = {"diverged_step": 230, "last_finite_loss": 4.0} if name == cooldown else {}
        write_segment(place, segment, loss=3.0, **diverged)
    runs = collected(place, toy)["runs"]
    assert runs["status"].to_dict() == {"constant": "completed", "linear_0": "completed", "wsd": "diverged"}
    assert runs.loc["wsd", "own_train_seconds"] == 18.0


def test_a_cell_that_diverges_before_anything_is_logged(place: Path, toy: Plan) -> None:
    for segment in toy.segments.values():
        write_segment(place, segment, loss=3.0, diverged_step=0)
    found = collected(place, toy)
    assert (found["runs"]["status"] == "diverged").all()
    assert found["runs"]["train_loss"].isna().all()
    assert all(found[table.name].empty for table in collect.GATHERED)


def test_a_segment_is_read_once_and_held_until_its_last_cell_has_left(place: Path, toy: Plan) -> None:
    write_all(place, toy)
    trunk, constant, wsd = chain(toy, "wsd")[0], chain(toy, "constant"), chain(toy, "wsd")
    records = collect.Records(Counter([*constant, *wsd]))
    first = {s: records.read(s, tables.UPDATES) for s in constant}
    records.leave(constant)
    assert list(records.held) == [trunk]
    assert records.read(trunk, tables.UPDATES) is first[trunk]
    records.read(wsd[1], tables.UPDATES)
    records.leave(wsd)
    assert not records.held


def test_memory_holds_one_cell_and_not_the_study(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 cells of 264 updates, written after every cell: a file of as many row groups, and no two cells at once."""
    peaks = [0.001 * 2**i for i in range(8)]
    many = planned(("grid", [{**ONE[1][0], "peak_lrs": peaks, "schedules": ["constant", "linear_0"]}]))
    for segment in many.segments.values():
        write_segment(place, segment, loss=3.0)
    monkeypatch.setattr(tables.table, "ROW_GROUP", 1)
    alive: list[int] = []
    leave = collect.Records.leave

    def counted(records: collect.Records, chain: list[str]) -> None:
        leave(records, chain)
        alive.append(len(records.held))

    monkeypatch.setattr(collect.Records, "leave", counted)
    tables.write(tables.PLAN, cells.plan_frame(many, {}, 1_000_000), place / "plan.parquet")
    collect.main(argparse.Namespace(plan=place / "plan.parquet", output=place / "results"))
    assert alive == [0] * len(many.cells)
    file = pq.ParquetFile(place / "results/updates.parquet")
    assert (file.num_row_groups, file.metadata.num_rows) == (len(many.cells), 264 * len(many.cells))
