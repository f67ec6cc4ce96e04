"""Put the laws of a study beside each other by what they missed out of sample."""

from __future__ import annotations

import argparse
from pathlib import Path

from glidepath.laws.comparison import compared
from glidepath.study import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="laws/<law>/scores.parquet of every law")
    parser.add_argument("--output", type=Path, required=True, help="law_comparison.parquet")


def main(args: argparse.Namespace) -> None:
    scores = {path.parent.name: tables.read(tables.LAW_SCORES, path) for path in args.scores}
    tables.write(tables.LAW_COMPARISON, compared(scores), args.output)
