"""Say what a cooldown from a point of a constant trunk would come to, and how far to trust it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.cooldown_oracle import AVERAGED, MEAN_DROP, ORACLE
from glidepath.laws.cooldown_predictions import TRUNK, Oracle, better_predictor, calibrated, cooldowns, scores
from glidepath.stages.results import read_result
from glidepath.study import tables

NAMES = {ORACLE: "this prediction", AVERAGED: "the averaged loss alone", MEAN_DROP: "the raw loss less the mean drop"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, required=True, help="results folder of the study")
    parser.add_argument("--cell", required=True, help="cell_id of a constant cell whose snapshots are averaged")
    parser.add_argument("--updates", type=int, help="updates before the cooldown; without it, the cell's last point")
    parser.add_argument("--decay-fraction", type=float, required=True, help="cooldown over the whole training")
    parser.add_argument("--decay-shape", required=True, help="shape of a wsd schedule of the study")
    parser.add_argument("--final-lr-fraction", type=float, default=0.0, help="where it ends, over the peak")
    parser.add_argument("--ci-level", type=float, default=0.9)


def main(args: argparse.Namespace) -> int:
    """Prints the answer; 1 when it is refused. Raises ValueError for what the study does not have."""
    runs, rows = (read_result(table, args.results) for table in (tables.RUNS, tables.COOLDOWN_ORACLE))
    if not 0.0 < args.decay_fraction < 1.0 or not 0.0 < args.ci_level < 1.0:
        raise ValueError(
            f"--decay-fraction {args.decay_fraction:g}, --ci-level {args.ci_level:g}: both lie between 0 and 1"
        )
    oracle = calibrated(rows)
    asked = _asked(_point(rows, runs, args.cell, args.updates), oracle, args)
    refusal = oracle.refusal(asked)
    if refusal:
        print(f"refused: {refusal}")
        return 1
    print("\n".join(_answer(oracle, rows, asked, args.ci_level)))
    return 0


def _point(rows: pd.DataFrame, runs: pd.DataFrame, cell_id: str, updates_done: int | None) -> pd.Series[Any]:
    """A row of the cell's trunk at that point."""
    cells = runs[runs["cell_id"] == cell_id]
    on_trunk = rows.merge(cells[[*TRUNK, "total_steps", "schedule_kind"]], on=TRUNK)
    on_trunk = on_trunk[
        (on_trunk["schedule_kind"] == "constant") & (on_trunk["updates_done"] <= on_trunk["total_steps"])
    ]
    if on_trunk.empty:
        known = ", ".join(rows["cell_id"].unique()[:4])
        raise ValueError(f"--cell {cell_id}: no constant cell with averages. Choose one such as {known or 'none here'}")
    points = np.sort(on_trunk["updates_done"].unique())
    at = int(points[-1]) if updates_done is None else updates_done
    if at not in points:
        raise ValueError(
            f"--updates {at}: averages of this cell were evaluated after {', '.join(map(str, points))} updates. Choose "
            "one of these"
        )
    return on_trunk[on_trunk["updates_done"] == at].iloc[0]


def _asked(point: pd.Series[Any], oracle: Oracle, args: argparse.Namespace) -> pd.Series[Any]:
    """The point with the cooldown that is asked for; its mean learning rate is that of the calibrating ones."""
    alike = oracle.calibration[
        (oracle.calibration["decay_shape"] == args.decay_shape)
        & np.isclose(oracle.calibration["final_lr_fraction"], args.final_lr_fraction)
    ]
    end = float(point["tokens_seen"]) / (1.0 - args.decay_fraction)
    asked = point.copy()
    asked["decay_shape"] = args.decay_shape
    asked["final_lr_fraction"] = args.final_lr_fraction
    asked["decay_fraction"] = args.decay_fraction
    asked["mean_lr_fraction"] = alike["mean_lr_fraction"].mean()
    asked["end_tokens"] = end
    asked["end_tokens_per_parameter"] = end / float(point["n_params_counted"])
    asked["val_loss_cooldown"] = np.nan
    return asked


def _answer(oracle: Oracle, rows: pd.DataFrame, asked: pd.Series[Any], ci_level: float) -> list[str]:
    drop = float(oracle.fit.drops(cooldowns(pd.DataFrame([asked])))[0])
    half = float(oracle.fit.half_widths(ci_level, np.array([asked["gain_sem"]]))[0])
    loss = float(asked["val_loss_raw"]) - drop
    found = scores(rows)
    first = found[found["validation"] == "leave_one_trunk_out"].set_index("predictor")
    errors = ", ".join(f"{name} {float(first['rmse'][key]):.4f}" for key, name in NAMES.items())
    n = first.loc[ORACLE]
    answer = [
        f"after {asked['updates_done']} updates, {asked['tokens_seen'] / 1e6:.4g}M tokens: raw weights "
        f"{asked['val_loss_raw']:.4f}, average {asked['average']} {asked['val_loss_averaged']:.4f} nat/token",
        f"after a cooldown, {asked['decay_shape']} to {asked['final_lr_fraction']:g} of the peak over "
        f"{100 * asked['decay_fraction']:g} % of {asked['end_tokens'] / 1e6:.4g}M tokens: {loss:.4f} nat/token, "
        f"{100 * ci_level:g} % interval {loss - half:.4f} … {loss + half:.4f}",
        f"root mean square error on the study's own {n['n_cooldowns']} cooldowns of {n['n_trunks']} trunks, each "
        f"predicted without its trunk [nat/token]: {errors}",
    ]
    better = better_predictor(found)
    return [*answer, f"doubtful: {better}"] if better else answer
