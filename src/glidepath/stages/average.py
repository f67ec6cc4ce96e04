"""Average the snapshots of one cell in every way the study asks for, and evaluate each average.

Out of core: an average is built one tensor at a time, in float64, so that memory holds one model and one tensor
whatever the number of snapshots.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from glidepath.corpus.store import TokenStore
from glidepath.science import schedules
from glidepath.science.averaging import ema_weights, window_weights
from glidepath.study import tables
from glidepath.study.averages import AverageSpec
from glidepath.study.layout import segment_directory
from glidepath.training.device import Machine, configure, matmul_dtype, placed
from glidepath.training.evaluation import block_losses
from glidepath.training.model import Decoder
from glidepath.training.snapshots import Snapshots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spec", required=True, help="AverageSpec as JSON")
    parser.add_argument("--corpus", type=Path, required=True, help="directory of the tokenised corpus")
    parser.add_argument("--output", type=Path, required=True, help="directory of the results")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu-share", type=int, default=100, help="percent of a GPU, where there is one; 0: the cores")


def main(args: argparse.Namespace) -> None:
    spec = AverageSpec.model_validate_json(args.spec)
    with placed(args.gpu_share) as place:
        machine = Machine(place, args.threads, micro_batch_sequences=None, compile=False, compile_cache=None)
        _average(args, spec, configure(machine))


def _average(args: argparse.Namespace, spec: AverageSpec, device: torch.device) -> None:
    """Evaluate every average as the training job evaluated the weights, so that the losses can be compared."""
    tokens = TokenStore.open(args.corpus)
    snapshots = _snapshots(spec)
    if any(update not in snapshots for update in spec.snapshot_at):
        # A diverged cell ends early; without its last weights there is nothing to compare an average with.
        tables.write(tables.AVERAGE_LOSSES, tables.empty(tables.AVERAGE_LOSSES), args.output / "losses.parquet")
        tables.write(
            tables.AVERAGE_BLOCK_LOSSES, tables.empty(tables.AVERAGE_BLOCK_LOSSES), args.output / "block_losses.parquet"
        )
        return
    decoder = Decoder(spec.model, device, matmul_dtype=matmul_dtype(device))
    rows: list[dict[str, Any]] = []
    blocks: list[pd.DataFrame] = []
    for average in averages(spec):
        load_average(decoder, snapshots, average)
        losses = block_losses(decoder, tokens.validation(tokens.domains[0]))
        scheme = {
            "averaging_scheme": average.scheme,
            "window_fraction": average.window_fraction,
            "ema_timescale_fraction": average.ema_timescale_fraction,
        }
        rows.append(
            {
                **scheme,
                "window_checkpoints": len(average.updates),
                "checkpoint_interval_steps": average.updates[-1] - average.updates[-2],
                "updates_done": spec.snapshot_at[-1],
                "tokens_seen": int(schedules.batches(spec.batch_sequences).sum()) * spec.model.context_length,
                "val_loss_averaged": losses.mean(dtype=np.float64),
            }
        )
        blocks.append(pd.DataFrame({**scheme, "block": np.arange(len(losses)), "loss": losses}))
    tables.write(tables.AVERAGE_BLOCK_LOSSES, pd.concat(blocks), args.output / "block_losses.parquet")
    tables.write(tables.AVERAGE_LOSSES, pd.DataFrame(rows), args.output / "losses.parquet")


@dataclass(frozen=True)
class Average:
    """One average: weights that sum to 1 over snapshots at some updates."""

    scheme: str
    window_fraction: float
    ema_timescale_fraction: float
    updates: tuple[int, ...]
    weights: NDArray[np.float64]


def averages(spec: AverageSpec) -> Iterator[Average]:
    """Every average of a specification. A window holds the snapshots that lie within its fraction of the horizon.

    Positions are tokens, counted in updates of the largest batch: with a fixed batch that is counting updates, bit for
    bit.
    """
    updates = np.array(spec.snapshot_at)
    batches = schedules.batches(spec.batch_sequences)
    positions = schedules.positions(batches)[updates] / batches.max()
    # Snapshots are at the nearest update, at most half of the next one before their place; the last digits of a product
    # must not decide.
    rounding = 0.5 * np.append(batches, batches[-1])[updates] / batches.max() + 1e-6
    total = positions[-1]
    for fraction in spec.window_fractions:
        k = int((positions >= total - fraction * total - rounding).sum())
        yield Average("window", fraction, 0.0, tuple(updates[-k:].tolist()), window_weights(k, k))
    span = float((total - positions[0]) / total)
    for fraction in spec.ema_timescale_fractions:
        yield Average("ema", span, fraction, tuple(updates.tolist()), ema_weights(positions, fraction * total))


def load_average(decoder: Decoder, snapshots: dict[int, Snapshots], average: Average) -> None:
    """Put Σ w_i θ_i into the decoder's weights, summed in float64 tensor by tensor."""
    for name, weight in decoder.weights.items():
        total: NDArray[np.float64] = np.zeros(tuple(weight.shape))
        for update, share in zip(average.updates, average.weights, strict=True):
            total += share * snapshots[update].tensor(update, name)
        weight.copy_(torch.from_numpy(total))


def _snapshots(spec: AverageSpec) -> dict[int, Snapshots]:
    """The file that holds each snapshot. A segment's first update belongs to the segment before it."""
    found: dict[int, Snapshots] = {}
    for segment in spec.segments:
        file = Snapshots(Path(segment_directory(segment)) / "snapshots.safetensors")
        found.update(dict.fromkeys(file.updates_done, file))
    return found
