"""Rows of logs in their places along a run: whole updates, restarts, and one value of a quantity per update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glidepath.interop.run_audit import row_order
from glidepath.interop.run_audit.fault import Fault
from glidepath.interop.run_facts import factor, in_nats
from glidepath.interop.run_rows import Rows
from glidepath.study.import_columns import LOSSES
from glidepath.study.import_sources import Source
from glidepath.study.section import StudyError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rank = NDArray[np.int64]

METRICS = ("train_loss", "val_loss", "lr", "grad_norm", "weight_decay", "batch_tokens", "tokens_seen")
ONLY_DOMAIN = "validation"
"""Name of an evaluation set that the log does not name."""


@dataclass
class Mapped:
    """Rows of one source in the tables' units."""

    source: Source
    rows: Rows
    position: Floats
    """Updates done when the row was logged, training's update included; NaN if not known."""
    values: dict[str, Floats]
    domain: NDArray[np.int32]
    void: dict[str, Mask]
    """Values that a restart made void, by quantity."""
    reason: NDArray[np.object_]
    used: Mask
    repeated: Mask
    """Rows of which a later row has the same step and quantity."""
    not_finite: Mask

    def entries(self, name: str) -> Mask:
        """Rows that have a value of a quantity that counts."""
        values = self.values.get(name)
        if values is None:
            return np.zeros(len(self.position), dtype=np.bool_)
        there: Mask = ~np.isnan(values) & ~self.void[name] & (self.reason == "")
        return there


@dataclass(frozen=True)
class Series:
    """A quantity along a run: one value per place, places rising."""

    at: Floats
    """Updates done."""
    values: Floats
    origin: tuple[Rank, Rank]
    """Number of the source's rows, and of the row in them."""

    def __len__(self) -> int:
        return len(self.at)


def mapped_rows(run: str, rows: Rows, facts: Mapping[str, Any], faults: list[tuple[str, Fault]]) -> Mapped:
    """Rows of one source in the tables' units, with their places and what restarts made void; `faults` takes what is
    found. Raises StudyError for a fact that is needed for that and not known."""
    source = rows.source
    n = len(rows.row)
    values: dict[str, Floats] = {}
    for name, column in rows.values.items():
        if name in LOSSES:
            values[name] = in_nats(source, name, column)
        elif name in ("tokens_seen", "batch_tokens", "n_eval_tokens", "step"):
            scale = factor(run, source, name, facts)
            values[name] = column if scale == 1.0 else column * scale
        elif name in ("time", *METRICS):
            values[name] = column
    reason = np.full(n, "", dtype=object)
    reason[rows.wrong] = "a number of it cannot be read"
    position = _position(run, source, values, facts, n)
    mapped = Mapped(
        source,
        rows,
        position,
        values,
        rows.texts.get("domain", np.full(n, -1, dtype=np.int32)),
        {name: np.zeros(n, dtype=np.bool_) for name in values},
        reason,
        *(np.zeros(n, dtype=np.bool_) for _ in range(3)),
    )
    if source.rows == "points":
        _place(mapped, faults)
    return mapped


def _position(run: str, source: Source, values: Mapping[str, Floats], facts: Mapping[str, Any], n: int) -> Floats:
    if "step" in values:
        return values["step"] + (0.0 if source.step_counts == "updates_done" else 1.0)
    if source.rows == "runs":
        return np.full(n, float(facts.get("total_steps") or np.nan))
    if not facts.get("batch_tokens"):
        raise StudyError(
            f"The run {run}: the source {source.name} has tokens_seen and no step, and batch_tokens is not known, so "
            "that updates cannot be counted. Give columns.step, or batch_tokens in runs"
        )
    return np.asarray(values["tokens_seen"] / facts["batch_tokens"], dtype=np.float64)


