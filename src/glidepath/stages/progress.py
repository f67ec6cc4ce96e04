"""Show how far a running study is: what is done, what runs, and how long is left.

It only looks at files, so it works the same whoever runs the jobs. Training is measured in FLOPs; the rate is
what this run has achieved so far.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glidepath.study.layout import segment_directory
from glidepath.study.units import duration
from glidepath.training.lock import is_locked

LOOK_SECONDS = 1.0
LOG_SECONDS = 30.0
"""Distance of the lines when they go to a file; a terminal's line is rewritten at every look."""
OTHER_JOB_SECONDS = 1.5
"""Guess for a job that is not training [CPU s]."""
SHOWN_RUNNING = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", type=Path, required=True, help="list of jobs and files, written by the workflow")
    parser.add_argument("--parent", type=int, default=None, help="stop when this process has ended")


def main(args: argparse.Namespace) -> None:
    watched = json.loads(args.watch.read_text(encoding="utf-8"))
    terminal = sys.stderr.isatty()
    began = training_began = time.monotonic()
    printed = began
    first = look(watched)
    while args.parent is None or os.getppid() == args.parent:
        time.sleep(LOOK_SECONDS)
        now, clock = look(watched), time.monotonic()
        if now.flops_done == first.flops_done:
            training_began = clock
        text = line(watched, first, now, clock - began, clock - training_began)
        if terminal:
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
            print(f"\r\x1b[2K{text[:width]}", end="", file=sys.stderr, flush=True)
        elif now.finished or clock - printed >= LOG_SECONDS:
            printed = clock
            print(text, file=sys.stderr, flush=True)
        if now.finished:
            break
    if terminal:
        print(file=sys.stderr)


@dataclass(frozen=True)
class Look:
    """One look at the files."""

    flops_done: float
    flops_total: float
    segments_done: int
    segments_total: int
    running: tuple[tuple[str, float], ...]
    """Name and finished share of each segment that is being trained."""
    others_done: int
    others_total: int

    @property
    def finished(self) -> bool:
        return self.segments_done == self.segments_total and self.others_done == self.others_total


def look(watched: dict[str, Any], root: Path = Path()) -> Look:
    """What is done and what runs, from the files under `root`."""
    segments_done = 0
    flops = 0.0
    running = []
    for name, segment in watched["segments"].items():
        if (root / segment_directory(name) / "segment.json").is_file():
            segments_done += 1
            flops += segment["flops"]
            continue
        scratch = root / "scratch/segments" / name
        try:
            updates = int((scratch / "progress").read_text(encoding="utf-8") or 0)
        except FileNotFoundError:
            continue
        share = updates / segment["updates"]
        flops += share * segment["flops"]
        # A killed job's share is not lost, but nobody is at work on it.
        if is_locked(scratch):
            running.append((name, share))
    others = [*watched["averages"], *watched["results"]]
    return Look(
        flops_done=flops,
        flops_total=sum(segment["flops"] for segment in watched["segments"].values()),
        segments_done=segments_done,
        segments_total=len(watched["segments"]),
        running=tuple(running),
        others_done=sum((root / other).is_file() for other in others),
        others_total=len(others),
    )


def line(watched: dict[str, Any], first: Look, now: Look, elapsed_seconds: float, training_seconds: float) -> str:
    """One line for a person."""
    parts = [
        f"{watched['study']}: training {100 * now.flops_done / max(now.flops_total, 1.0):.0f} %, "
        f"{now.segments_done}/{now.segments_total} jobs; other files {now.others_done}/{now.others_total}"
    ]
    if now.running:
        names = ", ".join(
            f"{name.rsplit('-', 1)[0]} {100 * share:.0f} %" for name, share in now.running[:SHOWN_RUNNING]
        )
        more = len(now.running) - SHOWN_RUNNING
        parts.append(f"running {names}" + (f" and {more} more" if more > 0 else ""))
    parts.append(f"{duration(elapsed_seconds)} gone")
    if now.finished:
        parts.append("done")
    else:
        left = seconds_left(watched["cores"], first, now, training_seconds)
        parts.append("time left not known yet" if left is None else f"about {duration(left)} left")
    return "; ".join(parts)


def seconds_left(cores: int, first: Look, now: Look, training_seconds: float) -> float | None:
    """Remaining training at the rate so far, and a guess for other jobs; None before anything was trained.

    `first` is the look at the start of the run, since what an earlier run did says nothing about this one's
    rate; `training_seconds` is the time since this one began to train.
    """
    others = (now.others_total - now.others_done) * OTHER_JOB_SECONDS / cores
    remaining = now.flops_total - now.flops_done
    if remaining <= 0:
        return others
    trained = now.flops_done - first.flops_done
    if trained <= 0:
        return None
    return remaining * training_seconds / trained + others
