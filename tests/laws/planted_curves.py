"""Runs whose losses along training follow the annealing law, with noise of their own, as a study's tables."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from glidepath.science.laws.annealing import AnnealingLaw
from glidepath.science.laws.curve import Curve
from glidepath.study import tables
from tests.figures.planted import filled

TRUE = AnnealingLaw(*(np.array(value) for value in (2.2, 0.6, 0.5, 0.5, 0.97)))
OVER_SIZES = AnnealingLaw(*(np.array(x) for x in (1.9, 0.6, 0.5, 0.5, 0.97, 0.8, 0.3, 0.2)), warmup="linear")
SIZES = {"1M": 1_000_000, "4M": 4_000_000, "16M": 16_000_000, "64M": 64_000_000}
WARMUP = 10
BATCH_TOKENS = 1024
N_PARAMS = 10_000
SHAPES = {
    "constant": ("constant", 0.0),
    "linear": ("linear", 1.0),
    "wsd_20": ("wsd", 0.2),
    "wsd_50": ("wsd", 0.5),
    "wsd_80": ("wsd", 0.8),
}
SOME_SCHEDULES = ("constant", "linear", "wsd_50")


def lr_of(schedule: str, total_steps: int, peak_lr: float) -> np.ndarray:
    """Warm-up, constant, and a linear descent to a tenth over the schedule's share."""
    share = SHAPES[schedule][1]
    done = np.arange(total_steps) / total_steps
    fall = 1 - 0.9 * np.clip((done - (1 - share)) / share, 0, 1) if share else np.ones(total_steps)
    return peak_lr * np.minimum((np.arange(total_steps) + 1) / WARMUP, 1.0) * fall


def study(
    *,
    steps: tuple[int, ...] = (400, 1600),
    peak_lrs: tuple[float, ...] = (0.01,),
    schedules: tuple[str, ...] = tuple(SHAPES),
    replicates: int = 2,
    noise: float = 0.002,
    seed: int = 0,
    holdout: tuple[str, ...] = (),
    models: Mapping[str, int] = MappingProxyType({"tiny": N_PARAMS}),
    law: AnnealingLaw = TRUE,
) -> dict[str, pd.DataFrame]:
    """Tables RUNS, UPDATES and EVALUATIONS. Each run's loss is off by one normal factor of sd `noise`, and each point
    by another, half as large."""
    random = np.random.default_rng(seed)
    runs: list[dict[str, Any]] = []
    updates, evaluations = [], []
    for model, total, peak_lr, schedule, replicate in product(models, steps, peak_lrs, schedules, range(replicates)):
        lr = lr_of(schedule, total, peak_lr)
        at = np.unique(np.round(np.geomspace(16, total, 24)).astype(np.int64))
        curve = Curve(lr=lr, updates_done=at, warmup_steps=WARMUP, n_params=models[model])
        factors = np.exp(noise * (random.standard_normal() + 0.5 * random.standard_normal(len(at))))
        cell_id = f"{model}-{schedule}-lr{peak_lr:g}-{total}-r{replicate}"
        runs.append(
            {
                "cell_id": cell_id,
                "model": model,
                "schedule": schedule,
                "schedule_kind": SHAPES[schedule][0],
                "peak_lr": peak_lr,
                "warmup_steps": WARMUP,
                "batch_sequences": 8,
                "batch_tokens": BATCH_TOKENS,
                "total_steps": total,
                "token_horizon": total * BATCH_TOKENS,
                "tokens_per_parameter": total * BATCH_TOKENS / models[model],
                "n_params_counted": models[model],
                "replicate": replicate,
                "holdout": schedule in holdout,
                "trunk_id": cell_id,
                "segments": cell_id,
                "segment_ends": str(total),
                "status": "completed",
            }
        )
        step = np.arange(total)
        updates.append(
            pd.DataFrame(
                {
                    "cell_id": cell_id,
                    "step": step,
                    "tokens_seen": (step + 1) * BATCH_TOKENS,
                    "lr": lr,
                    "batch_tokens": BATCH_TOKENS,
                }
            )
        )
        evaluations.append(
            pd.DataFrame(
                {
                    "cell_id": cell_id,
                    "updates_done": at,
                    "tokens_seen": at * BATCH_TOKENS,
                    "domain": "text",
                    "eval_set": "subset",
                    "val_loss": law.predict(curve) * factors,
                }
            )
        )
    return {
        "runs": filled(tables.RUNS, runs),
        "updates": completed(tables.UPDATES, pd.concat(updates, ignore_index=True)),
        "evaluations": completed(tables.EVALUATIONS, pd.concat(evaluations, ignore_index=True)),
    }


def of_sizes(*models: str, **planted: object) -> dict[str, pd.DataFrame]:
    """A study of these sizes with one replicate."""
    sizes = {model: SIZES[model] for model in models}
    given = {"schedules": SOME_SCHEDULES, "replicates": 1, "law": OVER_SIZES, "models": sizes} | planted
    return study(**given)  # type: ignore[arg-type]


def together(*studies: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {name: pd.concat([one[name] for one in studies], ignore_index=True) for name in studies[0]}


def completed(table: tables.Table, frame: pd.DataFrame) -> pd.DataFrame:
    """With every column of the table; those that are not given are 1."""
    return frame.assign(**{name: 1 for name in table.names if name not in frame})[table.names]
