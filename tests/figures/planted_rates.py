"""The valley of learning rate and batch of planted cells: the law itself, fitted to them."""

from __future__ import annotations

import pandas as pd

from glidepath.laws import lr_batch_surface
from glidepath.laws.law import Settings
from glidepath.study import tables
from glidepath.study.final_losses import final_losses, open_to_fits

DRAWN = (tables.LAW_PARAMETERS, tables.LAW_PREDICTIONS)


def rate_tables(runs: pd.DataFrame, level: float) -> dict[str, pd.DataFrame]:
    """Parameters and predictions; no rows where the cells have one batch or none is completed."""
    empty = {table: tables.empty(table) for table in DRAWN}
    if not open_to_fits(runs).empty:
        losses = final_losses(runs, tables.empty(tables.BLOCK_LOSSES))
        empty |= {
            table: frame
            for table, frame in lr_batch_surface.fit(losses, Settings("", level, 50, 0)).frames().items()
            if table in DRAWN and len(frame)
        }
    return {f"laws/lr_batch_surface/{table.name}": frame for table, frame in empty.items()}
