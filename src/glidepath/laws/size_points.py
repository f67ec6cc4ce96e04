"""What laws over sizes and horizons are fitted to: the best loss of every sweep, how well it is known, and what is
hidden from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.laws.law import SPANS_HORIZONS, Floats, LawTables, Settings, Sweep, sweeps
from glidepath.science.replicates import interval, single_run_noise
from glidepath.study.final_losses import FinalLosses

Bools = NDArray[np.bool_]

ALL_MODELS = "all"
SIZES_OF_A_LAW = 3
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
    tokens_per_parameter: Floats
    """As the grid names it: equal for all sizes, where tokens are whole updates."""
    unique_tokens: Floats
    """NaN where they are not known."""
    train_flops: Floats
    """As told; NaN where it is not."""
    losses: Floats
    """[nat/token]"""
    samples: Floats | None
    """The same losses measured anew, shape [n_samples, points]; None without replicates: then runs are drawn anew."""
    weights: Floats | None
    """How often every run is drawn, shape [n_samples, points]; None with replicates."""
    n_architectures: int = 1

    def __len__(self) -> int:
        return len(self.losses)

    def where(self, keep: Bools) -> SizePoints:
        """Some of the points. Without replicates the draws are of all points, so a row may be short of some."""
        return replace(
            self,
            models=[model for model, kept in zip(self.models, keep, strict=True) if kept],
            n_params=self.n_params[keep],
            tokens=self.tokens[keep],
            tokens_per_parameter=self.tokens_per_parameter[keep],
            unique_tokens=self.unique_tokens[keep],
            train_flops=self.train_flops[keep],
            losses=self.losses[keep],
            samples=None if self.samples is None else self.samples[:, keep],
            weights=None if self.weights is None else self.weights[:, keep],
        )


def groups_of_points(
    losses: FinalLosses, settings: Settings, hidden: FinalLosses | None
) -> Iterator[tuple[dict[str, Any], SizePoints, SizePoints | None]]:
    """Group columns, points and the points that the configuration hides, for every schedule and batch.

    Models that differ in more than their size (`architecture`) are not one law's: where one of the architectures has
    three sizes, each has rows of its own, named after its digest. Where none has, as in a family whose heads grow with
    the size, all are one law, and `n_architectures` among the parameters says so.
    """
    architectures = architectures_of(losses) | (architectures_of(hidden) if hidden else {})
    unseen = sweeps(hidden, settings) if hidden else []
    groups: dict[tuple[str, int], list[Sweep]] = {}
    for sweep in sweeps(losses, settings):
        groups.setdefault((sweep.group["schedule"], sweep.group["batch_sequences"]), []).append(sweep)
    for (schedule, batch), members in groups.items():
        alike = [sweep for sweep in unseen if tuple(sweep.group.values())[1:] == (schedule, batch)]
        for label, kinds in parts(members, architectures).items():
            chosen, others = (
                [sweep for sweep in of if architectures[sweep.group["model"]] in kinds] for of in (members, alike)
            )
            seen = {_place(sweep) for sweep in chosen}
            others = [sweep for sweep in others if _place(sweep) not in seen]
            group = {"model": label, "schedule": schedule, "batch_sequences": batch}
            points = replace(_points(chosen, losses, settings), n_architectures=len(kinds))
            yield group, points, _points(others, losses, settings) if others else None


def parts(members: list[Sweep], architectures: dict[str, str]) -> dict[str, set[str]]:
    """Architectures by the label of the law that they share."""
    sizes: dict[str, set[int]] = {}
    for sweep in members:
        sizes.setdefault(architectures[sweep.group["model"]], set()).add(sweep.n_params_counted)
    if len(sizes) == 1 or max(map(len, sizes.values())) < SIZES_OF_A_LAW:
        return {ALL_MODELS: set(sizes)}
    return {f"architecture {kind or 'not known'}": {kind} for kind in sizes}


def architectures_of(losses: FinalLosses) -> dict[str, str]:
    """By model; empty where it is not known."""
    points = losses.points.drop_duplicates("model")
    return {
        str(model): "" if pd.isna(architecture) else str(architecture)
        for model, architecture in zip(points["model"], points["architecture"], strict=True)
    }


def _place(sweep: Sweep) -> tuple[int, float, str]:
    """Where the law is asked; epochs as text, so that unknown ones are equal."""
    return sweep.n_params_counted, sweep.token_horizon, f"{sweep.epochs:.9g}"


def _points(members: list[Sweep], losses: FinalLosses, settings: Settings) -> SizePoints:
    replicated = bool(losses.noise.degrees_of_freedom)
    tokens = np.array([sweep.token_horizon for sweep in members])
    return SizePoints(
        [str(sweep.group["model"]) for sweep in members],
        np.array([float(sweep.n_params_counted) for sweep in members]),
        tokens,
        np.array([sweep.tokens_per_parameter for sweep in members]),
        tokens / np.array([sweep.epochs for sweep in members]),
        np.array([sweep.train_flops for sweep in members]),
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
    return np.asarray(points.losses[distance.argmin(1)], np.float64)


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
    """Rows on the residuals (ln measured - ln predicted): each, their robust standard deviation, those beyond five."""
    sd = ROBUST_SD * float(np.median(np.abs(residuals)))
    # Residuals of a law through all its points are rounding errors.
    outlying = np.abs(residuals) > OUTLYING * max(sd, 1e-6)
    told = {"residual_sd": sd, "n_outliers": float(outlying.sum())}
    if points.n_architectures > 1:
        told["n_architectures"] = float(points.n_architectures)
    for name, value in told.items():
        out.parameter(group, SPANS_HORIZONS, name, value, np.empty(0), len(points), "converged")
    models = np.array(points.models)
    for quantity, of in (("residual", np.ones_like(outlying)), ("outlying_residual", outlying)):
        for model in dict.fromkeys(models[of].tolist()):
            at = np.flatnonzero(of & (models == model))
            # Runs of one size and horizon, but with other unique tokens: the one that is furthest off.
            at = at[np.argsort(-np.abs(residuals[at]), kind="stable")]
            at = at[np.unique(points.tokens[at], return_index=True)[1]]
            out.prediction(
                {**group, "model": model}, SPANS_HORIZONS, "token_horizon", points.tokens[at], quantity,
                residuals[at], np.empty((0, len(at))), np.zeros(len(at), dtype=bool),
            )  # fmt: skip
