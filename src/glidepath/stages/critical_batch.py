"""Updates and examples to a loss at every batch, and the critical batch from them, from a study's tables."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from glidepath.laws import critical_batch, steps_to_loss
from glidepath.study import tables
from glidepath.study.batch_sweeps import HORIZON_FREE_KINDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--evaluations", type=Path, required=True)
    parser.add_argument("--averages", type=Path, required=True)
    parser.add_argument("--noise-scale", type=Path, required=True)
    parser.add_argument(
        "--reference-batch", type=int, required=True, help="batch whose learning rate is carried [sequences]"
    )
    parser.add_argument(
        "--sweeps",
        nargs="*",
        help="MODEL:SCHEDULE whose loss along the way does not depend on the horizon in this study; left out: all of a "
        "kind that has none",
    )
    parser.add_argument("--target-losses", type=float, nargs="*", help="[nat/token]; left out: chosen by the rule")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--steps", type=Path, required=True, help="steps_to_loss.parquet")
    parser.add_argument("--output", type=Path, required=True, help="critical_batch.parquet")


def main(args: argparse.Namespace) -> None:
    runs = tables.read(tables.RUNS, args.runs)
    swept = runs if args.sweeps is None else runs[(runs["model"] + ":" + runs["schedule"]).isin(args.sweeps)]
    found = steps_to_loss.steps_to_losses(
        swept,
        tables.read(tables.EVALUATIONS, args.evaluations),
        tables.read(tables.AVERAGES, args.averages),
        args.reference_batch,
        args.target_losses,
    )
    noise_scale = tables.read(tables.NOISE_SCALE, args.noise_scale)
    critical = critical_batch.frame(found, noise_scale, args.reference_batch, args.ci_level)
    _write(tables.STEPS_TO_LOSS, steps_to_loss.frame(found), args.steps)
    _write(tables.CRITICAL_BATCH, critical, args.output)
    told = swept.loc[swept["schedule_kind"].isin(HORIZON_FREE_KINDS), "schedule"]
    left_out = ", ".join(sorted(set(runs["schedule"]) - set(told)))
    if left_out:
        print(f"left out, for too few batches or a loss along the way that depends on the horizon: {left_out}")


def _write(table: tables.Table, frame: pd.DataFrame, path: Path) -> None:
    tables.write(table, frame[table.names] if len(frame) else tables.empty(table), path)
