"""What laws over sizes and horizons are fitted to: the best loss of every sweep, how well it is known, and what is
hidden from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.laws.law import Floats, LawTables, Settings, Sweep, sweeps
from glidepath.science.replicates import interval, single_run_noise
from glidepath.study.final_losses import FinalLosses

Bools = NDArray[np.bool_]

ALL_MODELS = "all"
HIDDEN_SHARE = 0.1
"""Of the points, at least one size or horizon: so many are hidden to test a law beyond what it was fitted to."""
ROBUST_SD = 1.4826
"""Standard deviation of normal residuals over the median of their sizes."""
OUTLYING = 5.0
"""Residuals larger than so many robust standard deviations are reported; they stay in the fit."""
RUNS = "runs"
"""Resampling unit without replicates."""


@dataclass(frozen=True)
class SizePoints:
    """Points of one law."""

    models: list[str]
    n_params: Floats
    tokens: Floats
    unique_tokens: Floats
    """NaN where they are not known."""
    losses: Floats
    """[nat/token]"""
    samples: Floats | None
    """The same losses measured anew, shape [n_samples, points]; None without replicates: then runs are drawn anew."""
    weights: Floats | None
    """How often every run is drawn, shape [n_samples, points]; None with replicates."""

    def __len__(self) -> int:
        return len(self.losses)

    def where(self, keep: Bools) -> SizePoints:
        """Some of the points. Without replicates the draws are of all points, so a row may be short of some."""
        return SizePoints(
            [model for model, kept in zip(self.models, keep, strict=True) if kept],
            self.n_params[keep],
            self.tokens[keep],
            self.unique_tokens[keep],
            self.losses[keep],
            None if self.samples is None else self.samples[:, keep],
            None if self.weights is None else self.weights[:, keep],
        )


def groups_of_points(
    losses: FinalLosses, settings: Settings, hidden: FinalLosses | None
) -> Iterator[tuple[dict[str, Any], SizePoints, SizePoints | None]]:
    """Group columns, points and the points that the configuration hides, for every schedule, batch and architecture.

    Models that differ in more than their size (`architecture`) are not one law's: where a schedule was trained with
    several architectures, each has its own rows, named after its digest.
    """
    found = sweeps(losses, settings)
    unseen = sweeps(hidden, settings) if hidden else []
    architectures = _architectures(losses) | (_architectures(hidden) if hidden else {})
    groups: dict[tuple[str, int, str], list[Sweep]] = {}
    for sweep in found:
        groups.setdefault(_key(sweep, architectures), []).append(sweep)
    kinds: dict[tuple[str, int], int] = {}
    for schedule, batch, _ in groups:
        kinds[schedule, batch] = kinds.get((schedule, batch), 0) + 1
    for key, members in groups.items():
        schedule, batch, architecture = key
        label = ALL_MODELS if kinds[schedule, batch] == 1 else f"architecture {architecture or 'not known'}"
        seen = {(sweep.n_params_counted, sweep.token_horizon) for sweep in members}
        others = [
            sweep
            for sweep in unseen
            if _key(sweep, architectures) == key and (sweep.n_params_counted, sweep.token_horizon) not in seen
        ]
        group = {"model": label, "schedule": schedule, "batch_sequences": batch}
        yield group, _points(members, losses, settings), _points(others, losses, settings) if others else None


def _architectures(losses: FinalLosses) -> dict[str, str]:
    points = losses.points.drop_duplicates("model")
    return {
        str(model): "" if pd.isna(architecture) else str(architecture)
        for model, architecture in zip(points["model"], points["architecture"], strict=True)
    }


def _key(sweep: Sweep, architectures: dict[str, str]) -> tuple[str, int, str]:
    return sweep.group["schedule"], sweep.group["batch_sequences"], architectures[sweep.group["model"]]


def _points(members: list[Sweep], losses: FinalLosses, settings: Settings) -> SizePoints:
    replicated = bool(losses.noise.degrees_of_freedom)
    columns = ["model", "schedule", "batch_sequences", "tokens_per_parameter"]
    epochs = losses.points.drop_duplicates(columns).set_index(columns)["epochs"].astype("float64")
    keys = pd.MultiIndex.from_tuples(
        [(*sweep.group.values(), sweep.tokens_per_parameter) for sweep in members], names=columns
    )
    tokens = np.array([sweep.token_horizon for sweep in members])
    return SizePoints(
        [str(sweep.group["model"]) for sweep in members],
        np.array([float(sweep.n_params_counted) for sweep in members]),
        tokens,
        tokens / epochs.reindex(keys).to_numpy(),
        np.array([sweep.optimum.val_loss for sweep in members]),
        np.stack([sweep.loss_samples for sweep in members], axis=1) if replicated else None,
        None if replicated else drawn_runs(len(members), settings.n_bootstrap, settings.seed),
    )


def drawn_runs(n: int, n_samples: int, seed: int) -> Floats:
    """How often each of n runs is drawn with replacement, shape [n_samples, n]."""
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=n_samples)
    return counts.astype(np.float64)


def resampling_unit(losses: FinalLosses) -> str:
    return losses.resampling_unit if losses.noise.degrees_of_freedom else RUNS


def new_run(
    samples: Floats, predicted: Floats, residuals: Floats, n_parameters: int, losses: FinalLosses, settings: Settings
) -> Floats:
    """Losses that one new run at each point could have [n_samples, m]: the law's samples, noise, and its lack of fit.

    Noise is that of a single run, from replicates. Where the law's residuals (ln, with n/(n - p) for its p parameters)
    are larger than that, draws of them make up the difference: the law is then off by more than noise even at points
    that it was fitted to. How far it is off beyond them is not known to it.
    """
    n_samples, m = samples.shape
    noise = np.stack([single_run_noise(losses.noise, n_samples, settings.seed + 1 + i) for i in range(m)], axis=1)
    degrees = len(residuals) - n_parameters
    if degrees < 1:
        return samples + noise
    variance = float((residuals**2).sum()) / degrees * predicted**2
    known = losses.noise.own_sd**2 + losses.noise.position_sd**2 if losses.noise.degrees_of_freedom else 0.0
    unexplained = np.sqrt(np.maximum(variance - known, 0.0))
    draws = np.random.default_rng(settings.seed).choice(residuals, size=(n_samples, m))
    scale = float(np.sqrt((residuals**2).mean()))
    return samples + noise + (unexplained * draws / scale if scale > 0 else 0.0)


def intervals(samples: Floats, level: float) -> tuple[Floats, Floats]:
    """Ends of the percentile interval of every column."""
    ends = np.array([interval(column, level) for column in samples.T])
    return ends[:, 0], ends[:, 1]


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
    return points.losses[distance.argmin(1)]


def score_hidden(
    out: LawTables,
    group: dict[str, Any],
    holdout: str,
    points: SizePoints,
    hidden: SizePoints,
    predicted: Floats,
    samples: Floats,
    residuals: Floats,
    n_parameters: int,
    losses: FinalLosses,
) -> None:
    """Score predictions [m] of hidden points, with the law's samples of them [n_samples, m] and its residuals."""
    drawn = new_run(samples, predicted, residuals, n_parameters, losses, out.settings)
    low, high = intervals(drawn, out.settings.ci_level)
    out.score(group, holdout, "val_loss", predicted, hidden.losses, nearest(points, hidden), low=low, high=high)


def report_residuals(out: LawTables, group: dict[str, Any], points: SizePoints, residuals: Floats) -> None:
    """Rows on the residuals (ln measured - ln predicted): their robust standard deviation, and those beyond five."""
    sd = ROBUST_SD * float(np.median(np.abs(residuals)))
    # Residuals of a law through all its points are rounding errors.
    outlying = np.flatnonzero(np.abs(residuals) > OUTLYING * max(sd, 1e-6))
    for name, value in (("residual_sd", sd), ("n_outliers", float(len(outlying)))):
        out.parameter(group, 0.0, name, value, np.empty(0), len(points), "converged")
    for i in outlying:
        out.prediction(
            {**group, "model": points.models[i]}, 0.0, "token_horizon", points.tokens[i : i + 1], "outlying_residual",
            residuals[i : i + 1], np.empty((0, 1)), np.zeros(1, dtype=bool),
        )  # fmt: skip
