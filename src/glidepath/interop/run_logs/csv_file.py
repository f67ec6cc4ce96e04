"""CSV: the first line names the columns, with commas, tabs or semicolons between them. Everything is read as text,
since a log that was written by several starts has its header again among its numbers."""

from __future__ import annotations

import csv as lines
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from glidepath.interop.run_logs.part import MISSING, Part, Seen

BLOCK_BYTES = 8 << 20


def read(path: Path, wanted: Sequence[str] | None, seen: Seen, decimal: str = ".") -> Iterator[Part]:
    """Parts of a file, with points in numbers where it has the `decimal` comma. Raises ValueError if it is no CSV."""
    header, delimiter = _header(path)
    seen.columns.update(dict.fromkeys(header))
    names = header if wanted is None else [name for name in wanted if name in header]

    def skip(row: Any) -> str:
        seen.unreadable += 1
        seen.first_unreadable = seen.first_unreadable or str(row.text)
        return "skip"

    if not names:
        return
    reader = csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=BLOCK_BYTES, column_names=header, skip_rows=1),
        parse_options=csv.ParseOptions(delimiter=delimiter, invalid_row_handler=skip),
        convert_options=csv.ConvertOptions(
            include_columns=names,
            column_types=dict.fromkeys(names, pa.string()),
            null_values=list(MISSING),
            strings_can_be_null=True,
        ),
    )
    before = 0
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is no CSV: {error}. Correct the file or its format") from error
        columns = batch.columns if decimal == "." else [_with_points(column) for column in batch.columns]
        yield Part(np.arange(before + 1, before + len(batch) + 1), dict(zip(names, columns, strict=True)))
        before += len(batch)
        seen.readable += len(batch)


def _with_points(values: pa.Array) -> pa.Array:
    """Numbers such as 1.234,5 as 1234.5; other text as it is."""
    grouped = pc.match_substring_regex(values, r"^\s*[-+]?\d{1,3}(\.\d{3})+(,\d*)?\s*$")
    joined = pc.if_else(grouped, pc.replace_substring(values, ".", ""), values)
    return pc.replace_substring_regex(joined, r"^(\s*[-+]?\d*),(\d+(?:[eE][-+]?\d+)?\s*)$", r"\1.\2")


def _header(path: Path) -> tuple[list[str], str]:
    """Names of the columns, and what stands between them."""
    with pa.input_stream(path) as stream:
        first = stream.read(1 << 20).split(b"\n", 1)[0].rstrip(b"\r")
    try:
        text = first.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text ({error}). Correct its format") from error
    delimiter = next((mark for mark in ",\t;" if mark in text), ",")
    names = next(lines.reader([text], delimiter=delimiter, skipinitialspace=True), [])
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{path} has the column {twice!r} more than once. Rename one")
    return names, delimiter
