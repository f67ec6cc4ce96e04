"""Checkpoints that transformers trained and saved, through Snakemake as a user runs it, without a network."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from glidepath.corpus.store import TokenStore
from glidepath.science.averaging import ema_weights, uniform_weights
from glidepath.stages import average_checkpoints
from glidepath.stages.average_records import cell_points
from glidepath.study import tables
from glidepath.study.checkpoints import CheckpointAverageSpec, record_path
from glidepath.study.figure_list import CHECKPOINT_FIGURE_NAMES
from tests.interop import others_checkpoints as others
from tests.workflow.conftest import Workplace, copy_of_project

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("studies of their own")]

MINE = ("--configfile", "config/mine.yaml")
OFFLINE = {"HF_HUB_OFFLINE": "1"}
TRAJECTORIES = ("neox", "llama")
GROUPS = {10: None, 20: None, 30: (10, 20, 30), 40: (10, 20, 30), 50: (10, 20, 30), 60: (40, 50, 60)}
"""Disjoint groups of three, by point."""


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Two trajectories, trained, averaged and evaluated."""
    workplace = copy_of_project(tmp_path_factory.mktemp("checkpoints") / "project")
    torch.set_num_threads(1)
    others.build(workplace.root, TRAJECTORIES)
    workplace.snakemake(*MINE, **OFFLINE)
    return workplace


def results(workplace: Workplace, table: tables.Table) -> pd.DataFrame:
    return tables.read(table, workplace.root / f"results/mine/{table.name}.parquet")


def names_of(workplace: Workplace, name: str) -> list[str]:
    """Directories in the store with the averages of a trajectory's own checkpoints."""
    found = (workplace.root / "store/averages").glob("*/spec.json")
    records = {path.parent.name: json.loads(path.read_text())["spec"]["checkpoints"] for path in found}
    kinds = {
        path.stem: json.loads(path.read_text())["path"]
        for path in (workplace.root / "store/checkpoints").glob("*.json")
    }
    return [average for average, at in records.items() if all(f"runs/{name}/" in kinds[record] for _, record in at)]


def expected_weights(average: str, point: int) -> dict[int, float]:
    """Weights of checkpoints by update, from the definitions; none where an average has fewer than two."""
    at = [u for u in others.UPDATES if u <= point]
    if len(at) < 2:
        return {}
    if average == "moving":
        return dict.fromkeys(at[-3:], 1 / 3) if len(at) >= 3 else {}
    if average == "disjoint":
        return dict.fromkeys(GROUPS[point] or (), 1 / 3)
    weights = ema_weights(at, 0.2 * point) if average == "ema" else uniform_weights(at, point / 2)
    found = dict(zip(at, weights, strict=True))
    return {u: w for u, w in found.items() if w} if np.count_nonzero(list(found.values())) > 1 else {}


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_losses_are_those_of_models_averaged_whole_in_float64(name: str, averaged: Workplace) -> None:
    folders = {u: averaged.root / f"runs/{name}/step{u}" for u in others.UPDATES}
    rows = results(averaged, tables.AVERAGES)
    rows = rows[rows["cell_id"] == name].set_index(["average", "updates_done"])
    (store,) = (averaged.root / "store/corpora").iterdir()
    tokens = TokenStore.open(store).validation("code")
    names = " ".join(names_of(averaged, name))
    kept = cell_points(names, averaged.root / "store/averages")
    for point in others.UPDATES:
        model = others.loaded(folders[point])
        raw = others.own_block_losses(model, tokens)
        assert np.abs(kept.raw(point, "code") - raw).max() < 1e-5
        for average in others.SCHEMES:
            weights = expected_weights(average, point)
            assert ((average, point) in rows.index) == bool(weights)
            if not weights:
                continue
            model.load_state_dict({n: w.float() for n, w in others.brute_force(folders, weights).items()})
            blocks = others.own_block_losses(model, tokens)
            assert np.abs(kept.blocks(point, average, "code") - blocks).max() < 1e-5
            row = rows.loc[average, point]
            assert row["gain"] == pytest.approx((raw - blocks).mean(), abs=1e-5)
            assert row["gain_sem"] == pytest.approx((raw - blocks).std(ddof=1) / np.sqrt(len(raw)), abs=1e-5)
            assert row["window_checkpoints"] == len(weights)
            assert row["tokens_seen"] == point * others.BATCH * others.CONTEXT_LENGTH
            assert row["at_end"] == (point == others.LAST)


def test_every_file_is_written_down_and_told_of(averaged: Workplace) -> None:
    files = results(averaged, tables.CHECKPOINTS)
    here = files[(files["cell_id"] == "neox") & (files["updates_done"] == 10)]
    assert set(here["file"]) == {path.name for path in (averaged.root / "runs/neox/step10").iterdir()} - {
        "generation_config.json"
    }
    summary = (averaged.root / "results/mine/summary.md").read_text()
    assert "## neox" in summary
    assert "6 checkpoints after 10 to 60 updates" in summary
    for name in CHECKPOINT_FIGURE_NAMES:
        assert (averaged.root / f"results/mine/figures/{name}.svg").stat().st_size > 2000


