"""Parquet, row group by row group; columns within structures by their path with dots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glidepath.interop.run_logs.part import Part, Seen

BATCH_ROWS = 200_000


def read(path: Path, wanted: Sequence[str] | None, seen: Seen) -> Iterator[Part]:
    """Parts of a file. Raises ValueError if it is no Parquet."""
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}. Correct its format") from error
    with file:
        names = _names(file.schema_arrow)
        seen.columns.update(dict.fromkeys(names))
        chosen = names if wanted is None else [name for name in wanted if name in names]
        if not chosen:
            return
        before = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=chosen):
            table = pa.Table.from_batches([batch])
            while any(pa.types.is_struct(column.type) for column in table.schema):
                table = table.flatten()
            columns = {name: table.column(name).combine_chunks() for name in chosen if name in table.column_names}
            yield Part(np.arange(before + 1, before + len(batch) + 1), columns)
            before += len(batch)
            seen.readable += len(batch)


def _names(schema: pa.Schema) -> list[str]:
    """Leaves that are no lists."""
    found: list[str] = []

    def below(field: pa.Field, prefix: str) -> None:
        name = f"{prefix}{field.name}"
        if pa.types.is_struct(field.type):
            for inner in field.type:
                below(inner, f"{name}.")
        elif not pa.types.is_nested(field.type):
            found.append(name)

    for field in schema:
        below(field, "")
    return found
