"""Fit one law to the study's final losses."""

from __future__ import annotations

import argparse
from pathlib import Path

from glidepath.laws import loss_horizon, loss_size_horizon, lr_horizon, lr_optimum, lr_transfer
from glidepath.laws.law import Settings
from glidepath.study import tables
from glidepath.study.final_losses import final_losses

LAWS = {
    module.__name__.rsplit(".", 1)[1]: module
    for module in (lr_optimum, lr_horizon, loss_horizon, loss_size_horizon, lr_transfer)
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--law", choices=sorted(LAWS), required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--block-losses", type=Path, required=True)
    parser.add_argument("--reference-schedule", required=True, help="schedule that savings are measured against")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--bootstrap-samples", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output-directory", type=Path, required=True)


def main(args: argparse.Namespace) -> None:
    runs, block_losses = tables.read(tables.RUNS, args.runs), tables.read(tables.BLOCK_LOSSES, args.block_losses)
    losses = final_losses(runs, block_losses)
    declared = (runs["holdout"] & (runs["status"] == "completed")).any()
    hidden = final_losses(runs, block_losses, holdout=True) if declared else None
    settings = Settings(args.reference_schedule, args.ci_level, args.bootstrap_samples, args.seed)
    law = LAWS[args.law].fit(losses, settings, hidden)
    for table, frame in law.frames().items():
        tables.write(table, frame, args.output_directory / f"{table.name}.parquet")