def _place(one: Mapped, faults: list[tuple[str, Fault]]) -> None:
    """Whole updates, and what restarts made void."""
    position = one.position
    known = np.isfinite(position)
    one.reason[~known & (one.reason == "")] = "no step"
    rounded = np.rint(position)
    off = known & (np.abs(position - rounded) > 0.01)
    if off.any():
        where = position[off]
        detail = f"{int(off.sum())} steps are no whole numbers, the first is {where[0]:.10g}"
        fault = Fault("fractional_steps", float(where.min()), float(where.max()), int(off.sum()), detail, "rounded")
        faults.append((one.source.name, fault))
    one.position = rounded
    early = known & (rounded < 1) & ~np.isnan(one.values.get("train_loss", np.full(len(rounded), np.nan)))
    if early.any():
        detail = "a training loss before the first update: steps may be counted from 0"
        done = "it is not used; see step_counts"
        faults.append((one.source.name, Fault("step_zero", 0.0, 0.0, int(early.sum()), detail, done)))
    order = _order(one)
    rows_with = _rows_with(one, order)
    # A quantity of few rows has as many restarts as one of many: what is said most often tells an order.
    densest = max((mine for _, mine in rows_with), key=len, default=order)
    steps = one.position[densest]
    if row_order.is_unsorted(steps):
        back = int(row_order.going_back(steps).sum())
        detail = f"the step goes back {back} times in {len(steps)} rows: they are in no order of training"
        fault = Fault("unsorted", float(steps.min()), float(steps.max()), back, detail, "sorted by step")
        faults.append((one.source.name, fault))
        return
    restarts = int(row_order.going_back(steps).sum())
    told = False
    for name, mine in rows_with:
        steps = one.position[mine]
        back = int(row_order.going_back(steps).sum())
        if back > restarts and row_order.is_unsorted(steps):
            detail = f"{name}: the step goes back {back} times in {len(steps)} rows, and {restarts} times in all others"
            fault = Fault("unsorted", float(steps.min()), float(steps.max()), back, detail, "it is sorted by step")
            faults.append((one.source.name, fault))
            continue
        void = row_order.superseded(steps)
        one.void[name][mine] |= void
        if void.any() and not told:
            faults.extend((one.source.name, fault) for fault in row_order.restarts(steps))
            told = True
        if name == "train_loss" and void.any() and "val_loss" in one.values:
            _void_evaluations(one, order, mine)
    _say_superseded(one)


def _rows_with(one: Mapped, order: Rank) -> list[tuple[str, Rank]]:
    """Rows that have each quantity, as they were logged. Evaluation sets that are written one after another are no
    restarts: each has rows of its own."""
    found = []
    for name in METRICS:
        if name in one.values:
            mine = order[(~np.isnan(one.values[name]) & (one.reason == ""))[order]]
            codes = one.domain[mine] if name == "val_loss" else np.zeros(len(mine))
            found += [(name, mine[codes == code]) for code in np.unique(codes)]
    return found


def _order(one: Mapped) -> Rank:
    """Rows in the order in which they were logged: by time, where that is known, else as the files have them."""
    time = one.values.get("time")
    if time is None or not np.isfinite(time).all() or bool(np.all(np.diff(time) >= 0)):
        return np.arange(len(one.position))
    return np.argsort(time, kind="stable")


