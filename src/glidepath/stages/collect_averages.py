"""Put every average beside the raw weights of its cell and the real cooldowns of its trunk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.study import tables

SCHEME = ["averaging_scheme", "window_fraction", "ema_timescale_fraction"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--block-losses", type=Path, required=True)
    parser.add_argument("--store", type=Path, default=Path("store/averages"), help="where the cells' averages are")
    parser.add_argument("--output", type=Path, required=True, help="averages.parquet")


def main(args: argparse.Namespace) -> None:
    runs = tables.read(tables.RUNS, args.runs)
    blocks = tables.read(tables.BLOCK_LOSSES, args.block_losses)
    first_domain = blocks["domain"].iloc[0] if len(blocks) else ""
    per_cell = {
        str(cell_id): frame["loss"].to_numpy(np.float64)
        for cell_id, frame in blocks[blocks["domain"] == first_domain].groupby("cell_id", sort=False)
    }
    rows = [
        row
        for _, cell in runs[runs["average"] != ""].iterrows()
        for row in _rows(cell, best_cooldown(cell, runs), args.store / cell["average"], per_cell)
    ]
    tables.write(tables.AVERAGES, pd.DataFrame(rows, columns=tables.AVERAGES.names), args.output)


def best_cooldown(cell: pd.Series[Any], runs: pd.DataFrame) -> pd.Series[Any] | None:
    """The completed wsd cell of lowest loss on this cell's trunk that ends at equal tokens; not itself."""
    same = runs[
        (runs["trunk_id"] == cell["trunk_id"])
        & (runs["token_horizon"] == cell["token_horizon"])
        & (runs["schedule_kind"] == "wsd")
        & (runs["cell_id"] != cell["cell_id"])
        & (runs["status"] == "completed")
    ]
    return None if same.empty else same.loc[same["val_loss"].idxmin()]


def _rows(
    cell: pd.Series[Any],
    cooldown: pd.Series[Any] | None,
    directory: Path,
    per_cell: dict[str, NDArray[np.float64]],
) -> list[dict[str, Any]]:
    losses = tables.read(tables.AVERAGE_LOSSES, directory / "losses.parquet")
    blocks = tables.read(tables.AVERAGE_BLOCK_LOSSES, directory / "block_losses.parquet")
    rows = []
    for _, average in losses.iterrows():
        averaged = blocks[(blocks[SCHEME] == average[SCHEME]).all(axis=1)]["loss"].to_numpy(np.float64)
        raw = per_cell[cell["cell_id"]]
        row = {
            **{str(name): value for name, value in average.items()},
            "cell_id": cell["cell_id"],
            "val_loss_raw": raw.mean(),
            "val_loss_averaged": averaged.mean(),
            "gain": (raw - averaged).mean(),
            "gain_sem": _sem(raw - averaged),
            "cooldown_cell_id": None,
            "val_loss_cooldown": None,
            "gap_to_cooldown": None,
            "gap_to_cooldown_sem": None,
            "closed_fraction": None,
        }
        if cooldown is not None:
            cooled = per_cell[cooldown["cell_id"]]
            row |= {
                "cooldown_cell_id": cooldown["cell_id"],
                "val_loss_cooldown": cooled.mean(),
                "gap_to_cooldown": (averaged - cooled).mean(),
                "gap_to_cooldown_sem": _sem(averaged - cooled),
                "closed_fraction": (raw - averaged).mean() / gap if (gap := (raw - cooled).mean()) > 0 else None,
            }
        rows.append(row)
    return rows


def _sem(differences: NDArray[np.float64]) -> float:
    """Standard error of the mean over blocks."""
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))
