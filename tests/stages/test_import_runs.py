"""Logs with one fault each, and published data, through the command: what the tables hold and what is said of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from glidepath.__main__ import main
from glidepath.study import tables
from tests.reference_data import reference_data

REPOSITORY = Path(__file__).parents[2]


class Imported:
    """Tables of an import."""

    def __init__(self, folder: Path) -> None:
        self.runs = tables.read(tables.RUNS, folder / "runs.parquet").set_index("cell_id")
        self.updates = tables.read(tables.UPDATES, folder / "updates.parquet")
        self.evaluations = tables.read(tables.EVALUATIONS, folder / "evaluations.parquet")
        self.rows = tables.read(tables.IMPORTED_ROWS, folder / "imported_rows.parquet")
        self.findings = tables.read(tables.FINDINGS, folder / "findings.parquet")
        self.provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))

    def found(self, run: str = "") -> set[str]:
        """Kinds of findings about a run."""
        return set(self.findings.loc[self.findings["run"] == run, "finding"])

    def of(self, table: str, run: str) -> pd.DataFrame:
        frame: pd.DataFrame = getattr(self, table)
        return frame[frame["run" if table == "rows" else "cell_id"] == run].reset_index(drop=True)


def imported(base: Path, config: dict[str, Any] | str) -> Imported:
    data = yaml.safe_load(config) if isinstance(config, str) else config
    arguments = ["--config", json.dumps(data), "--base", str(base), "--output", str(base / "results")]
    assert main(["import-runs", *arguments]) == 0
    return Imported(base / "results")


def refused(base: Path, config: str, capsys: pytest.CaptureFixture[str]) -> str:
    data = json.dumps(yaml.safe_load(config))
    assert main(["import-runs", "--config", data, "--base", str(base), "--output", str(base / "results")]) == 2
    return capsys.readouterr().err


def log(path: Path, rows: list[str], header: str = "step,loss,val,lr,tokens") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def line(step: int, loss: float | str | None = None, val: float | None = None, batch: int = 100) -> str:
    fields = [step, 2 + 8 * step**-0.5 if loss is None else loss, "" if val is None else val, 1e-3, step * batch]
    return ",".join(str(field) for field in fields)


CSV = """
imports: mine
sources:
  - name: logs
    format: csv
    paths: ["logs/*.csv"]
    run: {kind: file}
    columns: {step: step, train_loss: loss, val_loss: val, lr: lr, tokens_seen: tokens}
