"""JSON and JSON lines: records, wherever in the file they are, with NaN and Infinity as Python writes them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glidepath.interop.run_logs.part import Part, Seen, records_in_parts, value_at
from glidepath.study.import_sources import KEY

Record = tuple[int, Mapping[str, Any]]


def read_lines(path: Path, wanted: Sequence[str] | None, seen: Seen, records: str | None = None) -> Iterator[Part]:
    """A record per line; lines that are none are counted."""
    return records_in_parts(_lines(path, seen, records), wanted, seen)


def _lines(path: Path, seen: Seen, records: str | None) -> Iterator[Record]:
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if not isinstance(value, dict):
                seen.unreadable += 1
                seen.first_unreadable = seen.first_unreadable or line.decode(errors="replace").strip()[:80]
            elif records is not None:
                for _, record in _within(value, records):
                    yield number, record
            else:
                yield number, value


def first_value(path: Path, lines: bool) -> Any:
    """The file's value, or its first line's or entry's where it has several. Raises ValueError if it is not JSON."""
    with _opened(path) as file:
        value = json.loads(file.readline() if lines else file.read())
    return value[0] if isinstance(value, list) and value else value


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def read_whole(path: Path, wanted: Sequence[str] | None, seen: Seen, records: str | None = None) -> Iterator[Part]:
    """One JSON value. Raises ValueError if the file holds no records in any of the forms that are known."""
    with _opened(path) as file:
        try:
            value = json.loads(file.read())
        except ValueError as error:
            raise ValueError(
                f"{path} is not JSON: {error}. Correct the file, or its format: jsonl has a record per line"
            ) from error
    found = _records(value, records)
    if found is None:
        raise ValueError(
            f"{path} holds no records: a list of objects is needed, an object of columns, or an object of either by "
            "run. Say with records where they are within an object"
        )
    return records_in_parts(found, wanted, seen)


def _records(value: Any, records: str | None) -> Iterator[Record] | None:
    """Records of a JSON value; None if it has none."""
    if isinstance(value, list):
        if not all(isinstance(entry, dict) for entry in value):
            return None
        if records is None:
            return iter(enumerate(value, 1))
        return _numbered(record for entry in value for _, record in _within(entry, records))
    if not isinstance(value, dict) or not value:
        return None
    if records is not None and value_at(value, records) is not None:
        return _within(value, records)
    if (columns := _columns(value)) is not None:
        return iter(enumerate(columns, 1))
    if all(isinstance(entry, dict | list) for entry in value.values()):
        by_run = {name: _of_run(entry, records) for name, entry in value.items()}
        if all(found is not None for found in by_run.values()):
            return _numbered({**record, KEY: name} for name, found in by_run.items() for record in found or ())
    return None


def _of_run(value: Any, records: str | None) -> list[Mapping[str, Any]] | None:
    """Records of one entry of an object of runs."""
    if records is not None and isinstance(value, dict):
        return [record for _, record in _within(value, records)]
    if isinstance(value, list):
        return value if all(isinstance(entry, dict) for entry in value) else None
    columns = _columns(value)
    return [value] if columns is None else [*columns]


def _numbered(records: Iterator[Mapping[str, Any]]) -> Iterator[Record]:
    return iter(enumerate(records, 1))


def _within(value: Mapping[str, Any], records: str) -> Iterator[Record]:
    """Records at a path within an object, each with what stands beside them."""
    inner = value_at(value, records)
    rest = {key: entry for key, entry in value.items() if key != records.split(".")[0]}
    for number, record in _records(inner, None) or ():
        yield number, {**rest, **record}


def _columns(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Records of an object of columns: lists of equal length, or, as pandas writes them, objects by row."""
    entries = list(value.values())
    if entries and all(isinstance(e, list) and not any(isinstance(v, dict | list) for v in e) for e in entries):
        if len({len(entry) for entry in entries}) > 1:
            return None
        return [dict(zip(value, row, strict=True)) for row in zip(*entries, strict=True)]
    if entries and all(isinstance(e, dict) and e and all(_is_row(k, v) for k, v in e.items()) for e in entries):
        rows = dict.fromkeys(row for entry in entries for row in entry)
        return [{name: entry.get(row) for name, entry in value.items()} for row in rows]
    return None


def _is_row(key: str, value: Any) -> bool:
    return key.isdigit() and not isinstance(value, dict | list)
