"""The one writer of Parquet: what it refuses, what survives, and what the file says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from glidepath.study import figure_list, tables
from glidepath.study.tables import Column, Table

SMALL = Table(
    "small",
    "A table of the test.",
    (
        Column("name", "string", "-", "who", key=True),
        Column("step", "int64", "updates", "when", key=True),
        Column("loss", "float64", "nat/token", "how much"),
        Column("n", "int64", "tokens", "how many; null if unknown"),
        Column("done", "bool", "-", "whether"),
        Column("small", "float32", "-", "in four bytes"),
    ),
)
ROWS: dict[str, list[Any]] = {
    "name": ["a", "a", "b"],
    "step": [0, 1, 0],
    "loss": [1.5, 0.1, 2.0],
    "n": [1, 2, 3],
    "done": [True, False, True],
    "small": [0.5, 0.25, 0.125],
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new/small.parquet"
    tables.write(SMALL, ROWS, path)
    frame = tables.read(SMALL, path)
    assert frame.to_dict("list") == ROWS
    assert frame["step"].dtype == np.int64
    assert frame["small"].dtype == np.float32
    assert [child.name for child in path.parent.iterdir()] == ["small.parquet"]


def test_nulls_survive_outside_the_key(tmp_path: Path) -> None:
    tables.write(SMALL, ROWS | {"n": [1, None, 3], "loss": [None, 0.1, float("inf")]}, tmp_path / "t.parquet")
    frame = tables.read(SMALL, tmp_path / "t.parquet")
    assert frame["n"].dtype == pd.Int64Dtype()
    assert frame["n"].isna().tolist() == [False, True, False]
    assert frame["n"].iloc[2] == 3
    assert np.isnan(frame["loss"].iloc[0])
    assert frame["loss"].iloc[2] == np.inf


def test_the_file_says_what_its_columns_mean(tmp_path: Path) -> None:
    tables.write(SMALL, ROWS, tmp_path / "t.parquet")
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert schema.metadata[b"table"] == b"small"
    assert schema.metadata[b"schema_version"] == str(tables.SCHEMA_VERSION).encode()
    for column in SMALL.columns:
        field = schema.field(column.name)
        assert field.metadata[b"unit"] == column.unit.encode()
        assert field.metadata[b"meaning"] == column.meaning.encode()
        assert field.nullable == (not column.key)


def test_columns_come_in_the_order_of_the_schema(tmp_path: Path) -> None:
    tables.write(SMALL, dict(reversed(ROWS.items())), tmp_path / "t.parquet")
    assert pq.read_schema(tmp_path / "t.parquet").names == SMALL.names


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unit": ["-"] * 3}, r"unknown columns \['unit'\]"),
        ({"name": ["a", None, "b"]}, "has a null"),
        ({"step": [0, np.nan, 1]}, "has a null"),
        ({"step": [1, 1, 0]}, "repeats: {'name': 'a', 'step': 1}"),
        ({"step": [0.5, 1.0, 2.0]}, "column step: "),
        ({"n": [1.5, 2.0, 3.0]}, "column n: "),
        ({"n": ["1", "2", "3"]}, "column n: .*string is not int64"),
        ({"n": [2**70, 1, 2]}, "column n: "),
        ({"loss": ["low", "high", "low"]}, "column loss: "),
        ({"name": [1, 2, 3]}, "column name: "),
        ({"done": [1, 0, 1]}, "column done: "),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"table small.*{says}"):
        tables.write(SMALL, ROWS | change, tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())


def test_a_missing_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing columns \['loss'\]"):
        tables.write(SMALL, {name: rows for name, rows in ROWS.items() if name != "loss"}, tmp_path / "t.parquet")


def test_parts_make_the_file_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables.table, "ROW_GROUP", 2)
    whole = pd.DataFrame(ROWS)
    tables.write(SMALL, whole, tmp_path / "whole.parquet")
    with tables.writer(SMALL, tmp_path / "parts.parquet") as append:
        for _, part in whole.groupby("name"):
            append(part)
        assert not (tmp_path / "parts.parquet").exists()
    frames = [tables.read(SMALL, tmp_path / f"{name}.parquet") for name in ("whole", "parts")]
    pd.testing.assert_frame_equal(*frames)


def test_a_key_in_two_parts_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    whole = pd.DataFrame(ROWS)

    def twice() -> None:
        with tables.writer(SMALL, tmp_path / "t.parquet") as append:
            append(whole)
            append(whole[:1])

    with pytest.raises(ValueError, match="repeats in another part"):
        twice()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    tables.write(SMALL, ROWS, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="another version of Glidepath"):
        tables.read(Table("small", "", SMALL.columns[:3]), tmp_path / "t.parquet")


def test_a_table_without_a_key_may_repeat_rows(tmp_path: Path) -> None:
    keyless = Table("drawn", "", (Column("x", "float64", "-", ""),))
    tables.write(keyless, {"x": [1.0, 1.0]}, tmp_path / "t.parquet")
    assert tables.read(keyless, tmp_path / "t.parquet")["x"].tolist() == [1.0, 1.0]


def schemas() -> list[Table]:
    figures = [entry.table for entry in figure_list.FIGURES]
    whole = [*tables.TABLES, *tables.LAW_TABLES, *figures, tables.AVERAGE_LOSSES, tables.AVERAGE_BLOCK_LOSSES]
    return [*whole, *(tables.of_segment(table) for table in tables.TABLES)]


@pytest.mark.parametrize("table", schemas(), ids=lambda table: table.name)
def test_every_table_can_be_empty(table: Table, tmp_path: Path) -> None:
    frame = tables.empty(table)
    assert list(frame.columns) == table.names
    tables.write(table, frame, tmp_path / "t.parquet")
    assert len(tables.read(table, tmp_path / "t.parquet")) == 0


@pytest.mark.parametrize("table", schemas(), ids=lambda table: table.name)
def test_every_schema_is_in_order(table: Table) -> None:
    assert len(set(table.names)) == len(table.names)
    assert table.meaning.endswith(".")
    for column in table.columns:
        assert column.meaning
        assert column.unit


def test_a_segment_knows_no_cells() -> None:
    assert "cell_id" not in tables.of_segment(tables.UPDATES).names
    assert tables.of_segment(tables.BLOCK_LOSSES).key == ["updates_done", "domain", "block"]
