"""How much longer raw weights train until they are as good as their averages are now, for every averaged trajectory."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd

from glidepath.laws.steps_saved import Trajectory, steps_saved
from glidepath.stages.average_records import CellPoints, cell_points
from glidepath.study import tables
from glidepath.study.averaging_config import RAW
from glidepath.study.final_losses import open_to_fits

TRAJECTORY = ["model", "schedule", "peak_lr", "batch_sequences"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--store", type=Path, default=Path("store/averages"), help="where the segments' averages are")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True, help="steps_saved.parquet")


def main(args: argparse.Namespace) -> None:
    frame = steps_saved_frame(tables.read(tables.RUNS, args.runs), args.store, args.ci_level)
    tables.write(tables.STEPS_SAVED, frame, args.output)


def steps_saved_frame(runs: pd.DataFrame, store: Path, ci_level: float) -> pd.DataFrame:
    """The table: a row per trajectory, average and point."""
    groups = list(replicates_of_trajectories(runs))
    trajectories = [trajectory([cell_points(str(names), store) for names in cells["averages"]]) for cells in groups]
    found = [
        rows.assign(
            **{name: cells[name].iloc[0] for name in TRAJECTORY},
            flops_saved=rows["tokens_saved"]
            * float(cells["train_flops_exact"].iloc[0] / cells["token_horizon"].iloc[0]),
            hours_saved=rows["tokens_saved"] / float(cells["tokens_per_second"].mean()) / 3600.0,
        )
        for cells, rows in zip(groups, steps_saved(trajectories, ci_level), strict=True)
        if len(rows)
    ]
    return pd.concat(found)[tables.STEPS_SAVED.names] if found else tables.empty(tables.STEPS_SAVED)


def replicates_of_trajectories(runs: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The cells of every trajectory, which differ in their replicate: open to fits, averaged, the longest horizon."""
    open_runs = open_to_fits(runs)
    for _, cells in open_runs[open_runs["averages"] != ""].groupby(TRAJECTORY, sort=False):
        longest = cells[cells["token_horizon"] == cells["token_horizon"].max()]
        yield longest.drop_duplicates("replicate")


def trajectory(replicates: list[CellPoints]) -> Trajectory:
    """Losses of the first domain at the points that all replicates have."""
    frames = [points.losses for points in replicates]
    domain = str(frames[0]["domain"].iloc[0])
    common = reduce(np.intersect1d, (frame["updates_done"].unique() for frame in frames))
    updates = [int(point) for point in common]
    at = frames[0].drop_duplicates("updates_done").set_index("updates_done")["tokens_seen"]
    names = [str(name) for name in frames[0]["average"].unique() if name != RAW]
    raw = np.array([[points.raw(point, domain) for point in updates] for points in replicates])
    return Trajectory(
        updates_done=np.array(updates, dtype=np.int64),
        tokens_seen=at.loc[updates].to_numpy(np.int64),
        raw=raw,
        averaged={name: _averaged(replicates, updates, name, domain, raw.shape) for name in names},
    )


def _averaged(
    replicates: list[CellPoints], updates: list[int], name: str, domain: str, shape: tuple[int, ...]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Block losses of one average [replicates, points, blocks], NaN where it is not defined."""
    found = np.full(shape, np.nan)
    for i, points in enumerate(replicates):
        here = points.losses[(points.losses["average"] == name) & (points.losses["domain"] == domain)]
        defined = set(here["updates_done"])
        for j, point in enumerate(updates):
            if point in defined:
                found[i, j] = points.blocks(point, name, domain)
    return found
