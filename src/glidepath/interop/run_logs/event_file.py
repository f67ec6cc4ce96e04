"""Event files of TensorBoard: a row per step, a column per tag of a scalar. Needs the extra `logs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glidepath.interop.run_logs.part import Part, Seen, records_in_parts

STEP = "step"
WALL_TIME = "wall_time"


def read(path: Path, wanted: Sequence[str] | None, seen: Seen) -> Iterator[Part]:
    """Parts of an event file. Raises ValueError if the reader is not installed."""
    return records_in_parts(_rows(path), wanted, seen)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Scalars of one step that follow each other are one row; a tag that comes again begins the next."""
    row: dict[str, Any] = {}
    count = 0
    for step, time, tag, value in _scalars(path):
        if row and (row[STEP] != step or tag in row):
            count += 1
            yield count, row
            row = {}
        row = {STEP: step, WALL_TIME: time, **row, tag: value}
    if row:
        yield count + 1, row


def _scalars(path: Path) -> Iterator[tuple[int, float, str, float]]:
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise ValueError(
            f"{path} is an event file, which needs the extra `logs`: it is not installed ({error}). Install it: "
            "pip install 'glidepath[logs]'"
        ) from error
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            if value.HasField("tensor"):
                array = make_ndarray(value.tensor)
                if array.size == 1 and array.dtype.kind in "fiu":
                    yield event.step, event.wall_time, value.tag, float(array.reshape(()))
            elif value.HasField("simple_value"):
                yield event.step, event.wall_time, value.tag, value.simple_value
