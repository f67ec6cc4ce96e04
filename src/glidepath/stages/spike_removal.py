"""What averaging does to the provoked spikes of a study."""

from __future__ import annotations

import argparse
from pathlib import Path

from glidepath.laws.spike_removal import spike_removal
from glidepath.study import tables
from glidepath.study.spikes_config import SpikesConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--updates", type=Path, required=True)
    parser.add_argument("--averages", type=Path, required=True)
    parser.add_argument("--spikes", required=True, help="section spikes of the study, as canonical JSON")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--excess", type=Path, required=True, help="spike_excess.parquet")
    parser.add_argument("--output", type=Path, required=True, help="spike_removal.parquet")


def main(args: argparse.Namespace) -> None:
    excess, removal = spike_removal(
        tables.read(tables.RUNS, args.runs),
        tables.read(tables.UPDATES, args.updates),
        tables.read(tables.AVERAGES, args.averages),
        SpikesConfig.model_validate_json(args.spikes),
        args.ci_level,
    )
    tables.write(tables.SPIKE_EXCESS, excess, args.excess)
    tables.write(tables.SPIKE_REMOVAL, removal, args.output)
