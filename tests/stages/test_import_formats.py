"""Whole runs in the formats of programs that train, through the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.stages.test_import_runs import Imported, imported, log

ITERATIONS = range(10, 101, 10)


def megatron_line(iteration: int, batch: int, samples: int) -> str:
    return (
        f" [2024-05-01 10:00:{iteration % 60:02d}] iteration {iteration:8d}/     100 | "
        f"consumed samples: {samples:12d} | elapsed time per iteration (ms): 1234.5 | "
        f"learning rate: {min(iteration / 20, 1) * 1e-3:.6E} | "
        f"global batch size: {batch:5d} | lm loss: {2 + 8 / iteration:.6E} | loss scale: 1.0 | grad norm: 1.234 | "
        "number of skipped iterations:   0 | number of nan iterations:   0 |\n"
    )


def test_megatron_with_a_batch_that_grows(tmp_path: Path) -> None:
    text, samples = "", 0
    for iteration in ITERATIONS:
        batch = 8 if iteration <= 50 else 16
        samples += 10 * batch
        text += megatron_line(iteration, batch, samples)
        if iteration % 50 == 0:
            text += f" validation loss at iteration {iteration} | lm loss value: {2.5 + 1 / iteration:.6E} | \n"
    (tmp_path / "a.log").write_text("building GPT model ...\n" + text)
    config = """
imports: megatron
sources:
  - name: logs
    format: text_log
    preset: megatron
    paths: ["*.log"]
    run: {kind: file}
    columns:
      step: iteration
      tokens_seen: consumed samples
      batch_tokens: global batch size
      lr: learning rate
      train_loss: lm loss
      val_loss: validation lm loss
      total_steps: total iterations
    units: {tokens_seen: sequences, batch_tokens: sequences}
runs: [{match: "*", context_length: 32}]
"""
    found = imported(tmp_path, config)
    run = found.runs.loc["a"]
    assert (run["status"], run["total_steps"], run["val_loss"]) == ("completed", 100, 2.51)
    assert (run["token_horizon"], run["batch_tokens"], run["batch_sequences"]) == (32 * 1200, 512, 16)
    assert found.found("a") == {"batch_changes"}
    updates = found.of("updates", "a")
    assert updates["batch_tokens"].tolist() == [256] * 50 + [512] * 50
    assert np.array_equal(updates["tokens_seen"], np.cumsum(updates["batch_tokens"]))
    np.testing.assert_allclose(updates["lr"], 1e-3 * np.minimum(np.arange(1, 101) / 20, 1))
    assert updates.loc[updates["train_loss"].notna(), "step"].tolist() == [i - 1 for i in ITERATIONS]
    without = config.replace("      tokens_seen: consumed samples\n", "").replace("tokens_seen: sequences, ", "")
    again = imported(tmp_path, without).of("updates", "a")
    assert np.array_equal(again["tokens_seen"], updates["tokens_seen"])


def test_torchtitan_in_pieces(tmp_path: Path) -> None:
    def lines(start: int, stop: int, add: float) -> str:
        return "".join(
            f"[rank0]:[titan] 2025-02-01 10:00:00,123 - root - INFO - \x1b[31mstep: {step:2d}  \x1b[32mloss: "
            f"{3 + add + 8 / step:7.4f}  \x1b[33mgrad_norm:  1.5  \x1b[34mmemory: 40.30GiB(50%)  \x1b[36mtps: 7,123\n"
            + (
                f"[rank0]:[titan] 2025-02-01 10:00:01,123 - root - INFO - validate step: {step}  loss: {3 + add:7.4f}\n"
                if step % 5 == 0
                else ""
            )
            for step in range(start, stop)
        )

    for job, text in (("1", lines(1, 9, 1.0)), ("2", lines(6, 21, 0.0))):
        log_file = tmp_path / f"mine/job{job}.log"
        log_file.parent.mkdir(exist_ok=True)
        log_file.write_text(text)
    found = imported(
        tmp_path,
        """
imports: titan
sources:
  - name: logs
    format: text_log
    preset: torchtitan
    paths: ["mine/*.log"]
    run: {kind: directory}
    columns: {step: step, train_loss: loss, grad_norm: grad_norm, val_loss: validate_loss}
    lr: {kind: schedule}
runs: [{match: "*", schedule: wsd, peak_lr: 1.0e-3, warmup_steps: 4, batch_tokens: 1000}]
schedules: {wsd: {kind: wsd, final_lr_fraction: 0, decay_fraction: 0.25, decay_shape: linear}}
""",
    )
    run = "mine"
    assert found.found(run) == {"restarted", "several_files"}
    losses = found.of("updates", run)["train_loss"].to_numpy()
    np.testing.assert_allclose(losses, 3 + (np.arange(1, 21) < 6) + 8 / np.arange(1, 21), atol=5e-5)
    assert found.of("evaluations", run)["val_loss"].tolist() == [4.0, 3.0, 3.0, 3.0]
    assert found.runs.loc[run, ["val_loss", "token_horizon"]].tolist() == [3.0, 20_000]
    assert found.of("updates", run)["lr"].iloc[[0, 3, 15, 19]].tolist() == pytest.approx([2.5e-4, 1e-3, 1e-3, 2e-4])


def test_histories_of_wandb_with_a_configuration_each(tmp_path: Path) -> None:
    for i, peak in enumerate((1e-3, 2e-3)):
        folder = tmp_path / f"wandb/run-{i}/files"
        folder.mkdir(parents=True)
        history: list[dict[str, Any]] = []
        for step in range(100):
            history.append({"_step": step, "_timestamp": 1.7e9 + step, "train/loss": 5 - step / 50, "val/loss": None})
            if step % 25 == 24:
                history.append({"_step": step, "_timestamp": 1.7e9 + step, "train/loss": None, "val/loss": 4 - i})
        (folder / "history.json").write_text(json.dumps(history))
        (folder / "config.yaml").write_text(
            f"optimizer:\n  desc: null\n  value: {{lr: {peak}}}\nn: {{value: 1000000}}\n"
        )
    found = imported(
        tmp_path,
        """
