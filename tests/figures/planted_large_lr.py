"""Planted tables of large learning rates and of provoked spikes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.large_lr import constant_cells, large_lr
from glidepath.study import tables

LEVEL = 0.9
CHAOTIC_FROM = 8e-3
"""Lower learning rates converge."""
GAIN, COOLDOWN_GAIN = 0.02, 0.05
"""What averaging and a cooldown take off, times (peak_lr/4e-3)^0.5."""
SPIKED = {"jump_4": 0.4, "jump_8": 0.8}
"""Height of the raw spike."""
AVERAGES = {"window_20": (0.7, 0.1), "ema_5": (0.5, -0.05)}
"""Share removed of the height and of the mean; verdicts: reduced."""


def large_lr_tables(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Regimes by learning rate alone, and the law that is fitted to them."""
    rows = []
    for run in constant_cells(cells).itertuples():
        lost = run.status == "diverged"
        regime = "divergent" if lost else "converging" if run.peak_lr < CHAOTIC_FROM else "chaotic_equilibrium"
        gain = math.sqrt(run.peak_lr / 4e-3)
        row: dict[str, Any] = {name: getattr(run, name) for name in SAME}
        rows.append(
            row
            | {
                "lr_weight_decay": 0.1 * run.peak_lr, "regime": regime, "slope": -0.3, "slope_se": 0.02,
                "best_cell_id": run.cell_id, "pace": -0.15, "pace_se": 0.02, "pace_ci_low": -0.18,
                "pace_ci_high": -0.12, "ci_level": LEVEL, "average": "best_window", "cooldown_cell_id": None,
                "val_loss_raw": run.val_loss,
                "val_loss_averaged": None if lost else run.val_loss - GAIN * gain,
                "val_loss_cooldown": None if lost else run.val_loss - COOLDOWN_GAIN * gain,
            }
        )  # fmt: skip
    regimes = pd.DataFrame(rows, columns=tables.REGIMES.names)
    losses = ["val_loss_raw", "val_loss_averaged", "val_loss_cooldown"]
    regimes[losses] = regimes[losses].astype("float64")
    return {"regimes": regimes, "large_lr": large_lr(regimes, LEVEL, 100, 0)}


SAME = (
    "model", "batch_sequences", "schedule", "cell_id", "tokens_per_parameter", "token_horizon", "peak_lr", "replicate",
    "status",
)  # fmt: skip


def spike_tables() -> dict[str, pd.DataFrame]:
    """Two spikes that decay within 100 updates, raw and under two averages."""
    excess, removal = [], []
    for spiked, height in SPIKED.items():
        where = {
            "model": "small", "batch_sequences": 8, "tokens_per_parameter": 20.0, "peak_lr": 4e-3, "spiked": spiked,
            "clean": "constant", "n_replicates": 4, "ci_level": LEVEL,
        }  # fmt: skip
        for average, (share, mean_share) in {"raw": (0.0, 0.0), **AVERAGES}.items():
            at = np.arange(0, 401, 8)
            curve = height * (1 - share) * np.where(at, np.exp(-at / 50.0), 0.0)
            excess += [
                where
                | {
                    "average": average, "updates_done": 512 + int(t), "tokens_seen": (512 + int(t)) * 512,
                    "in_window": 0 < t <= 200, "reaches_spike": average != "raw" and 0 < t < 150,
                    "val_loss_clean": 3.5, "val_loss_spiked": 3.5 + value, **interval("excess", value),
                    **interval("rise", value),
                }
                for t, value in zip(at, curve, strict=True)
            ]  # fmt: skip
            numbers: dict[str, float] = {}
            for name, value in (("share_removed", share), ("mean_share_removed", mean_share)):
                known = average != "raw"
                numbers |= interval(name, value if known else np.nan) | {f"{name}_se": 0.02 if known else np.nan}
            for name in ("height", "mean_excess", "final_excess", "largest_rise"):
                numbers |= interval(name, height * (1 - share))
            removal.append(
                where
                | numbers
                | {
                    "average": average, "averaging_scheme": average.split("_")[0], "spike_begin": 512,
                    "spike_end": 528, "lr_multiple": 4.0, "n_points": 25, "n_points_reaching_spike": 18,
                    "verdict": "spike" if average == "raw" else "reduced",
                }
            )  # fmt: skip
    frames = {"spike_excess": excess, "spike_removal": removal}
    schemas = {"spike_excess": tables.SPIKE_EXCESS, "spike_removal": tables.SPIKE_REMOVAL}
    return {name: pd.DataFrame(rows, columns=schemas[name].names) for name, rows in frames.items()}


def interval(name: str, value: float) -> dict[str, float]:
    return {name: value, f"{name}_ci_low": value - 0.04, f"{name}_ci_high": value + 0.04}
