"""Rows of a table of which a test names only the columns that matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from glidepath.study import tables


def filled(table: tables.Table, *rows: dict[str, Any]) -> pd.DataFrame:
    """Rows of a table, the columns that they do not name filled with what is neutral."""
    neutral = {"string": "", "int64": 1, "float64": np.nan, "bool": False}
    return pd.DataFrame([{c.name: row.get(c.name, neutral[c.type]) for c in table.columns} for row in rows])
