"""Fit one law to a study's tables, or to those of imported runs."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from glidepath.laws.law import Settings
from glidepath.stages.figure import read_tables
from glidepath.study import tables
from glidepath.study.final_losses import final_losses, open_to_fits
from glidepath.study.law_list import FINAL_LOSSES, LAW_TABLES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--law", choices=sorted(LAW_TABLES), required=True)
    parser.add_argument("--results", type=Path, required=True, help="results folder with the tables that the law reads")
    parser.add_argument("--reference-schedule", default="", help="schedule that savings are measured against")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--bootstrap-samples", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output-directory", type=Path, required=True)


def main(args: argparse.Namespace) -> None:
    """A law of final losses is a module with `fit(losses, settings, hidden)`; any other has `fit(tables, settings)`,
    with the tables that `study.law_list` names."""
    settings = Settings(args.reference_schedule, args.ci_level, args.bootstrap_samples, args.seed)
    found = read_tables(LAW_TABLES[args.law], args.results)
    law = importlib.import_module(f"glidepath.laws.{args.law}")
    if LAW_TABLES[args.law] == FINAL_LOSSES:
        runs, block_losses = found["runs"], found["block_losses"]
        losses = final_losses(runs, block_losses)
        # A learning rate whose only hidden runs lost a replicate hides nothing.
        declared = len(open_to_fits(runs, holdout=True)) > 0
        fitted = law.fit(losses, settings, final_losses(runs, block_losses, holdout=True) if declared else None)
    else:
        fitted = law.fit(found, settings)
    for table, frame in fitted.frames().items():
        tables.write(table, frame, args.output_directory / f"{table.name}.parquet")
