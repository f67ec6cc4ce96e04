"""The runs that would sharpen a recommendation most per FLOP: candidates, their outcomes, and the choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from glidepath.laws.law import Settings, Sweep
from glidepath.laws.predictors import REACH_POWER, Said, reach_of
from glidepath.laws.target import Choice, LossAtTarget, LrAtTarget
from glidepath.science.next_runs import Chosen, choose
from glidepath.science.schedules import portable
from glidepath.study.added_cells import AddedCell
from glidepath.study.recommendation import NextCell, TargetRun

Floats = NDArray[np.float64]

MAX_RUN_SHARE, MAX_SWEEP_SHARE = 0.5, 1.0
"""Of the target's compute: a run, or a sweep of several, that costs more is no preparation for it."""
BEYOND = (1.5, 2.0, 3.0, 4.0)
"""Factors over the longest horizon."""
MIN_FINITE = 0.8
"""Share of the bootstrap in which a quantity must have an answer."""
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


class FlopsAdded(Protocol):
    """FLOPs that a cell adds to a study and to cells beside it."""

    def added(self, cell: AddedCell, beside: Sequence[AddedCell] = ()) -> float: ...


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

    def is_hidden(self, candidate: Candidate) -> bool:
        """Whether a held-out run is there, at that learning rate where it joins a sweep."""
        here = self.hidden[:, :2] / (candidate.n_params, candidate.token_horizon)
        near = self.hidden[(np.abs(np.log(here)) < SAME_POINT).all(axis=1), 2]
        if candidate.sweep is None or not candidate.peak_lrs:
            return len(near) > 0
        off = np.abs(np.log(near[:, None] / candidate.peak_lrs))
        return bool((np.isnan(off) | (off < SAME_POINT)).any())

    def replicates(self, model: str, schedule: str, batch: int) -> list[int]:
        """Of the cells of a model, schedule and batch, ascending."""
        return sorted({c[5] for c in self.cells if (c[0], c[1], c[4]) == (model, schedule, batch)})

    def hours(self, model: str, flops: float) -> float | None:
        """Time of that many FLOPs, for an unseen model at the median speed of the others."""
        if not self.seconds_per_flop:
            return None
        known = list(self.seconds_per_flop.values())
        return flops * self.seconds_per_flop.get(model, float(np.median(known))) / 3600


def next_cells(
    choice: Choice,
    target: TargetRun,
    loss: LossAtTarget | None,
    lr: LrAtTarget,
    trained: Trained,
    costs: FlopsAdded | None,
    settings: Settings,
    n_cells: int,
) -> tuple[NextCell, ...]:
    """At most n_cells runs, the one that removes most variance per FLOP first.

    Quantities are the predicted loss and, where it has an interval, ln peak_lr; each run's outcome is the loss law's
    at its size and horizon, in a valley around the law's best learning rate, or that of the sweep it joins. The law's
    error beyond what it was fitted to is part of both, as one slope in reach^1.5, so that a run on the way to the
    target tells of it. `costs` None: 6·N·D. Empty where nothing tells what runs differ by.
    """
    if loss is None or loss.run_sd is None or loss.said[0].curves is None:
        return ()
    batch = int(choice.horizons[0].group["batch_sequences"])
    tried = list(candidates(choice, target, trained, loss, lr, costs is not None))
    world = _World.of(choice, target, loss, lr, settings)
    if not tried:
        return ()
    columns = [world.outcomes(candidate) for candidate in tried]
    known = [bool((np.isfinite(column).mean(0) > MIN_FINITE).all()) for column in columns]
    tried = [candidate for candidate, ok in zip(tried, known, strict=True) if ok]
    columns = [column for column, ok in zip(columns, known, strict=True) if ok]
    if not tried:
        return ()
    ends = np.cumsum([column.shape[1] for column in columns])
    groups = [np.arange(end - column.shape[1], end) for end, column in zip(ends, columns, strict=True)]
    outcomes = np.hstack(columns)
    keep = np.flatnonzero(np.isfinite(np.hstack([outcomes, world.quantities])).all(axis=1))
    if len(keep) < MIN_FINITE**2 * len(outcomes):
        return ()
    noise = np.full(outcomes.shape[1], loss.run_sd)
    money = _money(tried, choice.schedule, batch, costs)
    found = choose(world.quantities[keep], outcomes[keep], noise, groups, money, n_cells)
    exact = costs is not None
    return tuple(_described(tried[c.index], c, choice.schedule, batch, trained, world, exact) for c in found)


def _money(
    tried: Sequence[Candidate], schedule: str, batch: int, costs: FlopsAdded | None
) -> Callable[[tuple[int, ...]], Floats]:
    if costs is None:
        return lambda _: np.array([candidate.flops for candidate in tried])
    cells = [_cells(candidate, schedule, batch) for candidate in tried]
    known: dict[tuple[int, tuple[int, ...]], float] = {}

    def added(taken: tuple[int, ...]) -> Floats:
        found = []
        for i, of_candidate in enumerate(cells):
            trunks = {cell.trunk for cell in of_candidate}
            kin = tuple(j for j in taken if trunks & {cell.trunk for cell in cells[j]})
            if (i, kin) not in known:
                beside = [cell for j in kin for cell in cells[j]]
                flops = sum(costs.added(cell, beside) for cell in of_candidate)
                # A cell that costs nothing is there already.
                known[i, kin] = flops if flops > 0 else np.inf
            found.append(known[i, kin])
        return np.array(found)

    return added


