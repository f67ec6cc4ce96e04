"""Runs that could be made to sharpen a recommendation: of the chosen schedule and batch, and not there yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from glidepath.advice.choice import Choice
from glidepath.advice.loss import LossAtTarget
from glidepath.advice.peak_lr import LrAtTarget
from glidepath.advice.trained import Trained
from glidepath.laws.law import Floats, Sweep
from glidepath.science.schedules import portable
from glidepath.study.recommendation import TargetRun

MAX_RUN_SHARE, MAX_SWEEP_SHARE = 0.5, 1.0
"""Of the target's compute: a run, or a sweep of several, that costs more is no preparation for it."""
BEYOND = (1.5, 2.0, 3.0, 4.0)
"""Factors over the longest horizon."""
FLOPS_PER_PARAMETER_AND_TOKEN = 6.0
SAME_POINT = 0.05
"""A size, horizon or learning rate that differs by less is there already: horizons are proposed as round numbers."""


@dataclass(frozen=True)
class Candidate:
    """A run that could be made, or a sweep over a few learning rates."""

    what: Literal["replicate", "horizon", "size", "peak_lr"]
    model: str
    n_params: int
    peak_lrs: tuple[float, ...]
    """Empty where no learning rate is known of the runs: one run."""
    tokens_per_parameter: float
    replicate: int | None
    sweep: Sweep | None
    """The sweep that it joins; None where there is none at its size and horizon."""

    @property
    def token_horizon(self) -> float:
        return self.sweep.token_horizon if self.sweep else self.tokens_per_parameter * self.n_params

    @property
    def flops(self) -> float:
        """6·N·D of all its runs."""
        return FLOPS_PER_PARAMETER_AND_TOKEN * self.n_params * self.token_horizon * max(1, len(self.peak_lrs))

    def is_among(self, runs: Floats) -> bool:
        """Whether one of the runs, as in `Trained.hidden`, is there, at that learning rate where it joins a sweep."""
        here = runs[:, :2] / (self.n_params, self.token_horizon)
        near = runs[(np.abs(np.log(here)) < SAME_POINT).all(axis=1), 2]
        if self.sweep is None or not self.peak_lrs:
            return len(near) > 0
        off = np.abs(np.log(near[:, None] / self.peak_lrs))
        return bool((np.isnan(off) | (off < SAME_POINT)).any())


def candidates(
    choice: Choice, target: TargetRun, trained: Trained, loss: LossAtTarget, lr: LrAtTarget, of_study: bool
) -> Iterator[Candidate]:
    """Runs of the chosen schedule and batch that are not there, held out or not. Each costs at most half of the target,
    and a sweep together as much as the target.

    One more replicate of the three learning rates around each sweep's best, a learning rate between and beyond those
    of each sweep, horizons between the trained ones and beyond them, and sizes between the largest and the target's.
    Sizes that neither the loss law nor that of the learning rate is fitted to are left out.
    """
    of_size = [said.points.n_params for said in (loss.said[0], *lr.said[:1])]
    one_size = all(said.predictor.one_size for said in (loss.said[0], *lr.said[:1]))
    told = set(np.concatenate(of_size).tolist())
    of_target = FLOPS_PER_PARAMETER_AND_TOKEN * target.n_params_counted * target.token_horizon

    def new(candidate: Candidate) -> bool:
        where = candidate.tokens_per_parameter, choice.batch_sequences, candidate.replicate or 0
        keys = {(candidate.model, choice.schedule, rate, *where) for rate in candidate.peak_lrs or (0.0,)}
        of_run = candidate.flops / max(1, len(candidate.peak_lrs))
        affordable = of_run <= MAX_RUN_SHARE * of_target and candidate.flops <= MAX_SWEEP_SHARE * of_target
        return affordable and not keys & trained.cells and not candidate.is_among(trained.hidden)

    for candidate in (
        *_in_sweeps(choice, trained),
        *_horizons(choice, trained, lr),
        *_sizes(choice, target, trained, lr, of_study),
    ):
        if new(candidate) and (not one_size or candidate.n_params in told):
            yield candidate