def test_steps_saved_are_counted_in_updates_flops_and_hours(averaged: Workplace) -> None:
    saved = results(averaged, tables.CHECKPOINT_STEPS_SAVED)
    reached = saved[saved["status"] == "reached"]
    assert len(reached), "these trajectories were chosen to have some"
    per_update = others.BATCH * others.CONTEXT_LENGTH
    assert np.allclose(reached["flops_saved"], reached["tokens_saved"] * 6 * 10_000)
    assert np.allclose(reached["hours_saved"], reached["updates_saved"] * 0.5)
    assert np.allclose(reached["updates_saved"], reached["tokens_saved"] / per_update)
    raw = results(averaged, tables.AVERAGES).drop_duplicates(["cell_id", "tokens_seen"]).set_index("cell_id")
    for _, row in reached.iterrows():
        curve = raw.loc[row["cell_id"]].sort_values("tokens_seen")
        later = curve[curve["tokens_seen"] >= row["reached_tokens"]]
        before = curve[(curve["tokens_seen"] >= row["tokens_seen"]) & (curve["tokens_seen"] < row["reached_tokens"])]
        assert later["val_loss_raw"].iloc[0] <= row["val_loss_averaged"] < before["val_loss_raw"].min()


def test_a_second_run_has_nothing_to_do_and_another_scheme_evaluates_itself_only(averaged: Workplace) -> None:
    assert averaged.planned(*MINE) == {}
    content = others.config(TRAJECTORIES)
    content["schemes"] = {**others.SCHEMES, "late": {"kind": "ema", "timescale_fraction": 0.1}}
    (averaged.root / "config/more.yaml").write_text(yaml.safe_dump(content))
    planned = averaged.planned("--configfile", "config/more.yaml")
    assert planned["average_checkpoints"] == 2
    assert not {"fetch_checkpoint", "tokenize"} & planned.keys()


def evaluate(spec: CheckpointAverageSpec, output: Path) -> pd.DataFrame:
    """The losses that a job writes, by update."""
    (corpus,) = Path("store/corpora").iterdir()
    arguments = ["--spec", spec.to_json(), "--corpus", str(corpus), "--output", str(output), "--gpu-share", "0"]
    parser = argparse.ArgumentParser()
    average_checkpoints.add_arguments(parser)
    average_checkpoints.main(parser.parse_args(arguments))
    return tables.read(tables.AVERAGE_LOSSES, output / "losses.parquet").set_index("updates_done")


@pytest.mark.parametrize("average", ["raw", "ema"])
def test_a_further_checkpoint_evaluates_itself_only(
    average: str, averaged: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses before it that were changed by hand are taken over as they are; its own is that of a job without them."""
    monkeypatch.chdir(averaged.root)
    (name,) = (name for name in names_of(averaged, "neox") if name.startswith(f"{average}-"))
    whole = json.loads(Path(f"store/averages/{name}/spec.json").read_text())["spec"]
    long = CheckpointAverageSpec.model_validate_json(json.dumps(whole))
    short = long.model_copy(update={"checkpoints": long.checkpoints[:-1], "evaluate_at": long.evaluate_at[:-1]})
    expected = tables.read(tables.AVERAGE_LOSSES, Path(f"store/averages/{name}/losses.parquet"))
    earlier = evaluate(short, tmp_path / f"{average}-short")
    assert others.LAST not in earlier.index
    changed = earlier.assign(val_loss=earlier["val_loss"] + 1.0).reset_index()
    tables.write(tables.AVERAGE_LOSSES, changed, tmp_path / f"{average}-short/losses.parquet")
    found = evaluate(long, tmp_path / f"{average}-long")["val_loss"]
    before = expected.set_index("updates_done")["val_loss"] + [*[1.0] * (len(expected) - 1), 0.0]
    assert found.to_dict() == pytest.approx(before.to_dict(), abs=1e-6)


def test_a_checkpoint_without_numbers_is_named(
    averaged: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(averaged.root)
    (name,) = (name for name in names_of(averaged, "llama") if name.startswith("window_half-"))
    spec = CheckpointAverageSpec.model_validate_json(
        json.dumps(json.loads(Path(f"store/averages/{name}/spec.json").read_text())["spec"])
    )
    spoiled = tmp_path / "spoiled"
    shutil.copytree("runs/llama/step30", spoiled)
    tensors = load_file(spoiled / "model.safetensors")
    tensors["model.norm.weight"][3] = torch.inf
    save_file(tensors, spoiled / "model.safetensors", {"format": "pt"})
    record = json.loads(Path(record_path(dict(spec.checkpoints)[30])).read_text())
    Path(record_path("spoiled")).write_text(json.dumps({**record, "path": str(spoiled)}))
    at = tuple((u, "spoiled" if u == 30 else known) for u, known in spec.checkpoints)
    with pytest.raises(ValueError, match=r"spoiled, after 30 updates: tensor 'model.norm.weight' has numbers that are"):
        evaluate(spec.model_copy(update={"checkpoints": at}), tmp_path / "averages/of_spoiled")


def refusal(workplace: Workplace, **changes: Any) -> str:
    (workplace.root / "config/wrong.yaml").write_text(yaml.safe_dump(others.config(TRAJECTORIES, **changes)))
    done = workplace.snakemake("--dry-run", "--configfile", "config/wrong.yaml", check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_what_cannot_be_averaged_is_refused_while_planning(averaged: Workplace) -> None:
    schemes = {"lawa": {"kind": "lawa", "checkpoints": 3, "every_updates": 15}}
    assert "schemes.lawa" in refusal(averaged, schemes=schemes)


def test_the_pythia_experiment_is_one_file_and_is_planned_offline(averaged: Workplace) -> None:
    held_out = averaged.root / "data/pile/val.jsonl.zst"
    missing = averaged.snakemake("--dry-run", "--configfile", "config/pythia.yaml", check=False, **OFFLINE)
    assert "'data/pile/val.jsonl.zst' matches no file" in missing.stdout + missing.stderr
    held_out.parent.mkdir(parents=True)
    held_out.write_bytes(b"read when it is tokenised")
    planned = averaged.planned("--configfile", "config/pythia.yaml")
    assert planned["fetch_checkpoint"] == 4 * 143
    assert planned["average_checkpoints"] == 4 * 8