imports: wandb
sources:
  - name: histories
    format: wandb
    paths: ["wandb/*/files/history.json"]
    run: {kind: path, pattern: "wandb/(?P<run>[^/]+)/"}
    columns:
      step: _step
      time: _timestamp
      train_loss: train/loss
      val_loss: val/loss
      peak_lr: config.optimizer.lr
      n_params_non_embedding: config.n
    step_counts: zero_based
    beside: {config: config.yaml}
    lr: {kind: constant}
""",
    )
    assert found.runs[["peak_lr", "val_loss", "n_params_counted"]].to_numpy().tolist() == [
        [1e-3, 4, 1e6],
        [2e-3, 3, 1e6],
    ]
    assert found.of("evaluations", "run-0")["updates_done"].tolist() == [25, 50, 75, 100]
    assert found.of("updates", "run-1")["lr"].tolist() == [2e-3] * 100
    assert found.found("run-0") == set()
    assert found.rows["used"].all()


def test_one_file_with_all_histories(tmp_path: Path) -> None:
    runs = [
        {
            "name": f"lr {peak:g}",
            "config": {"lr": peak, "tokens": 6400},
            "history": [{"_step": step, "loss": 5 - step / 50, "hist": [1, 2]} for step in range(1, 65)],
        }
        for peak in (1e-3, 2e-3)
    ]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    found = imported(
        tmp_path,
        """
imports: wandb
sources:
  - name: all
    format: wandb
    paths: [runs.json]
    records: history
    run: {kind: columns, columns: [name]}
    columns: {step: _step, train_loss: loss, val_loss: loss, peak_lr: config.lr, token_horizon: config.tokens}
runs: [{match: "*", batch_tokens: 100}]
""",
    )
    assert found.runs.index.tolist() == ["lr 0.001", "lr 0.002"]
    assert found.runs["peak_lr"].tolist() == [1e-3, 2e-3]
    assert found.runs["total_steps"].tolist() == [64, 64]
    assert found.runs["val_loss"].tolist() == [5 - 64 / 50] * 2


def test_event_files_of_a_restarted_run(tmp_path: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for suffix, steps, add in ((".1", range(12), 1.0), (".2", range(8, 20), 0.0)):
        writer = EventFileWriter(str(tmp_path / "tb/mine"), filename_suffix=suffix)
        for step in steps:
            values = {"loss/train": 3.0 + add, "lr": 0.5**10, "loss/val": 2.0 + add}
            for tag, value in values.items():
                if tag != "loss/val" or step % 4 == 3:
                    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
                    writer.add_event(Event(step=step, wall_time=100.0 + step, summary=summary))
        writer.close()
    found = imported(
        tmp_path,
        """
imports: tensorboard
sources:
  - name: events
    format: tensorboard
    paths: ["tb/**/*tfevents*"]
    run: {kind: directory}
    columns: {step: step, train_loss: loss/train, lr: lr, val_loss: loss/val}
    step_counts: zero_based
""",
    )
    assert found.found("mine") == {"several_files", "restarted"}
    assert found.of("updates", "mine")["train_loss"].tolist() == [4.0] * 8 + [3.0] * 12
    assert found.of("evaluations", "mine")["val_loss"].tolist() == [3.0, 3.0, 2.0, 2.0, 2.0]
    assert found.of("updates", "mine")["lr"].tolist() == [0.5**10] * 20


def test_rows_in_the_order_of_their_times(tmp_path: Path) -> None:
    """A restart is told by the times, though the file is sorted by step."""
    rows = [(step, 9.0, f"2024-05-01 10:00:{step:02d}") for step in range(1, 11)]
    rows += [(step, 3.0, f"2024-05-01T11:00:{step:02d}Z") for step in range(6, 21)]
    frame = pd.DataFrame(sorted(rows), columns=["step", "loss", "when"])
    log(tmp_path / "a.csv", [f"{s};{v};{t}" for s, v, t in frame.itertuples(index=False)], "step;loss;when")
    text = """
imports: times
sources:
  - name: logs
    format: csv
    paths: [a.csv]
    run: {kind: file}
    columns: {step: step, train_loss: loss, val_loss: loss, time: when}
"""
    found = imported(tmp_path, text)
    assert "restarted" in found.found("a")
    assert found.of("updates", "a")["train_loss"].tolist() == [9.0] * 5 + [3.0] * 15
    frame["when"] = pd.to_datetime(frame["when"], format="mixed", utc=True)
    frame.to_parquet(tmp_path / "a.parquet")
    again: Imported = imported(tmp_path, text.replace("csv", "parquet"))
    assert again.of("updates", "a")["train_loss"].tolist() == [9.0] * 5 + [3.0] * 15


def test_places_by_tokens_alone(tmp_path: Path) -> None:
    log(tmp_path / "a.csv", [f"{tokens / 1e9},3.0" for tokens in range(1000, 11_000, 1000)], "tokens,loss")
    found = imported(
        tmp_path,
        """
imports: tokens
sources:
  - name: logs
    format: csv
    paths: [a.csv]
    run: {kind: file}
    columns: {tokens_seen: tokens, val_loss: loss}
    units: {tokens_seen: billions}
runs: [{match: "*", batch_tokens: 100}]
""",
    )
    assert found.of("evaluations", "a")["updates_done"].tolist() == list(range(10, 110, 10))
    assert found.runs.loc["a", ["total_steps", "token_horizon"]].tolist() == [100, 10_000]