def _in_sweeps(choice: Choice, trained: Trained) -> Iterator[Candidate]:
    for sweep in choice.all_sizes:
        model = sweep.group["model"]
        replicates = trained.replicates(model, choice.schedule, choice.batch_sequences)
        best = int(sweep.losses.argmin())
        swept = bool(np.isfinite(sweep.peak_lrs).all())
        for i in range(max(best - 1, 0), min(best + 2, len(sweep.losses))):
            yield Candidate(
                "replicate", model, sweep.n_params_counted, (float(sweep.peak_lrs[i]),) if swept else (),
                sweep.tokens_per_parameter, max(replicates, default=0) + 1, sweep,
            )  # fmt: skip
        if swept and len(sweep.peak_lrs) > 1:
            around = sweep.peak_lrs[max(best - 1, 0) : best + 2]
            ratio = float(np.median(np.diff(np.log(sweep.peak_lrs))))
            between = np.exp((np.log(around[1:]) + np.log(around[:-1])) / 2)
            ends = sweep.peak_lrs[0] * np.exp(-ratio), sweep.peak_lrs[-1] * np.exp(ratio)
            for peak_lr in (*between, *ends):
                yield Candidate(
                    "peak_lr", model, sweep.n_params_counted, (_round(float(peak_lr)),), sweep.tokens_per_parameter,
                    replicates[0] if replicates else None, sweep,
                )  # fmt: skip


def _horizons(choice: Choice, trained: Trained, lr: LrAtTarget) -> Iterator[Candidate]:
    for model in dict.fromkeys(str(sweep.group["model"]) for sweep in choice.all_sizes):
        members = [sweep for sweep in choice.all_sizes if sweep.group["model"] == model]
        horizons = np.array(sorted(sweep.tokens_per_parameter for sweep in members))
        between = np.sqrt(horizons[1:] * horizons[:-1])
        for horizon in (*between, *(horizons[-1] * factor for factor in BEYOND)):
            rounded = _round(float(horizon))
            yield from _at_point("horizon", model, members[0].n_params_counted, rounded, choice, trained, lr)


def _sizes(choice: Choice, target: TargetRun, trained: Trained, lr: LrAtTarget, of_study: bool) -> Iterator[Candidate]:
    seen = sorted({sweep.n_params_counted for sweep in choice.all_sizes})
    if of_study:
        # Models that were trained and are not among `all_sizes` are of another architecture.
        known = {cell[0] for cell in trained.cells if (cell[1], cell[4]) == (choice.schedule, choice.batch_sequences)}
        sizes = {name: n for name, n in trained.sizes.items() if name not in known}
    else:
        steps = [factor * seen[-1] for factor in BEYOND if factor * seen[-1] < target.n_params_counted]
        sizes = {f"{n:.3g} parameters": round(n) for n in steps}
    horizons = sorted({sweep.tokens_per_parameter for sweep in choice.all_sizes})
    for name, n in sizes.items():
        for horizon in horizons[-3:]:
            yield from _at_point("size", name, n, horizon, choice, trained, lr)


def _at_point(
    what: Literal["horizon", "size"],
    model: str,
    n_params: int,
    horizon: float,
    choice: Choice,
    trained: Trained,
    lr: LrAtTarget,
) -> Iterator[Candidate]:
    """A sweep over the three learning rates of the grid around the best one there, which share trunks with the cells
    that have them."""
    of_schedule = choice.schedule, choice.batch_sequences
    replicates = trained.replicates(model, *of_schedule) or trained.replicates(choice.model, *of_schedule)
    replicate = replicates[0] if replicates else None
    of_model = [s for s in choice.all_sizes if s.group["model"] == model] or choice.horizons
    grid = np.unique(np.concatenate([sweep.peak_lrs for sweep in of_model]))
    if not np.isfinite(grid).all() or len(grid) < 2:
        rates: tuple[float, ...] = (float(grid[0]),) if len(grid) == 1 and np.isfinite(grid[0]) else ()
        yield Candidate(what, model, n_params, rates, horizon, replicate, None)
        return
    best = lr.value
    if lr.said:
        best = float(np.exp(lr.said[0].curve(np.array([float(n_params)]), np.array([horizon * n_params]))[0]))
    nearest = min(max(int(np.abs(np.log(grid / best)).argmin()), 1), max(len(grid) - 2, 1))
    rates = tuple(float(peak_lr) for peak_lr in grid[nearest - 1 : nearest + 2])
    yield Candidate(what, model, n_params, rates, horizon, replicate, None)


def _round(value: float) -> float:
    """To three digits: what a person would type."""
    return portable(float(f"{value:.3g}"))
