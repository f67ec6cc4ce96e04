"""What the planner shares is what each cell would have trained alone, to the last bit: weights and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glidepath.study.cells import Cell
from glidepath.study.segments import Plan
from glidepath.study.specs import Recording, SegmentSpec
from glidepath.training.loop import SegmentResult
from tests.study.studies import GOOD, planned
from tests.training.small import counting_tokens, train

SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"kind": "constant"},
    "wsd": {"kind": "wsd", "final_lr_fraction": 0, "decay_fraction": 0.2, "decay_shape": "one_minus_sqrt"},
    "wsd_s": {"kind": "wsd_s", "ends": [0.5], "decay_fraction": 0.2, "decay_shape": "linear", "final_lr_fraction": 0},
    "step": {"kind": "step", "milestones": [0.5, 0.75], "lr_fractions": [0.1, 0.01]},
    "plateau": {"kind": "plateau", "factor": 0.5, "patience": 0, "threshold": 0.01, "evaluate_every_updates": 10},
    "schedule_free": {"kind": "schedule_free"},
    "ramped": {"kind": "rational", "batch": {"kind": "stages", "milestones": [0.5], "batch_fractions": [0.5]}},
    "staged": {"kind": "constant", "batch": {"kind": "stages", "milestones": [0.5], "batch_fractions": [0.5]}},
    "inverse_sqrt": {"kind": "inverse_sqrt"},
}
VOCAB_SIZE = 23
TABLES = ("updates", "evaluations", "gradient_statistics")


@pytest.fixture(scope="module")
def plan() -> Plan:
    block = {**GOOD["grid"][0], "schedules": list(SCHEDULES), "peak_lrs": [0.03], "tokens_per_parameter": [1, 2]}
    model = {"depth": 1, "width": 16, "head_width": 8, "context_length": 12}
    changes = {
        "models": {"d16": model},
        "schedules": SCHEDULES,
        "grid": [block],
        "evaluation": {"subset_tokens": 48, "first_update": 8},
        "optimizer": {"adam_beta2": None, "adam_beta2_half_life_tokens": 500.0},
        "noise_scale": {"schedules": ["constant"], "every_updates": 16},
        "warmup": {"tokens": 192},
    }
    return planned(*changes.items())


def run(spec: SegmentSpec, folder: Path, parent: Path | None = None) -> SegmentResult:
    small = spec.trajectory.model.model_copy(update={"vocab_size": VOCAB_SIZE})
    trajectory = spec.trajectory.model_copy(update={"model": small})
    return train(spec.model_copy(update={"trajectory": trajectory}), folder, parent, tokens=counting_tokens())


def alone(cell: Cell, plan: Plan) -> SegmentSpec:
    """The cell in one segment from initialisation, recording all that its chain records."""
    chain = [plan.segments[name].spec.recording for name in plan.chains[cell.cell_id]]

    def all_of(field: str) -> tuple[int, ...]:
        return tuple(update for recording in chain for update in getattr(recording, field))

    recording = Recording(
        norms_every=chain[0].norms_every,
        evaluate_subset_at=all_of("evaluate_subset_at"),
        evaluate_full_at=all_of("evaluate_full_at"),
        snapshot_at=all_of("snapshot_at"),
        probe_every=max(recording.probe_every for recording in chain),
        probe_norm_layers_every=max(recording.probe_norm_layers_every for recording in chain),
        subset_blocks=chain[0].subset_blocks,
    )
    return SegmentSpec(trajectory=cell.trajectory, start=0, recording=recording)


def test_shared_and_unshared_training_are_bit_identical(plan: Plan, tmp_path: Path) -> None:
    shared = {name: segment for name, segment in plan.segments.items() if len(segment.cell_ids) > 1}
    assert len(shared) >= 5
    results: dict[str, SegmentResult] = {}
    for name, segment in plan.segments.items():
        parent = tmp_path / segment.parent / "state.safetensors" if segment.parent else None
        results[name] = run(segment.spec, tmp_path / name, parent)
    for cell in plan.cells:
        own = run(alone(cell, plan), tmp_path / cell.cell_id)
        chain = plan.chains[cell.cell_id]
        end = tmp_path / chain[-1] / "state.safetensors"
        assert (tmp_path / cell.cell_id / "state.safetensors").read_bytes() == end.read_bytes(), cell.cell_id
        for table in TABLES:
            whole, parts = getattr(own, table), [getattr(results[name], table) for name in chain]
            kept = slice(None)
            if table == "gradient_statistics":
                # Alone it is probed to its end, and not only where it shares a trunk with a cell that is.
                kept = np.isin(whole["step"], np.concatenate([part["step"] for part in parts]))
            for column in whole:
                if column in ("grad_norm_l1", "update_norm", "param_norm"):
                    continue  # Also taken where a segment ends, which the cell alone does not know.
                together = np.concatenate([part[column] for part in parts])
                np.testing.assert_array_equal(together, whole[column][kept], f"{cell.cell_id} {table}.{column}")
        last = results[chain[-1]].block_losses["loss"]
        np.testing.assert_array_equal(own.block_losses["loss"][-len(last) :], last)


def test_a_plateau_lowers_the_learning_rate_that_is_applied(plan: Plan, tmp_path: Path) -> None:
    """With an improvement of 90 % asked for, every evaluation but the first is a disappointment."""
    cell = next(cell for cell in plan.cells if cell.schedule_name == "plateau")
    plateau = cell.trajectory.plateau
    assert plateau is not None
    strict = plateau.model_copy(update={"threshold": 0.9, "min_fraction": 0.2})
    trajectory = cell.trajectory.model_copy(update={"plateau": strict})
    spec = alone(cell, plan).model_copy(update={"trajectory": trajectory})
    lr = run(spec, tmp_path).updates["lr"]
    expected = np.concatenate(
        [np.full(20, 0.03), np.full(10, 0.015), np.full(10, 0.0075), np.full(len(lr) - 40, 0.006)]
    )
    expected[:4] = 0.03 * np.arange(1, 5) / 4
    np.testing.assert_allclose(lr, expected)


def test_schedule_free_is_evaluated_and_kept_at_its_average(plan: Plan, tmp_path: Path) -> None:
    """Its average beats its own last iterate, and the state that is kept is the one that was evaluated."""
    from glidepath.training.evaluation import block_losses
    from glidepath.training.model import Decoder
    from glidepath.training.state import load_tensors

    cell = next(cell for cell in plan.cells if cell.schedule_name == "schedule_free")
    spec = alone(cell, plan)
    result = run(spec, tmp_path)
    decoder = Decoder(spec.trajectory.model.model_copy(update={"vocab_size": VOCAB_SIZE}))
    tokens = counting_tokens()
    losses = {}
    for buffer in ("weights", "z"):
        views = decoder.layout.views(decoder.flat_weights)
        load_tensors(tmp_path / "state.safetensors", {f"{buffer}/{name}": view for name, view in views.items()})
        losses[buffer] = block_losses(decoder, tokens.validation("counting"), None)
    np.testing.assert_array_equal(result.block_losses["loss"][-15:-5], losses["weights"])
    assert losses["weights"].mean() < losses["z"].mean()
