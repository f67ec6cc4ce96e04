"""`fit`, `predict-curves`, `optimise-schedule` and `verify`: from tables to a scored prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from glidepath.__main__ import main
from glidepath.laws.asked_runs import applied_lr
from glidepath.science.laws.curve import Curve
from glidepath.study import tables
from glidepath.study.cells import cells
from glidepath.study.config import parse_study
from tests.laws import planted_curves
from tests.laws.planted_curves import BATCH_TOKENS, TRUE, lr_of
from tests.study.studies import changed

STEPS = (400, 1200)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a planted study with its fitted law, and its configuration beside them."""
    root = tmp_path_factory.mktemp("study")
    for name, frame in study_tables().items():
        tables.write(getattr(tables, name.upper()), frame, root / f"{name}.parquet")
    (root / "study.yaml").write_text(yaml.safe_dump(configuration()))
    arguments = ["fit", "--law", "annealing", "--results", root, "--ci-level", 0.9, "--bootstrap-samples", 100]
    assert main([str(a) for a in (*arguments, "--seed", 0, "--output-directory", root / "laws/annealing")]) == 0
    return root


def study_tables() -> dict[str, pd.DataFrame]:
    return planted_curves.study(steps=STEPS, schedules=("constant", "linear", "wsd_20", "wsd_50"))


def configuration() -> dict[str, object]:
    """A study whose cells are the planted runs."""
    data = changed()
    n_params = planted_curves.N_PARAMS
    data["models"] = {"tiny": {"depth": 1, "width": 16, "head_width": 8, "context_length": 128}}
    wsd = {"kind": "wsd", "final_lr_fraction": 0.1, "decay_shape": "linear"}
    data["schedules"] = {
        "constant": {"kind": "constant"},
        "linear": {"kind": "linear", "final_lr_fraction": 0.1},
        "wsd_20": wsd | {"decay_fraction": 0.2},
        "wsd_50": wsd | {"decay_fraction": 0.5},
    }
    data["warmup"] = {"steps": planted_curves.WARMUP}
    data["grid"] = [
        {
            "models": ["tiny"],
            "schedules": list(data["schedules"]),
            "peak_lrs": [0.01],
            "tokens_per_parameter": [steps * BATCH_TOKENS / n_params for steps in STEPS],
        }
    ]
    data["analysis"] = {"reference_schedule": "linear"}
    data["target"] = {"model": "tiny", "tokens_per_parameter": 400.0}
    return data


def test_curves_that_were_not_trained_are_predicted(place: Path, tmp_path: Path) -> None:
    output = tmp_path / "curves.parquet"
    given = ["--results", place, "--study", place / "study.yaml", "--output", output]
    assert main([str(a) for a in ("predict-curves", *given)]) == 0
    found = tables.read(tables.CURVE_PREDICTIONS, output)
    assert set(found["holdout"]) == {"not_trained"}
    assert set(found["law"]) == {"annealing"}
    assert found["val_loss"].isna().all()
    assert found["extrapolated"].any()
    assert (found["low_90"] < found["val_loss_predicted"]).all()


def test_the_optimised_schedule_is_predicted_trained_and_scored(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "verify"
    given = ["--results", place, "--study", place / "study.yaml", "--tokens-per-parameter", 40.96, "--output", folder]
    assert main([str(a) for a in ("optimise-schedule", *given)]) == 0
    assert "predicted gain" in capsys.readouterr().out
    prediction = json.loads((folder / "prediction.json").read_text())
    assert prediction["gain"]["val_loss"] > 0
    assert prediction["doubts"], "the annealing law asks for a drop as sudden as it may be"

    trained = parse_study(yaml.safe_load((folder / "study.yaml").read_text()), "study.yaml")
    runs, updates, evaluations = [], [], []
    for cell in cells(trained, "corpus", 320):
        steps = prediction["total_steps"]
        if cell.schedule_name == prediction["best_trained"]:
            lr = lr_of(cell.schedule_name, steps, 0.01)
        else:
            # The planted runs have more updates than the configuration's model would have.
            short = applied_lr(cell)
            lr = np.interp(np.arange(steps) / steps, np.arange(len(short)) / len(short), short)
        curve = Curve(lr=lr, updates_done=np.array([steps]), warmup_steps=planted_curves.WARMUP)
        like = study_tables()["runs"].iloc[0]
        run = like.to_dict() | {"cell_id": cell.cell_id, "schedule": cell.schedule_name, "replicate": cell.replicate}
        runs.append(run | {"total_steps": steps, "schedule_kind": cell.schedule.kind, "segments": ""})
        step = np.arange(steps)
        updates.append(pd.DataFrame({"cell_id": cell.cell_id, "step": step, "lr": lr, "batch_tokens": BATCH_TOKENS}))
        loss = float(TRUE.predict(curve)[0])
        evaluations.append({"cell_id": cell.cell_id, "updates_done": steps, "domain": "text", "val_loss": loss})
    results = tmp_path / "trained"
    frames = {
        tables.RUNS: pd.DataFrame(runs),
        tables.UPDATES: planted_curves.completed(tables.UPDATES, pd.concat(updates, ignore_index=True)),
        tables.EVALUATIONS: planted_curves.completed(
            tables.EVALUATIONS, pd.DataFrame(evaluations).assign(eval_set="subset")
        ),
    }
    for table, frame in frames.items():
        tables.write(table, frame, results / f"{table.name}.parquet")

    output = tmp_path / "verification.parquet"
    scored = ["--prediction", folder / "prediction.json", "--results", results, "--output", output]
    assert main([str(a) for a in ("verify", *scored)]) == 0
    found = tables.read(tables.VERIFICATION, output)
    assert found.groupby("optimised").size().to_dict() == {True: 2, False: 2}
    assert found["in_90"].all()
    assert (found["error"].abs() < 0.02).all()
    verdict = json.loads(output.with_suffix(".json").read_text())
    assert verdict["gain_measured"] == pytest.approx(prediction["gain"]["val_loss"], abs=0.01)
    assert len(verdict["sentences"]) == 2


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--tokens-per-parameter", "1000"], "trained are 40.96, 122.88"),
        (["--model", "huge"], "there are: tiny at 8 sequences"),
        (["--peak-lr", "0.5"], "Choose with"),
    ],
)
def test_what_no_law_was_fitted_to_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str], says: str
) -> None:
    given = ["--results", str(place), "--study", str(place / "study.yaml"), "--output", str(tmp_path / "no"), *option]
    assert main(["optimise-schedule", *given]) == 2
    assert says in capsys.readouterr().err


