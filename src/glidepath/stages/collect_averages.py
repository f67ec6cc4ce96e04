"""Put every average beside the raw weights of its point and the real cooldowns of its trunk that end there."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.stages.average_records import CellPoints, cell_points
from glidepath.study import tables
from glidepath.study.averaging_config import BEST_WINDOW, RAW
from glidepath.study.trunks import leaves_chain

BLOCKS_TOGETHER = 8
"""Blocks of one document at most: it gives a 64th of the validation tokens, of some 500 blocks."""
SHAPE = [column.name for column in tables.AVERAGE_SHAPE]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--block-losses", type=Path, required=True)
    parser.add_argument("--store", type=Path, default=Path("store/averages"), help="where the segments' averages are")
    parser.add_argument("--output", type=Path, required=True, help="averages.parquet")


def main(args: argparse.Namespace) -> None:
    runs = tables.read(tables.RUNS, args.runs)
    blocks = tables.read(tables.BLOCK_LOSSES, args.block_losses)
    at_end = {
        (str(cell_id), str(domain)): frame.sort_values("block")["loss"].to_numpy(np.float64)
        for (cell_id, domain), frame in blocks.groupby(["cell_id", "domain"], sort=False)
    }
    rows = [
        row
        for _, cell in runs[runs["averages"] != ""].iterrows()
        for row in cell_rows(cell, runs, cell_points(str(cell["averages"]), args.store), at_end)
    ]
    tables.write(tables.AVERAGES, pd.DataFrame(rows, columns=tables.AVERAGES.names), args.output)


def best_cooldown(cell: pd.Series[Any], tokens_seen: int, runs: pd.DataFrame) -> pd.Series[Any] | None:
    """The completed wsd cell of lowest loss that leaves this cell's training and ends at these tokens; not itself.

    A held-out one only where there is no other, since conclusions may not rest on it.
    """
    at_equal_tokens = runs[
        (runs["token_horizon"] == tokens_seen)
        & (runs["schedule_kind"] == "wsd")
        & (runs["cell_id"] != cell["cell_id"])
        & (runs["status"] == "completed")
    ]
    same = [other for _, other in at_equal_tokens.iterrows() if leaves_chain(cell, other)]
    return min(same, key=lambda other: (bool(other["holdout"]), float(other["val_loss"]))) if same else None


def cell_rows(
    cell: pd.Series[Any],
    runs: pd.DataFrame,
    points: CellPoints,
    at_end: dict[tuple[str, str], NDArray[np.float64]],
) -> Iterator[dict[str, Any]]:
    """Rows of `averages` of one cell: its id, its trunk's and its number of updates; `at_end` are the block losses of
    all runs at their ends, by cell and domain."""
    losses = points.losses
    for _, there in losses.groupby(["updates_done", "domain"], sort=False):
        updates_done, domain = int(there["updates_done"].iloc[0]), str(there["domain"].iloc[0])
        tokens_seen = int(there["tokens_seen"].iloc[0])
        raw = points.raw(updates_done, domain)
        raw_row = there[there["average"] == RAW].iloc[0]
        bits = float(raw_row["bits_per_byte"] / raw_row["val_loss"])
        cooldown = best_cooldown(cell, tokens_seen, runs)
        cooled = at_end[str(cooldown["cell_id"]), domain] if cooldown is not None else None
        averages = {
            str(row["average"]): (row, points.blocks(updates_done, row["average"], domain))
            for _, row in there[there["average"] != RAW].iterrows()
        }
        windows = [(row, blocks) for row, blocks in averages.values() if row["averaging_scheme"] == "window"]
        if windows:
            averages[BEST_WINDOW] = best_window(windows)
        for name, (row, averaged) in averages.items():
            yield {
                "cell_id": cell["cell_id"],
                "updates_done": updates_done,
                "tokens_seen": tokens_seen,
                "at_end": updates_done == cell["total_steps"],
                "average": name,
                **{column: row[column] for column in SHAPE},
                "averaging_scheme": BEST_WINDOW if name == BEST_WINDOW else row["averaging_scheme"],
                "domain": domain,
                "val_loss_raw": raw.mean(),
                "val_loss_averaged": averaged.mean(),
                "bits_per_byte_raw": bits * raw.mean(),
                "bits_per_byte_averaged": bits * averaged.mean(),
                "gain": (raw - averaged).mean(),
                "gain_sem": _sem(raw - averaged),
                "cooldown_cell_id": cooldown["cell_id"] if cooldown is not None else None,
                **_against_cooldown(raw, averaged, cooled),
            }


def best_window(
    windows: list[tuple[pd.Series[Any], NDArray[np.float64]]],
) -> tuple[pd.Series[Any], NDArray[np.float64]]:
    """The best of several windows, without the flattery of choosing on what is scored.

    Each half of the blocks is scored with the window that is best on the other half. The halves alternate every few
    blocks: neighbours may be of one document, and the first and the last text of a validation set may differ in kind.
    The description is that of the window that is best on all blocks.
    """
    blocks = np.stack([losses for _, losses in windows])
    n_blocks = blocks.shape[1]
    run = max(1, min(BLOCKS_TOGETHER, n_blocks // 4))
    odd = np.arange(n_blocks) // run % 2 == 1
    scored = np.where(odd, blocks[blocks[:, ~odd].mean(1).argmin()], blocks[blocks[:, odd].mean(1).argmin()])
    return windows[int(blocks.mean(1).argmin())][0], scored


def _against_cooldown(
    raw: NDArray[np.float64], averaged: NDArray[np.float64], cooled: NDArray[np.float64] | None
) -> dict[str, float | None]:
    if cooled is None:
        names = ("val_loss_cooldown", "gap_to_cooldown", "gap_to_cooldown_sem", "closed_fraction")
        return dict.fromkeys(names)
    gap = float((raw - cooled).mean())
    return {
        "val_loss_cooldown": float(cooled.mean()),
        "gap_to_cooldown": float((averaged - cooled).mean()),
        "gap_to_cooldown_sem": _sem(averaged - cooled),
        "closed_fraction": float((raw - averaged).mean()) / gap if gap > 0 else None,
    }


def _sem(differences: NDArray[np.float64]) -> float:
    """Standard error of the mean over blocks."""
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))
