"""What is guessed of logs as they are found, through the command: the configuration that it writes imports them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from glidepath.__main__ import main
from tests.stages.test_import_runs import Imported, imported


@pytest.fixture
def inspected(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a log, inspects it, and returns the guessed source with what it imports."""
    monkeypatch.chdir(tmp_path)

    def inspect(name: str, text: str) -> tuple[dict[str, Any], Imported]:
        Path(name).write_text(text, encoding="utf-8")
        assert main(["inspect-log", name]) == 0
        out = capsys.readouterr().out
        config = out[out.index("imports:") :]
        return yaml.safe_load(config)["sources"][0], imported(tmp_path, config)

    return inspect


def test_histories_with_a_configuration_each(inspected: Any) -> None:
    runs = [
        {
            "name": f"run{i}",
            "config": {"lr": 1e-3 * i, "n_params": 1000, "scheduler": "wsd", "batch_size": 8, "seq_len": 16},
            "history": [{"_step": step, "train/loss": 4.0, "val/loss": 3.0 + i, "lr": 1e-3} for step in range(3)],
        }
        for i in (1, 2)
    ]
    source, found = inspected("export.json", json.dumps(runs))
    assert (source["format"], source["records"], source["run"]["columns"]) == ("wandb", "history", ["name"])
    assert found.runs["val_loss"].to_dict() == {"run1": 4.0, "run2": 5.0}
    assert found.runs["peak_lr"].tolist() == [1e-3, 2e-3]
    assert (found.runs["batch_tokens"] == 128).all()
    assert (found.runs["n_params_counted"] == 1000).all()


def test_lines_of_nanogpt(inspected: Any) -> None:
    lines = ["number of parameters: 1.50M"]
    for step in range(0, 41, 10):
        lines += [f"step {step}: train loss 9.0, val loss {3 + step / 100:.2f}"] if step % 20 == 0 else []
        lines += [f"iter {step}: loss {4 + step / 100:.4f}, time 300.12ms, mfu 40.00%"]
    source, found = inspected("gpt.txt", "\n".join(lines))
    assert source["step_counts"] == "zero_based_evaluated_before"
    evaluated = found.of("evaluations", "gpt").set_index("updates_done")["val_loss"].to_dict()
    assert evaluated == {0: 3.0, 20: 3.2, 40: 3.4}
    trained = found.of("updates", "gpt").set_index("step")["train_loss"].dropna().to_dict()
    assert trained == {0: 4.0, 10: 4.1, 20: 4.2, 30: 4.3, 40: 4.4}
    assert found.runs.loc["gpt", "n_params_total"] == 1_500_000


def test_lines_of_llm_c(inspected: Any) -> None:
    lines = []
    for step in range(5):
        lines += [f"s:{step} tel:{3 + step / 100:.4f}"] if step % 2 == 0 else []
        lines += [f"s:{step} trl:{4 + step / 100:.4f} lr:{(step + 1) * 1e-4:.6f} norm:1.25"]
    source, found = inspected("main.log", "\n".join(lines))
    assert source["step_counts"] == "zero_based_evaluated_before"
    evaluated = found.of("evaluations", "main").set_index("updates_done")["val_loss"].to_dict()
    assert evaluated == {0: 3.0, 2: 3.02, 4: 3.04}
    trained = found.of("updates", "main").set_index("step")
    assert trained["train_loss"].to_dict() == {0: 4.0, 1: 4.01, 2: 4.02, 3: 4.03, 4: 4.04}
    assert trained["lr"].tolist() == pytest.approx([1e-4, 2e-4, 3e-4, 4e-4, 5e-4])


