"""Gradient noise scale along training, from the squared gradient norms that training recorded."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.probes import block_lengths, parts_of, window_of, windows
from glidepath.science.noise_scale import noise_scale
from glidepath.science.smoothing import MIN_PROBES
from glidepath.study import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--statistics", type=Path, required=True, help="gradient_statistics.parquet")
    parser.add_argument("--windows", type=int, required=True, help="windows along each cell's training")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True, help="noise_scale.parquet")


def main(args: argparse.Namespace) -> None:
    statistics = tables.read(tables.GRADIENT_STATISTICS, args.statistics)
    rows = [
        row
        for cell_id, cell in statistics.groupby("cell_id", sort=False)
        for row in _rows(str(cell_id), cell, args.windows, args.ci_level)
    ]
    tables.write(tables.NOISE_SCALE, pd.DataFrame(rows, columns=tables.NOISE_SCALE.names), args.output)


def _rows(cell_id: str, cell: pd.DataFrame, most: int, ci_level: float) -> Iterator[dict[str, Any]]:
    """A row per layer type or sum and window."""
    context_length = int(cell["small_batch_tokens"].iloc[0])
    parts = parts_of(cell)
    first_steps = windows(parts, most) if parts else np.empty(0, np.int64)
    for group, one in parts.items():
        window = window_of(one.steps, first_steps)
        blocks = block_lengths(one, window)
        for i in np.unique(window):
            here = window == i
            if here.sum() < MIN_PROBES:
                continue
            block = int(blocks[i])
            sequences = noise_scale(one.grad_sq_norm_true[here], one.grad_noise_trace[here], ci_level, block)
            in_tokens = sequences.times(context_length)
            yield {
                "cell_id": cell_id,
                "group": group,
                "window": int(i),
                "tokens_seen": int(one.tokens_seen[here].mean()),
                "n_probes": sequences.n,
                "block_probes": block,
                "n_blocks": sequences.n_blocks,
                "grad_sq_norm_true": sequences.grad_sq_norm_true,
                "grad_noise_trace": sequences.grad_noise_trace,
                "noise_scale_sequences": sequences.noise_scale,
                "ci_low_sequences": sequences.ci_low,
                "ci_high_sequences": sequences.ci_high,
                "noise_scale_tokens": in_tokens.noise_scale,
                "noise_scale_tokens_se": in_tokens.standard_error,
                "ci_low": in_tokens.ci_low,
                "ci_high": in_tokens.ci_high,
                "ci_level": ci_level,
                "status": sequences.status,
            }
