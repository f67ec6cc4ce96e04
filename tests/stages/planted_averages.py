"""A store of averages along constant trunks, with real cooldowns whose losses follow a planted law.

With t the tokens: the floor is 5 - slope·ln t, slope 0.1 at the lowest learning rate and more at higher ones; raw
weights stand `gain` above it, a window average, a tenth of the tokens old, on it where it was then; a cooldown from t
to T at mean learning rate m ends 0.1·gain above floor(t + m·(T - t)).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.study import tables

BATCH_TOKENS = 100
N_PARAMS = 1000
N_BLOCKS = 4
POINTS = (32, 45, 64, 81, 90, 128, 161, 181, 200)
"""Evaluated updates of a trunk: a grid, and the ends of its segments at 81, 161 and 200."""
ENDS = (81, 161, 200)
PEAKS = (0.01, 0.02, 0.04)
FILL: dict[str, Any] = {"string": "", "int64": 1, "float64": 1.0, "bool": False}
SHAPES = {"wsd_linear": ("linear", 0.5), "wsd_sqrt": ("one_minus_sqrt", 1 / 3)}
AGES = {"raw": 0.0, "window_20": 0.1, "older": 0.25}
LEFT = 0.1
"""Of the gain, after a cooldown."""


def floor(tokens: float, peak_lr: float) -> float:
    return 5.0 - slope(peak_lr) * np.log(tokens)


def slope(peak_lr: float) -> float:
    return 0.1 + 0.05 * float(np.log2(peak_lr / PEAKS[0]))


def gain(peak_lr: float, replicate: int) -> float:
    """Of the raw weights over the floor."""
    return 0.05 * (1 + PEAKS.index(peak_lr)) + 0.004 * replicate


def averaged(tokens: float, peak_lr: float) -> float:
    return floor(0.9 * tokens, peak_lr)


def cooled(tokens: float, end: float, mean_lr: float, peak_lr: float, replicate: int) -> float:
    return floor(tokens + mean_lr * (end - tokens), peak_lr) + LEFT * gain(peak_lr, replicate)


@dataclass
class Planted:
    """Runs, updates and a store of averages; `write` puts them where the stages look."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    updates: list[pd.DataFrame] = field(default_factory=list)

    def write(self, place: Path) -> None:
        tables.write(tables.RUNS, pd.DataFrame(self.runs, columns=tables.RUNS.names), place / "runs.parquet")
        updates = pd.concat(self.updates) if self.updates else tables.empty(tables.UPDATES)
        tables.write(tables.UPDATES, updates[tables.UPDATES.names], place / "updates.parquet")

    def trunk(self, peak_lr: float, replicate: int) -> None:
        """A constant cell."""
        name = f"lr{peak_lr:g}-r{replicate}"
        segments = [f"{name}-u{end}" for end in ENDS]
        self.add(
            cell_id=f"constant-{name}", schedule="constant", schedule_kind="constant", peak_lr=peak_lr,
            replicate=replicate, total_steps=ENDS[-1], segments=" ".join(segments),
            averages=" ".join(f"{segment}-avg" for segment in segments),
        )  # fmt: skip

    def cooldown(self, schedule: str, branch: int, peak_lr: float, replicate: int) -> None:
        """A wsd cell whose last shared update is `branch`: the first update of its decay, still at the peak."""
        shape, mean_lr = SHAPES[schedule]
        total = round((branch - 1) / 0.8)
        decay = total - (branch - 1)
        name = f"lr{peak_lr:g}-r{replicate}"
        shared = [f"{name}-u{end}" for end in ENDS if end <= branch]
        cell_id = f"{schedule}-{name}-u{total}"
        loss = cooled(branch * BATCH_TOKENS, total * BATCH_TOKENS, mean_lr, peak_lr, replicate)
        self.add(
            cell_id=cell_id, schedule=schedule, schedule_kind="wsd", peak_lr=peak_lr, replicate=replicate,
            total_steps=total, decay_steps=decay, decay_shape=shape, final_lr_fraction=0.0,
            segments=" ".join([*shared, f"{cell_id}-tail"]), averages="", val_loss=loss,
        )  # fmt: skip
        steps = np.arange(total)
        lr = np.where(steps > total - decay, mean_lr * peak_lr, peak_lr)
        rows = {"cell_id": cell_id, "step": steps, "tokens_seen": (steps + 1) * BATCH_TOKENS, "lr": lr}
        frame = pd.DataFrame(rows | {"batch_tokens": BATCH_TOKENS})
        for column in tables.UPDATES.columns:
            if column.name not in frame:
                frame[column.name] = FILL[column.type]
        self.updates.append(frame)

    def add(self, **fields: Any) -> None:
        row = {column.name: FILL[column.type] for column in tables.RUNS.columns}
        row |= {"model": "tiny", "n_params_counted": N_PARAMS, "batch_sequences": 8, "status": "completed"}
        row |= {"holdout": False, "diverged_step": None, "tokens_per_second": 500.0, **fields}
        tokens = row["total_steps"] * BATCH_TOKENS
        self.runs.append(row | {"token_horizon": tokens, "train_flops_exact": 6.0 * N_PARAMS * tokens})


def write_store(store: Path) -> None:
    """The averages of all trunks of `study`."""
    for peak in PEAKS:
        for replicate in (0, 1):
            for start, end in pairwise((0, *ENDS)):
                points = [update for update in POINTS if start < update <= end]
                write_averages(store / f"lr{peak:g}-r{replicate}-u{end}-avg", points, peak, replicate)


def write_averages(directory: Path, points: list[int], peak_lr: float, replicate: int) -> None:
    """What the job of one segment writes: raw weights, a window on the floor, and an older average, in two domains."""
    text = np.linspace(-0.2, 0.2, N_BLOCKS)
    losses, blocks = [], []
    for update in points:
        tokens = update * BATCH_TOKENS
        raw = floor(tokens, peak_lr) + gain(peak_lr, replicate)
        values = {"raw": raw, "window_20": averaged(tokens, peak_lr)}
        if update >= 64:
            values["older"] = raw - 0.01
        for average, loss in values.items():
            for domain, offset in (("python", 0.0), ("c", 1.0)):
                key = {"updates_done": update, "average": average, "domain": domain}
                losses.append(
                    {
                        **key, "tokens_seen": tokens, "averaging_scheme": "raw" if average == "raw" else "window",
                        "window_checkpoints": 4, "effective_checkpoints": 4.0, "window_tokens": tokens // 5,
                        "window_fraction": 0.2, "lag_tokens": AGES[average] * tokens,
                        "val_loss": loss + offset, "bits_per_byte": loss / 2,
                    }
                )  # fmt: skip
                per_block = np.float32(loss + offset + text)
                blocks.append(pd.DataFrame({**key, "block": np.arange(N_BLOCKS), "loss": per_block}))
    tables.write(tables.AVERAGE_LOSSES, pd.DataFrame(losses), directory / "losses.parquet")
    tables.write(tables.AVERAGE_BLOCK_LOSSES, pd.concat(blocks), directory / "block_losses.parquet")


def study() -> Planted:
    """Three learning rates with two replicates, cooldowns of two shapes from both branching points."""
    planted = Planted()
    for peak in PEAKS:
        for replicate in (0, 1):
            planted.trunk(peak, replicate)
            for branch in ENDS[:2]:
                for schedule in SHAPES:
                    planted.cooldown(schedule, branch, peak, replicate)
    return planted
