"""A table as data, and the one writer of Parquet.

Each table has a schema: column, type, unit, meaning, and whether it belongs to the key.
Parquet field metadata carries unit and meaning; pandas drops it, therefore everything is
written by `write`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Type = Literal["string", "int64", "float64", "float32", "bool"]

SCHEMA_VERSION = 1
ROW_GROUP = 100_000
"""Parts of a table are written together once they have so many rows."""


@dataclass(frozen=True)
class Column:
    """One column: `unit` is "-" for a pure number or a name; a key column is never null."""

    name: str
    type: Type
    unit: str
    meaning: str
    key: bool = False


@dataclass(frozen=True)
class Table:
    """One table: its name is its file's name without the ending."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def key(self) -> list[str]:
        return [column.name for column in self.columns if column.key]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table, with unit and meaning in the field metadata."""
    import pyarrow as pa

    fields = [
        pa.field(
            column.name,
            getattr(pa, column.type.replace("bool", "bool_"))(),
            nullable=not column.key,
            metadata={"unit": column.unit, "meaning": column.meaning},
        )
        for column in table.columns
    ]
    return pa.schema(fields, metadata={"table": table.name, "schema_version": str(SCHEMA_VERSION)})


def write(table: Table, frame: pd.DataFrame | dict[str, Any], path: Path) -> None:
    """Write a table by temporary file and rename, rows in the order given.

    Raises ValueError when columns are missing or unknown, when a key is null or not unique, or when a value
    does not have the column's type.
    """
    import pandas as pd

    with writer(table, path) as append:
        append(pd.DataFrame(frame))


@contextmanager
def writer(table: Table, path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Write a table part by part, as `write` does, for tables that do not fit into memory: what is yielded takes a
    part. The file appears at the end, if nothing was raised.

    Raises ValueError as `write` does, and when two parts share a value of the key's first column: so keys are unique
    without all of them being held.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    seen: set[Any] = set()
    held: list[pa.Table] = []

    def flush() -> None:
        if held:
            file.write_table(pa.concat_tables(held))
            held.clear()

    def append(part: pd.DataFrame) -> None:
        arrow = _arrow_table(table, part, schema)
        values = set(part[table.key[0]].unique()) if table.key else set()
        if again := seen & values:
            raise ValueError(f"table {table.name}: the key {table.key[0]} repeats in another part: {again.pop()}")
        seen.update(values)
        held.append(arrow)
        if sum(map(len, held)) >= ROW_GROUP:
            flush()

    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as file:
            yield append
            flush()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


def _arrow_table(table: Table, frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Rows in the table's types; what is refused is said in `write`."""
    import pyarrow as pa

    missing = [name for name in table.names if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in table.names]
    if missing or unknown:
        raise ValueError(
            f"table {table.name}: missing columns {missing}, unknown columns {unknown}; see docs/tables.md"
        )
    keys = frame[table.key]
    if keys.isna().any(axis=None):
        raise ValueError(f"table {table.name}: the key {table.key} has a null")
    if keys.duplicated().any():
        raise ValueError(
            f"table {table.name}: the key {table.key} repeats: {keys[keys.duplicated()].iloc[0].to_dict()}"
        )
    arrays = [
        _array(frame[name], schema.field(name).type, f"table {table.name}, column {name}") for name in table.names
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: pd.Series[Any], type_: pa.DataType, where: str) -> pa.Array:
    """Values as an Arrow array; numbers may become wider numbers, nothing else becomes anything else."""
    import pyarrow as pa
    from pyarrow import types

    try:
        # Told the type at once, Arrow would read the text "1" as the number 1.
        found = pa.array(values, from_pandas=True)
        alike = (types.is_large_string(found.type) and types.is_string(type_)) or (
            (types.is_integer(found.type) or types.is_floating(found.type))
            and (types.is_integer(type_) or types.is_floating(type_))
        )
        if not (alike or found.type == type_ or types.is_null(found.type)):
            raise ValueError(f"{found.type} is not {type_}")
        return found.cast(type_)
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise ValueError(f"{where}: {error}; see docs/tables.md") from error


def read(table: Table, path: Path) -> pd.DataFrame:
    """Read a table as pandas; null integers come back as pandas' nullable Int64.

    Raises ValueError when the file's columns are not the schema's.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    arrow = pq.read_table(path)
    if arrow.column_names != table.names:
        raise ValueError(
            f"{path} has columns {arrow.column_names}, the table {table.name} has {table.names}: it was "
            "written by another version of Glidepath. Remove it and run the study again; training is not "
            "repeated."
        )
    frame: pd.DataFrame = arrow.to_pandas()
    for column in table.columns:
        values = arrow.column(column.name)
        if column.type == "int64" and values.null_count:
            frame[column.name] = values.to_pandas(types_mapper=lambda _: pd.Int64Dtype())
    return frame


def empty(table: Table) -> pd.DataFrame:
    """A frame with the table's columns and no rows."""
    frame: pd.DataFrame = arrow_schema(table).empty_table().to_pandas()
    return frame
