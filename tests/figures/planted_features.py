"""Losses by position along one training per schedule and peak, and the two laws that read more than final losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.schedule_features import HIDDEN_FAMILY
from glidepath.study import tables

POSITIONS = 16
CHECKPOINTS = 6
A0, A1, R = 1.2, 0.5, 0.2


def mean_context() -> float:
    """Mean over positions of what the hyperbola adds to its plateau."""
    return float((A0 / (1 + A1 * np.arange(1, POSITIONS + 1))).mean())


Rows = tuple[tables.Table, list[dict[str, Any]]]


def feature_rows(runs: pd.DataFrame, level: float) -> dict[str, Rows]:
    """Tables with their rows. Of the constant cells: a plateau that falls by R per unit of ln tokens to where the mean
    is the run's loss. Every completed point is predicted 0.01 too high."""
    positions: list[dict[str, Any]] = []
    temporal: list[dict[str, Any]] = []
    features: list[dict[str, Any]] = []
    done = runs[runs["status"] == "completed"]
    i = np.arange(1, POSITIONS + 1)
    for _, cell in done[done["schedule"] == "constant"].iterrows():
        for share in np.geomspace(1 / 16, 1, CHECKPOINTS):
            plateau = cell["val_loss"] - mean_context() - R * np.log(share)
            updates_done = max(1, round(share * cell["total_steps"]))
            for position, loss in zip(i, A0 / (1 + A1 * i) + plateau, strict=True):
                positions.append(
                    {
                        "cell_id": cell["cell_id"],
                        "updates_done": updates_done,
                        "tokens_seen": updates_done * cell["batch_tokens"],
                        "position": int(position),
                        "val_loss": loss,
                        "val_loss_sem": 0.01,
                    }
                )
    keys = ["model", "schedule", "batch_sequences", "tokens_per_parameter", "peak_lr"]
    for key, cells in done.groupby(keys):
        point = dict(zip(keys, key, strict=True))
        peak_lr = point.pop("peak_lr")
        value = float(cells["val_loss"].mean()) + 0.01
        row = {**point, "x_name": "peak_lr", "x": peak_lr, "quantity": HIDDEN_FAMILY, "value": value}
        features.append(
            {**row, "ci_low": value - 0.03, "ci_high": value + 0.03, "ci_level": level, "extrapolated": False}
        )
    for key, cells in done[done["schedule"] == "constant"].groupby(keys[:4]):
        end = float(cells["token_horizon"].max())
        for share in np.geomspace(0.25, 4, 9):
            value = float(cells["val_loss"].min()) - R * np.log(share)
            temporal.append(
                {
                    **dict(zip(keys, key, strict=False)),
                    "x_name": "tokens_seen",
                    "x": share * end,
                    "quantity": "val_loss",
                    "value": value,
                    "ci_low": value - 0.02,
                    "ci_high": value + 0.02,
                    "ci_level": level,
                    "extrapolated": bool(share > 1),
                }
            )
    return {
        "position_losses": (tables.POSITION_LOSSES, positions),
        "laws/temporal/predictions": (tables.LAW_PREDICTIONS, temporal),
        "laws/schedule_features/predictions": (tables.LAW_PREDICTIONS, features),
    }
