"""Gradient noise scale along training, from the squared gradient norms that training recorded."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.science.noise_scale import noise_scale, unbiased_parts
from glidepath.study import tables

BODY = ("norm", "matrix")
MIN_PROBES = 4
"""Fewer probes in a window say nothing about its error."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--statistics", type=Path, required=True, help="gradient_statistics.parquet")
    parser.add_argument("--windows", type=int, required=True, help="windows along each cell's training")
    parser.add_argument("--output", type=Path, required=True, help="noise_scale.parquet")


def main(args: argparse.Namespace) -> None:
    statistics = tables.read(tables.GRADIENT_STATISTICS, args.statistics)
    rows = [
        row
        for _, cell in with_sums(statistics).groupby(["cell_id", "group"], sort=False)
        for row in _rows(cell, args.windows)
    ]
    tables.write(tables.NOISE_SCALE, pd.DataFrame(rows, columns=tables.NOISE_SCALE.names), args.output)


def with_sums(statistics: pd.DataFrame) -> pd.DataFrame:
    """The groups, and their sums `body` and `total`: squared norms add over parameters, noise scales do not."""
    keys = ["cell_id", "step", "tokens_seen", "small_batch_tokens", "big_batch_tokens"]
    norms = ["grad_sq_norm_small", "grad_sq_norm_big"]
    sums = [
        rows.groupby(keys, sort=False)[norms].sum().reset_index().assign(group=group)
        for group, rows in (("body", statistics[statistics["group"].isin(BODY)]), ("total", statistics))
    ]
    return pd.concat([statistics, *sums], ignore_index=True)


def _rows(cell: pd.DataFrame, windows: int) -> Iterator[dict[str, Any]]:
    """A row per window of (nearly) equal numbers of probes."""
    cell = cell.sort_values("step")
    context_length = int(cell["small_batch_tokens"].iloc[0])
    batch_sequences = cell["big_batch_tokens"].to_numpy() / context_length
    n_windows = max(1, min(windows, len(cell) // MIN_PROBES))
    for window, rows in enumerate(np.array_split(np.arange(len(cell)), n_windows)):
        if len(rows) < MIN_PROBES or (batch_sequences[rows] < 2).any():
            continue
        here = cell.iloc[rows]
        true, trace = unbiased_parts(here["grad_sq_norm_small"], here["grad_sq_norm_big"], 1.0, batch_sequences[rows])
        estimate = noise_scale(true, trace)
        yield {
            "cell_id": here["cell_id"].iloc[0],
            "group": here["group"].iloc[0],
            "window": window,
            "tokens_seen": int(here["tokens_seen"].mean()),
            "n_probes": estimate.n,
            "grad_sq_norm_true": estimate.grad_sq_norm_true,
            "grad_noise_trace": estimate.grad_noise_trace,
            "noise_scale_sequences": estimate.noise_scale,
            "noise_scale_tokens": estimate.noise_scale * context_length,
            "noise_scale_tokens_se": estimate.standard_error * context_length,
            "status": estimate.status,
        }
