"""A part of a log: named columns of equal length, and where in the file its rows stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NOT_FINITE = np.inf
"""A number that was logged as NaN or infinity; NaN stands for what was not logged."""
ROWS = 50_000
"""Records that are made into columns at a time."""
MISSING = ("", "null", "NULL", "None", "NA", "N/A", "#N/A")
"""Text that says there is no value; NaN is not among them: a loss of that name is a fact."""


@dataclass(frozen=True)
class Part:
    """Some rows of a file."""

    rows: NDArray[np.int64]
    """Line or record in the file, from 1 on."""
    columns: Mapping[str, pa.Array]


@dataclass
class Seen:
    """What a reader found in a file beside the columns that were wanted."""

    columns: dict[str, None] = field(default_factory=dict)
    """Names of all columns, in order."""
    unreadable: int = 0
    """Lines or rows that could not be read."""
    first_unreadable: str = ""
    readable: int = 0


def records_in_parts(
    records: Iterable[tuple[int, Mapping[str, Any]]], wanted: Sequence[str] | None, seen: Seen
) -> Iterator[Part]:
    """Records (row number and values, nested by objects) as columns; `wanted` None: all of them."""
    held: list[tuple[int, Mapping[str, Any]]] = []
    for record in records:
        held.append(record)
        if len(held) == ROWS:
            yield _part(held, wanted, seen)
            held = []
    if held:
        yield _part(held, wanted, seen)


def _part(held: Sequence[tuple[int, Mapping[str, Any]]], wanted: Sequence[str] | None, seen: Seen) -> Part:
    seen.readable += len(held)
    for _, record in held:
        if not record.keys() <= seen.columns.keys():
            seen.columns.update(dict.fromkeys(flat(record)))
            seen.columns.update(dict.fromkeys(record))
    names = list(dict.fromkeys(name for _, record in held for name in flat(record))) if wanted is None else wanted
    columns = {name: array_of([value_at(record, name) for _, record in held]) for name in names}
    # What is only within objects of later records is found here.
    seen.columns.update(dict.fromkeys(name for name, values in columns.items() if values.null_count < len(values)))
    return Part(np.array([row for row, _ in held], dtype=np.int64), columns)


def value_at(record: Mapping[str, Any], name: str) -> Any:
    """A record's value by its key, or by its path with dots; None if it has none."""
    if name in record:
        return record[name]
    here, _, below = name.partition(".")
    while below:
        inner = record.get(here)
        if isinstance(inner, Mapping) and (found := value_at(inner, below)) is not None:
            return found
        further, _, below = below.partition(".")
        here = f"{here}.{further}"
    return None


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A record without nesting: paths with dots and their values; lists are left out."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            found[f"{prefix}{key}"] = value
    return found


def array_of(values: Sequence[Any]) -> pa.Array:
    """Values of one column: numbers if all of them are, else text."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    return pa.array([None if value is None else text_of(value) for value in values], pa.string())


def text_of(value: Any) -> str:
    """A value of any type as text: what filters and names of runs are made of."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)


def numbers(values: pa.Array) -> tuple[Floats, NDArray[np.bool_]]:
    """A column as numbers, NaN where there is none and `NOT_FINITE` where it says NaN or infinity; and which entries
    are no numbers."""
    values = _decoded(values)
    wrong = np.zeros(len(values), dtype=np.bool_)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values, wrong = _parsed(values)
    elif not pa.types.is_floating(values.type):
        values = values.cast(pa.float64(), safe=False)
    found = np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    missing = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
    bad = ~np.isfinite(found)
    if bad.any():
        found[bad if missing is None else bad & ~missing] = NOT_FINITE
    return found, wrong


def times(values: pa.Array) -> tuple[Floats, NDArray[np.bool_]]:
    """A column of times as numbers that rise with them, and which entries are no times: seconds, or dates as text."""
    values = _decoded(values)
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return numbers(values.cast(pa.timestamp("us")).cast(pa.int64()))
    found, wrong = numbers(values)
    if not wrong.any():
        return found, wrong
    import pandas as pd

    dates = pd.to_datetime(pd.Series(values.to_pylist()), errors="coerce", utc=True, format="mixed")
    missing = values.is_null().to_numpy(zero_copy_only=False)
    seconds = np.asarray((dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds(), dtype=np.float64)
    return seconds, np.asarray(np.isnan(seconds) & ~missing, dtype=np.bool_)


def _decoded(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _parsed(values: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    try:
        return values.cast(pa.float64()), np.zeros(len(values), dtype=np.bool_)
    except pa.ArrowInvalid:
        pass
    texts = pc.utf8_trim_whitespace(values).to_pylist()
    parsed = [None if text is None or text in MISSING else _number(text) for text in texts]
    wrong = np.array([isinstance(value, str) for value in parsed], dtype=np.bool_)
    return pa.array([None if isinstance(value, str) else value for value in parsed], pa.float64()), wrong


THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
"""A number with commas between its thousands; any other comma might stand before decimals."""


def _number(text: str) -> float | str:
    try:
        return float(text.replace(",", "") if THOUSANDS.fullmatch(text) else text)
    except ValueError:
        return text


def texts(values: pa.Array) -> pa.Array:
    """A column as text."""
    values = _decoded(values)
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_large_string(values.type):
        return values.cast(pa.string())
    return pa.array([None if value is None else text_of(value) for value in values.to_pylist()], pa.string())
