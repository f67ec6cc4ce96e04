"""The numbers that the engine gives, so that none of them moves unnoticed.

    .venv/bin/python -m tests.training.test_golden

prints the record of the engine as it is, to be pasted below.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from glidepath.science import schedules
from glidepath.study.cells import ENGINE_VERSION
from glidepath.study.specs import OptimizerSpec, PathSpec, Recording, SegmentSpec, Trajectory
from tests.training.small import model_spec, train

RECORDED_ENGINE_VERSION = 3
RECORDED: dict[str, dict[str, float]] = {
    "swiglu_mup": {
        "train_loss_0": 3.1369243,
        "train_loss_1": 3.085868,
        "train_loss_5": 2.7866338,
        "train_loss_10": 2.2156071,
        "train_loss_20": 1.6618277,
        "train_loss_29": 1.3859591,
        "grad_norm_29": 0.63756782,
        "update_norm_29": 0.028265215,
        "param_norm_29": 18.499588,
        "val_loss_counting": 1.3262875,
        "val_loss_other": 2.6182017,
        "grad_sq_norm_small_norm": 0.047240891,
        "grad_sq_norm_small_attention": 0.14827865,
        "grad_sq_norm_small_feed_forward": 0.29000216,
        "grad_sq_norm_small_embedding": 0.019090872,
        "grad_sq_norm_small_head": 1.5517003,
    },
    "gelu_tied": {
        "train_loss_0": 4.7378423,
        "train_loss_1": 4.108948,
        "train_loss_5": 3.2018158,
        "train_loss_10": 2.2980962,
        "train_loss_20": 2.0231453,
        "train_loss_29": 1.8223988,
        "grad_norm_29": 0.88897401,
        "update_norm_29": 0.041831817,
        "param_norm_29": 19.659931,
        "val_loss_counting": 1.6098051,
        "val_loss_other": 3.3643726,
        "grad_sq_norm_small_norm": 0.67526636,
        "grad_sq_norm_small_attention": 4.3754187,
        "grad_sq_norm_small_feed_forward": 1.5246195,
        "grad_sq_norm_small_embedding_head": 3.0734005,
    },
}
RELATIVE_TOLERANCE = 1e-4
"""CPUs and versions of BLAS differ in the last bits, and 30 updates carry them on."""

UPDATES = 30
MODELS: dict[str, dict[str, Any]] = {
    "swiglu_mup": {"feed_forward": "swiglu", "parametrization": "mup", "zero_init_output_projections": True},
    "gelu_tied": {"norm": "layernorm", "tied_embeddings": True, "qk_norm": True},
}

MOVED = f"""The engine no longer gives the numbers that it gave.

If that is not meant, it is a bug: a refactoring moves no number by more than {RELATIVE_TOLERANCE:g}.
If it is meant, every stored segment is out of date. Raise ENGINE_VERSION in src/glidepath/study/cells.py, so that
all cells are trained anew; then update RECORDED_ENGINE_VERSION and RECORDED in tests/training/test_golden.py with
what `python -m tests.training.test_golden` prints."""


def golden_spec(model: dict[str, Any]) -> SegmentSpec:
    """Warm-up, constant, cosine; the batch doubles half-way: every part of an update takes part."""
    sequences = 15 * 4 + 15 * 8
    path = PathSpec(
        batch_sequences=(schedules.Stage(4, 15), schedules.Stage(8, 15)),
        lr=schedules.join(
            schedules.warmup(0.02, 5 * 4, 4),
            schedules.constant(0.02, 10 * 4),
            schedules.decay("cosine", 0.02, 0.002, 15 * 8, 8),
        ),
        weight_decay=schedules.constant(0.1, sequences),
        adam_beta1=schedules.constant(0.9, sequences),
        adam_beta2=schedules.constant(0.95, sequences),
    )
    trajectory = Trajectory(
        engine_version=ENGINE_VERSION, corpus_id="counting", model=model_spec(**model),
        optimizer=OptimizerSpec(kind="adamw", adam_eps=1e-8, grad_clip_norm=1.0), plateau=None,
        init_seed=3, data_seed=4, path=path,
    )  # fmt: skip
    recording = Recording(
        norms_every=1, evaluate_subset_at=(), evaluate_full_at=(UPDATES,), snapshot_at=(), probe_every=16,
        probe_norm_layers_every=0, subset_blocks=4,
    )  # fmt: skip
    return SegmentSpec(trajectory=trajectory, start=0, recording=recording)


def measured(name: str, folder: Path) -> dict[str, float]:
    """A handful of numbers of one tiny run: losses from the first to the last, norms and a noise-scale probe."""
    result = train(golden_spec(MODELS[name]), folder)
    assert result.status == "completed"
    losses = {f"train_loss_{step}": float(result.updates["train_loss"][step]) for step in (0, 1, 5, 10, 20, 29)}
    ends = {f"{norm}_29": float(result.updates[norm][29]) for norm in ("grad_norm", "update_norm", "param_norm")}
    held_out = dict(zip(result.evaluations["domain"], result.evaluations["val_loss"], strict=True))
    statistics = result.gradient_statistics
    probes = dict(zip(statistics["group"], statistics["grad_sq_norm_small"], strict=True))
    return {
        **losses,
        **ends,
        **{f"val_loss_{domain}": float(loss) for domain, loss in held_out.items()},
        **{f"grad_sq_norm_small_{group}": float(norm) for group, norm in probes.items()},
    }


def test_the_record_is_of_this_engine() -> None:
    assert ENGINE_VERSION == RECORDED_ENGINE_VERSION, (
        f"ENGINE_VERSION is {ENGINE_VERSION}, the numbers in this file are those of {RECORDED_ENGINE_VERSION}. Update "
        "RECORDED_ENGINE_VERSION and RECORDED with what `python -m tests.training.test_golden` prints."
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_numbers_stay(name: str, tmp_path: Path) -> None:
    assert measured(name, tmp_path) == pytest.approx(RECORDED[name], rel=RELATIVE_TOLERANCE), MOVED


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"RECORDED_ENGINE_VERSION = {ENGINE_VERSION}\nRECORDED: dict[str, dict[str, float]] = {{")
    for _name in MODELS:
        with tempfile.TemporaryDirectory() as _folder:
            print(f'    "{_name}": {{')
            for _key, _value in measured(_name, Path(_folder)).items():
                print(f'        "{_key}": {_value:.8g},')
            print("    },")
    print("}")
