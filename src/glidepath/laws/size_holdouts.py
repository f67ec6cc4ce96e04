"""What laws over sizes and horizons are tested on: the largest of their points, hidden from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from glidepath.laws.law import Floats, LawTables
from glidepath.laws.new_run import intervals, new_runs
from glidepath.laws.size_points import Bools, SizePoints
from glidepath.study.final_losses import FinalLosses

Fit = TypeVar("Fit")

HIDDEN_SHARE = 0.1
"""Of the points, at least one size or horizon: so many are hidden to test a law beyond what it was fitted to."""


@dataclass(frozen=True)
class Holdout:
    """What is hidden: the points of the largest values of something."""

    name: str
    plural: str
    """Of what they are the largest, in words."""
    values: Callable[[SizePoints], Floats]


LARGEST_SIZE = Holdout("largest_size", "sizes", lambda points: points.n_params)
LONGEST_HORIZON = Holdout("longest_horizon", "horizons", lambda points: points.tokens_per_parameter)
MOST_EPOCHS = Holdout("most_epochs", "numbers of epochs", lambda points: points.tokens / points.unique_tokens)


def score_without(
    out: LawTables,
    group: dict[str, Any],
    holdout: Holdout,
    points: SizePoints,
    fitted: Callable[[SizePoints], Fit],
    score_on: Callable[[str, SizePoints, SizePoints, Fit], None],
) -> None:
    """Hide, fit the rest, and score that fit: `score_on(holdout, rest, hidden, fit)`. Where the rest cannot be fitted
    (ValueError), a row says why not."""
    hidden = largest(holdout.values(points))
    rest = points.where(~hidden)
    try:
        found = fitted(rest)
    except ValueError as refusal:
        out.not_scored(group, holdout.name, "val_loss", f"without the largest {holdout.plural}: {refusal}")
        return
    score_on(holdout.name, rest, points.where(hidden), found)


def largest(values: Floats) -> Bools:
    """The points of the largest values: whole values, until `HIDDEN_SHARE` of the points are among them."""
    hidden = np.zeros(len(values), dtype=np.bool_)
    for value in np.unique(values)[::-1]:
        hidden |= values == value
        if hidden.sum() >= HIDDEN_SHARE * len(values):
            break
    return hidden


def nearest(points: SizePoints, at: SizePoints) -> Floats:
    """Loss of the nearest point in ln N and ln D: what is said without a law."""
    distance = np.log(at.n_params[:, None] / points.n_params) ** 2 + np.log(at.tokens[:, None] / points.tokens) ** 2
    return np.asarray(points.losses[distance.argmin(1)], np.float64)


def score_hidden(
    out: LawTables,
    group: dict[str, Any],
    holdout: str,
    points: SizePoints,
    hidden: SizePoints,
    predicted: Floats,
    samples: Floats,
    errors: Floats,
    residuals: Floats,
    n_parameters: int,
    losses: FinalLosses,
) -> None:
    """Score predictions [m] of hidden points, with the law's samples of them [n_samples, m], draws of its error beyond
    its points (`new_run.law_errors`), and its residuals."""
    drawn = new_runs(samples, predicted, errors, residuals, points.samples, n_parameters, losses, out.settings)
    low, high = intervals(drawn, out.settings.ci_level)
    out.score(
        group,
        holdout,
        "val_loss",
        predicted,
        hidden.losses,
        nearest(points, hidden),
        low=low,
        high=high,
        hidden=hidden.names,
    )