runs: [{match: "*", n_params_non_embedding: 1000, context_length: 10, warmup_steps: 0}]
"""
STEPS = range(10, 110, 10)


def whole(**change: Any) -> list[str]:
    """A log without a fault."""
    return [line(step, val=3.0 if step % 50 == 0 else None, **change) for step in STEPS]


def test_a_log_without_a_fault(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", whole())
    found = imported(tmp_path, CSV)
    run = found.runs.loc["a"]
    assert (run["status"], run["val_loss"], run["total_steps"], run["token_horizon"]) == ("completed", 3.0, 100, 10_000)
    assert (run["batch_tokens"], run["batch_sequences"], run["tokens_per_parameter"]) == (100, 10, 10.0)
    assert (run["peak_lr"], run["model"], run["schedule"], run["replicate"]) == (1e-3, "n1000", "unknown", 0)
    assert run["train_loss"] == pytest.approx(2 + 8 * 100**-0.5)
    updates = found.of("updates", "a")
    assert updates["step"].tolist() == list(range(100))
    assert updates["tokens_seen"].tolist() == list(range(100, 10_100, 100))
    assert (updates["lr"] == 1e-3).all()
    assert updates.loc[updates["train_loss"].notna(), "step"].tolist() == [step - 1 for step in STEPS]
    evaluations = found.of("evaluations", "a")
    assert evaluations[["updates_done", "tokens_seen", "val_loss"]].to_numpy().tolist() == [
        [50, 5000, 3],
        [100, 10000, 3],
    ]
    assert found.rows["used"].all()
    assert found.found("a") == set()
    assert found.provenance["learning_rates"] == {"a": "logged at 10 updates, straight between them"}
    (file,) = found.provenance["files"]
    assert (file["file"], file["rows"], len(file["sha256"])) == ("logs/a.csv", 10, 64)


BROKEN: dict[str, tuple[list[str], str, int]] = {
    "restarted": ([*whole()[:7], *whole()[4:]], "superseded by a restart", 3),
    "duplicated": ([*whole()[:5], *whole()[4:]], "repeated: a later row says the same of it", 1),
    "conflicting": ([*whole()[:4], line(50, 9.0), *whole()[4:]], "repeated: a later row says the same of it", 1),
    "gap": ([*whole()[:4], *whole()[8:]], "", 0),
    "tokens_fall": ([*whole()[:4], line(50, batch=10), *whole()[5:]], "", 0),
    "not_finite": ([*whole()[:4], line(50, "nan"), *whole()[5:]], "the loss is not finite", 0),
    "implausible_loss": ([line(step, 30 + 800 / step, 3.0) for step in STEPS], "", 0),
    "not_a_number": ([*whole()[:5], "step,loss,val,lr,tokens", *whole()[5:]], "a number of it cannot be read", 1),
    "unreadable": ([*whole()[:9], "95,2", *whole()[9:]], "", 0),
    "unsorted": ([whole()[i] for i in (3, 9, 0, 8, 1, 7, 2, 6, 4, 5)], "", 0),
    "step_zero": ([line(10).replace("10,", "0,", 1), *whole()], "nothing in it is read", 0),
    "fractional_steps": ([*whole()[:4], line(50).replace("50", "50.4", 1), *whole()[5:]], "", 0),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_fault_is_found_and_its_rows_are_flagged(tmp_path: Path, kind: str) -> None:
    rows, reason, count = BROKEN[kind]
    log(tmp_path / "logs/a.csv", rows)
    found = imported(tmp_path, CSV)
    told = found.findings[found.findings["finding"] == kind]
    assert len(told) >= 1, found.findings
    assert (told["detail"].str.len() > 0).all()
    assert (told["done"].str.len() > 0).all()
    flagged = found.rows[~found.rows["used"]]
    if count:
        assert flagged["reason"].tolist() == [reason] * count
    assert (found.rows.loc[found.rows["used"], "reason"] == "").all()
    assert found.runs.loc["a", "status"] == "completed"


def test_the_later_piece_of_a_restarted_run_counts(tmp_path: Path) -> None:
    before = [line(step, 9.0, 9.0) for step in STEPS][:7]
    log(tmp_path / "logs/a.csv", [*before, *whole()[4:]])
    found = imported(tmp_path, CSV)
    losses = found.of("updates", "a")["train_loss"].dropna().tolist()
    assert losses == [9.0] * 4 + [pytest.approx(2 + 8 * step**-0.5) for step in STEPS][4:]
    evaluated = found.of("evaluations", "a").set_index("updates_done")["val_loss"].to_dict()
    assert evaluated == {10: 9.0, 20: 9.0, 30: 9.0, 40: 9.0, 50: 3.0, 100: 3.0}


def test_a_run_that_ends_in_nan_has_diverged(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", [*whole()[:6], *(line(step, "nan") for step in STEPS[6:])])
    run = imported(tmp_path, CSV).runs.loc["a"]
    assert (run["status"], run["diverged_step"]) == ("diverged", 69)
    assert run["last_finite_loss"] == pytest.approx(2 + 8 * 60**-0.5, rel=1e-3)
    assert pd.isna(run["val_loss"])


def test_runs_that_did_not_come_to_their_end_are_kept_out(tmp_path: Path) -> None:
    log(tmp_path / "logs/short.csv", whole())
    log(tmp_path / "logs/late.csv", [*whole(), *(line(step) for step in range(110, 210, 10))])
    log(tmp_path / "logs/never.csv", [line(step) for step in STEPS])
    config = CSV.replace("runs: [", "runs: [{match: short, total_steps: 200},")
    found = imported(tmp_path, config)
    assert found.found("short") >= {"ends_early"}
    assert found.runs.loc["short", "reason"] == "the log ends after update 100 of 200"
    assert found.runs.loc["late", "reason"] == "the last evaluation is after update 100 of 200"
    assert found.runs.loc["never", "reason"] == "no validation loss is logged"
    assert (found.runs["status"] == "excluded").all()


def test_a_batch_that_changes_is_that_of_every_update(tmp_path: Path) -> None:
    tokens = [100 * step if step <= 50 else 5000 + 200 * (step - 50) for step in STEPS]
    rows = [f"{step},3.0,3.0,0.001,{seen}" for step, seen in zip(STEPS, tokens, strict=True)]
    log(tmp_path / "logs/a.csv", rows)
    found = imported(tmp_path, CSV)
    assert "batch_changes" in found.found("a")
    updates = found.of("updates", "a")
    assert updates["batch_tokens"].tolist() == [100] * 50 + [200] * 50
    assert found.runs.loc["a", ["batch_tokens", "token_horizon"]].tolist() == [200, 15_000]


def test_tokens_that_are_not_steps_times_batch(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", whole())
    found = imported(tmp_path, CSV.replace("context_length: 10", "batch_tokens: 90"))
    assert "tokens_inconsistent" in found.found("a")
    assert found.of("updates", "a")["tokens_seen"].iloc[-1] == 10_000


def test_units(tmp_path: Path) -> None:
    rows = [f"{s},{(3 / np.log(2)):.12f},{np.exp(3):.12f},0.001,{s * 100 / 1e6}" for s in STEPS]
    log(tmp_path / "logs/a.csv", rows)
    units = "units: {train_loss: bit, val_loss: perplexity, tokens_seen: millions}\nruns"
    found = imported(tmp_path, CSV.replace("\nruns", f"\n    {units}"))
    assert found.runs.loc["a", ["train_loss", "val_loss"]].tolist() == pytest.approx([3.0, 3.0])
    assert found.runs.loc["a", "token_horizon"] == 10_000
    units = "units: {val_loss: bit_per_byte, tokens_seen: sequences}\n    bytes_per_token: 4.0\nruns"
    rows = [f"{s},3.0,{3 / np.log(2) / 4:.12f},0.001,{s * 10}" for s in STEPS]
    log(tmp_path / "logs/a.csv", rows)
    found = imported(tmp_path, CSV.replace("\nruns", f"\n    {units}"))
    assert found.runs.loc["a", ["val_loss", "token_horizon"]].tolist() == pytest.approx([3.0, 10_000])


@pytest.mark.parametrize(
    ("counts", "train", "evaluated"),
    [("updates_done", 9, 10), ("zero_based", 10, 11), ("zero_based_evaluated_before", 10, 10)],
)
def test_what_a_step_counts(tmp_path: Path, counts: str, train: int, evaluated: int) -> None:
    log(tmp_path / "logs/a.csv", [line(step, val=3.0) for step in STEPS])
    found = imported(tmp_path, CSV.replace("run: {kind: file}", f"run: {{kind: file}}\n    step_counts: {counts}"))
    updates = found.of("updates", "a")
    assert updates.loc[updates["train_loss"].notna(), "step"].iloc[0] == train
    assert found.of("evaluations", "a")["updates_done"].iloc[0] == evaluated


SCHEDULED = (
    CSV.replace("lr: lr, ", "")
    .replace(", warmup_steps: 0", "")
    .replace(
        "runs: [",
        """schedules: {decay: {kind: linear, final_lr_fraction: 0}}
