"""What laws over sizes and horizons are fitted to: the best loss of every sweep, how well it is known, and what a law
leaves of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.laws.law import (
    REPEATED_LEFT_OUT,
    SPANS_HORIZONS,
    Floats,
    LawTables,
    Settings,
    Sweep,
    fresh_sweeps,
    sweeps,
)
from glidepath.study.final_losses import FinalLosses

Bools = NDArray[np.bool_]

ALL_MODELS = "all"
SIZES_OF_A_LAW = 3
ROBUST_SD = 1.4826
"""Standard deviation of normal residuals over the median of their sizes."""
OUTLYING = 5.0
"""Residuals larger than so many robust standard deviations are reported; they stay in the fit."""
RUNS = "runs"
"""Resampling unit without replicates, if no two share a trunk."""


@dataclass(frozen=True)
class SizePoints:
    """Points of one law."""

    models: list[str]
    names: list[str]
    """As `law.point_name` has them."""
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
    resampling_unit: str
    n_architectures: int = 1
    n_repeated_left_out: int = 0
    """Points of too many epochs, where the law knows nothing of repetition."""

    def __len__(self) -> int:
        return len(self.losses)

    def where(self, keep: Bools) -> SizePoints:
        """Some of the points. Without replicates the draws are of all points, so a row may be short of some."""
        return replace(
            self,
            models=[model for model, kept in zip(self.models, keep, strict=True) if kept],
            names=[name for name, kept in zip(self.names, keep, strict=True) if kept],
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
    losses: FinalLosses, settings: Settings, hidden: FinalLosses | None, *, fresh: bool = True
) -> Iterator[tuple[dict[str, Any], SizePoints, SizePoints | None]]:
    """Group columns, points and the points that the configuration hides, for every schedule and batch.

    Models that differ in more than their size (`architecture`) are not one law's: where one of the architectures has
    three sizes, each has rows of its own, named after its digest. Where none has, as in a family whose heads grow with
    the size, all are one law, and `n_architectures` among the parameters says so. With `fresh` points of many epochs
    are left out (`fresh_sweeps`), hidden ones too, and `n_repeated_left_out` says how many.
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
            left_out = 0
            if fresh:
                (chosen, left_out), (others, _) = fresh_sweeps(chosen), fresh_sweeps(others)
            group = {"model": label, "schedule": schedule, "batch_sequences": batch}
            points = _points(chosen, losses, settings)
            points = replace(points, n_architectures=len(kinds), n_repeated_left_out=left_out)
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
    weights, unit = drawn_anew([sweep.trunk for sweep in members], settings.n_bootstrap, settings.seed)
    return SizePoints(
        [str(sweep.group["model"]) for sweep in members],
        [sweep.name for sweep in members],
        np.array([float(sweep.n_params_counted) for sweep in members]),
        tokens,
        np.array([sweep.tokens_per_parameter for sweep in members]),
        tokens / np.array([sweep.epochs for sweep in members]),
        np.array([sweep.train_flops for sweep in members]),
        np.array([sweep.optimum.val_loss for sweep in members]),
        np.stack([sweep.loss_samples for sweep in members], axis=1) if replicated else None,
        None if replicated else weights,
        losses.resampling_unit if replicated else unit,
    )


def drawn_anew(trunks: Sequence[str], n_samples: int, seed: int) -> tuple[Floats, str]:
    """How often each of n runs is drawn with replacement, shape [n_samples, n], and what was drawn.

    Runs of one trunk (empty: a run's own) are drawn together: what another seed would change is common to them. Where
    all are of one trunk nothing tells what that is; runs are then drawn, and intervals are of runs of that trunk.
    """
    names = [trunk or f"run {i}" for i, trunk in enumerate(trunks)]
    labels = pd.factorize(pd.Series(names))[0]
    n, unit = int(labels.max()) + 1, RUNS
    if n == 1 < len(labels):
        labels, n, unit = np.arange(len(labels)), len(labels), "runs of one trunk"
    elif n < len(labels):
        unit = "trunks"
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=n_samples)
    return counts[:, labels].astype(np.float64), unit


def report_residuals(out: LawTables, group: dict[str, Any], points: SizePoints, residuals: Floats) -> None:
    """Rows on the residuals (ln measured - ln predicted): each, their robust standard deviation, those beyond five."""
    sd = ROBUST_SD * float(np.median(np.abs(residuals)))
    # Residuals of a law through all its points are rounding errors.
    outlying = np.abs(residuals) > OUTLYING * max(sd, 1e-6)
    told = {"residual_sd": sd, "n_outliers": float(outlying.sum())}
    if points.n_architectures > 1:
        told["n_architectures"] = float(points.n_architectures)
    if points.n_repeated_left_out:
        told[REPEATED_LEFT_OUT] = float(points.n_repeated_left_out)
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