def _cells(candidate: Candidate, schedule: str, batch: int) -> list[AddedCell]:
    where = candidate.tokens_per_parameter, batch, candidate.replicate or 0
    return [AddedCell(candidate.model, schedule, peak_lr, *where) for peak_lr in candidate.peak_lrs]


def cells_of(found: NextCell) -> list[AddedCell]:
    """A next cell as points of a grid. Raises ValueError for one of imported runs, which have no grid."""
    if not found.peak_lrs or found.replicate is None:
        raise ValueError(f"{found.model} at {found.tokens_per_parameter:g} tokens per parameter is no cell of a study")
    where = found.tokens_per_parameter, found.batch_sequences, found.replicate
    return [AddedCell(found.model, found.schedule, peak_lr, *where) for peak_lr in found.peak_lrs]


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
    batch = int(choice.horizons[0].group["batch_sequences"])

    def new(candidate: Candidate) -> bool:
        where = candidate.tokens_per_parameter, batch, candidate.replicate or 0
        keys = {(candidate.model, choice.schedule, rate, *where) for rate in candidate.peak_lrs or (0.0,)}
        of_run = candidate.flops / max(1, len(candidate.peak_lrs))
        affordable = of_run <= MAX_RUN_SHARE * of_target and candidate.flops <= MAX_SWEEP_SHARE * of_target
        return affordable and not keys & trained.cells and not trained.is_hidden(candidate)

    for candidate in (
        *_in_sweeps(choice, trained, batch),
        *_horizons(choice, trained, batch, lr),
        *_sizes(choice, target, trained, batch, lr, of_study),
    ):
        if new(candidate) and (not one_size or candidate.n_params in told):
            yield candidate


def _in_sweeps(choice: Choice, trained: Trained, batch: int) -> Iterator[Candidate]:
    for sweep in choice.all_sizes:
        model, replicates = sweep.group["model"], trained.replicates(sweep.group["model"], choice.schedule, batch)
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


def _horizons(choice: Choice, trained: Trained, batch: int, lr: LrAtTarget) -> Iterator[Candidate]:
    for model in dict.fromkeys(str(sweep.group["model"]) for sweep in choice.all_sizes):
        members = [sweep for sweep in choice.all_sizes if sweep.group["model"] == model]
        horizons = np.array(sorted(sweep.tokens_per_parameter for sweep in members))
        between = np.sqrt(horizons[1:] * horizons[:-1])
        for horizon in (*between, *(horizons[-1] * factor for factor in BEYOND)):
            rounded = _round(float(horizon))
            yield from _at_point("horizon", model, members[0].n_params_counted, rounded, choice, trained, batch, lr)


def _sizes(
    choice: Choice, target: TargetRun, trained: Trained, batch: int, lr: LrAtTarget, of_study: bool
) -> Iterator[Candidate]:
    seen = sorted({sweep.n_params_counted for sweep in choice.all_sizes})
    if of_study:
        # Models that were trained and are not among `all_sizes` are of another architecture.
        known = {cell[0] for cell in trained.cells if (cell[1], cell[4]) == (choice.schedule, batch)}
        sizes = {name: n for name, n in trained.sizes.items() if name not in known}
    else:
        steps = [factor * seen[-1] for factor in BEYOND if factor * seen[-1] < target.n_params_counted]
        sizes = {f"{n:.3g} parameters": round(n) for n in steps}
    horizons = sorted({sweep.tokens_per_parameter for sweep in choice.all_sizes})
    for name, n in sizes.items():
        for horizon in horizons[-3:]:
            yield from _at_point("size", name, n, horizon, choice, trained, batch, lr)


def _at_point(
    what: Literal["horizon", "size"],
    model: str,
    n_params: int,
    horizon: float,
    choice: Choice,
    trained: Trained,
    batch: int,
    lr: LrAtTarget,
) -> Iterator[Candidate]:
    """A sweep over the three learning rates of the grid around the best one there, which share trunks with the cells
    that have them."""
    replicates = trained.replicates(model, choice.schedule, batch) or trained.replicates(
        choice.model, choice.schedule, batch
    )
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


