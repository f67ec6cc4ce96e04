"""The whole study at a tiny size, through Snakemake as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from glidepath.study import tables
from glidepath.study.config import read_study
from glidepath.study.figure_list import figures_of
from glidepath.study.layout import LAW_TABLE_NAMES
from tests.workflow.conftest import Workplace, copy_of_project

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

TRAINING = {"train_segment", "tokenize"}
OF_A_STUDY = [table for table in tables.TABLES if table not in (tables.OPTIMISED_SCHEDULE, tables.VERIFICATION)]
"""Tables that `all` makes."""


def test_every_promised_file_is_there(finished: Workplace) -> None:
    results = finished.root / "results/smoke"
    study = read_study(finished.root / "config/smoke.yaml")
    figures = figures_of(study)
    promised = [
        *(f"{table.name}.parquet" for table in OF_A_STUDY),
        *(f"laws/{law}/{table}.parquet" for law in study.analysis.laws for table in LAW_TABLE_NAMES),
        *(f"figures/{name}.{ending}" for name in figures for ending in ("svg", "pdf", "parquet")),
        "recommendation.json",
        "report.html",
    ]
    assert [name for name in promised if not (results / name).is_file()] == []
    assert len(figures) >= 20


def test_tables_agree_with_their_schemas_and_with_each_other(finished: Workplace) -> None:
    results = finished.root / "results/smoke"
    frames = {table.name: tables.read(table, results / f"{table.name}.parquet") for table in OF_A_STUDY}
    runs = frames["runs"]
    assert list(runs["cell_id"]) == list(frames["plan"]["cell_id"])
    assert (runs["status"] == "completed").all()
    assert runs["val_loss"].notna().all()
    blocks = frames["block_losses"]
    means = blocks[blocks["domain"] == "python"].groupby("cell_id")["loss"].mean()
    assert abs(means.loc[runs["cell_id"]].to_numpy() - runs["val_loss"].to_numpy()).max() < 1e-5
    ends = frames["updates"].groupby("cell_id")["step"].max()
    assert (ends.loc[runs["cell_id"]].to_numpy() == runs["total_steps"].to_numpy() - 1).all()
    assert set(frames["evaluations"]["domain"]) == {"python", "c"}


def test_the_applied_learning_rate_is_the_planned_one(finished: Workplace) -> None:
    results = finished.root / "results/smoke"
    updates = pd.read_parquet(results / "updates.parquet")
    runs = pd.read_parquet(results / "runs.parquet").set_index("cell_id")
    for cell_id, rows in updates.groupby("cell_id"):
        run = runs.loc[cell_id]
        if run["schedule"] != "linear_0":
            continue
        s = rows["step"].to_numpy()
        after = s >= run["warmup_steps"]
        expected = run["peak_lr"] * (run["total_steps"] - s) / (run["total_steps"] - run["warmup_steps"])
        assert abs(rows["lr"].to_numpy() - expected)[after].max() < 1e-12


def test_a_second_run_has_nothing_to_do(finished: Workplace) -> None:
    began = time.monotonic()
    done = finished.snakemake()
    assert "Nothing to be done" in done.stdout + done.stderr
    assert time.monotonic() - began < 10


def test_another_peak_lr_trains_only_its_own_cells(finished: Workplace) -> None:
    study = json.loads(json.dumps(_grid(finished)))
    study[0]["peak_lrs"].append(0.08)
    changed = finished.study("another_lr", grid=study)
    planned = finished.planned("--configfile", changed, "--", "train")
    # One trunk in four segments, two cooldowns, two linear decays.
    assert planned == {"train": 1, "train_segment": 8}
    before = {path.name for path in (finished.root / "store/segments").iterdir()}
    done = finished.snakemake("--dry-run", "--configfile", changed, "--", "train")
    text = done.stdout + done.stderr
    assert not [name for name in before if f"segment={name}\n" in text]
    assert text.count("lr0.08-") > 8


def test_a_changed_study_is_planned_collected_and_concluded_anew(finished: Workplace) -> None:
    """In one run: what nothing but the study decides must not wait for a second one."""
    study = json.loads(json.dumps(_grid(finished)))
    study[0]["peak_lrs"].append(0.08)
    planned = finished.planned("--configfile", finished.study("smoke_more", grid=study, study="smoke"))
    assert {"budget", "plan", "collect", "average", "compare", "fit_law", "recommend", "report"} <= set(planned)


def test_removing_the_peak_lr_again_retrains_nothing(finished: Workplace) -> None:
    study = _grid(finished)
    study[0]["peak_lrs"].remove(0.04)
    changed = finished.study("smoke_less", grid=study, study="smoke")
    assert not TRAINING & set(finished.planned("--configfile", changed))


def test_spelling_and_order_of_the_grid_do_not_matter(finished: Workplace) -> None:
    study = _grid(finished)
    study[0]["peak_lrs"].reverse()
    study.reverse()
    changed = finished.study("reordered", grid=study, study="smoke")
    assert not TRAINING & set(finished.planned("--configfile", changed))


def test_a_comment_runs_nothing_again(finished: Workplace, tmp_path: Path) -> None:
    edited = finished.copy(tmp_path / "edited")
    for path in (edited.root / "src").rglob("*.py"):
        if path.name != "client.py":
            path.write_text(path.read_text() + "\n# A remark.\n")
    assert edited.planned() == {}


def test_an_edited_figure_is_redrawn_and_nothing_else(finished: Workplace, tmp_path: Path) -> None:
    edited = finished.copy(tmp_path / "edited")
    module = edited.root / "src/glidepath/figures/lr_sweep.py"
    module.write_text(module.read_text() + "\nADDED = 1\n")
    assert edited.planned() == {"all": 1, "figure": 1, "report": 1}


def test_an_edited_trainer_retrains_nothing_until_the_engine_version_is_raised(
    finished: Workplace, tmp_path: Path
) -> None:
    edited = finished.copy(tmp_path / "edited")
    module = edited.root / "src/glidepath/training/loop.py"
    module.write_text(module.read_text() + "\nADDED = 1\n")
    assert not TRAINING & set(edited.planned())
    cells = edited.root / "src/glidepath/study/cells.py"
    cells.write_text(cells.read_text().replace("ENGINE_VERSION = ", "ENGINE_VERSION = 1000 + "))
    assert edited.planned()["train_segment"] == len(list((edited.root / "store/segments").iterdir()))


def test_a_cosmetic_edit_of_a_rule_retrains_nothing(finished: Workplace, tmp_path: Path) -> None:
    edited = finished.copy(tmp_path / "edited")
    rules = edited.root / "workflow/rules/training.smk"
    rules.write_text(rules.read_text().replace("--threads {threads} > {log}", "--threads {threads}  > {log}"))
    assert edited.planned() == {}


def test_one_cell_by_its_path_equals_the_cell_of_the_study(finished: Workplace, untouched: Workplace) -> None:
    """Also: without the warm server, in another place, bit for bit."""
    runs = pd.read_parquet(finished.root / "results/smoke/runs.parquet")
    run = runs[(runs["schedule"] == "wsd_linear") & (runs["replicate"] == 1)].iloc[0]
    segment = run["segments"].split(" ")[-1]
    shutil.copytree(finished.root / "store/corpora", untouched.root / "store/corpora", copy_function=shutil.copy2)
    untouched.snakemake(f"store/segments/{segment}/segment.json", GLIDEPATH_PLAIN="1")
    for name in ("state.safetensors", "updates.parquet", "evaluations.parquet", "block_losses.parquet"):
        ours, theirs = (place.root / "store/segments" / segment / name for place in (untouched, finished))
        assert ours.read_bytes() == theirs.read_bytes(), name
    trained = sorted(path.name for path in (untouched.root / "store/segments").iterdir())
    assert trained == sorted(run["segments"].split(" "))


def test_stages_are_targets(finished: Workplace, untouched: Workplace) -> None:
    stages = {"budget", "plan", "tokenize", "train", "coordinate_check", "average", "noise_scale", "compare", "fit"}
    stages |= {"figures", "report"}
    assert finished.planned(*stages) == {}
    assert stages <= set(untouched.planned(*stages))
    assert set(untouched.planned("average")) == {
        "average",
        "average_segment",
        "collect",
        "plan",
        "tokenize",
        "train_segment",
    }


def test_a_killed_study_continues_to_the_same_numbers(finished: Workplace, untouched: Workplace) -> None:
    """SIGKILL to the whole process group in the middle of training, then the same command again."""
    shutil.copytree(finished.root / "store/corpora", untouched.root / "store/corpora", copy_function=shutil.copy2)
    command = [sys.executable, "-m", "snakemake", "--configfile", "config/smoke.yaml", "--cores", "2", "train"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(untouched.root / ".cache")}
    process = subprocess.Popen(
        command,
        cwd=untouched.root,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 100
    while len(list(untouched.root.glob("store/segments/*/segment.json"))) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    untouched.snakemake("--unlock")
    untouched.snakemake("train")
    for state in sorted(finished.root.glob("store/segments/*/state.safetensors")):
        again = untouched.root / state.relative_to(finished.root)
        assert again.read_bytes() == state.read_bytes(), state.parent.name
    assert not list((untouched.root / "scratch/segments").iterdir())


def test_two_studies_share_a_tokenised_corpus_through_the_cache(finished: Workplace, untouched: Workplace) -> None:
    """The second working directory links to what the first has made; another text is another corpus."""
    cache = untouched.root / "shared-cache"
    cache.mkdir()
    tokenize = ("--cache", "tokenize", "--", "tokenize")
    untouched.snakemake(*tokenize, SNAKEMAKE_OUTPUT_CACHE=str(cache))
    kept = sorted(path.name for path in cache.iterdir())
    second = copy_of_project(untouched.root / "second")
    second.snakemake(*tokenize, SNAKEMAKE_OUTPUT_CACHE=str(cache))
    assert sorted(path.name for path in cache.iterdir()) == kept
    manifests = [next(place.root.glob("store/corpora/*/manifest.json")) for place in (finished, untouched, second)]
    assert len({manifest.read_bytes() for manifest in manifests}) == 1
    assert manifests[2].is_symlink()
    changed = second.study("other_text", corpus=_corpus_of_own_text(second.root, "the first text"))
    second.snakemake("--configfile", changed, *tokenize, SNAKEMAKE_OUTPUT_CACHE=str(cache))
    second.study("other_text", corpus=_corpus_of_own_text(second.root, "quite another text"))
    second.snakemake("--configfile", changed, *tokenize, SNAKEMAKE_OUTPUT_CACHE=str(cache))
    tokens = [path.read_bytes() for path in second.root.glob("store/corpora/*/train.bin")]
    assert len(tokens) == len(set(tokens)) == 3


def test_the_engines_own_report(finished: Workplace) -> None:
    finished.snakemake("--report", "provenance.html")
    assert (finished.root / "provenance.html").stat().st_size > 100_000


def test_the_slurm_profile_dry_runs(untouched: Workplace) -> None:
    assert untouched.planned("--workflow-profile", "profiles/slurm")["train_segment"] > 10


def _corpus_of_own_text(root: Path, word: str) -> dict[str, object]:
    """Forty files under data/, and the section of the study that names them."""
    (root / "data").mkdir(exist_ok=True)
    for n in range(40):
        lines = [" ".join(f"{word}{(i * (n + 3) + j) % 50}" for j in range(12)) for i in range(120)]
        (root / f"data/{n}.txt").write_text("\n".join(lines))
    return {
        "domains": [
            {
                "name": "mine",
                "use": "training",
                "source": {"kind": "files", "paths": ["data/*.txt"]},
                "validation_fraction": 0.2,
                "validation_tokens": 4096,
            }
        ],
        "tokenizer": {"kind": "train_bpe", "vocab_size": 300, "train_bytes": 100_000},
    }


def _grid(workplace: Workplace) -> list[dict[str, object]]:
    grid: list[dict[str, object]] = yaml.safe_load((workplace.root / "config/smoke.yaml").read_text())["grid"]
    return grid
