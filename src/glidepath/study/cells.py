"""Cells: the points of the study grid, every number resolved.

A forgotten knob is an error here, not a default below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from glidepath.science import accounting, schedules
from glidepath.study.batch_ramp import LinearRamp, Stages, batch_of_every_update
from glidepath.study.config import StudyConfig
from glidepath.study.grid_config import GridConfig
from glidepath.study.identity import digest
from glidepath.study.model_config import ModelConfig, OptimizerConfig, WarmupConfig
from glidepath.study.schedule import Room, Schedule
from glidepath.study.schedule_constants import Plateau
from glidepath.study.section import StudyError
from glidepath.study.specs import ModelSpec, OptimizerSpec, PathSpec, PlateauSpec, Trajectory

ENGINE_VERSION = 3
"""Version of the numerics of training. Raise it when a change moves any trained number: it is part of every
identity, so all cells are trained anew. A golden test fails when numbers move without it."""

MAX_UPDATES = 10_000_000
"""The planner holds six numbers per update of a cell in memory."""


@dataclass(frozen=True)
class Cell:
    """One point of the grid. `trajectory` decides the weights; the rest describes it, for tables."""

    model_name: str
    schedule_name: str
    schedule: Schedule
    trajectory: Trajectory
    counts: accounting.ParamCounts
    n_params_counted: int
    peak_lr: float
    warmup_steps: int
    decay_steps: int
    weight_decay: float
    batch_sequences: int
    """Of a ramp, its end."""
    tokens_per_parameter: float
    replicate: int
    holdout: bool
    averaged: bool
    """Its snapshots are kept and averaged."""
    probed: bool

    @property
    def total_steps(self) -> int:
        return self.trajectory.updates_done

    @property
    def batch_tokens(self) -> int:
        return self.batch_sequences * self.trajectory.model.context_length

    @property
    def token_horizon(self) -> int:
        return self.trajectory.path.sequences * self.trajectory.model.context_length

    @property
    def train_flops_per_token(self) -> float:
        return flops_per_token(self.trajectory.model)

    @cached_property
    def cell_id(self) -> str:
        return (
            f"{self.model_name}-{self.schedule_name}-lr{self.peak_lr:g}-tpp{self.tokens_per_parameter:g}"
            f"-b{self.batch_sequences}-r{self.replicate}-{self.trajectory.digest}"
        )


def flops_per_token(model: ModelSpec) -> float:
    """Exact training FLOPs per token of a model [FLOP/token]."""
    return accounting.train_flops_per_token(
        n_layer=model.n_layer,
        d_model=model.d_model,
        n_head=model.n_head,
        d_head=model.d_head,
        d_ff=model.d_ff,
        context_length=model.context_length,
        vocab_size=model.vocab_size,
        feed_forward=model.feed_forward,
    )


def param_counts(model: ModelSpec) -> accounting.ParamCounts:
    """Parameters of a model in every convention."""
    return accounting.param_counts(
        n_layer=model.n_layer,
        d_model=model.d_model,
        n_head=model.n_head,
        d_head=model.d_head,
        d_ff=model.d_ff,
        vocab_size=model.vocab_size,
        feed_forward=model.feed_forward,
        tied_embeddings=model.tied_embeddings,
        qk_norm=model.qk_norm,
    )


def model_spec(config: ModelConfig, vocab_size: int) -> ModelSpec:
    """Every number of a model."""
    return ModelSpec(
        n_layer=config.depth,
        d_model=config.width,
        n_head=config.width // config.head_width,
        d_head=config.head_width,
        d_ff=config.d_ff,
        context_length=config.context_length,
        vocab_size=vocab_size,
        feed_forward=config.feed_forward,
        norm=config.norm,
        tied_embeddings=config.tied_embeddings,
        qk_norm=config.qk_norm,
        rope_base=config.rope_base,
        parametrization=config.parametrization,
        base_width=config.base_width,
        base_depth=config.base_depth,
        init_std_embedding=config.init_std_embedding,
        init_std_hidden=config.init_std_hidden,
        init_std_head=config.init_std_head,
        zero_init_output_projections=config.zero_init_output_projections,
    )


def cells(study: StudyConfig, corpus_id: str, vocab_size: int) -> tuple[Cell, ...]:
    """All cells of a study, without repetitions, in the order of its grid.

    Raises StudyError for a schedule that does not fit its horizon and for a point that two blocks give
    differently.
    """
    found: dict[str, Cell] = {}
    for i, block in enumerate(study.grid):
        key = f"grid.{i}"
        for cell in _block_cells(study, block, key, corpus_id, vocab_size):
            known = found.setdefault(cell.cell_id, cell)
            if known.holdout != cell.holdout:
                raise StudyError(
                    f"{key}.holdout {cell.holdout}: the cell {cell.cell_id} is also in an earlier block with "
                    f"holdout {known.holdout}. A cell is either hidden from the fits or not: remove it from "
                    "one block."
                )
    return tuple(found.values())


def _block_cells(study: StudyConfig, block: GridConfig, key: str, corpus_id: str, vocab_size: int) -> Iterator[Cell]:
    axes = product(
        block.models,
        block.batch_sequences,
        block.replicates,
        block.tokens_per_parameter,
        block.schedules,
        block.peak_lrs,
    )
    for model_name, batch_sequences, replicate, tokens_per_parameter, schedule_name, given_lr in axes:
        peak_lr = block.peak_lr_at(given_lr, batch_sequences)
        model = model_spec(study.models[model_name], vocab_size)
        schedule = study.schedules[schedule_name]
        counts = param_counts(model)
        n_params: int = getattr(counts, f"n_params_{study.tokens_per_parameter_uses}")
        batch_tokens = batch_sequences * model.context_length
        where = (
            f"{key}: model {model_name}, schedule {schedule_name}, "
            f"tokens_per_parameter {tokens_per_parameter:g}, batch_sequences {batch_sequences}"
        )
        total_steps = steps_in(tokens_per_parameter * n_params, batch_tokens, where)
        _check_ramp(schedule.batch, batch_sequences, study.warmup, where)
        batches = batch_of_every_update(schedule.batch, batch_sequences, total_steps * batch_sequences)
        at = schedules.positions(np.array(batches, dtype=np.int64))
        weight_decay = peak_weight_decay(study.optimizer, peak_lr, total_steps)
        if peak_lr * weight_decay >= 1.0:
            raise StudyError(
                f"{where}: peak_lr {peak_lr:g} × weight decay {weight_decay:g} shrinks the weights to nothing in one "
                "update: the product must be less than 1. Lower optimizer.weight_decay, or raise "
                "optimizer.weight_decay_timescale_fraction."
            )
        room = Room(
            peak_lr=peak_lr,
            warmup_steps=_warmup_steps(study.warmup, at, model),
            at=at,
            weight_decay=weight_decay,
            batch_sequences=batch_sequences,
            context_length=model.context_length,
            where=where,
        )
        lr = schedule.lr(room)
        plateau = _plateau(schedule, study.evaluation.subset_tokens // model.context_length)
        yield Cell(
            model_name=model_name,
            schedule_name=schedule_name,
            schedule=schedule,
            trajectory=Trajectory(
                engine_version=ENGINE_VERSION,
                corpus_id=corpus_id,
                model=model,
                optimizer=OptimizerSpec(
                    kind="schedule_free_adamw" if schedule.kind == "schedule_free" else "adamw",
                    adam_eps=study.optimizer.adam_eps,
                    grad_clip_norm=study.optimizer.grad_clip_norm,
                ),
                plateau=plateau,
                init_seed=replicate,
                data_seed=replicate,
                path=PathSpec(
                    batch_sequences=schedules.batch_path(batches),
                    lr=_scaled_lr(lr.path, schedule.batch, batches, batch_sequences),
                    weight_decay=_weight_decay(study.optimizer, weight_decay, schedule.batch, batches, batch_sequences),
                    adam_beta1=schedule.beta1(room, study.optimizer.adam_beta1),
                    adam_beta2=_beta2(study.optimizer, batches, model.context_length),
                ),
            ),
            counts=counts,
            n_params_counted=n_params,
            peak_lr=peak_lr,
            warmup_steps=room.warmup_steps if lr.own_warmup_steps is None else lr.own_warmup_steps,
            decay_steps=lr.decay_steps,
            weight_decay=weight_decay,
            batch_sequences=batch_sequences,
            tokens_per_parameter=tokens_per_parameter,
            replicate=replicate,
            holdout=block.holdout,
            averaged=study.averaging is not None and schedule_name in study.averaging.schedules,
            probed=study.noise_scale is not None and schedule_name in study.noise_scale.schedules,
        )


def steps_in(tokens: float, batch_tokens: int, where: str) -> int:
    """Updates of a horizon [tokens], to the nearest.

    Raises StudyError when that is none, or more than can be planned; `where` names the cell in the message.
    """
    updates = tokens / batch_tokens
    # Before rounding: a horizon may be infinite.
    if updates > MAX_UPDATES:
        raise StudyError(
            f"{where}: the horizon of {tokens:.3g} tokens is {updates:.3g} updates, more than the "
            f"{MAX_UPDATES} that a plan can hold. Lower tokens_per_parameter or raise batch_sequences."
        )
    total_steps = round(updates)
    if total_steps < 1:
        raise StudyError(
            f"{where}: the horizon of {tokens:.0f} tokens is less than half an update of {batch_tokens} "
            "tokens. Raise tokens_per_parameter or lower batch_sequences."
        )
    return total_steps


def peak_weight_decay(optimizer: OptimizerConfig, peak_lr: float, total_steps: int) -> float:
    """λ of AdamW in torch's form, in which an update shrinks by lr·λ, at the cell's batch.

    coupled: weight_decay. independent: weight_decay/peak_lr, so that the shrinkage does not depend on the peak
    (Loshchilov & Hutter 2019; Wortsman et al. 2023). constant_timescale: 1/(peak_lr·fraction·total_steps), so that the
    memory 1/(peak_lr·λ) is that fraction of the run (Wang & Aitchison 2024; Bergsma et al. 2025).
    """
    if optimizer.weight_decay_timescale_fraction is not None:
        return 1.0 / (peak_lr * optimizer.weight_decay_timescale_fraction * total_steps)
    weight_decay = optimizer.weight_decay or 0.0
    return weight_decay / peak_lr if optimizer.weight_decay_policy == "independent" else weight_decay


def _scaled_lr(
    path: schedules.Path, ramp: LinearRamp | Stages | None, batches: list[int], batch_sequences: int
) -> schedules.Path:
    """The learning rate of every update: a function of the tokens, scaled by the batch if the ramp says so."""
    if ramp is None or ramp.lr_scaling == "none":
        return path
    stages = schedules.batch_path(batches)
    return schedules.scaled(
        path, [(ramp.lr_factor(s.sequences, batch_sequences), s.sequences * s.updates) for s in stages]
    )


def _weight_decay(
    optimizer: OptimizerConfig,
    weight_decay: float,
    ramp: LinearRamp | Stages | None,
    batches: list[int],
    batch_sequences: int,
) -> schedules.Path:
    """Weight decay of every update. A time-scale counts tokens, so that smaller batches of a ramp shrink less: by
    their share of the batch, of which a scaled learning rate has taken its part."""
    if optimizer.weight_decay_policy != "constant_timescale" or ramp is None:
        return schedules.constant(weight_decay, sum(batches))
    return _staircase(
        batches, lambda batch: weight_decay * (batch / batch_sequences) / ramp.lr_factor(batch, batch_sequences)
    )


def _beta2(optimizer: OptimizerConfig, batches: list[int], context_length: int) -> schedules.Path:
    """beta2 of every update: a constant, or ½^(batch tokens/half-life)."""
    if optimizer.adam_beta2 is not None:
        return schedules.constant(optimizer.adam_beta2, sum(batches))
    half_life = optimizer.adam_beta2_half_life_tokens or math.inf
    return _staircase(batches, lambda batch: schedules.portable(0.5 ** (batch * context_length / half_life)))


def _staircase(batches: list[int], value: Callable[[int], float]) -> schedules.Path:
    """A path that follows the batch."""
    stages = schedules.batch_path(batches)
    parts = (schedules.constant(value(s.sequences), s.sequences * s.updates) for s in stages)
    return schedules.join(*parts)


def _plateau(schedule: Schedule, subset_blocks: int) -> PlateauSpec | None:
    if not isinstance(schedule, Plateau):
        return None
    return PlateauSpec(
        factor=schedule.factor,
        patience=schedule.patience,
        threshold=schedule.threshold,
        min_fraction=schedule.min_lr_fraction,
        evaluate_every=schedule.evaluate_every_updates,
        subset_blocks=subset_blocks,
    )


def _check_ramp(ramp: LinearRamp | Stages | None, batch_sequences: int, warmup: WarmupConfig, where: str) -> None:
    """Raises StudyError for a ramp to another batch than the cell's, or beside a warm-up that counts updates."""
    if ramp is None:
        return
    if isinstance(ramp, LinearRamp) and batch_sequences % ramp.multiple_of:
        raise StudyError(
            f"{where}: batch.multiple_of {ramp.multiple_of} does not divide the batch that the ramp ends at. Change it "
            "or batch_sequences."
        )
    if warmup.steps:
        raise StudyError(
            f"{where}: warmup.steps {warmup.steps} with a batch ramp: the same updates are other tokens there, and the "
            "schedule would not be the one that it is compared with. Give warmup.tokens or warmup.fraction."
        )


def _warmup_steps(warmup: WarmupConfig, at: schedules.Positions, model: ModelSpec) -> int:
    """Updates of the warm-up: those given, or as many as hold the tokens."""
    if warmup.steps is not None:
        return warmup.steps
    if warmup.tokens is not None:
        sequences, end, last = warmup.tokens / model.context_length, int(at[-1]), int(at[-1] - at[-2])
        # What is longer than the horizon is refused by the schedule, with its length in the message.
        return (
            int(np.searchsorted(at, sequences))
            if sequences <= end
            else len(at) - 1 + math.ceil((sequences - end) / last)
        )
    return int(np.argmin(np.abs(at - (warmup.fraction or 0.0) * at[-1])))


def trunk_key(cell: Cell) -> str:
    """Digest of what cells that may share a trunk have in common: all but the path."""
    trajectory = cell.trajectory
    return digest(trajectory.model_dump(mode="json", exclude={"path"}))