def _void_evaluations(one: Mapped, order: Rank, trained: Rank) -> None:
    """Evaluations that stand before a restart of training from an earlier step say nothing of what was trained anew."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    back = trained[row_order.going_back(one.position[trained])]
    restart = np.full(len(order), np.inf)
    restart[place[back]] = one.position[back]
    later = np.append(np.minimum.accumulate(restart[::-1])[::-1][1:], np.inf)[place]
    one.void["val_loss"] |= one.position >= later


def _say_superseded(one: Mapped) -> None:
    has = np.zeros(len(one.position), dtype=np.bool_)
    left = np.zeros(len(one.position), dtype=np.bool_)
    for name in ("train_loss", "val_loss", "lr", "grad_norm"):
        if name in one.values:
            there = ~np.isnan(one.values[name])
            has |= there
            left |= there & ~one.void[name]
    one.reason[has & ~left & (one.reason == "")] = "superseded by a restart"


def series_of(points: Sequence[Mapped], name: str, faults: list[tuple[str, Fault]]) -> Series:
    """A quantity over all sources; of several values at one step the last."""
    chosen = [np.flatnonzero(one.entries(name) & (one.position >= 1)) for one in points]
    return merged(points, name, chosen, 0, faults if name == "train_loss" else None)


def merged(
    points: Sequence[Mapped],
    name: str,
    chosen: Sequence[Rank],
    shift: int,
    faults: list[tuple[str, Fault]] | None,
) -> Series:
    """A quantity in the rows `chosen` of every source, the last of several at one place; with `shift` 1 where
    evaluations are. `faults` takes repeated places; None: they are of no account."""
    at = [one.position[rows] - shift * shifted(one) for one, rows in zip(points, chosen, strict=True)]
    values = [one.values[name][rows] if len(rows) else np.empty(0) for one, rows in zip(points, chosen, strict=True)]
    source = [np.full(len(rows), i) for i, rows in enumerate(chosen)]
    if not any(len(rows) for rows in chosen):
        return Series(np.empty(0), np.empty(0), (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)))
    all_at, all_values, all_source, all_rows = map(np.concatenate, (at, values, source, chosen))
    kept = row_order.last_of_each(all_at)
    if faults is not None and len(kept) < len(all_at):
        named = {points[i].source.name for i in np.unique(all_source)}
        where = named.pop() if len(named) == 1 else ""
        faults.extend((where, fault) for fault in row_order.duplicates(all_at, all_values, name))
        for i, one in enumerate(points):
            mine = all_rows[all_source == i]
            dropped = np.setdiff1d(mine, all_rows[kept][all_source[kept] == i])
            one.repeated[dropped] = True
    for i, one in enumerate(points):
        mine = kept[all_source[kept] == i]
        one.used[all_rows[mine[np.isfinite(all_values[mine])]]] = True
    return Series(all_at[kept], all_values[kept], (all_source[kept], all_rows[kept]))


def shifted(one: Mapped) -> int:
    """Updates by which evaluations are before the training of their row."""
    return 1 if one.source.step_counts == "zero_based_evaluated_before" else 0


def finite(series: Series, points: Sequence[Mapped]) -> Series:
    """Without values that were logged as NaN or infinity, whose rows are flagged."""
    good = np.isfinite(series.values)
    if good.all():
        return series
    for i, one in enumerate(points):
        one.not_finite[series.origin[1][~good & (series.origin[0] == i)]] = True
    origin = (series.origin[0][good], series.origin[1][good])
    return Series(series.at[good], series.values[good], origin)


def source_of(series: Series, points: Sequence[Mapped]) -> str:
    """Name of the source of a series; empty if it has several."""
    numbers = np.unique(series.origin[0])
    return points[int(numbers[0])].source.name if len(numbers) == 1 else ""


def beside(series: Series, points: Sequence[Mapped], name: str) -> Floats:
    """Values of another column in the rows of a series."""
    found = np.full(len(series), np.nan)
    for i, one in enumerate(points):
        mine = series.origin[0] == i
        if name in one.values and mine.any():
            found[mine] = one.values[name][series.origin[1][mine]]
    return np.where(np.isfinite(found), found, np.nan)


def tokens_at(updates: Floats, tokens: Series, batch_tokens: float | None) -> Floats:
    """Training tokens after so many updates: those that were logged, straight between them and, behind them, by the
    batch; else updates times batch. NaN where neither is known."""
    if not len(tokens):
        return updates * float(batch_tokens) if batch_tokens else np.full(len(updates), np.nan)
    at, seen = np.append(0.0, tokens.at), np.append(0.0, tokens.values)
    found = np.interp(updates, at, seen)
    behind = updates > at[-1]
    per_update = float(batch_tokens) if batch_tokens else np.nan
    return np.asarray(np.where(behind, seen[-1] + (updates - at[-1]) * per_update, found), dtype=np.float64)