def test_a_study_without_a_law_of_curves_says_what_to_do(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--results", str(tmp_path), "--study", str(place / "study.yaml"), "--output", str(tmp_path / "no")]
    assert main(["optimise-schedule", *given]) == 2
    assert "to analysis.laws" in capsys.readouterr().err


@pytest.mark.parametrize("replicates_left", [1, 0])
def test_a_diverged_run_of_the_optimised_schedule_counts_as_outside(
    tmp_path: Path, replicates_left: int, capsys: pytest.CaptureFixture[str]
) -> None:
    band = {"low_50": 1.0, "high_50": 9.0, "low_90": 1.0, "high_90": 9.0}
    final = {name: {"val_loss_predicted": 3.0} | band for name in ("optimised", "linear")}
    gain = {"val_loss": 0.1}
    (tmp_path / "prediction.json").write_text(
        json.dumps({"law": "annealing", "final": final, "best_trained": "linear", "total_steps": 400, "gain": gain})
    )
    trained = planted_curves.study(steps=(400,), schedules=("linear", "wsd_50"))
    runs = trained["runs"].replace({"schedule": {"wsd_50": "optimised"}})
    lost = (runs["schedule"] == "optimised") & (runs["replicate"] >= replicates_left)
    trained["runs"] = runs.assign(status=runs["status"].mask(lost, "diverged"))
    for name, frame in trained.items():
        tables.write(getattr(tables, name.upper()), frame, tmp_path / f"{name}.parquet")
    output = tmp_path / "verification.parquet"
    given = ["--prediction", tmp_path / "prediction.json", "--results", tmp_path, "--output", output]
    assert main([str(a) for a in ("verify", *given)]) == 0
    found = tables.read(tables.VERIFICATION, output)
    own = found[found["optimised"]]
    assert own["status"].tolist().count("diverged") == 2 - replicates_left
    assert own["in_90"].sum() == replicates_left
    said = capsys.readouterr().out
    assert f"{replicates_left} of 2 runs inside its 90 % interval" in said
    assert f"{2 - replicates_left} of 2 runs of the optimised schedule diverged" in said
    verdict = json.loads(output.with_suffix(".json").read_text())
    assert len(verdict["left_out"]) == 2 - replicates_left
    assert verdict["n_replicates"] == replicates_left


def test_curves_of_an_import_are_predicted_for_the_schedules_it_names(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"name": "logs", "format": "csv", "paths": ["none.csv"], "run": {"kind": "columns", "columns": ["run"]}}
    config: dict[str, Any] = {
        "imports": "others",
        "sources": [source | {"columns": {"step": "step", "val_loss": "loss"}}],
    }
    given = ["predict-curves", "--results", str(place), "--output", str(tmp_path / "curves.parquet"), "--study"]
    assert main([*given, json.dumps(config)]) == 2
    assert "schedules has no entry" in capsys.readouterr().err
    config["schedules"] = {
        "wsd_80": {"kind": "wsd", "decay_fraction": 0.8, "decay_shape": "linear", "final_lr_fraction": 0.1}
    }
    assert main([*given, json.dumps(config)]) == 0
    found = tables.read(tables.CURVE_PREDICTIONS, tmp_path / "curves.parquet")
    assert found.groupby("schedule")["total_steps"].unique().map(list).to_dict() == {"wsd_80": list(STEPS)}
    last = found[found["updates_done"] == max(STEPS)]
    curve = Curve(
        lr=lr_of("wsd_80", max(STEPS), 0.01), updates_done=np.array([max(STEPS)]), warmup_steps=planted_curves.WARMUP
    )
    assert float(last["val_loss_predicted"].iloc[0]) == pytest.approx(float(TRUE.predict(curve)[0]), rel=0.01)
