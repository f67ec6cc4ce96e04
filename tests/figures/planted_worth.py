"""Planted tables of what averages are worth: steps saved, and the cooldown oracle's predictions."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.cooldown_predictions import predicted, scores
from glidepath.laws.steps_saved import Trajectory, steps_saved
from glidepath.study import tables

LEVEL = 0.9
TOKENS_PER_SECOND = 1e6
SLOPE = 0.8
"""Fall of the averaged loss per unit of ln tokens [nat/token]."""
COOLDOWNS = {"wsd_linear": ("linear", 0.5, 1.2), "wsd_sqrt": ("one_minus_sqrt", 1 / 3, 1.3)}
"""Shape, mean learning rate over the peak, and drop of the loss in gains of the average before it."""
DECAY_FRACTION = 0.2
BEFORE = 0.7
"""Where there is a point without a cooldown, over the horizon."""
NOISE = 0.002
BLOCKS = np.array([-0.3, -0.1, 0.1, 0.3])
"""By how much validation blocks differ from their mean, under all weights alike [nat/token]."""
TRAJECTORY = ["model", "schedule", "peak_lr", "batch_sequences"]


def worth_tables(cells: pd.DataFrame, averages: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Both laws on planted losses."""
    rows = _branches(cells)
    oracle = predicted(rows, LEVEL) if len(rows) else tables.empty(tables.COOLDOWN_ORACLE)
    return {
        "steps_saved": _steps_saved(cells, averages),
        "cooldown_oracle": oracle[tables.COOLDOWN_ORACLE.names],
        "cooldown_oracle_scores": scores(oracle),
    }


def _steps_saved(cells: pd.DataFrame, averages: pd.DataFrame) -> pd.DataFrame:
    """Along the longest averaged cells, on the first domain; best_window is no average of its own."""
    rows = averages[(averages["domain"] == "text") & (averages["average"] != "best_window")]
    rows = rows.merge(cells[["cell_id", *TRAJECTORY, "token_horizon", "train_flops_exact"]], on="cell_id")
    parts = []
    for key, all_horizons in rows.groupby(TRAJECTORY):
        longest = all_horizons[all_horizons["token_horizon"] == all_horizons["token_horizon"].max()]
        raw, tokens_seen = (
            longest.pivot_table(index="cell_id", columns="updates_done", values=value)
            for value in ("val_loss_raw", "tokens_seen")
        )
        trajectory = Trajectory(
            updates_done=raw.columns.to_numpy(np.int64),
            tokens_seen=tokens_seen.iloc[0].to_numpy(np.int64),
            raw=_blocks(raw),
            averaged={
                str(name): _blocks(rows.pivot(index="cell_id", columns="updates_done", values="val_loss_averaged"))
                for name, rows in longest.groupby("average")
            },
        )
        (saved,) = steps_saved([trajectory], LEVEL)
        flops = float((longest["train_flops_exact"] / longest["token_horizon"]).iloc[0])
        parts.append(
            saved.assign(
                **dict(zip(TRAJECTORY, key, strict=True)),
                flops_saved=saved["tokens_saved"] * flops,
                hours_saved=saved["tokens_saved"] / TOKENS_PER_SECOND / 3600.0,
            )
        )
    return pd.concat(parts)[tables.STEPS_SAVED.names] if parts else tables.empty(tables.STEPS_SAVED)


def _blocks(losses: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """[replicates, points] to [replicates, points, blocks]."""
    blocks: np.ndarray[Any, np.dtype[np.float64]] = losses.to_numpy(float)[:, :, None] + BLOCKS
    return blocks


def _branches(cells: pd.DataFrame) -> pd.DataFrame:
    """Where the cooldowns of every constant trunk branch off, and a point before with none; raw losses vary by
    `NOISE`."""
    rows = []
    random = np.random.default_rng(5)
    done = cells[cells["status"] == "completed"].set_index("cell_id")
    constant = done[done["schedule"] == "constant"].sort_values("token_horizon")
    ended = {(run.trunk_id, run.schedule, run.total_steps): run for run in done.reset_index().itertuples()}
    longest = constant.groupby("trunk_id").tail(1)
    for run, real in product(constant.itertuples(), (False, True)):
        gain = 0.03 * math.sqrt(run.peak_lr / 4e-3)
        end = float(run.token_horizon if real else BEFORE * run.token_horizon)
        branch = end * (1 - DECAY_FRACTION)
        for schedule, (shape, mean_lr, drop) in COOLDOWNS.items():
            cooldown = ended.get((run.trunk_id, schedule, run.total_steps)) if real else None
            cooled = cooldown.val_loss if cooldown else None
            raw = (cooled or run.val_loss) + drop * gain + NOISE * random.standard_normal()
            rows.append(
                {
                    "cell_id": longest.index[longest["trunk_id"] == run.trunk_id][0],
                    "updates_done": round(branch / run.batch_tokens), "schedule": schedule, "model": run.model,
                    "n_params_counted": run.n_params_counted, "peak_lr": run.peak_lr,
                    "batch_sequences": run.batch_sequences, "replicate": run.replicate, "tokens_seen": int(branch),
                    "branch_tokens_per_parameter": branch / run.n_params_counted, "decay_shape": shape,
                    "final_lr_fraction": 0.0, "decay_fraction": DECAY_FRACTION, "mean_lr_fraction": mean_lr,
                    "end_tokens": end, "end_tokens_per_parameter": end / run.n_params_counted,
                    "average": "window_20", "val_loss_raw": raw, "val_loss_averaged": raw - gain, "gain_sem": 0.001,
                    "loss_slope": SLOPE * gain, "lag_tokens": 0.1 * branch,
                    "cooldown_cell_id": cooldown.cell_id if cooldown else None, "val_loss_cooldown": cooled,
                    "calibrating": cooldown is not None,
                }
            )  # fmt: skip
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["val_loss_cooldown"] = frame["val_loss_cooldown"].astype("float64")
    return frame
