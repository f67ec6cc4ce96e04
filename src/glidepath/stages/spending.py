"""What the study did cost, beside what `budget.parquet` said before."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from glidepath.study import journal, tables
from glidepath.study.layout import average_directory, position_directory, segment_directory

NOT_ANALYSIS = ("plan", "spending", "report", "coordinate-check")
"""Jobs that write into the results folder, but are a stage of their own or no part of what was predicted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, required=True, help="plan.parquet")
    parser.add_argument("--budget", type=Path, required=True, help="budget.parquet")
    parser.add_argument("--corpus", required=True, help="directory of the tokenised corpus")
    parser.add_argument("--results", type=Path, required=True, help="results folder of the study")
    parser.add_argument("--journal", type=Path, required=True, help="journal of jobs; it need not exist")
    parser.add_argument("--output", type=Path, required=True, help="spending.parquet")


@dataclass(frozen=True)
class Job:
    """One job of a stage. What the journal does not know is None."""

    core_seconds: float | None
    ended: float | None
    """[s since 1970]"""
    entry: journal.Entry | None


def main(args: argparse.Namespace) -> None:
    plan = tables.read(tables.PLAN, args.plan)
    noted = {(entry.command, entry.output): entry for entry in journal.read(args.journal)}
    here = [entry for entry in noted.values() if Path(entry.output).is_relative_to(args.results)]
    check = args.results / "coordinate_check.parquet"
    segments = dict.fromkeys(name for chain in plan["segments"] for name in chain.split(" "))
    averages = dict.fromkeys(name for names in plan["averages"] for name in names.split())
    jobs = {
        "tokenize": [_job(noted.get(("tokenize", args.corpus)))],
        "train": [_training_job(name, noted) for name in segments],
        "average": [
            *(_job(noted.get(("average", average_directory(name)))) for name in averages),
            *(_job(noted.get(("position-losses", name))) for name in _position_directories(segments, noted)),
        ],
        "coordinate_check": [_job(noted.get(("coordinate-check", str(check))))] if check.is_file() else [],
        "analysis": [_job(entry) for entry in here if entry.command not in NOT_ANALYSIS],
    }
    frame = spending_frame(tables.read(tables.BUDGET, args.budget), jobs)
    tables.write(tables.SPENDING, frame, args.output)


def _position_directories(segments: Iterable[str], noted: Iterable[tuple[str, str]]) -> list[str]:
    """Of the jobs that evaluate by position, which the plan does not list, those on these segments."""
    known = {position_directory(segment) for segment in segments}
    return [output for command, output in noted if command == "position-losses" and output.rpartition("-")[0] in known]


def _job(entry: journal.Entry | None) -> Job:
    return Job(entry.cpu_seconds, entry.ended, entry) if entry else Job(None, None, None)


def _training_job(segment: str, noted: Mapping[tuple[str, str], journal.Entry]) -> Job:
    """A segment's record knows the time of all its attempts, the journal also what comes before and after training."""
    file = Path(segment_directory(segment)) / "segment.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    seconds, threads = record["timing"]["total"], record["threads"]
    entry = noted.get(("train", segment_directory(segment)))
    if entry is None:
        return Job(seconds * threads, file.stat().st_mtime, None)
    last = entry.cpu_seconds if record["device"] == "cpu" else entry.seconds * threads
    return Job(last + threads * max(0.0, seconds - entry.seconds), entry.ended, entry)


def spending_frame(budget: pd.DataFrame, jobs: Mapping[str, Sequence[Job]]) -> pd.DataFrame:
    """One row per stage of the budget and one for all, with the columns of `tables.SPENDING`.

    A stage has a measured time if all its jobs have one; stages overlap, so that the wall time of all is less than
    the sum.
    """
    everything = [job for stage in budget["stage"] for job in jobs.get(stage, ())]
    rows = [_row(row, everything if row["stage"] == "total" else jobs[row["stage"]]) for _, row in budget.iterrows()]
    numbers = [column.name for column in tables.SPENDING.columns if column.type == "float64"]
    return pd.DataFrame(rows, columns=tables.SPENDING.names).astype(dict.fromkeys(numbers, "float64"))


def _row(predicted: pd.Series[Any], jobs: Sequence[Job]) -> dict[str, Any]:
    known = [job.core_seconds for job in jobs if job.core_seconds is not None]
    entries = [job.entry for job in jobs if job.entry is not None]
    core_seconds = sum(known) if len(known) == len(jobs) else None
    wall_seconds = journal.busy_seconds(entries) if len(entries) == len(jobs) else None
    return {
        "stage": predicted["stage"],
        "jobs": len(jobs),
        "jobs_measured": len(known),
        "jobs_before_prediction": sum(job.ended is not None and job.ended < predicted["predicted_at"] for job in jobs),
        "predicted_core_seconds": predicted["core_seconds"],
        "core_seconds": core_seconds,
        "core_seconds_ratio": _ratio(core_seconds, predicted["core_seconds"]),
        "predicted_wall_seconds": predicted["wall_seconds"],
        "wall_seconds": wall_seconds,
        "wall_seconds_ratio": _ratio(wall_seconds, predicted["wall_seconds"]),
    }


def _ratio(measured: float | None, predicted: float) -> float | None:
    return measured / predicted if measured is not None and predicted > 0 else None
