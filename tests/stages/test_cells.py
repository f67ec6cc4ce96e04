"""The table of cells before anything is trained."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from glidepath.stages import cells as stage
from glidepath.study import tables
from glidepath.study.averages import average_specs
from tests.study.studies import GOOD, planned, study


def frame(*changes: tuple[str, Any], unique_tokens: int = 1_000_000) -> pd.DataFrame:
    plan = planned(*changes)
    return stage.plan_frame(plan, average_specs(plan, study(*changes).averaging), unique_tokens)


def test_a_row_per_cell() -> None:
    rows = frame().set_index("cell_id")
    assert len(rows) == 12
    assert rows.index.is_unique
    wsd = rows[(rows["schedule"] == "wsd") & (rows["peak_lr"] == 0.01) & (rows["tokens_per_parameter"] == 20)].iloc[0]
    n_params = 4 * 16 * 16 + 3 * 16 * 48 + 3 * 16
    assert wsd["n_params_counted"] == wsd["n_params_non_embedding"] == n_params
    assert wsd["total_steps"] == round(20 * n_params / 256) == 264
    assert wsd["token_horizon"] == 264 * 256
    assert (wsd["warmup_steps"], wsd["decay_steps"], wsd["own_steps"]) == (4, 53, 52)
    assert (wsd["final_lr_fraction"], wsd["decay_shape"], wsd["schedule_kind"]) == (0.0, "linear", "wsd")
    assert wsd["train_flops_6nd"] == 6 * n_params * 264 * 256
    assert wsd["epochs"] == pytest.approx(264 * 256 / 1_000_000)
    assert wsd["segments"].split(" ")[0] == wsd["trunk_id"]
    assert wsd["averages"] == ""


def test_a_constant_schedule_ends_where_it_began() -> None:
    rows = frame()
    constant = rows[rows["schedule"] == "constant"]
    assert (constant["final_lr_fraction"] == 1.0).all()
    assert (constant["decay_shape"] == "none").all()
    assert (constant["decay_steps"] == 0).all()
    for _, cell in constant.iterrows():
        names, chain = cell["averages"].split(), cell["segments"].split()
        assert all(name.startswith(segment) for name, segment in zip(names, chain, strict=True))


def test_cells_of_one_trunk_say_so() -> None:
    rows = frame(("grid.0.replicates", [0, 1]))
    shared = rows[rows["schedule"].isin(["constant", "wsd"])]
    assert (shared.groupby(["peak_lr", "replicate"])["trunk_id"].nunique() == 1).all()
    assert shared["trunk_id"].nunique() == 4


def test_repetition_is_told() -> None:
    assert stage.epoch_warnings(frame()) == []
    (warning,) = stage.epoch_warnings(frame(unique_tokens=264 * 128))
    assert "6 of 12 cells" in stage.epoch_warnings(frame(unique_tokens=264 * 256 - 1))[0]
    assert "at most 2.0 epochs" in warning
    assert "-tpp20-" in warning
    assert "Add text or shorten tokens_per_parameter" in warning


def test_the_stage_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"n_train_tokens": 1000}))
    arguments = argparse.Namespace(
        study=json.dumps(GOOD), base=tmp_path, manifest=manifest, output=tmp_path / "results/plan.parquet"
    )
    stage.main(arguments)
    written = tables.read(tables.PLAN, tmp_path / "results/plan.parquet")
    assert len(written) == 12
    assert written["epochs"].max() == pytest.approx(264 * 256 / 1000)
    assert "warning: 12 of 12 cells see the training tokens more than once" in capsys.readouterr().err
