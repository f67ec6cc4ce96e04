"""Runs that a study could make and has not made, as the laws of loss curves see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from glidepath.laws.curve_groups import EARLY, Group
from glidepath.laws.curves import MORE_THAN_A_PATH, RunCurve
from glidepath.science import schedules
from glidepath.science.laws.curve import Curve
from glidepath.study.cells import Cell, cells
from glidepath.study.config import StudyConfig
from glidepath.study.grid_config import GridConfig
from glidepath.study.section import StudyError

Floats = NDArray[np.float64]

POINTS = 24
"""Of a curve, equally far apart in ln updates."""
NO_CORPUS = "not trained"


def asked_runs(
    study: StudyConfig, vocab_size: int, group: Group, horizons: Sequence[float], names: Sequence[str] = ()
) -> tuple[list[RunCurve], dict[str, str]]:
    """Runs of the study's schedules at a group's model, batch and peak learning rate and at horizons [tokens per
    parameter], less those that the group has; and by schedule why it has none.

    names: only these schedules. A law cannot be asked for another peak than it was fitted at.
    """
    trained = {(run.schedule, run.total_steps) for run in group.runs}
    found: list[RunCurve] = []
    refused: dict[str, str] = {}
    for name in names or study.schedules:
        for horizon in horizons:
            try:
                run = asked_run(study, vocab_size, group, name, horizon)
            except ValueError as refusal:
                refused[name] = str(refusal)
                continue
            if (name, run.total_steps) not in trained:
                found.append(run)
    return found, refused


def asked_run(study: StudyConfig, vocab_size: int, group: Group, name: str, tokens_per_parameter: float) -> RunCurve:
    """One run, with points but no losses. Raises ValueError for a schedule that laws of curves cannot read, and as the
    planner does."""
    schedule = study.schedules[name]
    if schedule.kind in MORE_THAN_A_PATH or schedule.batch is not None:
        raise StudyError(f"schedules.{name}: its state is more than a path of learning rates, or its batch changes")
    cell = _cell(study, vocab_size, group, name, tokens_per_parameter)
    lr = applied_lr(cell)
    at = _points(cell.warmup_steps, len(lr))
    return RunCurve(
        cell_id=f"{group.model}-{name}-lr{group.peak_lr:g}-tpp{tokens_per_parameter:g}-b{group.batch_sequences}",
        model=group.model,
        architecture=group.runs[0].architecture,
        schedule=name,
        schedule_kind=schedule.kind,
        batch_sequences=group.batch_sequences,
        batch_tokens=cell.batch_tokens,
        peak_lr=group.peak_lr,
        tokens_per_parameter=tokens_per_parameter,
        token_horizon=float(cell.token_horizon),
        replicate=0,
        trunk=name,
        holdout=False,
        curve=Curve(
            lr=lr, updates_done=at, warmup_steps=min(cell.warmup_steps, len(lr) - 1), n_params=cell.n_params_counted
        ),
        keys=tuple(f"{name} {tokens_per_parameter:g}@{updates}" for updates in at),
    )


def asked_like(run: RunCurve, name: str, kind: str, lr: Floats) -> RunCurve:
    """A run of another schedule, as long as its learning rates [updates] are many, alike else; without losses."""
    longer = len(lr) / run.total_steps
    at = _points(run.curve.warmup_steps, len(lr))
    return replace(
        run,
        cell_id=f"{run.model}-{name}-lr{run.peak_lr:g}-{len(lr)}-b{run.batch_sequences}",
        schedule=name,
        schedule_kind=kind,
        tokens_per_parameter=run.tokens_per_parameter * longer,
        token_horizon=run.token_horizon * longer,
        replicate=0,
        trunk=name,
        holdout=False,
        curve=replace(run.curve, lr=lr, updates_done=at, losses=None),
        keys=tuple(f"{name} {len(lr)}@{updates}" for updates in at),
    )


def _points(warmup_steps: int, total_steps: int) -> NDArray[np.int64]:
    first = max(warmup_steps, int(EARLY * total_steps), 1)
    return np.unique(np.round(np.geomspace(first, total_steps, POINTS)).astype(np.int64))


def applied_lr(cell: Cell) -> Floats:
    """The learning rate of every update of a cell."""
    path = cell.trajectory.path
    return schedules.values(path.lr, schedules.positions(schedules.batches(path.batch_sequences)))


def _cell(study: StudyConfig, vocab_size: int, group: Group, name: str, tokens_per_parameter: float) -> Cell:
    block = GridConfig(
        models=(group.model,),
        schedules=(name,),
        peak_lrs=(group.peak_lr,),
        tokens_per_parameter=(tokens_per_parameter,),
        batch_sequences=(group.batch_sequences,),
    )
    return cells(study.model_copy(update={"grid": (block,)}), NO_CORPUS, vocab_size)[0]
