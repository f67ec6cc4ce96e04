"""Small models, small texts and segments of a few updates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glidepath.science import schedules
from glidepath.study.specs import ModelSpec, OptimizerSpec, PathSpec, Recording, SegmentSpec, Trajectory
from glidepath.training.device import Machine
from glidepath.training.loop import SegmentResult, train_segment

CPU = Machine(device="cpu", threads=1, micro_batch_sequences=None, compile=False, compile_cache=None)


def model_spec(**changes: Any) -> ModelSpec:
    """A decoder of a few hundred weights."""
    return ModelSpec.model_validate({
        "n_layer": 2, "d_model": 16, "n_head": 2, "d_head": 6, "d_ff": 20, "context_length": 12,
        "vocab_size": 23, "feed_forward": "gelu", "norm": "rmsnorm", "tied_embeddings": False,
        "qk_norm": False, "rope_base": 10000.0,
        "parametrization": "sp", "base_width": 8, "base_depth": 2, "init_std_embedding": 0.5, "init_std_hidden": 1.0,
        "init_std_head": 0.05, "zero_init_output_projections": False, **changes,
    })  # fmt: skip


@dataclass(frozen=True)
class SyntheticTokens:
    """A text whose next token is often the last one plus one: learnable, and it needs no tokenizer."""

    train: NDArray[np.uint16]
    held_out: dict[str, NDArray[np.uint16]]
    vocab_size: int

    @property
    def domains(self) -> list[str]:
        return list(self.held_out)

    def validation(self, domain: str) -> NDArray[np.uint16]:
        return self.held_out[domain]

    def bytes_per_token(self, domain: str) -> float:
        return {"counting": 2.0, "other": 3.0}[domain]


def counting_tokens(vocab_size: int = 23, n_train: int = 1000) -> SyntheticTokens:
    generator = np.random.default_rng(0)

    def text(n: int, noise: float) -> NDArray[np.uint16]:
        jumps = np.where(generator.random(n) < noise, generator.integers(0, vocab_size, n), 1)
        return (np.cumsum(jumps) % vocab_size).astype(np.uint16)

    return SyntheticTokens(text(n_train, 0.2), {"counting": text(121, 0.2), "other": text(61, 0.6)}, vocab_size)


def segment_spec(start: int = 0, stop: int = 12, peak_lr: float = 0.01, **changes: Any) -> SegmentSpec:
    """Warm-up, then constant; the batch doubles at update 6. `changes` are fields of the recording or of the
    model."""
    recording: dict[str, Any] = {
        "norms_every": 1, "evaluate_subset_at": (), "evaluate_full_at": (), "snapshot_at": (),
        "probe_every": 0, "probe_norm_layers_every": 0, "subset_blocks": 4,
    }  # fmt: skip
    for key in recording.keys() & changes.keys():
        recording[key] = changes.pop(key)
    sequences = 6 * 4 + 97 * 8
    path = PathSpec(
        batch_sequences=(schedules.Stage(4, 6), schedules.Stage(8, 97)),
        lr=schedules.join(schedules.warmup(peak_lr, 3 * 4, 4), schedules.constant(peak_lr, sequences - 3 * 4)),
        weight_decay=schedules.constant(0.1, sequences),
        adam_beta1=schedules.constant(0.9, sequences),
        adam_beta2=schedules.constant(0.95, sequences),
    )
    trajectory = Trajectory(
        engine_version=1, corpus_id="counting", model=model_spec(**changes),
        optimizer=OptimizerSpec(kind="adamw", adam_eps=1e-8, grad_clip_norm=1.0), plateau=None,
        init_seed=1, data_seed=2, path=path.clip(stop),
    )  # fmt: skip
    return SegmentSpec(trajectory=trajectory, start=start, recording=Recording(**recording))


def train(
    spec: SegmentSpec, folder: Path, parent: Path | None = None, machine: Machine = CPU, **changes: Any
) -> SegmentResult:
    """Train a segment into `folder`: state.safetensors, snapshots.safetensors, scratch/."""
    arguments: dict[str, Any] = {
        "tokens": counting_tokens(), "parent_state": parent, "state_out": folder / "state.safetensors",
        "snapshots_out": folder / "snapshots.safetensors", "scratch": folder / "scratch", "machine": machine,
        "resume_every_seconds": 1e9, "progress": lambda _: None, **changes,
    }  # fmt: skip
    return train_segment(spec, **arguments)


def assert_same_tables(a: SegmentResult, b: SegmentResult) -> None:
    """Every column of every table is equal, bit for bit."""
    for table in ("updates", "evaluations", "block_losses", "gradient_statistics"):
        left, right = getattr(a, table), getattr(b, table)
        assert left.keys() == right.keys()
        for column in left:
            np.testing.assert_array_equal(left[column], right[column], err_msg=f"{table}.{column}")
