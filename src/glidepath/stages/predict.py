"""Final losses of runs that were hidden from the fits, or that were not made: a table, and what it says in words."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from glidepath.advice.run_predictions import Asked, hidden_runs, run_predictions
from glidepath.advice.target_run import model_of_size
from glidepath.laws.law import Settings
from glidepath.stages.results import read_result
from glidepath.study import tables
from glidepath.study.final_losses import FinalLosses, final_losses

COLUMNS = ("name", "n_params", "tokens", "schedule", "batch_sequences", "peak_lr")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, required=True, help="results folder of a study or of imported runs")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--hidden", action="store_true", help="all runs that were hidden from the fits")
    asked.add_argument(
        "--runs", type=Path, help=f"CSV with a row per run: {', '.join(COLUMNS)}; the first three needed"
    )
    asked.add_argument("--n-params", type=float, help="one run: its parameters, in the count of the results")
    parser.add_argument("--tokens", type=float, help="with --n-params: its horizon [tokens]")
    parser.add_argument("--schedule", help="with --n-params; default: the one with the lowest loss")
    parser.add_argument("--batch-sequences", type=int, help="with --n-params; default: that of most runs")
    parser.add_argument("--peak-lr", type=float, help="with --n-params; default: the best one")
    parser.add_argument("--bootstrap-samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="run_predictions.parquet; default: only what is printed")


def main(args: argparse.Namespace) -> None:
    """Raises ValueError for runs that cannot be asked for."""
    runs = read_result(tables.RUNS, args.results)
    losses = final_losses(runs, read_result(tables.BLOCK_LOSSES, args.results))
    asked = list(hidden_runs(runs)) if args.hidden else list(_asked(args, losses))
    found = run_predictions(losses, asked, Settings("", 0.9, args.bootstrap_samples, args.seed))
    if args.output:
        tables.write(tables.RUN_PREDICTIONS, found, args.output)
    print("\n".join(described(found)) or "No run is hidden from the fits.")


def _asked(args: argparse.Namespace, losses: FinalLosses) -> Iterator[Asked]:
    if args.runs is None:
        if args.tokens is None:
            raise ValueError("--n-params without --tokens: a run has a size and a horizon. Give --tokens")
        frame = pd.DataFrame([{name: getattr(args, name, None) for name in COLUMNS} | {"name": "run"}])
    else:
        frame = pd.read_csv(args.runs)
    missing = [name for name in COLUMNS[:3] if name not in frame]
    unknown = [name for name in frame if name not in COLUMNS]
    if missing or unknown:
        raise ValueError(
            f"--runs {args.runs} lacks the columns {missing} and has the unknown columns {unknown}. Its columns are "
            f"{', '.join(COLUMNS)}"
        )
    points = losses.points
    for i, row in enumerate(frame.to_dict("records")):
        given = {str(name): value for name, value in row.items() if value is not None and not pd.isna(value)}
        for name in ("n_params", "tokens"):
            if not float(given.get(name, np.nan)) > 0:
                raise ValueError(f"run {i + 1} has {name} {given.get(name)}: a positive number is needed. Give it")
        if not float(given.get("peak_lr", 1.0)) > 0:
            raise ValueError(
                f"run {i + 1} has peak_lr {given['peak_lr']}: a positive number is needed. Without one it is the best"
            )
        batch = int(given.get("batch_sequences", points["batch_sequences"].mode().iloc[0]))
        of_batch = points[points["batch_sequences"] == batch]
        best = of_batch.sort_values("val_loss")["schedule"] if len(of_batch) else points["schedule"]
        yield Asked(
            name=str(given["name"]),
            n_params=float(given["n_params"]),
            tokens=float(given["tokens"]),
            schedule=str(given.get("schedule", best.iloc[0])),
            batch_sequences=batch,
            model=model_of_size(points, float(given["n_params"])),
            peak_lr=float(given["peak_lr"]) if "peak_lr" in given else None,
        )


def described(found: pd.DataFrame) -> Iterator[str]:
    """A line per run: what is predicted, how sure that is, what it came to, and what other laws say."""
    for name, rows in found.groupby("run", sort=False):
        first = rows.iloc[0]
        if not first["believed"]:
            yield f"{name}: not predicted: {first['reason']}"
            continue
        told = f"{name}: {first['val_loss_predicted']:.4f}"
        if np.isfinite(first["low_90"]):
            told += f" (50 %: {first['low_50']:.4f} to {first['high_50']:.4f}, "
            told += f"90 %: {first['low_90']:.4f} to {first['high_90']:.4f})"
        elif first["reason"]:
            told += f" ({first['reason']})"
        if np.isfinite(first["val_loss"]):
            told += f"; it came to {first['val_loss']:.4f}, off by {first['error']:+.4f}"
        told += f"; {first['law']}"
        if first["extrapolation"] > 1:
            told += f", {first['extrapolation']:.3g} times beyond what was fitted"
        others = [f"{row['law']} {row['val_loss_predicted']:.4f}" for _, row in rows.iloc[1:].iterrows()]
        yield told + (f"; also {', '.join(others)}" if others else "")
