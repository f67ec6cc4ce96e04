"""Score the prediction of an optimised schedule against the runs that were made of it."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.curves import Curves, RunCurve, curves_of
from glidepath.stages.optimise_schedule import NAME
from glidepath.stages.predict_curves import read_tables_of, written
from glidepath.study import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prediction", type=Path, required=True, help="prediction.json of optimise-schedule")
    parser.add_argument("--results", type=Path, required=True, help="results folder of the study that trained it")
    parser.add_argument("--output", type=Path, required=True, help="verification.parquet; verification.json beside it")


def main(args: argparse.Namespace) -> None:
    """Raises ValueError for runs of other schedules than were predicted."""
    prediction = json.loads(args.prediction.read_text(encoding="utf-8"))
    found = read_tables_of(args.results)
    curves = curves_of(found)
    frame = verified(prediction, curves, found["runs"])
    tables.write(tables.VERIFICATION, frame, args.output)
    sentences = verdict(prediction, frame)
    gain = {name: None if math.isnan(x) else x for name, x in measured_gain(prediction, frame).items()}
    left_out = [{"run": cell_id, "reason": reason} for cell_id, reason in sorted(curves.left_out.items())]
    summary = {"gain_predicted": prediction["gain"], **gain, "left_out": left_out, "sentences": sentences}
    written(args.output.with_suffix(".json"), summary)
    print("\n".join(sentences))


def verified(prediction: dict[str, Any], curves: Curves, runs: pd.DataFrame) -> pd.DataFrame:
    """`VERIFICATION`: a row per run; what diverged or was excluded has no loss and is outside every interval."""
    lost = runs[runs["status"] != "completed"]
    for cell_id, schedule in [
        *((run.cell_id, run.schedule) for run in curves.runs),
        *zip(lost["cell_id"], lost["schedule"], strict=True),
    ]:
        if schedule not in prediction["final"]:
            raise ValueError(
                f"the run {cell_id} has the schedule {schedule}, predicted were "
                f"{', '.join(prediction['final'])}: give the results of the study written beside it"
            )
    rows = [_row(prediction, run) for run in curves.runs]
    rows += [_lost(prediction, cell) for cell in lost.to_dict("records")]
    if not rows:
        reasons = "; ".join(sorted(set(curves.left_out.values()))) or "there is none"
        raise ValueError(f"no run of the optimised schedule can be scored: {reasons}")
    return pd.DataFrame(rows, columns=tables.VERIFICATION.names)


def _said(prediction: dict[str, Any], schedule: str) -> dict[str, Any]:
    return {name: np.nan if value is None else value for name, value in prediction["final"][schedule].items()}


def _lost(prediction: dict[str, Any], cell: dict[Any, Any]) -> dict[str, Any]:
    same = ("schedule", "model", "batch_sequences", "peak_lr", "tokens_per_parameter", "replicate")
    return {
        "law": prediction["law"],
        **{name: cell[name] for name in same},
        **_said(prediction, cell["schedule"]),
        "status": cell["status"],
        "val_loss": np.nan,
        "error": np.nan,
        "in_50": False,
        "in_90": False,
        "optimised": cell["schedule"] == NAME,
    }


def _row(prediction: dict[str, Any], run: RunCurve) -> dict[str, Any]:
    said = _said(prediction, run.schedule)
    assert run.curve.losses is not None
    if run.curve.updates_done[-1] != run.total_steps or run.total_steps != prediction["total_steps"]:
        raise ValueError(
            f"the run {run.cell_id} ends after {run.total_steps} updates, last evaluated after "
            f"{run.curve.updates_done[-1]}, predicted was the loss after {prediction['total_steps']}: train the study "
            "that was written beside it"
        )
    loss = float(run.curve.losses[-1])
    return {
        "law": prediction["law"],
        "schedule": run.schedule,
        "model": run.model,
        "batch_sequences": run.batch_sequences,
        "peak_lr": run.peak_lr,
        "tokens_per_parameter": run.tokens_per_parameter,
        "replicate": run.replicate,
        **said,
        "status": "completed",
        "val_loss": loss,
        "error": said["val_loss_predicted"] - loss,
        "in_50": bool(said["low_50"] <= loss <= said["high_50"]),
        "in_90": bool(said["low_90"] <= loss <= said["high_90"]),
        "optimised": run.schedule == NAME,
    }


def measured_gain(prediction: dict[str, Any], frame: pd.DataFrame) -> dict[str, float | int]:
    """The best trained schedule's loss minus the optimised one's, by common replicates that completed; NaN for
    none."""
    losses = {
        name: frame[frame["schedule"] == name].groupby("replicate")["val_loss"].mean()
        for name in (prediction["best_trained"], NAME)
    }
    paired = (losses[prediction["best_trained"]] - losses[NAME]).dropna()
    return {"gain_measured": float(paired.mean()), "n_replicates": len(paired)}


def verdict(prediction: dict[str, Any], frame: pd.DataFrame) -> list[str]:
    """What came of it, in words."""
    own = frame[frame["optimised"]]
    said, gain = prediction["final"][NAME], measured_gain(prediction, frame)
    completed = own[own["status"] == "completed"]
    lost = len(own) - len(completed)
    if said["low_90"] is None:
        interval = "there was no interval, since fewer than two schedules could be hidden"
    else:
        interval = (
            f"{int(own['in_90'].sum())} of {len(own)} runs inside its 90 % interval {said['low_90']:.4f} … "
            f"{said['high_90']:.4f}, {int(own['in_50'].sum())} inside the 50 % interval"
        )
    measured = (
        f"measured {completed['val_loss'].mean():.4f}, mean of {len(completed)}" if len(completed) else "none measured"
    )
    measured_saving = (
        f"measured {gain['gain_measured']:.4f} nat/token, mean over {gain['n_replicates']} common replicates"
        if gain["n_replicates"]
        else "not measured: no replicate has both"
    )
    return [
        f"{prediction['law']} predicted {said['val_loss_predicted']:.4f} nat/token for the optimised schedule, "
        f"{measured}; {interval}",
        f"gain over {prediction['best_trained']}: predicted {prediction['gain']['val_loss']:.4f}, {measured_saving}",
        *([f"{lost} of {len(own)} runs of the optimised schedule diverged or were excluded"] if lost else []),
    ]
