"""What batch paths save against a fixed batch at equal loss, from a study's tables."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.batch_saving import LossCurve, Speed, fit_speed, savings
from glidepath.study import tables
from glidepath.study.final_losses import FinalLosses, final_losses, open_to_fits, replicated_peak_lrs

WHERE = ["model", "tokens_per_parameter", "batch_sequences"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--updates", type=Path, required=True)
    parser.add_argument("--evaluations", type=Path, required=True)
    parser.add_argument("--block-losses", type=Path, required=True)
    parser.add_argument(
        "--pairs", nargs="+", required=True, metavar="PATH=FIXED", help="names of schedules that differ in batch only"
    )
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True, help="batch_saving.parquet")


def main(args: argparse.Namespace) -> None:
    runs = tables.read(tables.RUNS, args.runs)
    pairs = [tuple(pair.split("=")) for pair in args.pairs]
    named = runs["schedule"].isin([name for pair in pairs for name in pair])
    cells = set(runs.loc[named, "cell_id"])
    updates, evaluations = (
        frame[frame["cell_id"].isin(cells)]
        for frame in (tables.read(tables.UPDATES, args.updates), tables.read(tables.EVALUATIONS, args.evaluations))
    )
    open_runs = open_to_fits(runs)
    rows = []
    # Without an open cell there are no final losses to be had, and no pair either.
    if len(open_runs):
        losses = final_losses(runs, tables.read(tables.BLOCK_LOSSES, args.block_losses))
        rows = [
            found
            for path, fixed in pairs
            for both in _pairs(open_runs, losses, path, fixed)
            for found in _rows(both, open_runs, updates, evaluations, losses, args.ci_level)
        ]
    frame = pd.concat(rows)[tables.BATCH_SAVING.names] if rows else tables.empty(tables.BATCH_SAVING)
    tables.write(tables.BATCH_SAVING, frame, args.output)


@dataclass(frozen=True)
class Both:
    """Cells of a path and of its fixed schedule, their replicates in common at equal places."""

    lr_choice: str
    path: pd.DataFrame
    fixed: pd.DataFrame
    edge_of_grid: bool


def _pairs(runs: pd.DataFrame, losses: FinalLosses, path: str, fixed: str) -> Iterator[Both]:
    """At every model, horizon and batch: both at each peak learning rate, and each at its own best one."""
    for _, here in runs[runs["schedule"].isin([path, fixed])].groupby(WHERE, sort=False):
        mine, theirs = (here[here["schedule"] == name] for name in (path, fixed))
        for peak_lr in sorted(set(mine["peak_lr"]) & set(theirs["peak_lr"])):
            yield from _both("equal", mine, theirs, (peak_lr, peak_lr), edge_of_grid=False)
        if common := set(mine["replicate"]) & set(theirs["replicate"]):
            best = [_best_lr(cells, common, losses) for cells in (mine, theirs)]
            edge = best[0].edge_of_grid or best[1].edge_of_grid
            yield from _both("best", mine, theirs, (best[0].peak_lr, best[1].peak_lr), edge_of_grid=edge)


@dataclass(frozen=True)
class BestLr:
    """Where a schedule is best, among the peak learning rates with all replicates."""

    peak_lr: float
    edge_of_grid: bool
    """The lowest or highest tried, or not as good as one with fewer replicates: the best may be elsewhere."""


def _best_lr(cells: pd.DataFrame, replicates: set[int], losses: FinalLosses) -> BestLr:
    """By final losses adjusted for which replicates there are (`FinalLosses.points`); cells of one sweep.

    A learning rate with fewer of the replicates is not chosen: its saving would be that of a lucky seed.
    """
    points = losses.points
    sweep = points[(points[[*WHERE, "schedule"]] == cells[[*WHERE, "schedule"]].iloc[0]).all(axis=1)]
    means = sweep.set_index("peak_lr")["val_loss"].sort_index()
    peak_lr = min(replicated_peak_lrs(cells, replicates), key=lambda lr: float(means[lr]))
    edge = peak_lr in (means.index[0], means.index[-1]) or float(means.min()) < float(means[peak_lr])
    return BestLr(peak_lr, edge)


def _both(
    lr_choice: str, mine: pd.DataFrame, theirs: pd.DataFrame, peak_lrs: tuple[float, float], *, edge_of_grid: bool
) -> Iterator[Both]:
    """The pair, if the two have a replicate in common."""
    path, fixed = (
        cells[cells["peak_lr"] == lr].set_index("replicate", drop=False)
        for cells, lr in zip((mine, theirs), peak_lrs, strict=True)
    )
    common = sorted(set(path.index) & set(fixed.index))
    if common:
        yield Both(lr_choice, path.loc[common], fixed.loc[common], edge_of_grid)


def _rows(
    both: Both,
    runs: pd.DataFrame,
    updates: pd.DataFrame,
    evaluations: pd.DataFrame,
    losses: FinalLosses,
    ci_level: float,
) -> Iterator[pd.DataFrame]:
    """Of one pair, unless one of its cells was evaluated at its end only."""
    curves = [[_curve(cell, updates, evaluations) for _, cell in side.iterrows()] for side in (both.path, both.fixed)]
    if min(len(curve.tokens_seen) for side in curves for curve in side) < 2:
        print(f"left out: {both.path['cell_id'].iloc[0]} or its pair was evaluated at its end only")
        return
    path, fixed = both.path.iloc[0], both.fixed.iloc[0]
    found = savings(curves[0], curves[1], _speed(runs, fixed), ci_level)
    difference = losses.difference(_point(losses, path), _point(losses, fixed), ci_level)
    end = found["at"] == "end"
    yield found.assign(
        schedule=path["schedule"],
        fixed_schedule=fixed["schedule"],
        **{name: path[name] for name in WHERE},
        lr_choice=both.lr_choice,
        peak_lr=path["peak_lr"],
        fixed_peak_lr=fixed["peak_lr"],
        edge_of_grid=both.edge_of_grid,
        loss_difference=np.where(end, difference.difference, np.nan),
        loss_difference_se=np.where(end, difference.standard_error, np.nan),
        loss_difference_low=np.where(end, difference.ci_low, np.nan),
        loss_difference_high=np.where(end, difference.ci_high, np.nan),
        ci_level=ci_level,
    )


def _curve(cell: pd.Series[Any], updates: pd.DataFrame, evaluations: pd.DataFrame) -> LossCurve:
    rows = evaluations[evaluations["cell_id"] == cell["cell_id"]]
    rows = rows[rows["domain"] == rows["domain"].iloc[0]]
    along = rows[rows["eval_set"] == "subset"].sort_values("tokens_seen")
    applied = updates[updates["cell_id"] == cell["cell_id"]].sort_values("step")
    return LossCurve(
        tokens_seen=along["tokens_seen"].to_numpy(np.int64),
        losses=along["val_loss"].to_numpy(np.float64),
        final_loss=float(cell["val_loss"]),
        tokens_of_updates=applied["tokens_seen"].to_numpy(np.int64),
    )


def _speed(runs: pd.DataFrame, cell: pd.Series[Any]) -> Speed | None:
    """From the cells of that model and batch, at the speed of their updates without a probe; None if it is unknown."""
    alike = runs[
        (runs[["model", "batch_sequences", "device"]] == cell[["model", "batch_sequences", "device"]]).all(axis=1)
    ]
    alike = alike[alike["tokens_per_second"].fillna(0.0) > 0.0]
    if alike.empty:
        return None
    seconds = alike["token_horizon"] / alike["tokens_per_second"]
    return fit_speed(alike["total_steps"], alike["token_horizon"], seconds)


def _point(losses: FinalLosses, cell: pd.Series[Any]) -> int:
    names = [*WHERE, "schedule", "peak_lr"]
    return int(np.flatnonzero((losses.points[names] == cell[names]).all(axis=1))[0])
