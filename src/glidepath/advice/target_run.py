"""The target beside the runs there are: which batch and model stand for it, and what it leaves open as they have it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from glidepath.laws.predictors import SAME_SIZE
from glidepath.study.cells import model_spec, peak_weight_decay
from glidepath.study.config import StudyConfig
from glidepath.study.final_losses import FinalLosses
from glidepath.study.model_config import OptimizerConfig
from glidepath.study.recommendation import TargetRun
from glidepath.study.size_groups import architecture


def batch_of(target: TargetRun, open_runs: pd.DataFrame) -> tuple[int, list[str]]:
    """The batch whose runs the laws are fitted to [sequences], and what is doubtful about it.

    The target's own; where the target names none (imported runs), the only one there is, the nearest one to its batch
    in tokens, or that of most runs.
    """
    if target.batch_sequences:
        return target.batch_sequences, []
    counts = open_runs["batch_sequences"].value_counts()
    if len(counts) == 1:
        return int(counts.index[0]), []
    tokens = open_runs.groupby("batch_sequences")["batch_tokens"].median().dropna()
    if target.batch_tokens and len(tokens):
        nearest = int(tokens.index[int(np.abs(np.log(tokens.to_numpy() / target.batch_tokens)).argmin())])
        if abs(np.log(tokens[nearest] / target.batch_tokens)) < SAME_SIZE:
            return nearest, []
        return nearest, [
            f"No run has the target's batch of {target.batch_tokens:,} tokens: everything is that of the nearest one, "
            f"{tokens[nearest]:,.0f} tokens."
        ]
    most = int(counts.index[0])
    return most, [
        f"The target names no batch: everything is that of {most} sequences per update, which most runs have. Give "
        f"batch_tokens."
    ]


def model_of(target: TargetRun, losses: FinalLosses) -> str:
    """The target's model by name, or the trained one of its size."""
    points = losses.points
    known = target.model in set(points.loc[points["n_params_counted"].notna(), "model"])
    return target.model if known else model_of_size(points, target.n_params_counted) or target.model


def model_of_size(points: pd.DataFrame, n_params: float) -> str:
    """The trained model of that size; empty if there is none."""
    sized = points[points["n_params_counted"].notna()]
    off = np.abs(np.log(sized["n_params_counted"].to_numpy(np.float64) / n_params))
    return str(sized["model"].iloc[int(off.argmin())]) if len(off) and off.min() < SAME_SIZE else ""


def architecture_of(target: TargetRun, study: StudyConfig | None, runs: pd.DataFrame) -> str:
    """Of a target that is one of the study's models, trained or not; else empty."""
    if study is None or target.model not in study.models:
        return ""
    return architecture(model_spec(study.models[target.model], int(runs["vocab_size"].iloc[0])))


def filled(target: TargetRun, open_runs: pd.DataFrame, schedule: str, batch_sequences: int) -> TargetRun:
    """The target with what it leaves open (of imported runs) as those runs have it that everything rests on."""
    here = open_runs[(open_runs["schedule"] == schedule) & (open_runs["batch_sequences"] == batch_sequences)]

    def told(name: str) -> int | None:
        known = here[name].dropna().unique()
        return int(known[0]) if len(known) == 1 and known[0] > 0 else None

    trained_at = told("batch_tokens")
    batch_tokens = target.batch_tokens or trained_at
    other = batch_tokens and trained_at and abs(np.log(batch_tokens / trained_at)) > SAME_SIZE
    return target.model_copy(
        update={
            "batch_sequences": target.batch_sequences or (0 if other else batch_sequences),
            "batch_tokens": batch_tokens,
            "total_steps": target.total_steps or (round(target.token_horizon / batch_tokens) if batch_tokens else None),
            "context_length": target.context_length or told("context_length"),
        }
    )


def weight_decay_of(
    optimizer: OptimizerConfig | None,
    peak_lr: float | None,
    target: TargetRun,
    schedule: str,
    open_runs: pd.DataFrame,
) -> float | None:
    """By the study's policy; of imported runs, that of the chosen schedule's runs if they all have one."""
    if optimizer is not None and peak_lr is not None and target.total_steps is not None:
        return peak_weight_decay(optimizer, peak_lr, target.total_steps)
    used = open_runs.loc[open_runs["schedule"] == schedule, "weight_decay"].dropna().unique()
    return float(used[0]) if len(used) == 1 else None