def test_a_validation_loss_in_lines_of_ones_own(inspected: Any) -> None:
    """Beside the code and the long lines that such a log begins with, with a training loss in front or without, and at
    last without a number: what stands behind it is none of the loss's."""
    settings = "step 1 train_loss is not logged, " * 1000
    lines = ["val_loss = evaluate(model)", settings, "step:0/20 val_loss:9.5 train_time:0ms"]
    lines += [f"step:{step}/20 train_time:{step}ms" for step in range(1, 10)]
    lines += ["step:10/20 train_loss:4.5 val_loss:4.0", "step:20/20 val_loss:3.5 step_avg:80.4ms"]
    lines += ["step:30/20 val_loss:nan step_avg:80.4ms"]
    _, found = inspected("run.txt", "\n".join(lines))
    evaluated = found.of("evaluations", "run").set_index("updates_done")["val_loss"].dropna().to_dict()
    assert evaluated == {0: 9.5, 10: 4.0, 20: 3.5}
    assert found.runs.loc["run", "status"] == "diverged"
    assert found.of("updates", "run").set_index("step")["train_loss"].dropna().to_dict() == {9: 4.5}


def test_the_state_of_hugging_faces_trainer(inspected: Any) -> None:
    history: list[dict[str, float]] = []
    for step in (10, 20, 30):
        history += [{"epoch": 0.1, "learning_rate": 1e-3 / step, "loss": 4.0 - step / 100, "step": step}]
        history += [{"epoch": 0.1, "eval_loss": 3.0 - step / 100, "step": step}]
    state = {"best_metric": None, "global_step": 30, "log_history": history, "max_steps": 30}
    source, found = inspected("trainer_state.json", json.dumps(state))
    assert (source["records"], source["rows"], source["columns"]["step"]) == ("log_history", "points", "step")
    evaluated = found.of("evaluations", "trainer_state").set_index("updates_done")["val_loss"].to_dict()
    assert evaluated == {10: 2.9, 20: 2.8, 30: 2.7}


def test_a_file_per_finished_run_with_its_settings_in_it(inspected: Any) -> None:
    run = {
        "name": "d=96-1.0",
        "hyperparameters": {"tokens": 2e8, "lr": 3e-3, "global_bs": 64, "params": 1e7, "params_no_embed": 6e6},
        "results": [{"loss": 4.5, "val_data": ["c4"]}],
    }
    source, found = inspected("d96.json", json.dumps(run))
    assert (source["rows"], source["records"]) == ("runs", "results")
    (row,) = found.runs.to_dict("records")
    assert (row["val_loss"], row["token_horizon"], row["peak_lr"]) == (4.5, 2e8, 3e-3)
    assert (row["n_params_total"], row["n_params_non_embedding"], row["batch_sequences"]) == (1e7, 6e6, 64)


def test_points_of_several_models_in_one_table(inspected: Any) -> None:
    rows = [f"{w},8,{w * 100},{t}0,{3 + 1 / t}" for w in (16, 32) for t in range(1, 6)]
    source, found = inspected("models.csv", "\n".join(["width,depth,params,step,val_loss", *rows]))
    assert (source["rows"], source["run"]) == ("points", {"kind": "columns", "columns": ["params"]})
    assert source["columns"]["n_params_total"] == "params"
    assert source["columns"]["d_model"] == "width"
    assert found.runs["val_loss"].tolist() == [3.2, 3.2]


def test_finished_runs_in_bits_per_byte(inspected: Any) -> None:
    rows = [f"{c}e15,{n}000,{c * 10 // n},{c * 1000 // n}e3,{1 + 1 / c}" for c in (20, 40, 80) for n in (1, 2, 4)]
    header = "flops_budget,num_scaling_params,num_iterations,tokens_trained,val_bpb"
    source, found = inspected("results.csv", "\n".join([header, *rows]))
    assert (source["rows"], source["units"], source["bytes_per_token"]) == ("runs", {"val_loss": "bit_per_byte"}, 4.5)
    assert len(found.runs) == 9
    assert found.runs["token_horizon"].iloc[0] == 20_000_000
    assert found.runs["n_params_non_embedding"].tolist()[:3] == [1000, 2000, 4000]


def test_decimal_commas_are_seen(inspected: Any) -> None:
    rows = [f"r{i};{step};3,{step}" for i in (1, 2) for step in range(10, 60, 10)]
    source, found = inspected("de.csv", "\n".join(["run;step;val_loss", *rows]))
    assert source["decimal"] == ","
    assert found.runs["val_loss"].to_dict() == {"r1": 3.5, "r2": 3.5}
