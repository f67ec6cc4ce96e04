"""The runs that would sharpen a recommendation most per FLOP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from glidepath.advice.candidates import Candidate, candidates
from glidepath.advice.choice import Choice
from glidepath.advice.loss import LossAtTarget
from glidepath.advice.peak_lr import LrAtTarget
from glidepath.advice.trained import Trained
from glidepath.advice.worlds import MIN_FINITE, Worlds
from glidepath.laws.law import Floats, Settings
from glidepath.science.next_runs import Chosen, choose
from glidepath.study.added_cells import AddedCell
from glidepath.study.recommendation import NextCell, TargetRun


class FlopsAdded(Protocol):
    """FLOPs that a cell adds to a study and to cells beside it."""

    def added(self, cell: AddedCell, beside: Sequence[AddedCell] = ()) -> float: ...


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
    tried = list(candidates(choice, target, trained, loss, lr, costs is not None))
    worlds = Worlds.of(choice, target, loss, lr, settings)
    if not tried:
        return ()
    columns = [worlds.outcomes(candidate) for candidate in tried]
    known = [bool((np.isfinite(column).mean(0) > MIN_FINITE).all()) for column in columns]
    tried = [candidate for candidate, ok in zip(tried, known, strict=True) if ok]
    columns = [column for column, ok in zip(columns, known, strict=True) if ok]
    if not tried:
        return ()
    ends = np.cumsum([column.shape[1] for column in columns])
    groups = [np.arange(end - column.shape[1], end) for end, column in zip(ends, columns, strict=True)]
    outcomes = np.hstack(columns)
    keep = np.flatnonzero(np.isfinite(np.hstack([outcomes, worlds.quantities])).all(axis=1))
    if len(keep) < MIN_FINITE**2 * len(outcomes):
        return ()
    noise = np.full(outcomes.shape[1], loss.run_sd)
    found = choose(worlds.quantities[keep], outcomes[keep], noise, groups, _money(tried, choice, costs), n_cells)
    return tuple(_described(tried[c.index], c, choice, trained, exact=costs is not None) for c in found)


def _money(tried: Sequence[Candidate], choice: Choice, costs: FlopsAdded | None) -> Callable[[tuple[int, ...]], Floats]:
    """What every candidate costs [FLOPs] beside those that are taken."""
    if costs is None:
        return lambda _: np.array([candidate.flops for candidate in tried])
    cells = [_cells(candidate, choice) for candidate in tried]
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


def _cells(candidate: Candidate, choice: Choice) -> list[AddedCell]:
    where = candidate.tokens_per_parameter, choice.batch_sequences, candidate.replicate or 0
    return [AddedCell(candidate.model, choice.schedule, peak_lr, *where) for peak_lr in candidate.peak_lrs]


def cells_of(found: NextCell) -> list[AddedCell]:
    """A next cell as points of a grid. Raises ValueError for one of imported runs, which have no grid."""
    if not found.peak_lrs or found.replicate is None:
        raise ValueError(f"{found.model} at {found.tokens_per_parameter:g} tokens per parameter is no cell of a study")
    where = found.tokens_per_parameter, found.batch_sequences, found.replicate
    return [AddedCell(found.model, found.schedule, peak_lr, *where) for peak_lr in found.peak_lrs]


def _described(candidate: Candidate, chosen: Chosen, choice: Choice, trained: Trained, *, exact: bool) -> NextCell:
    return NextCell(
        what=candidate.what,
        model=candidate.model,
        n_params_counted=candidate.n_params,
        schedule=choice.schedule,
        peak_lrs=candidate.peak_lrs,
        tokens_per_parameter=candidate.tokens_per_parameter,
        token_horizon=round(candidate.token_horizon),
        batch_sequences=choice.batch_sequences,
        replicate=candidate.replicate,
        train_flops_exact=chosen.cost if exact else None,
        train_flops_6nd=None if exact else chosen.cost,
        # Speeds are of exact FLOPs.
        hours=trained.hours(candidate.model, chosen.cost) if exact else None,
        loss_variance_removed=float(np.clip(chosen.removed[0], 0, 1)),
        peak_lr_variance_removed=float(np.clip(chosen.removed[1], 0, 1)) if len(chosen.removed) > 1 else None,
    )
