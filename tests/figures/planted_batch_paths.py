"""Savings of batch paths: the law on the planted loss curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.batch_saving import LossCurve, Speed, savings
from glidepath.study import tables

LEVEL = 0.9
PAIRS = (("cosine_zero", "cosine_10"), ("wsd_linear", "cosine_10"))
"""Taken for schedules that differ in their batch only."""
SPEED = Speed(1e-3, 1e-6)
WHERE = ["model", "tokens_per_parameter", "batch_sequences"]


def saving_tables(cells: pd.DataFrame, evaluations: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Both at every common peak learning rate, and each at its own best one."""
    parts = []
    done = cells[cells["status"] == "completed"]
    for _, here in done.groupby(WHERE, sort=False):
        for path, fixed in PAIRS:
            mine, theirs = (here[here["schedule"] == name] for name in (path, fixed))
            common = sorted(set(mine["peak_lr"]) & set(theirs["peak_lr"]))
            best = [side.groupby("peak_lr")["val_loss"].mean().idxmin() for side in (mine, theirs) if len(side)]
            chosen = [("equal", lr, lr) for lr in common] + ([("best", *best)] if common else [])
            for lr_choice, path_lr, fixed_lr in chosen:
                pair = mine[mine["peak_lr"] == path_lr], theirs[theirs["peak_lr"] == fixed_lr]
                curves = [[_curve(cell, evaluations) for cell in side.itertuples()] for side in pair]
                if len(curves[0]) == len(curves[1]):
                    rows = savings(curves[0], curves[1], SPEED, LEVEL)
                    parts.append(_named(rows, mine.iloc[0], path, fixed, lr_choice, path_lr, fixed_lr))
    names = tables.BATCH_SAVING.names
    return {"batch_saving": pd.concat(parts)[names] if parts else tables.empty(tables.BATCH_SAVING)}


def _curve(cell: Any, evaluations: pd.DataFrame) -> LossCurve:
    rows = evaluations[evaluations["cell_id"] == cell.cell_id]
    done = np.arange(1, cell.total_steps + 1) * cell.batch_tokens
    return LossCurve(rows["tokens_seen"].to_numpy(), rows["val_loss"].to_numpy(), cell.val_loss, done)


def _named(
    rows: pd.DataFrame, cell: Any, path: str, fixed: str, lr_choice: str, path_lr: float, fixed_lr: float
) -> pd.DataFrame:
    return rows.assign(
        schedule=path,
        fixed_schedule=fixed,
        **{name: cell[name] for name in WHERE},
        lr_choice=lr_choice,
        peak_lr=path_lr,
        fixed_peak_lr=fixed_lr,
        edge_of_grid=False,
        loss_difference=-0.01,
        loss_difference_se=0.004,
        loss_difference_low=-0.02,
        loss_difference_high=0.0,
        ci_level=LEVEL,
    )
