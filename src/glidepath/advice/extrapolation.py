"""How far a target lies from what was trained, axis by axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from glidepath.advice.choice import Choice
from glidepath.advice.loss import LossAtTarget, loss_points
from glidepath.laws.predictors import SAME_SIZE
from glidepath.study.recommendation import Extrapolation, TargetRun


def extrapolation(
    target: TargetRun,
    choice: Choice,
    loss: LossAtTarget | None,
    open_runs: pd.DataFrame,
    peak_lr: float | None,
) -> Iterator[Extrapolation]:
    """Every axis that is known of target and runs: sizes and horizons of the law that predicts the loss, peak learning
    rates of the chosen model and schedule, batches and contexts of the chosen schedule."""
    points = loss.said[0].points if loss else loss_points(choice.all_sizes)
    of_schedule = open_runs[open_runs["schedule"] == choice.schedule]
    rates = np.concatenate([sweep.peak_lrs for sweep in choice.horizons])
    axes: tuple[tuple[Any, float | None, Any], ...] = (
        ("n_params_counted", target.n_params_counted, points.n_params),
        ("token_horizon", target.token_horizon, points.tokens),
        ("batch_tokens", target.batch_tokens, of_schedule["batch_tokens"]),
        ("peak_lr", peak_lr, rates),
        ("context_length", target.context_length, of_schedule["context_length"]),
    )
    for axis, value, trained in axes:
        known = np.asarray(pd.Series(trained).dropna(), dtype=np.float64)
        known = known[known > 0]
        if not value or not len(known):
            continue
        low, high = float(known.min()), float(known.max())
        factor = max(value / high, low / value, 1.0)
        # A horizon rounded to whole updates is no extrapolation.
        inside = factor < 1 + SAME_SIZE / 10
        yield Extrapolation(
            axis=axis,
            target=float(value),
            trained_low=low,
            trained_high=high,
            factor=1.0 if inside else factor,
            verdict="inside" if inside else "above" if value > high else "below",
        )
