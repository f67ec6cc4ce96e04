"""Gather losses by position of all segments into the study's table, along each cell's chain."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from glidepath.study import tables
from glidepath.study.averaging_config import SnapshotGrid
from glidepath.study.positions import chain_of_positions
from glidepath.study.temporal_config import TemporalConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, required=True, help="plan.parquet")
    parser.add_argument("--temporal", required=True, help="section temporal of the study as JSON")
    parser.add_argument("--snapshots", required=True, help="section averaging.snapshots of the study as JSON")
    parser.add_argument("--store", type=Path, default=Path("store/position_losses"), help="where the segments' are")
    parser.add_argument("--output", type=Path, required=True, help="position_losses.parquet")


def main(args: argparse.Namespace) -> None:
    plan = tables.read(tables.PLAN, args.plan)
    temporal = TemporalConfig.model_validate_json(args.temporal)
    grid = SnapshotGrid.model_validate_json(args.snapshots)
    of_segment = tables.of_segment(tables.POSITION_LOSSES)
    with tables.writer(tables.POSITION_LOSSES, args.output) as append:
        for _, cell in plan[plan["schedule"].isin(temporal.schedules)].iterrows():
            ends = [int(end) for end in str(cell["segment_ends"]).split()]
            chain = chain_of_positions(str(cell["segments"]).split(), ends, grid, temporal.points_per_octave)
            found = [tables.read(of_segment, args.store / spec.position_id / "losses.parquet") for spec in chain]
            append(pd.concat(found).assign(cell_id=cell["cell_id"]))
