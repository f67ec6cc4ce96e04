"""Tables of a study that has run, for commands that people type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glidepath.study import tables

if TYPE_CHECKING:
    import pandas as pd


def read_result(table: tables.Table, results: Path) -> pd.DataFrame:
    """A table of a results folder. Raises ValueError if it is not there."""
    path = results / f"{table.name}.parquet"
    if not path.is_file():
        raise ValueError(f"--results {results} has no {path.name}; give the results folder of a study that has run")
    return tables.read(table, path)
