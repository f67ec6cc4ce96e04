"""How the noise scale of all layers follows that of the norm layers, for several smoothings."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from glidepath.laws.noise_scale_regression import Settings, noise_scale_regression
from glidepath.study import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--statistics", type=Path, required=True, help="gradient_statistics.parquet")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--windows", type=int, required=True, help="windows along each cell's training")
    parser.add_argument("--smoothing-decays", required=True, help="decays of the moving averages, as JSON")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--bootstrap-samples", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="noise_scale_regression.parquet")


def main(args: argparse.Namespace) -> None:
    frame = noise_scale_regression(
        tables.read(tables.GRADIENT_STATISTICS, args.statistics),
        tables.read(tables.RUNS, args.runs),
        Settings(
            args.windows, tuple(json.loads(args.smoothing_decays)), args.ci_level, args.bootstrap_samples, args.seed
        ),
    )
    tables.write(tables.NOISE_SCALE_REGRESSION, frame, args.output)
