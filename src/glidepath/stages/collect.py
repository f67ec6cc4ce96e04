"""Gather the records of all segments into the tables of the study.

Cells that share a segment each get its rows, but for gradient statistics, which only probed cells have: a cell on the
trunk of a probed one would have them up to where it branches off.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from glidepath.science.spikes import WINDOW, loss_spikes
from glidepath.study import tables
from glidepath.study.exclusion import with_exclusions
from glidepath.study.layout import segment_directory

TRAIN_LOSS_SHARE = 0.05
"""The last part of the logged updates over which `runs.train_loss` is a mean."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, required=True, help="plan.parquet")
    parser.add_argument("--output", type=Path, required=True, help="results directory of the study")


def main(args: argparse.Namespace) -> None:
    plan = tables.read(tables.PLAN, args.plan)
    runs: list[dict[str, Any]] = []
    chains = [str(segments).split(" ") for segments in plan["segments"]]
    shared = Counter(segment for chain in chains for segment in chain)
    records = Records(shared.copy())
    # Tables of all updates of all cells are larger than memory: they are written cell by cell.
    with ExitStack() as stack:
        append = {
            table: stack.enter_context(tables.writer(table, args.output / f"{table.name}.parquet"))
            for table in GATHERED
        }
        for (_, cell), chain in zip(plan.iterrows(), chains, strict=True):
            gathered = {table.name: _gathered(cell, [records.read(s, table) for s in chain], table) for table in append}
            for table, write in append.items():
                write(gathered[table.name])
            own = {segment for segment in chain if shared[segment] == 1}
            runs.append(_run(cell, [_record(segment) for segment in chain], own, gathered))
            records.leave(chain)
    tables.write(tables.RUNS, with_exclusions(pd.DataFrame(runs)), args.output / "runs.parquet")


GATHERED = (tables.UPDATES, tables.EVALUATIONS, tables.BLOCK_LOSSES, tables.GRADIENT_STATISTICS)


def _gathered(cell: pd.Series[Any], frames: list[pd.DataFrame], table: tables.Table) -> pd.DataFrame:
    """The rows of one cell."""
    frame = pd.concat(frames)
    if table is tables.BLOCK_LOSSES:
        frame = _at_end(frame, cell["total_steps"]).drop(columns="updates_done")
    if table is tables.GRADIENT_STATISTICS and not cell["probed"]:
        frame = frame.iloc[:0]
    return frame.assign(cell_id=cell["cell_id"])


@dataclass
class Records:
    """Tables of segments, each read once and held until its last cell has left."""

    waiting: Counter[str]
    """Cells that have yet to read a segment."""
    held: dict[str, dict[str, pd.DataFrame]] = field(default_factory=dict)

    def read(self, segment: str, table: tables.Table) -> pd.DataFrame:
        found = self.held.setdefault(segment, {})
        if table.name not in found:
            path = Path(segment_directory(segment)) / f"{table.name}.parquet"
            found[table.name] = tables.read(tables.of_segment(table), path)
        return found[table.name]

    def leave(self, chain: list[str]) -> None:
        """A cell has read everything of its segments."""
        for segment in chain:
            self.waiting[segment] -= 1
            if not self.waiting[segment]:
                del self.held[segment]


@cache
def _record(segment: str) -> dict[str, Any]:
    text = (Path(segment_directory(segment)) / "segment.json").read_text(encoding="utf-8")
    return {"segment": segment, **json.loads(text)}


def _at_end(frame: pd.DataFrame, total_steps: int) -> pd.DataFrame:
    """Rows after a cell's last update: a shared segment has evaluated other cells' ends before."""
    return frame[frame["updates_done"] == total_steps]


def _run(
    cell: pd.Series[Any], records: list[dict[str, Any]], own: set[str], gathered: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    """One row of `runs`."""
    diverged = next((record for record in records if record["status"] == "diverged"), None)
    end = _at_end(gathered["evaluations"], cell["total_steps"])
    end = end[end["eval_set"] == "full"].head(1)
    updates = gathered["updates"]
    train_loss = updates["train_loss"].tail(max(1, round(TRAIN_LOSS_SHARE * len(updates)))).mean()
    seconds = sum(record["timing"]["updates"] for record in records)
    last = records[-1]
    # Updates that probe all layers are slower by what that costs; they count neither as tokens nor as seconds.
    timed_tokens = sum(record["timing"]["tokens_per_second"] * record["timing"]["updates"] for record in records)
    tokens_per_second = timed_tokens / seconds if seconds and not diverged else None
    return {
        **{str(name): value for name, value in cell.items()},
        "status": "diverged" if diverged else "completed",
        "reason": f"diverged at update {diverged['diverged_step']}" if diverged else "",
        "diverged_step": diverged["diverged_step"] if diverged else None,
        "last_finite_loss": diverged["last_finite_loss"] if diverged else None,
        **_spikes(updates["train_loss"]),
        "train_loss": train_loss,
        "val_loss": _only(end["val_loss"]),
        "val_loss_sem": _only(end["val_loss_sem"]),
        "bits_per_byte": _only(end["bits_per_byte"]),
        "n_eval_tokens": _only(end["n_eval_tokens"]),
        "train_seconds": seconds,
        "own_train_seconds": sum(record["timing"]["updates"] for record in records if record["segment"] in own),
        "tokens_per_second": tokens_per_second,
        "matmul_peak_fraction": tokens_per_second
        and tokens_per_second * last["train_flops_per_token"] / last["matmul_peak_flops_per_second"],
        "engine_version": last["spec"]["trajectory"]["engine_version"],
        "corpus_id": last["spec"]["trajectory"]["corpus_id"],
        "device": last["device"],
        "torch_version": last["versions"]["torch"],
        "python_version": last["versions"]["python"],
        "code_digest": last["code_digest"],
    }


def _spikes(train_loss: pd.Series[Any]) -> dict[str, Any]:
    """Number and height of a cell's loss spikes, null where too little was logged to tell one from noise."""
    if len(train_loss) < WINDOW:
        return {"n_loss_spikes": None, "largest_loss_spike": None}
    spikes = loss_spikes(train_loss)
    return {
        "n_loss_spikes": len(spikes),
        "largest_loss_spike": max((spike.height for spike in spikes), default=0.0),
    }


def _only(values: pd.Series[Any]) -> Any:
    """The single value, or null for a cell that did not get there."""
    return values.iloc[0] if len(values) else None
