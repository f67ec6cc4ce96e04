"""lr_size_horizon: peak_lr_optimal = C·N^(-alpha)·D^(-beta), times B^gamma over several batches (Bjorck et al. 2024).

Points are the optima of sweeps inside their grids, each weighted by how well it is known. Rows with batch 0 are the law
over all batches. `factor_per_horizon_doubling` is the rule of thumb, `factor_2_cost` [nat/token] what a peak learning
rate off by a factor of 2 costs at a new size and horizon. Scored on the longest horizon of every size and on the
largest size, in ln LR and in *regret*: the loss measured at the predicted rate, between the runs of the hidden sweep,
over its lowest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.laws.law import (
    DECLARED,
    EXTRAPOLATION,
    FAR_OFF,
    GRID_POINTS,
    REPEATED_LEFT_OUT,
    SPANS_HORIZONS,
    Floats,
    LawTables,
    Settings,
    Sweep,
    fresh_sweeps,
    hidden_sweeps,
    sweeps,
)
from glidepath.laws.new_run import law_errors
from glidepath.laws.predictors import LR_PREDICTORS, Points
from glidepath.laws.regret import factor_2_cost, loss_at
from glidepath.laws.sweep_residuals import RESIDUALS, with_residual_samples
from glidepath.science.laws.lr_size_horizon import (
    LrPoints,
    LrSizeHorizonLaw,
    fit_lr_size_horizon_law,
    scatter_samples,
)
from glidepath.science.replicates import interval
from glidepath.study.final_losses import FinalLosses

ALL_MODELS = "all"
ALL_BATCHES = 0
ONE_SD = 0.6827
LONGEST, LARGEST = "longest horizon", "largest size"
UNKNOWN_SD = 1.0
"""Of ln LR* where the bootstrap of a sweep leaves an end open."""
POINTS_PER_PARAMETER = 3
"""Where so many remain, sweeps whose interval is open are left out; else they stay, and open the law's."""


