"""Where large learning rates lead: regimes of constant learning rates, and the optimum against the threshold."""

from __future__ import annotations

import argparse
from pathlib import Path

from glidepath.laws.large_lr import large_lr, regimes
from glidepath.study import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--updates", type=Path, required=True)
    parser.add_argument("--averages", type=Path, required=True)
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--bootstrap-samples", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--regimes", type=Path, required=True, help="regimes.parquet")
    parser.add_argument("--output", type=Path, required=True, help="large_lr.parquet")


def main(args: argparse.Namespace) -> None:
    found = regimes(
        tables.read(tables.RUNS, args.runs),
        tables.read(tables.UPDATES, args.updates),
        tables.read(tables.AVERAGES, args.averages),
        args.ci_level,
    )
    tables.write(tables.REGIMES, found, args.regimes)
    tables.write(tables.LARGE_LR, large_lr(found, args.ci_level, args.bootstrap_samples, args.seed), args.output)