runs: [{match: "*", schedule: decay, peak_lr: 1.0e-3, warmup_steps: 20},""",
    )
)


def test_learning_rates_of_a_schedule_are_those_that_a_study_applies(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", whole())
    found = imported(tmp_path, SCHEDULED.replace("run: {kind: file}", "run: {kind: file}\n    lr: {kind: schedule}"))
    lr = found.of("updates", "a")["lr"].to_numpy()
    expected = 1e-3 * np.concatenate([np.arange(1, 21) / 20, 1 - np.arange(80) / 80])
    np.testing.assert_allclose(lr, expected, rtol=1e-12)
    run = found.runs.loc["a"]
    assert (run["schedule_kind"], run["final_lr_fraction"], run["decay_steps"]) == ("linear", 0.0, 80)


def test_logged_learning_rates_that_contradict_the_schedule(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", whole())
    config = SCHEDULED.replace("columns: {", "lr: {kind: schedule}\n    columns: {lr: lr, ")
    assert "lr_contradicts" in imported(tmp_path, config).found("a")


def test_a_learning_rate_that_nobody_knows_is_one_finding(tmp_path: Path) -> None:
    for name in "ab":
        log(tmp_path / f"logs/{name}.csv", whole())
    found = imported(tmp_path, CSV.replace("lr: lr, ", ""))
    assert found.updates["lr"].isna().all()
    assert found.updates.groupby("cell_id").size().tolist() == [10, 10]
    told = found.findings[found.findings["finding"] == "missing_lr"]
    assert told[["run", "count"]].to_numpy().tolist() == [["", 2]]
    # Two runs that differ in nothing are replicates.
    assert found.runs["replicate"].tolist() == [0, 1]
    assert "alike" in found.found()


def test_learning_rates_from_a_table(tmp_path: Path) -> None:
    for name in "abc":
        log(tmp_path / f"logs/{name}.csv", whole())
    rows = [f"{run},{step},{1e-3 / step}" for run, n in (("a", 100), ("b", 50)) for step in range(1, n + 1)]
    log(tmp_path / "lr.csv", rows, "name,update,rate")
    table = "{kind: table, path: lr.csv, of: {run: name}, step: update, lr: rate, step_counts: updates_done}"
    found = imported(tmp_path, SCHEDULED.replace("run: {kind: file}", f"run: {{kind: file}}\n    lr: {table}"))
    np.testing.assert_allclose(found.of("updates", "a")["lr"], 1e-3 / np.arange(1, 101))
    assert "missing_lr" not in found.found("a")
    assert "missing_lr" in found.found("b")
    assert "missing_lr" in found.found("c")


def test_evaluation_sets_are_told_apart_and_compared(tmp_path: Path) -> None:
    rows = [f"{step},{3.0 if name == 'web' else 5.0},{name}" for step in STEPS for name in ("web", "code")]
    log(tmp_path / "logs/a.csv", rows, "step,val,set")
    log(tmp_path / "logs/b.csv", rows[:-4:2], "step,val,set")
    config = CSV.replace("train_loss: loss, val_loss: val, lr: lr, tokens_seen: tokens", "val_loss: val, domain: set")
    found = imported(tmp_path, config)
    assert found.runs.loc["a", "val_loss"] == 3.0
    assert found.of("evaluations", "a").groupby("domain")["val_loss"].unique().map(list).to_dict() == {
        "code": [5.0],
        "web": [3.0],
    }
    assert "unequal_evaluations" in found.found()


def test_logs_of_training_and_of_evaluation_make_one_run(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", [line(step) for step in STEPS])
    (tmp_path / "evals.json").write_text(json.dumps({"a": [{"step": 50, "l": 3.5}, {"step": 100, "l": 3.0}]}))
    more = """  - {name: evals, format: json, paths: [evals.json], run: {kind: columns, columns: [_key]},
     columns: {step: step, val_loss: l}}
runs"""
    found = imported(tmp_path, CSV.replace("val_loss: val, ", "").replace("\nruns", f"\n{more}"))
    assert found.runs.loc["a", ["val_loss", "status"]].tolist() == [3.0, "completed"]
    assert found.rows.groupby("source").size().to_dict() == {"evals": 2, "logs": 10}


def test_one_run_in_two_files_of_a_source(tmp_path: Path) -> None:
    log(tmp_path / "logs/a/1.csv", whole()[:6])
    log(tmp_path / "logs/a/2.csv", whole()[4:])
    config = CSV.replace("logs/*.csv", "logs/*/*.csv").replace("{kind: file}", "{kind: directory}")
    found = imported(tmp_path, config)
    assert {"several_files", "restarted"} <= found.found("a")
    assert found.runs.loc["a", "status"] == "completed"
    assert found.rows.groupby("file")["used"].sum().tolist() == [4, 6]


def test_finished_runs(tmp_path: Path) -> None:
    rows = ["a,1,20,100,3.0", "b,1,20,100,nan", "c,1,20,200,3.2", "c,1,20,200,3.1", "d,2,20,100,2.0", "e,2,20,200,"]
    log(tmp_path / "points.csv", rows, "name,N,D,B,loss")
    found = imported(
        tmp_path,
        """
imports: mine
sources:
  - name: points
    format: csv
    paths: [points.csv]
    rows: runs
    run: {kind: columns, columns: [name]}
    columns: {n_params_total: N, token_horizon: D, batch_tokens: B, val_loss: loss}
    units: {n_params_total: millions, token_horizon: thousands}
tokens_per_parameter_uses: total
holdout: [d]
""",
    )
    runs = found.runs
    assert runs["status"].tolist() == ["completed", "diverged", "completed", "completed", "excluded"]
    assert runs["val_loss"].fillna(0).tolist() == [3.0, 0, 3.1, 2.0, 0]
    assert runs["total_steps"].tolist() == [200, 200, 100, 200, 100]
    assert runs["n_params_counted"].tolist() == [1_000_000] * 3 + [2_000_000] * 2
    assert runs["holdout"].tolist() == [False, False, False, True, False]
    assert found.found("c") == {"conflicting"}
    assert found.rows["used"].tolist() == [True, False, False, True, True, False]
    assert len(found.updates) == 0
    assert found.of("evaluations", "a")[["updates_done", "val_loss"]].to_numpy().tolist() == [[200, 3.0]]


def test_runs_far_above_their_sweep_are_kept_out_but_not_others(tmp_path: Path) -> None:
    rows = ["best,20,20,0.1,3.0", "blown,20,20,0.9,4.5", "repeated,20,1,0.1,4.5", "short,2,2,0.1,4.5"]
    log(tmp_path / "points.csv", [*rows, "again,20,20,0.1,3.1"], "name,D,U,lr,loss")
    found = imported(
        tmp_path,
        """
imports: mine
sources:
  - name: points
    format: csv
    paths: [points.csv]
    rows: runs
    run: {kind: columns, columns: [name]}
    columns: {token_horizon: D, unique_tokens: U, peak_lr: lr, val_loss: loss}
    units: {token_horizon: millions, unique_tokens: millions}
""",
    )
    assert found.runs["status"].to_dict() == {
        **dict.fromkeys(("best", "repeated", "short", "again"), "completed"),
        "blown": "excluded",
    }
    assert "1.50 nat/token above the best of its sweep" in found.runs.loc["blown", "reason"]
    assert found.runs["replicate"].tolist() == [0, 0, 0, 0, 1]


def test_a_filter_says_how_much_it_leaves_out(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", [f"{row},{i % 2 == 0}" for i, row in enumerate(whole())], "step,loss,val,lr,tokens,ok")
    found = imported(tmp_path, CSV.replace("run: {kind: file}", "run: {kind: file}\n    where: {ok: false}"))
    assert found.rows["row"].tolist() == [2, 4, 6, 8, 10]
    told = found.findings[found.findings["finding"] == "filtered"]
    assert told[["source", "count"]].to_numpy().tolist() == [["logs", 5]]


REFUSED: dict[str, tuple[tuple[str, str], str]] = {
    "a column that is nowhere": (
        ("train_loss: loss", "train_loss: los"),
        r"The source logs: columns.train_loss = 'los': no file of it has that column. The nearest names are 'loss'",
    ),
    "a file that is nowhere": (("logs/*.csv", "log/*.csv"), r"paths has 'log/*.csv', which matches no file in"),
    "text for numbers": (("train_loss: loss", "train_loss: name"), "10 of 10 rows cannot be read"),
    "nothing left": (
        ("run: {kind: file}", "run: {kind: file}\n    where: {name: b}"),
        "of 10 rows none is left: where dropped 10",
    ),
    "a schedule that is not defined": (
        ("run: {kind: file}", "run: {kind: file}\n    lr: {kind: schedule}"),
        "The run a: lr.kind schedule needs its schedule, which is not known. Give it in columns or in runs",
    ),
    "another format": (("format: csv", "format: parquet"), "is no Parquet file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_is_refused(tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    log(tmp_path / "logs/a.csv", [f"{row},a" for row in whole()], "step,loss,val,lr,tokens,name")
    (before, after), message = REFUSED[what]
    assert message in refused(tmp_path, CSV.replace(before, after), capsys)
    assert not (tmp_path / "results/runs.parquet").exists()
    assert not list(tmp_path.glob("results/.*"))


def test_a_unit_that_needs_a_fact_is_refused_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(tmp_path / "logs/a.csv", whole())
    config = CSV.replace(", context_length: 10", "").replace("\nruns", "\n    units: {tokens_seen: sequences}\nruns")
    message = refused(tmp_path, config, capsys)
    assert (
        "The run a: units.tokens_seen of the source logs is sequences, and its context_length is not known" in message
    )


def test_torch_is_not_needed(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", whole())
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not installed here')")
    (tmp_path / "mine.yaml").write_text(CSV)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "glidepath", "import-runs", "--configfile", "mine.yaml", "--output", "results"]
    subprocess.run([sys.executable, "-c", "import torch"], env=environment, cwd=tmp_path, check=False)
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 runs: 1 completed; 0 held out\n")
    assert Imported(tmp_path / "results").runs.loc["a", "val_loss"] == 3.0


def test_training_without_torch_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "glidepath", "train", "--help"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "glidepath train: PyTorch is not installed" in done.stderr
    assert "'glidepath[training]'" in done.stderr


def test_inspecting_a_log_writes_a_configuration_that_imports_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log(tmp_path / "a.csv", whole(), "global_step,train/loss,val_loss,learning_rate,tokens")
    assert main(["inspect-log", "a.csv"]) == 0
    text = capsys.readouterr().out
    assert "  val_loss: number, 2 of the first 10 rows; 3.0, 3.0\n" in text
    found = imported(tmp_path, text[text.index("imports:") :])
    assert found.runs.loc["a", ["val_loss", "token_horizon", "peak_lr"]].tolist() == [3.0, 10_000, 1e-3]
    (tmp_path / "h.json").write_text(json.dumps([{"_step": i, "loss": 5.0 - i, "eval/loss": 4.0} for i in range(3)]))
    assert main(["inspect-log", "h.json"]) == 0
    text = capsys.readouterr().out
    found = imported(tmp_path, text[text.index("imports:") :])
    assert found.of("updates", "h")["train_loss"].tolist() == [5.0, 4.0, 3.0]
    assert found.of("evaluations", "h")["updates_done"].tolist() == [1, 2, 3]
    assert main(["inspect-log", "none.csv"]) == 2
    assert "PATH = 'none.csv' is no file" in capsys.readouterr().err


def test_the_example_that_ships(tmp_path: Path) -> None:
    arguments = ["--configfile", str(REPOSITORY / "config/import-example.yaml"), "--base", str(REPOSITORY)]
    assert main(["import-runs", *arguments, "--output", str(tmp_path)]) == 0
    found = Imported(tmp_path)
    assert len(found.runs) == 27
    assert (found.runs["status"] == "completed").all()
    assert found.runs["holdout"].sum() == 6
    assert sorted(found.runs["n_params_counted"].unique()) == [25_000_000, 100_000_000, 400_000_000]
    assert (found.runs["batch_tokens"] == 524_288).all()
    assert found.updates["lr"].notna().all()
    assert found.rows["used"].all()
    # Grids that differ a little, as they were published.
    assert set(found.findings["finding"]) <= {"unequal_evaluations"}


def test_curves_as_published(tmp_path: Path) -> None:
    folder = reference_data("mpl")
    found = imported(
        tmp_path,
        f"""
imports: mpl
sources:
  - name: curves
    format: parquet
    paths: [{folder}/loss_curves.parquet]
    run: {{kind: columns, columns: [model, curve], separator: "_"}}
    columns: {{step: step, lr: lr, val_loss: loss, model: model, schedule: curve}}
    step_counts: zero_based
    lr: {{kind: table, path: {folder}/schedules.parquet, of: {{schedule: curve}}}}
runs:
  - {{match: "*", batch_tokens: 524288, context_length: 4096, warmup_steps: 2160}}
  - {{regex: "(?P<n_params_non_embedding>[0-9]+M)_.*"}}
holdout: ["*_wsd_*", "*_wsdld_*"]
""",
    )
    curves = pd.read_parquet(folder / "loss_curves.parquet")
    schedules = pd.read_parquet(folder / "schedules.parquet")
    assert len(found.runs) == 27
    assert set(found.runs.index[found.runs["holdout"]]) == {
        f"{model}_{curve}"
        for model in ("25M", "100M", "400M")
        for curve in curves["curve"].unique()
        if curve.startswith(("wsd_", "wsdld_"))
    }
    assert found.runs["n_params_counted"].unique().tolist() == [100_000_000, 25_000_000, 400_000_000]
    for (model, curve), raw in curves.groupby(["model", "curve"]):
        run = f"{model}_{curve}"
        evaluated = found.of("evaluations", run)
        assert np.array_equal(evaluated["updates_done"], raw["step"] + 1)
        assert np.array_equal(evaluated["val_loss"], raw["loss"])
        applied = found.of("updates", run)
        declared = schedules.loc[schedules["curve"] == curve, "lr"].to_numpy()[: len(applied)]
        assert np.array_equal(applied["lr"], declared)
        assert len(applied) == raw["step"].max() + 1
        assert found.runs.loc[run, "val_loss"] == raw["loss"].iloc[-1]
    assert "lr_contradicts" not in set(found.findings["finding"])


def test_points_as_published(tmp_path: Path) -> None:
    """All of Chinchilla's, Porian's, Step Law's and datablations' runs."""
    for name, source, units, convention in (
        ("epoch_chinchilla/chinchilla_points.csv", {"n_params_total": "N", "val_loss": "loss"}, {}, "total"),
        (
            "porian/isoflop_points.parquet",
            {"n_params_total": "N", "val_loss": "loss", "schedule": "experiment"},
            {},
            "total",
        ),
        (
            "steplaw/dense.parquet",
            {"n_params_non_embedding": "N", "val_loss": "loss", "peak_lr": "lr", "batch_tokens": "batch_seq"},
            {"batch_tokens": "sequences"},
            "non_embedding",
        ),
        ("datablations/runs_all.csv", {"n_params_total": "N", "val_loss": "loss", "unique_tokens": "U"}, {}, "total"),
    ):
        path = reference_data(name)
        raw = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        context = {"context_length": "seq_len"} if units else {}
        found = imported(
            tmp_path,
            {
                "imports": "points",
                "sources": [
                    {
                        "name": "points",
                        "format": path.suffix[1:],
                        "paths": [str(path)],
                        "rows": "runs",
                        "run": {"kind": "row"},
                        "columns": {"token_horizon": "D", **source, **context},
                        "units": units,
                    }
                ],
                "tokens_per_parameter_uses": convention,
            },
        )
        assert len(found.runs) == len(raw)
        known = raw["loss"].notna().to_numpy()
        assert np.array_equal(found.runs["val_loss"][known], raw["loss"][known])
        for column, theirs in (("n_params_counted", "N"), ("token_horizon", "D")):
            ours = found.runs[column].astype("float64")[known]
            np.testing.assert_allclose(ours, raw[theirs][known], rtol=1e-8, atol=0.5)
        if "peak_lr" in source:
            assert np.array_equal(found.runs["peak_lr"], raw["lr"])
            assert np.array_equal(found.runs["batch_tokens"], raw["batch_tokens"])
            assert np.array_equal(found.runs["batch_sequences"], raw["batch_seq"])
        if "unique_tokens" in source:
            np.testing.assert_allclose(found.runs["epochs"], raw["epochs"], rtol=1e-6)
            assert found.runs["replicate"].max() >= 3
