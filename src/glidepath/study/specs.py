"""What one training job is asked to do, with every number explicit.

Nothing below this line has a scientific default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from glidepath.science import schedules
from glidepath.study.identity import canonical_json, digest


class Spec(BaseModel):
    """Frozen and closed: an unknown or missing field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class ModelSpec(Spec):
    """Shape and parametrisation of the decoder."""

    n_layer: int
    d_model: int
    n_head: int
    d_head: int
    d_ff: int
    context_length: int
    vocab_size: int
    feed_forward: Literal["swiglu", "gelu"]
    norm: Literal["rmsnorm", "layernorm"]
    tied_embeddings: bool
    qk_norm: bool
    rope_base: float
    parametrization: Literal["sp", "mup", "completep"]
    base_width: int
    """Width at which `mup` and `completep` equal `sp` [d_model]; unused by `sp` but part of the identity."""
    base_depth: int
    """Depth at which `completep` equals `mup` [layers]; unused by the others but part of the identity."""
    init_std_embedding: float
    init_std_hidden: float
    """Standard deviation of hidden matrices times sqrt(fan_in)."""
    init_std_head: float
    zero_init_output_projections: bool


class OptimizerSpec(Spec):
    """AdamW with decoupled weight decay, or its schedule-free form."""

    kind: Literal["adamw", "schedule_free_adamw"]
    adam_eps: float
    grad_clip_norm: float | None
    """Global-norm threshold; None is off."""


class PlateauSpec(Spec):
    """Decay on plateau: the learning rate of the path is multiplied by a factor that evaluations lower."""

    factor: float
    """What the factor is multiplied by."""
    patience: int
    """Evaluations without improvement that are borne."""
    threshold: float
    """Relative improvement that counts as one."""
    min_fraction: float
    """The factor never falls below it."""
    evaluate_every: int
    """Distance of the evaluations [updates]."""
    subset_blocks: int
    """Blocks of the first domain that are evaluated."""


@dataclass(frozen=True)
class PathArrays:
    """What every update applies, each of shape [updates]."""

    lr: NDArray[np.float64]
    weight_decay: NDArray[np.float64]
    adam_beta1: NDArray[np.float64]
    adam_beta2: NDArray[np.float64]
    batch_sequences: NDArray[np.int64]
    positions: NDArray[np.int64]
    """Sequences trained before every update and after the last, [updates + 1]."""


class PathSpec(Spec):
    """The per-update quantities from update 0 on, each a list of pieces (see `science.schedules`)."""

    batch_sequences: tuple[schedules.Stage, ...]
    lr: tuple[schedules.Piece, ...]
    weight_decay: tuple[schedules.Piece, ...]
    adam_beta1: tuple[schedules.Piece, ...]
    adam_beta2: tuple[schedules.Piece, ...]

    @property
    def updates(self) -> int:
        return sum(stage.updates for stage in self.batch_sequences)

    @property
    def sequences(self) -> int:
        return sum(stage.updates * stage.sequences for stage in self.batch_sequences)

    def arrays(self) -> PathArrays:
        """The path as arrays. Raises ValueError if its parts differ in length."""
        batches = schedules.batches(self.batch_sequences)
        at = schedules.positions(batches)
        return PathArrays(
            lr=schedules.values(self.lr, at),
            weight_decay=schedules.values(self.weight_decay, at),
            adam_beta1=schedules.values(self.adam_beta1, at),
            adam_beta2=schedules.values(self.adam_beta2, at),
            batch_sequences=batches,
            positions=at,
        )

    def clip(self, stop: int) -> PathSpec:
        """The same path up to update `stop`."""
        batches = schedules.clip_batches(self.batch_sequences, stop)
        sequences = sum(stage.updates * stage.sequences for stage in batches)
        return PathSpec(
            batch_sequences=batches,
            lr=schedules.clip(self.lr, sequences),
            weight_decay=schedules.clip(self.weight_decay, sequences),
            adam_beta1=schedules.clip(self.adam_beta1, sequences),
            adam_beta2=schedules.clip(self.adam_beta2, sequences),
        )


class Trajectory(Spec):
    """Everything that decides the weights after `path` has been walked: its digest names a state on disk."""

    engine_version: int
    corpus_id: str
    model: ModelSpec
    optimizer: OptimizerSpec
    plateau: PlateauSpec | None
    init_seed: int
    data_seed: int
    path: PathSpec

    @property
    def updates_done(self) -> int:
        return self.path.updates

    def clip(self, stop: int) -> Trajectory:
        """The same trajectory, stopped after `stop` updates."""
        return self.model_copy(update={"path": self.path.clip(stop)})

    @property
    def digest(self) -> str:
        return digest(self.model_dump(mode="json"))


class Recording(Spec):
    """What a segment writes down on its way, by number of updates done (1 … stop) and never by wall time."""

    norms_every: int
    """Every so many updates, and at the segment's last one, the costly norms of `updates` are taken."""
    evaluate_subset_at: tuple[int, ...]
    """After these updates the first `subset_blocks` blocks of the first domain are evaluated."""
    evaluate_full_at: tuple[int, ...]
    """After these updates all blocks of all domains are evaluated and the loss of every block is kept."""
    snapshot_at: tuple[int, ...]
    """After these updates the weights are kept."""
    probe_every: int
    """At every so many updates (number of updates done once it is applied) per-example gradient norms of all layers are
    taken; 0 is never."""
    probe_norm_layers_every: int
    """Likewise those of the norm layers alone, where not all layers are probed."""
    subset_blocks: int


class SegmentSpec(Spec):
    """Updates `start … updates_done` of a trajectory, and what to record on them."""

    trajectory: Trajectory
    start: int
    recording: Recording

    @property
    def stop(self) -> int:
        return self.trajectory.updates_done

    @property
    def digest(self) -> str:
        return digest(self.model_dump(mode="json"))

    def to_json(self) -> str:
        """Canonical JSON: what travels in a rule's params."""
        return canonical_json(self.model_dump(mode="json"))
