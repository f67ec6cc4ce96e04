"""Cells: the points of the study grid, every number resolved.

A forgotten knob is an error here, not a default below.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from glidepath.science import accounting, schedules
from glidepath.study.config import (
    AveragingConfig,
    GridConfig,
    ModelConfig,
    ScheduleConfig,
    StudyConfig,
    StudyError,
    WarmupConfig,
)
from glidepath.study.identity import digest
from glidepath.study.specs import ModelSpec, OptimizerSpec, PathSpec, Trajectory

ENGINE_VERSION = 1
"""Version of the numerics of training. Raise it when a change moves any trained number: it is part of every
identity, so all cells are trained anew. A golden test fails when numbers move without it."""

MAX_UPDATES = 10_000_000
"""The planner holds three numbers per update of a cell in memory."""


@dataclass(frozen=True)
class Cell:
    """One point of the grid. `trajectory` decides the weights; the rest describes it, for tables."""

    model_name: str
    schedule_name: str
    schedule: ScheduleConfig
    trajectory: Trajectory
    counts: accounting.ParamCounts
    n_params_counted: int
    peak_lr: float
    warmup_steps: int
    decay_steps: int
    weight_decay: float
    batch_sequences: int
    tokens_per_parameter: float
    replicate: int
    holdout: bool
    snapshot_at: tuple[int, ...]
    probed: bool

    @property
    def total_steps(self) -> int:
        return self.trajectory.updates_done

    @property
    def batch_tokens(self) -> int:
        return self.batch_sequences * self.trajectory.model.context_length

    @property
    def token_horizon(self) -> int:
        return self.total_steps * self.batch_tokens

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
    for model_name, batch_sequences, replicate, tokens_per_parameter, schedule_name, peak_lr in axes:
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
        warmup_steps = _warmup_steps(study.warmup, total_steps, batch_tokens)
        path_lr, decay_steps = lr_path(schedule, peak_lr, warmup_steps, total_steps, where)
        weight_decay = study.optimizer.weight_decay
        yield Cell(
            model_name=model_name,
            schedule_name=schedule_name,
            schedule=schedule,
            trajectory=Trajectory(
                engine_version=ENGINE_VERSION,
                corpus_id=corpus_id,
                model=model,
                optimizer=OptimizerSpec(
                    adam_beta1=study.optimizer.adam_beta1,
                    adam_beta2=study.optimizer.adam_beta2,
                    adam_eps=study.optimizer.adam_eps,
                    grad_clip_norm=study.optimizer.grad_clip_norm,
                ),
                init_seed=replicate,
                data_seed=replicate,
                path=PathSpec(
                    lr=path_lr,
                    weight_decay=schedules.constant(weight_decay, total_steps),
                    batch_sequences=schedules.constant(batch_sequences, total_steps),
                ),
            ),
            counts=counts,
            n_params_counted=n_params,
            peak_lr=peak_lr,
            warmup_steps=warmup_steps,
            decay_steps=decay_steps,
            weight_decay=weight_decay,
            batch_sequences=batch_sequences,
            tokens_per_parameter=tokens_per_parameter,
            replicate=replicate,
            holdout=block.holdout,
            snapshot_at=_snapshots(study.averaging, schedule_name, total_steps, where),
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


def lr_path(
    schedule: ScheduleConfig, peak_lr: float, warmup_steps: int, total_steps: int, where: str
) -> tuple[schedules.Path, int]:
    """The learning-rate path of a cell and the length of its final descent [updates].

    Raises StudyError when warm-up and decay do not fit into the horizon; `where` names the cell in the
    message.
    """
    if schedule.kind == "constant":
        decay_steps = 0
    elif schedule.kind == "wsd":
        decay_steps = schedule.decay_steps or round((schedule.decay_fraction or 0.0) * total_steps)
        if decay_steps < 1:
            raise StudyError(
                f"{where}: decay_fraction {schedule.decay_fraction} of {total_steps} updates is less than "
                "half an update. Raise decay_fraction or tokens_per_parameter."
            )
    else:
        decay_steps = total_steps - warmup_steps
    if warmup_steps + max(decay_steps, 1) > total_steps:
        raise StudyError(
            f"{where}: the schedule is longer than its horizon: {warmup_steps} updates of warmup and at "
            f"least {max(decay_steps, 1)} after it, but the horizon has {total_steps}. Shorten warmup or "
            "decay, or raise tokens_per_parameter."
        )
    shape: schedules.Shape = (schedule.decay_shape or "linear") if schedule.kind == "wsd" else schedule.kind
    final_lr = peak_lr * (schedule.final_lr_fraction or 0.0)
    path = schedules.join(
        schedules.warmup(peak_lr, warmup_steps),
        schedules.constant(peak_lr, total_steps - warmup_steps - decay_steps),
        schedules.decay(shape, peak_lr, final_lr, decay_steps),
    )
    return path, decay_steps


def _warmup_steps(warmup: WarmupConfig, total_steps: int, batch_tokens: int) -> int:
    if warmup.steps is not None:
        return warmup.steps
    if warmup.tokens is not None:
        return math.ceil(warmup.tokens / batch_tokens)
    return round((warmup.fraction or 0.0) * total_steps)


def _snapshots(averaging: AveragingConfig | None, schedule_name: str, total_steps: int, where: str) -> tuple[int, ...]:
    """Updates after which weights are kept: equally spaced over the last part of the horizon, with ends."""
    if averaging is None or schedule_name not in averaging.schedules:
        return ()
    interval = averaging.span_fraction * total_steps / (averaging.snapshots - 1)
    updates = tuple(round(total_steps - interval * i) for i in reversed(range(averaging.snapshots)))
    if interval < 1 or updates[0] < 1:
        raise StudyError(
            f"{where}: averaging.snapshots {averaging.snapshots} do not fit into averaging.span_fraction "
            f"{averaging.span_fraction:g} of {total_steps} updates, each after an update of its own. Lower "
            f"averaging.snapshots, change averaging.span_fraction or raise tokens_per_parameter."
        )
    return updates


def trunk_key(cell: Cell) -> str:
    """Digest of what cells that may share a trunk have in common: all but the path."""
    trajectory = cell.trajectory
    return digest(trajectory.model_dump(mode="json", exclude={"path"}))
