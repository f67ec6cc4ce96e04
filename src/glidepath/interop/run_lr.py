"""The learning rate of every update of an imported run, from whatever tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glidepath.interop.run_logs import csv_file, parquet_file
from glidepath.interop.run_logs.part import Seen, numbers, texts
from glidepath.science import schedules
from glidepath.study.import_sources import LrTable
from glidepath.study.schedule import Room
from glidepath.study.schedule_config import ScheduleConfig
from glidepath.study.section import StudyError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AppliedLr:
    """Learning rates of the first updates of a run."""

    lr: Floats
    """Shape [updates]."""
    held: int = 0
    """Of these the first so many were not logged and have the first logged value."""
    held_behind: int = 0
    """Of these the last so many were not logged and have the last logged value."""
    decay_steps: int | None = None


def interpolated(steps: NDArray[np.int64], lr: Floats, n_updates: int, warmup_steps: int | None) -> AppliedLr:
    """Straight lines between the logged learning rates `lr` of the updates `steps`, counted from 0 and rising, and
    through the straight rise over `warmup_steps`, where those are known, that reaches the highest logged value at its
    last update.

    Without them, before the first one: the line through the first two, if it rises and that is no further than they are
    apart; else the first value. Behind the last one: the last value.
    """
    at = np.arange(n_updates)
    first, behind = min(int(steps[0]), n_updates), max(n_updates - 1 - int(steps[-1]), 0)
    if warmup_steps is not None:
        ends = [(-1, 0.0)] if warmup_steps else []
        if warmup_steps - 1 < steps[-1] and warmup_steps - 1 not in steps:
            ends.append((warmup_steps - 1, float(lr.max())))
        where = np.searchsorted(steps, [end for end, _ in ends])
        steps, lr = np.insert(steps, where, [end for end, _ in ends]), np.insert(lr, where, [v for _, v in ends])
        return AppliedLr(np.interp(at, steps, lr), 0, behind)
    found = np.interp(at, steps, lr)
    if len(steps) > 1 and first <= steps[1] - steps[0] and lr[1] > lr[0]:
        back = lr[0] + (lr[1] - lr[0]) / (steps[1] - steps[0]) * (at[:first] - steps[0])
        found[:first] = np.clip(back, 0.0, lr.max())
        return AppliedLr(found, 0, behind)
    return AppliedLr(found, first, behind)


def of_schedule(
    schedule: ScheduleConfig,
    *,
    peak_lr: float,
    warmup_steps: int,
    total_steps: int,
    batch_tokens: int,
    weight_decay: float,
    where: str,
) -> AppliedLr:
    """The learning rates that a study would apply with a fixed batch, shape [total_steps]. Raises StudyError if the
    schedule does not fit."""
    at = np.arange(total_steps + 1, dtype=np.int64)
    # One "sequence" per update, of as many tokens as the batch.
    path = schedule.lr(Room(peak_lr, warmup_steps, at, weight_decay, 1, batch_tokens, where))
    return AppliedLr(schedules.values(path.path, at), decay_steps=path.decay_steps)


class LrTables:
    """Tables of learning rates, each read once."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._read: dict[str, dict[tuple[str, ...], tuple[NDArray[np.int64], Floats]]] = {}

    def lr(self, table: LrTable, names: dict[str, Any]) -> AppliedLr | None:
        """Learning rates of one run; None if the table has none. Raises StudyError for a table that cannot be read."""
        if table.path not in self._read:
            self._read[table.path] = self._rows(table)
        key = tuple(str(names.get(name)) for name in table.of)
        found = self._read[table.path].get(key)
        if found is None:
            return None
        steps, lr = found
        return interpolated(steps, lr, int(steps[-1]) + 1, None)

    def _rows(self, table: LrTable) -> dict[tuple[str, ...], tuple[NDArray[np.int64], Floats]]:
        path = self.base / table.path
        wanted = [*table.of.values(), table.step, table.lr]
        seen = Seen()
        reader = parquet_file.read if path.suffix == ".parquet" else csv_file.read
        try:
            parts = list(reader(path, wanted, seen))
        except (OSError, ValueError) as error:
            raise StudyError(f"lr.path {table.path} cannot be read: {error}. Give a CSV or Parquet file") from error
        missing = [name for name in wanted if name not in seen.columns]
        if missing:
            raise StudyError(
                f"lr.path {table.path} has no column {missing[0]!r}; it has {', '.join(seen.columns)}. Name its "
                "columns with of, step and lr"
            )
        found: dict[tuple[str, ...], tuple[NDArray[np.int64], Floats]] = {}
        keys = [
            np.concatenate([np.asarray(texts(part.columns[name]).to_pylist(), dtype=object) for part in parts])
            for name in table.of.values()
        ]
        (step, bad_step), (lr, bad_lr) = (
            tuple(map(np.concatenate, zip(*(numbers(part.columns[name]) for part in parts), strict=True)))
            for name in (table.step, table.lr)
        )
        if bad_step.any() or bad_lr.any() or not (np.isfinite(step).all() and np.isfinite(lr).all()):
            raise StudyError(f"lr.path {table.path} has rows without a step or a learning rate. Remove them")
        _, codes = np.unique(
            np.array(["\0".join(map(str, key)) for key in zip(*keys, strict=True)]), return_inverse=True
        )
        order = np.lexsort((step, codes))
        for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
            at = step[rows].astype(np.int64) - (0 if table.step_counts == "zero_based" else 1)
            if np.any(np.diff(at) <= 0):
                twice = int(at[1:][np.diff(at) <= 0][0])
                raise StudyError(
                    f"lr.path {table.path} has the update {twice} of {[key[rows[0]] for key in keys]} more than once. "
                    "Name the columns that tell its runs apart with of"
                )
            found[tuple(str(key[rows[0]]) for key in keys)] = (at, lr[rows])
        return found
