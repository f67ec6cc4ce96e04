"""Tidy frames: rows of several kinds put together with the columns and types of the figure's Parquet."""

from __future__ import annotations

import math

import pandas as pd
import pyarrow as pa

from glidepath.study import figure_list, tables


def tidy(name: str, *parts: pd.DataFrame) -> pd.DataFrame:
    """The parts, one below the other, as they will be read back from the figure's Parquet.

    A column that a part lacks is null in its rows (False for a flag); other columns are dropped.
    """
    table = figure_list.entry(name).table
    schema = tables.arrow_schema(table)
    arrow = pa.concat_tables([schema.empty_table(), *(_part(part, table, schema) for part in parts if len(part))])
    frame: pd.DataFrame = arrow.to_pandas()
    for column in table.columns:
        if column.type == "int64":
            integers = arrow.column(column.name)
            if integers.null_count:
                frame[column.name] = integers.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame


def level_of(frame: pd.DataFrame) -> float:
    """The one interval level that the rows carry; NaN if none."""
    levels = frame["ci_level"].dropna().unique()
    return float(levels[0]) if len(levels) else math.nan


def _part(part: pd.DataFrame, table: tables.Table, schema: pa.Schema) -> pa.Table:
    columns = {}
    for column in table.columns:
        if column.name in part:
            values = part[column.name]
            columns[column.name] = values.fillna(False).astype(bool) if column.type == "bool" else values
        else:
            columns[column.name] = pd.Series(
                [False if column.type == "bool" else None] * len(part), index=part.index, dtype=object
            )
    return pa.Table.from_pandas(pd.DataFrame(columns), schema=schema, preserve_index=False)
