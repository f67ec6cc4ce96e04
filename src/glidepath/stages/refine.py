"""The refined schedule of a trained cell, from its gradient norms, as points that a study's schedule can read:

schedules:
  refined: {kind: points, file: schedule.csv, unit: fraction, interpolation: linear}
"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glidepath.science.refinement import Norm, refined_schedule
from glidepath.study import tables

if TYPE_CHECKING:
    import pandas as pd

COLUMN: dict[Norm, str] = {"l1": "grad_norm_l1", "l2": "grad_norm"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, required=True, help="results folder of the study")
    parser.add_argument("--cell", required=True, help="cell_id in runs.parquet; best one with a linear decay")
    parser.add_argument("--norm", required=True, choices=sorted(COLUMN), help="l1 for Adam, l2 for SGD")
    parser.add_argument("--output", type=Path, required=True, help="CSV with the columns position and multiplier")


def main(args: argparse.Namespace) -> None:
    runs = tables.read(tables.RUNS, args.results / "runs.parquet")
    updates = tables.read(tables.UPDATES, args.results / "updates.parquet")
    text = points_csv(runs, updates, args.cell, args.norm)
    partial = args.output.with_name(f".{args.output.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(args.output)


def points_csv(runs: pd.DataFrame, updates: pd.DataFrame, cell_id: str, norm: Norm) -> str:
    """Text of the CSV: position in fractions of the token horizon, multiplier of the peak.

    The theory counts updates, a schedule's points count tokens: where the batch changes, a position is that of the
    update's begin in tokens. Raises ValueError for an unknown cell, one that did not finish, or one without enough
    gradient norms.
    """
    found = runs[runs["cell_id"] == cell_id]
    if found.empty:
        near = difflib.get_close_matches(cell_id, list(runs["cell_id"]), 3, cutoff=0.0)
        raise ValueError(f"--cell {cell_id}: no such cell_id in runs.parquet; the nearest are {', '.join(near)}")
    cell = found.iloc[0]
    if cell["status"] == "diverged":
        raise ValueError(f"--cell {cell_id}: {cell['reason']}; take a cell that finished")
    applied = updates[updates["cell_id"] == cell_id].sort_values("step")
    try:
        schedule = refined_schedule(
            applied["step"].to_numpy(), applied[COLUMN[norm]].to_numpy(np.float64), norm, int(cell["total_steps"])
        )
    except ValueError as refusal:
        raise ValueError(f"--cell {cell_id}, column {COLUMN[norm]} of updates.parquet: {refusal}") from refusal
    begins = (applied["tokens_seen"] - applied["batch_tokens"]).to_numpy() / float(cell["token_horizon"])
    positions = np.interp(
        schedule.fractions * float(cell["total_steps"]),
        [*applied["step"].to_numpy(), float(cell["total_steps"])],
        [*begins, 1.0],
    )
    lines = [
        f"{position:.6f},{multiplier:.6g}" for position, multiplier in zip(positions, schedule.multipliers, strict=True)
    ]
    return "\n".join(["position,multiplier", *lines]) + "\n"
