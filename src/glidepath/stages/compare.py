"""Every schedule against the reference (`laws.schedule_comparison`): a table."""

from __future__ import annotations

import argparse
from pathlib import Path

from glidepath.laws.schedule_comparison import comparisons
from glidepath.study import tables
from glidepath.study.final_losses import final_losses


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--block-losses", type=Path, required=True)
    parser.add_argument("--reference-schedule", required=True, help="schedule the others are compared with")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True, help="comparisons.parquet")


def main(args: argparse.Namespace) -> None:
    losses = final_losses(tables.read(tables.RUNS, args.runs), tables.read(tables.BLOCK_LOSSES, args.block_losses))
    frame = comparisons(losses, args.reference_schedule, args.ci_level)
    tables.write(tables.COMPARISONS, frame, args.output)
