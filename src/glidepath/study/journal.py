"""The journal of jobs: how long each took, a line per job, appended when it ends well.

Snakemake's engine names the file in the environment; without it nothing is noted.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "GLIDEPATH_JOURNAL"


@dataclass(frozen=True)
class Entry:
    """One job."""

    command: str
    output: str
    """What it wrote: with the command, the name of the job."""
    began: float
    """[s since 1970]"""
    ended: float
    cpu_seconds: float
    """That its processes worked, on all their threads, whatever else used the cores."""
    threads: int

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def note(file: Path, entry: Entry) -> None:
    """Append a job, in one write, so that jobs that end together do not mix their lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (json.dumps(asdict(entry)) + "\n").encode())
    finally:
        os.close(descriptor)


def read(file: Path) -> list[Entry]:
    """The jobs noted, each as it ran last; a line that a full disk cut off is skipped."""
    if not file.is_file():
        return []
    found: dict[tuple[str, str], Entry] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[entry.command, entry.output] = entry
    return list(found.values())


def busy_seconds(entries: list[Entry]) -> float:
    """Time during which at least one of the jobs ran: the length of the union of their intervals [s]."""
    total, until = 0.0, float("-inf")
    for entry in sorted(entries, key=lambda e: e.began):
        total += max(0.0, entry.ended - max(entry.began, until))
        until = max(until, entry.ended)
    return total