@dataclass(frozen=True)
class Optima:
    """Sweeps of one law as arrays."""

    sweeps: list[Sweep]
    n_params: Floats
    tokens: Floats
    batch_tokens: Floats | None
    """None for a law at one batch."""
    peak_lrs: Floats
    samples: Floats
    """[n_bootstrap, sweeps]; NaN where nothing tells the noise."""
    sd: Floats | None
    """Of ln LR*; None where nothing tells it."""

    def __len__(self) -> int:
        return len(self.sweeps)

    @property
    def points(self) -> LrPoints:
        return LrPoints(self.n_params, self.tokens, self.sd, self.batch_tokens)

    def where(self, keep: NDArray[np.bool_]) -> Optima:
        return Optima(
            [sweep for sweep, kept in zip(self.sweeps, keep, strict=True) if kept],
            self.n_params[keep],
            self.tokens[keep],
            None if self.batch_tokens is None else self.batch_tokens[keep],
            self.peak_lrs[keep],
            self.samples[:, keep],
            None if self.sd is None else self.sd[keep],
        )

    @property
    def losses(self) -> Floats:
        """Lowest measured loss of every sweep [nat/token]."""
        return np.array([sweep.losses.min() for sweep in self.sweeps])


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every schedule and batch, and every schedule over its batches; score by hiding the longest horizon of every
    size, the largest size, and on what is declared hidden."""
    replicated = bool(losses.noise.degrees_of_freedom)
    out = LawTables(settings, losses.resampling_unit if replicated else RESIDUALS)
    found = sweeps(losses, settings)
    found = found if replicated else with_residual_samples(found, settings)
    unseen = hidden_sweeps(hidden, settings)
    facts = _facts(losses) | (_facts(hidden) if hidden else {})
    for group, every, hidden_ones in _groups(found, unseen, facts):
        (members, left_out), (of_group, _) = fresh_sweeps(every), fresh_sweeps(hidden_ones)
        if left_out:
            nothing = np.empty(0)
            out.parameter(group, SPANS_HORIZONS, REPEATED_LEFT_OUT, left_out, nothing, len(members), "converged")
        pooled = group["batch_sequences"] == ALL_BATCHES
        optima = _optima(members, facts, pooled, settings.ci_level)
        _fit_group(out, group, optima, members)
        largest = optima.n_params == optima.n_params.max(initial=0)
        for holdout, hide in ((LONGEST, _longest(optima)), (LARGEST, largest)):
            _score(out, group, holdout, optima.where(~hide), optima.where(hide))
        others = _optima(of_group, facts, pooled, settings.ci_level)
        if len(others):
            _score(out, group, DECLARED, optima, others)
    return out


def _facts(losses: FinalLosses) -> dict[str, tuple[str, float]]:
    """Architecture and context length [tokens] of every model; "" and NaN where a log does not tell them."""
    points = losses.points.drop_duplicates("model")
    return {
        str(model): ("" if pd.isna(architecture) else str(architecture), np.nan if pd.isna(length) else float(length))
        for model, architecture, length in points[["model", "architecture", "context_length"]].itertuples(index=False)
    }


def _groups(
    found: list[Sweep], unseen: list[Sweep], facts: dict[str, tuple[str, float]]
) -> Iterator[tuple[dict[str, Any], list[Sweep], list[Sweep]]]:
    """One schedule, batch and architecture; then one schedule and architecture over its batches, if they are known."""

    def keys(sweep: Sweep) -> list[tuple[str, int, str]]:
        architecture, context = facts[sweep.group["model"]]
        schedule, batch = sweep.group["schedule"], sweep.group["batch_sequences"]
        known = batch > 0 and context > 0
        return [(schedule, batch, architecture), *([(schedule, ALL_BATCHES, architecture)] if known else [])]

    groups: dict[tuple[str, int, str], tuple[list[Sweep], list[Sweep]]] = {}
    for kind, members in enumerate((found, unseen)):
        for sweep in members:
            for key in keys(sweep):
                groups.setdefault(key, ([], []))[kind].append(sweep)
    architectures: dict[tuple[str, int], set[str]] = {(schedule, batch): set() for schedule, batch, _ in groups}
    for schedule, batch, architecture in groups:
        architectures[schedule, batch].add(architecture)
    for (schedule, batch, architecture), (members, others) in groups.items():
        batches = {sweep.group["batch_sequences"] for sweep in members}
        if not members or (batch == ALL_BATCHES and len(batches) == 1 and ALL_BATCHES not in batches):
            continue
        alone = len(architectures[schedule, batch]) == 1
        label = ALL_MODELS if alone else f"architecture {architecture or 'not known'}"
        yield {"model": label, "schedule": schedule, "batch_sequences": batch}, members, others


def _optima(members: list[Sweep], facts: dict[str, tuple[str, float]], pooled: bool, level: float) -> Optima:
    """The sweeps whose optimum lies inside their grid."""
    inside = [sweep for sweep in members if sweep.optimum.status == "converged"]
    closed = [sweep for sweep in inside if np.isfinite(interval(sweep.lr_samples, level)).all()]
    if len(closed) >= POINTS_PER_PARAMETER * (4 if pooled else 3):
        inside = closed
    bounded = [_near(s) if any(s is other for other in closed) else s.lr_samples for s in inside]
    samples = np.array(bounded).T if inside else np.empty((0, 0))
    known = samples.size > 0 and bool(np.isfinite(samples).any())
    batches = np.array([sweep.group["batch_sequences"] * facts[sweep.group["model"]][1] for sweep in inside])
    return Optima(
        inside,
        np.array([float(sweep.n_params_counted) for sweep in inside]),
        np.array([sweep.token_horizon for sweep in inside]),
        batches if pooled else None,
        np.array([sweep.optimum.peak_lr for sweep in inside]),
        samples,
        np.array([_sd(column) for column in samples.T]) if known else None,
    )


def _near(sweep: Sweep) -> Floats:
    """Samples of a sweep that knows its optimum: the few far off its grid count as just outside it, or one of them
    among the hundred points of a law would void the row."""
    low, high = sweep.peak_lrs.min() / FAR_OFF, sweep.peak_lrs.max() * FAR_OFF
    return np.asarray(np.clip(sweep.lr_samples, low, high), dtype=np.float64)


def _sd(lr_samples: Floats) -> float:
    """Half the central interval of one standard deviation of ln LR*: tails of samples that lie off the grid do not
    count."""
    low, high = interval(lr_samples, ONE_SD)
    half = float(np.log(high / low)) / 2 if low > 0 else np.nan
    return half if np.isfinite(half) else UNKNOWN_SD


def _longest(optima: Optima) -> NDArray[np.bool_]:
    """The longest horizon of every size."""
    longest = {n: optima.tokens[optima.n_params == n].max() for n in set(optima.n_params.tolist())}
    return np.array([d == longest[n] for n, d in zip(optima.n_params, optima.tokens, strict=True)], dtype=np.bool_)


def _resampled(optima: Optima, law: LrSizeHorizonLaw, settings: Settings) -> LrSizeHorizonLaw:
    """Laws of the samples, each point moved by the scatter too: it would be another one in another set of sweeps."""
    # Without known noise all the distance to the law is scatter.
    samples = optima.samples if optima.sd is not None else np.tile(optima.peak_lrs, (settings.n_bootstrap, 1))
    moved = samples * np.exp(_scatter(optima, len(optima), settings, settings.seed))
    if optima.sd is None and law.degrees_of_freedom < 1:
        moved = np.full_like(moved, np.nan)
    return fit_lr_size_horizon_law(optima.points, moved, scatter=law.scatter)


def _scatter(optima: Optima, n: int, settings: Settings, seed: int) -> Floats:
    """What n sweeps may be aside of the law, shape [n_bootstrap, n]."""
    taus = scatter_samples(optima.points, optima.peak_lrs, settings.n_bootstrap, seed)
    draws = np.random.default_rng(seed + 1).standard_normal((settings.n_bootstrap, n))
    return np.asarray(taus[:, None] * draws, dtype=np.float64)


def _fit_group(out: LawTables, group: dict[str, Any], optima: Optima, members: list[Sweep]) -> None:
    names = ("C", "alpha", "beta", *(("gamma",) if optima.batch_tokens is not None else ()))
    try:
        law = fit_lr_size_horizon_law(optima.points, optima.peak_lrs)
        if not {"alpha", "beta"} & set(optima.points.varied):
            raise ValueError("one size and one horizon make no law")
    except ValueError:
        statuses = {sweep.optimum.status for sweep in members}
        status = "not_identified" if len(optima) else "edge_of_grid" if "edge_of_grid" in statuses else "failed"
        for name in names:
            out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), len(optima), status)
        return
    resampled = _resampled(optima, law, out.settings)
    varied = {"C", *optima.points.varied}
    for name in names:
        if name in varied:
            value, samples, status = float(getattr(law, name)), getattr(resampled, name), "converged"
        else:
            value, samples, status = np.nan, np.empty(0), "not_identified"
        out.parameter(group, SPANS_HORIZONS, name, value, samples, len(optima), status)
    if "beta" in varied:
        factors = resampled.factor_per_doubling
        out.parameter(
            group, SPANS_HORIZONS, "factor_per_horizon_doubling", float(law.factor_per_doubling), factors, len(optima),
            "converged",
        )  # fmt: skip
    out.parameter(group, SPANS_HORIZONS, "scatter", law.scatter, np.empty(0), len(optima), "converged")
    out.parameter(
        group, SPANS_HORIZONS, "share_inside", len(optima) / len(members), np.empty(0), len(members), "converged"
    )
    cost, costs = factor_2_cost(optima.sweeps, out.settings)
    out.parameter(group, SPANS_HORIZONS, "factor_2_cost", cost, costs, len(optima), "converged")
    if optima.batch_tokens is None:
        _predict(out, group, optima, law, resampled)


def _several(values: Floats) -> bool:
    return len(set(values.tolist())) > 1


def _predict(
    out: LawTables, group: dict[str, Any], optima: Optima, law: LrSizeHorizonLaw, resampled: LrSizeHorizonLaw
) -> None:
    """The law of every size along its horizons, and beyond."""
    if not _several(optima.tokens):
        return
    longest = optima.tokens.max()
    models = {str(sweep.group["model"]): float(sweep.n_params_counted) for sweep in optima.sweeps}
    for model, n in models.items():
        shortest = optima.tokens[optima.n_params == n].min()
        grid = np.geomspace(shortest, longest * EXTRAPOLATION, GRID_POINTS)
        sizes = np.full(GRID_POINTS, n)
        out.prediction(
            {**group, "model": model}, SPANS_HORIZONS, "token_horizon", grid, "peak_lr", law.predict(sizes, grid),
            resampled.predict(sizes, grid), grid > longest * (1 + 1e-9),
        )  # fmt: skip


def _score(out: LawTables, group: dict[str, Any], holdout: str, seen: Optima, hidden: Optima) -> None:
    if not len(hidden) or not len(seen):
        reason = f"{len(seen) + len(hidden)} sweeps with an optimum inside their grid: hiding these leaves none"
        out.not_scored(group, holdout, "ln_peak_lr", reason)
        return
    try:
        law = fit_lr_size_horizon_law(seen.points, seen.peak_lrs)
    except ValueError as refusal:
        out.not_scored(group, holdout, "ln_peak_lr", str(refusal))
        return
    for name in ("n_params", "tokens"):
        if not _several(getattr(seen, name)) and not set(getattr(hidden, name)) <= set(getattr(seen, name)):
            word = {"n_params": "size", "tokens": "horizon"}[name]
            out.not_scored(group, holdout, "ln_peak_lr", f"one {word} is left when this is hidden: two are needed")
            return
    at = (hidden.n_params, hidden.tokens, hidden.batch_tokens)
    predicted = law.predict(*at)
    distance = np.log(hidden.n_params[:, None] / seen.n_params) ** 2 + np.log(hidden.tokens[:, None] / seen.tokens) ** 2
    if hidden.batch_tokens is not None and seen.batch_tokens is not None:
        distance += np.log(hidden.batch_tokens[:, None] / seen.batch_tokens) ** 2
    carried = seen.peak_lrs[distance.argmin(1)]
    low, high = _new_sweep(law, seen, hidden, holdout, out.settings)
    out.score(
        group, holdout, "ln_peak_lr", np.log(predicted), np.log(hidden.peak_lrs), np.log(carried), low=low, high=high
    )
    # A share of a logarithm means nothing.
    out.scores[-1] |= {"mean_relative_error": np.nan, "worst_relative_error": np.nan}
    pairs = [[loss_at(sweep, lr) for sweep, lr in zip(hidden.sweeps, lrs, strict=True)] for lrs in (predicted, carried)]
    at_predicted, at_carried = (np.array([loss for loss, _ in found]) for found in pairs)
    out.score(group, holdout, "regret", at_predicted, hidden.losses, at_carried)
    out.scores[-1]["r_squared"] = np.nan
    outside = sum(not inside for _, inside in pairs[0])
    if outside:
        out.scores[-1]["status"] = f"scored; {outside} predictions are outside their sweep and count as its end"


def _new_sweep(
    law: LrSizeHorizonLaw, seen: Optima, hidden: Optima, holdout: str, settings: Settings
) -> tuple[Floats, Floats]:
    """Interval of ln LR* of a hidden sweep: the law's, its scatter, what it missed of nearer sweeps that were hidden
    from it, and what that sweep leaves open itself."""
    resampled = _resampled(seen, law, settings)
    with np.errstate(divide="ignore"):
        samples = np.log(resampled.predict(hidden.n_params, hidden.tokens, hidden.batch_tokens))
    random = np.random.default_rng(settings.seed + 1)
    # Of a sweep that is only compared with, the noise is that of those fitted.
    if seen.sd is None:
        own = np.zeros(len(hidden))
    elif hidden.sd is None or len(hidden.samples) < settings.n_bootstrap:
        own = np.full(len(hidden), float(np.median(seen.sd)))
    else:
        own = hidden.sd
    samples = samples + _scatter(seen, len(hidden), settings, settings.seed + 2)
    samples = samples + own * random.standard_normal(samples.shape)
    samples = samples + _law_errors(law, seen, hidden, holdout, settings)
    ends = np.array([interval(column, settings.ci_level) for column in samples.T])
    return ends[:, 0], ends[:, 1]


def _law_errors(law: LrSizeHorizonLaw, seen: Optima, hidden: Optima, holdout: str, settings: Settings) -> Floats:
    """[n_bootstrap, hidden]; what the batch does is taken off as the law has it."""
    of_batch = 0.0 if seen.batch_tokens is None else float(law.gamma) * np.log(seen.batch_tokens)
    points = Points(seen.n_params, seen.tokens, np.log(seen.peak_lrs) - of_batch, None)
    by_horizon, by_both = LR_PREDICTORS
    predictor = by_both if _several(seen.n_params) else by_horizon
    axis = {LONGEST: points.tokens, LARGEST: points.n_params}.get(holdout, points.compute)
    return law_errors(predictor, points, hidden.n_params, hidden.tokens, settings, axis=axis)
