"""Score the prediction of an optimised schedule against the runs that were made of it."""

from __future__ import annotations

import argparse
import json
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
    curves = curves_of(found["runs"], found["updates"], found["evaluations"])
    frame = verified(prediction, curves)
    tables.write(tables.VERIFICATION, frame, args.output)
    sentences = verdict(prediction, frame)
    summary = {"gain_predicted": prediction["gain"], **measured_gain(prediction, frame), "sentences": sentences}
    written(args.output.with_suffix(".json"), summary)
    print("\n".join(sentences))


def verified(prediction: dict[str, Any], curves: Curves) -> pd.DataFrame:
    """`VERIFICATION`: a row per run."""
    rows = []
    for run in curves.runs:
        if run.schedule not in prediction["final"]:
            raise ValueError(
                f"the run {run.cell_id} has the schedule {run.schedule}, predicted were "
                f"{', '.join(prediction['final'])}: give the results of the study written beside it"
            )
        rows.append(_row(prediction, run))
    if not rows:
        reasons = "; ".join(sorted(set(curves.left_out.values()))) or "there is none"
        raise ValueError(f"no run of the optimised schedule can be scored: {reasons}")
    return pd.DataFrame(rows, columns=tables.VERIFICATION.names)


def _row(prediction: dict[str, Any], run: RunCurve) -> dict[str, Any]:
    said = {name: np.nan if value is None else value for name, value in prediction["final"][run.schedule].items()}
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
        "val_loss": loss,
        "error": said["val_loss_predicted"] - loss,
        "in_50": bool(said["low_50"] <= loss <= said["high_50"]),
        "in_90": bool(said["low_90"] <= loss <= said["high_90"]),
        "optimised": run.schedule == NAME,
    }


def measured_gain(prediction: dict[str, Any], frame: pd.DataFrame) -> dict[str, float | int]:
    """The best trained schedule's loss minus the optimised one's, by common replicates."""
    losses = frame.pivot_table(index="replicate", columns="schedule", values="val_loss")
    paired = (losses[prediction["best_trained"]] - losses[NAME]).dropna()
    return {"gain_measured": float(paired.mean()), "n_replicates": len(paired)}


def verdict(prediction: dict[str, Any], frame: pd.DataFrame) -> list[str]:
    """What came of it, in words."""
    own = frame[frame["optimised"]]
    said, gain = prediction["final"][NAME], measured_gain(prediction, frame)
    if said["low_90"] is None:
        interval = "there was no interval, since fewer than two schedules could be hidden"
    else:
        interval = (
            f"{int(own['in_90'].sum())} of {len(own)} runs inside its 90 % interval {said['low_90']:.4f} … "
            f"{said['high_90']:.4f}, {int(own['in_50'].sum())} inside the 50 % interval"
        )
    return [
        f"{prediction['law']} predicted {said['val_loss_predicted']:.4f} nat/token for the optimised schedule, "
        f"measured {own['val_loss'].mean():.4f}, mean of {len(own)}; {interval}",
        f"gain over {prediction['best_trained']}: predicted {prediction['gain']['val_loss']:.4f}, measured "
        f"{gain['gain_measured']:.4f} nat/token, mean over {gain['n_replicates']} common replicates",
    ]