@dataclass(frozen=True)
class _World:
    """Bootstrap samples of what is asked for and of every outcome, row by row of one world."""

    loss: Said
    loss_rate: float
    lr: Said | None
    lr_rate: float
    curvature: Floats
    slopes: Floats
    """Standard normal [samples, 2]: of the error of the loss law and of the learning-rate law."""
    common: Floats
    """What all points of a world are off by together [samples]: text and replicates that they share."""
    text_share: float
    """Of the variance of `common`, that of the validation text, which no further run tells of."""
    quantities: Floats

    @classmethod
    def of(cls, choice: Choice, target: TargetRun, loss: LossAtTarget, lr: LrAtTarget, settings: Settings) -> _World:
        n = settings.n_bootstrap
        slopes = np.random.default_rng(settings.seed + 3).standard_normal((n, 2))
        said = loss.said[0]
        inside = [sweep for sweep in choice.horizons if sweep.optimum.status == "converged"]
        curvature = np.full(n, 0.0)
        if inside:
            sampled = inside[-1].curvature_samples
            curvature = np.where(np.isfinite(sampled) & (sampled > 0), sampled, inside[-1].optimum.curvature)
        lr_said = lr.said[0] if lr.said and lr.said[0].samples is not None else None
        samples = said.points.samples
        common = np.zeros(n) if samples is None else (samples - samples.mean(0)).mean(1)
        variance = float(np.nanvar(common))
        text = min(1.0, (loss.evaluation_sd or 0.0) ** 2 / variance) if variance > 0 else 0.0
        made = cls(said, loss.error.rate, lr_said, lr.error.rate, curvature, slopes, common, text, np.empty((n, 0)))
        size, horizon = float(target.n_params_counted), float(target.token_horizon)
        quantities = [made._loss(size, horizon)]
        if lr_said is not None:
            at = made._ln_peak_lr(float(choice.n_params) if lr_said.predictor.one_size else size, horizon)
            if np.isfinite(at).mean() > MIN_FINITE:
                quantities.append(at)
        return replace(made, quantities=np.stack(quantities, axis=1))

    def _loss(self, n_params: float, tokens: float) -> Floats:
        at = np.array([n_params]), np.array([tokens])
        assert self.loss.curves is not None
        reach = reach_of(*at, self.loss.points) ** REACH_POWER
        return np.asarray(self.loss.curves(*at)[:, 0] + self.loss_rate * reach * self.slopes[:, 0], np.float64)

    def _ln_peak_lr(self, n_params: float, tokens: float) -> Floats:
        assert self.lr is not None
        assert self.lr.curves is not None
        at = np.array([n_params]), np.array([tokens])
        reach = reach_of(*at, self.lr.points) ** REACH_POWER
        return np.asarray(self.lr.curves(*at)[:, 0] + self.lr_rate * reach * self.slopes[:, 1], np.float64)

    def outcomes(self, candidate: Candidate) -> Floats:
        """Losses that its runs would have, were they without noise, in every world [samples, runs].

        A run of a replicate that is there shares its seeds and the validation text with the others: it does not tell
        what they are all off by, and that is taken out. A new replicate tells all of it but the text.
        """
        rates = candidate.peak_lrs or (None,)
        found = np.stack([self._outcome(candidate, peak_lr) for peak_lr in rates], axis=1)
        if self.loss.points.samples is None:
            return found
        return found - self.common[:, None] * (self.text_share if candidate.what == "replicate" else 1.0)

    def _outcome(self, candidate: Candidate, peak_lr: float | None) -> Floats:
        sweep = candidate.sweep
        if sweep is not None and not np.isnan(sweep.samples).all() and peak_lr is not None:
            if candidate.what == "replicate":
                return np.asarray(sweep.samples[:, int(np.abs(sweep.peak_lrs - peak_lr).argmin())])
            with np.errstate(divide="ignore", invalid="ignore"):
                off = np.log(peak_lr) - np.log(sweep.lr_samples)
                own = np.where(sweep.curvature_samples > 0, sweep.curvature_samples, self.curvature)
                return np.asarray(sweep.loss_samples + own * off**2)
        n_params, tokens = float(candidate.n_params), float(candidate.token_horizon)
        floor = self._loss(n_params, tokens)
        if self.lr is None or peak_lr is None:
            return floor
        best = self._ln_peak_lr(float(self.lr.points.n_params[0]) if self.lr.predictor.one_size else n_params, tokens)
        with np.errstate(invalid="ignore"):
            return np.asarray(floor + self.curvature * (np.log(peak_lr) - best) ** 2)


def _described(
    candidate: Candidate, chosen: Chosen, schedule: str, batch: int, trained: Trained, world: _World, exact: bool
) -> NextCell:
    return NextCell(
        what=candidate.what,
        model=candidate.model,
        n_params_counted=candidate.n_params,
        schedule=schedule,
        peak_lrs=candidate.peak_lrs,
        tokens_per_parameter=candidate.tokens_per_parameter,
        token_horizon=round(candidate.token_horizon),
        batch_sequences=batch,
        replicate=candidate.replicate,
        train_flops_exact=chosen.cost if exact else None,
        train_flops_6nd=None if exact else chosen.cost,
        # Speeds are of exact FLOPs.
        hours=trained.hours(candidate.model, chosen.cost) if exact else None,
        loss_variance_removed=float(np.clip(chosen.removed[0], 0, 1)),
        peak_lr_variance_removed=float(np.clip(chosen.removed[1], 0, 1)) if world.quantities.shape[1] > 1 else None,
    )
