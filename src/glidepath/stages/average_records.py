"""What the jobs that average snapshots have written, put together along a cell's chain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.study import tables
from glidepath.study.averaging_config import RAW

Key = tuple[int, str, str]
"""updates_done, average, domain."""


@dataclass(frozen=True)
class CellPoints:
    """Averages at the points of one trajectory."""

    losses: pd.DataFrame
    """Rows of `tables.AVERAGE_LOSSES`, in the order of training."""
    _blocks: dict[Key, NDArray[np.float64]]

    def blocks(self, updates_done: int, average: str, domain: str) -> NDArray[np.float64]:
        """Loss of every validation block [nat/token], shape [n_blocks]; the average `raw` is the weights themselves.

        Raises KeyError if the average is not defined at that point.
        """
        return self._blocks[updates_done, average, domain]

    def raw(self, updates_done: int, domain: str) -> NDArray[np.float64]:
        """The same for the weights themselves."""
        return self._blocks[updates_done, RAW, domain]


def cell_points(names: str, store: Path) -> CellPoints:
    """The points of a cell whose averages have these names, separated by spaces (`averages` of `runs`)."""
    folders = [store / name for name in names.split()]
    losses = [tables.read(tables.AVERAGE_LOSSES, folder / "losses.parquet") for folder in folders]
    blocks: dict[Key, NDArray[np.float64]] = {}
    for folder in folders:
        blocks |= _blocks_of(tables.read(tables.AVERAGE_BLOCK_LOSSES, folder / "block_losses.parquet"))
    return CellPoints(pd.concat(losses, ignore_index=True), blocks)


def _blocks_of(frame: pd.DataFrame) -> dict[Key, NDArray[np.float64]]:
    key = ["updates_done", "average", "domain"]
    ordered = frame.sort_values([*key, "block"], kind="stable")
    first = ordered.drop_duplicates(key)
    keys = zip(first["updates_done"].astype(int), first["average"], first["domain"], strict=True)
    starts = (ordered["block"].to_numpy() == 0).nonzero()[0][1:]
    losses = np.split(ordered["loss"].to_numpy(np.float64), starts)
    return dict(zip(keys, losses, strict=True)) if len(frame) else {}
