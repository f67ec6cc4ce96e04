"""What is known of the trained cells besides their losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from glidepath.laws.law import Floats
from glidepath.study.cells import model_spec, param_counts
from glidepath.study.config import StudyConfig


@dataclass(frozen=True)
class Trained:
    """What is known of the trained cells besides their losses."""

    cells: frozenset[tuple[str, str, float, float, int, int]]
    """Model, schedule, peak_lr, tokens_per_parameter, batch_sequences, replicate: of every cell, hidden ones too."""
    sizes: Mapping[str, int]
    """Models that a cell could have [parameters]."""
    seconds_per_flop: Mapping[str, float]
    """By model, of exact FLOPs; empty where no speed is known."""
    hidden: Floats
    """Size, horizon [tokens] and peak learning rate of the runs of the chosen schedule and batch that are held out,
    shape [runs, 3]; NaN where they are not known."""

    def replicates(self, model: str, schedule: str, batch: int) -> list[int]:
        """Of the cells of a model, schedule and batch, ascending."""
        return sorted({c[5] for c in self.cells if (c[0], c[1], c[4]) == (model, schedule, batch)})

    def hours(self, model: str, flops: float) -> float | None:
        """Time of that many FLOPs, for an unseen model at the median speed of the others."""
        if not self.seconds_per_flop:
            return None
        known = list(self.seconds_per_flop.values())
        return flops * self.seconds_per_flop.get(model, float(np.median(known))) / 3600


def trained(runs: pd.DataFrame, study: StudyConfig | None, schedule: str, batch_sequences: int) -> Trained:
    """What the planner of further cells needs to know of the runs."""
    of_runs = runs.drop_duplicates("model").set_index("model")["n_params_counted"].dropna()
    sizes = {str(model): int(n) for model, n in of_runs.items()}
    if study:
        vocab_size = int(runs["vocab_size"].iloc[0])
        for name, config in study.models.items():
            counts = param_counts(model_spec(config, vocab_size))
            sizes[name] = getattr(counts, f"n_params_{study.tokens_per_parameter_uses}")
    timed = runs[(runs["train_seconds"] > 0) & (runs["train_flops_exact"] > 0)]
    speeds = (timed["train_seconds"] / timed["train_flops_exact"]).groupby(timed["model"]).median()
    columns = ["model", "schedule", "peak_lr", "tokens_per_parameter", "batch_sequences", "replicate"]
    alike = runs[runs["holdout"] & (runs["schedule"] == schedule) & (runs["batch_sequences"] == batch_sequences)]
    return Trained(
        cells=frozenset(runs[columns].fillna({"peak_lr": 0.0}).itertuples(index=False, name=None)),
        sizes=sizes,
        seconds_per_flop={str(model): float(speed) for model, speed in speeds.items()},
        hidden=alike[["n_params_counted", "token_horizon", "peak_lr"]].astype("float64").to_numpy(),
    )
