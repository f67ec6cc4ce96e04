"""A batch ramp with a learning rate that follows it, probed: however it is cut or killed, the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glidepath.study.specs import SegmentSpec
from glidepath.training.loop import SegmentResult
from tests.study.studies import GOOD, planned
from tests.training.small import assert_same_tables, segment_spec, train

RAMP = {"kind": "linear", "start_fraction": 0.25, "until": 0.8, "lr_scaling": "sqrt"}
SCHEDULE = {"kind": "linear", "final_lr_fraction": 0.1}


def spec(start: int = 0, stop: int | None = None) -> SegmentSpec:
    """The path that a study plans: 2 to 8 sequences, with a half-life and a time-scale in tokens, on a tiny model."""
    block = {
        **GOOD["grid"][0], "schedules": ["ramped"], "peak_lrs": [0.01], "tokens_per_parameter": [2.2],
        "batch_sequences": [8],
    }  # fmt: skip
    (cell,) = planned(
        ("schedules", {"ramped": {**SCHEDULE, "batch": RAMP}}),
        ("grid", [block]),
        ("warmup", {"fraction": 0.2}),
        ("averaging", None),
        ("noise_scale", None),
        ("analysis.reference_schedule", "ramped"),
        ("target.batch_sequences", 8),
        ("optimizer", {
            "adam_beta2": None, "adam_beta2_half_life_tokens": 2000, "weight_decay": None,
            "weight_decay_policy": "constant_timescale", "weight_decay_timescale_fraction": 0.5,
        }),
    ).cells  # fmt: skip
    path = cell.trajectory.path
    end = stop or path.updates
    recording = {
        key: tuple(at for at in updates if start < at <= end)
        for key, updates in {
            "evaluate_subset_at": (7, 13), "evaluate_full_at": (path.updates,), "snapshot_at": (5, 13)
        }.items()
    }  # fmt: skip
    small = segment_spec(stop=path.updates, probe_every=3, probe_norm_layers_every=1, **recording)
    trajectory = small.trajectory.model_copy(update={"path": path})
    return small.model_copy(update={"start": start, "trajectory": trajectory.clip(end)})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SegmentResult]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(spec(), folder)


def test_what_is_applied_follows_the_batch(whole: tuple[Path, SegmentResult]) -> None:
    """2 to 8 sequences; learning rate over the root of the batch is a function of the tokens: a rise and a straight
    line to a tenth."""
    updates = whole[1].updates
    batch = np.asarray(updates["batch_tokens"]) / 12
    assert batch[0] == 2
    assert batch[-2] == 8
    assert len(set(batch.tolist())) > 4
    begins = (np.asarray(updates["tokens_seen"]) / 12 - batch).astype(float)
    of_tokens = np.asarray(updates["lr"]) / np.sqrt(batch / 8)
    assert of_tokens.max() == pytest.approx(0.01)
    falling = slice(int(of_tokens.argmax()) + 1, None)
    slope = np.diff(of_tokens[falling]) / np.diff(begins[falling])
    np.testing.assert_allclose(slope, slope.mean(), rtol=1e-6)
    end = of_tokens[-1] + slope.mean() * batch[-1]
    assert end == pytest.approx(0.001, rel=1e-6)


class Died(BaseException):
    """The end of a job, with all its files as they are."""


@pytest.mark.parametrize("at", [2, 6, 11, 17])
def test_killed_and_resumed_it_ends_at_the_same_bits(
    whole: tuple[Path, SegmentResult], tmp_path: Path, at: int
) -> None:
    def die(updates_done: int) -> None:
        if updates_done == at:
            raise Died

    with pytest.raises(Died):
        train(spec(), tmp_path, resume_every_seconds=0.0, progress=die)
    trained: list[int] = []
    assert_same_tables(train(spec(), tmp_path, progress=trained.append), whole[1])
    assert trained[0] == at
    for name in ("state.safetensors", "snapshots.safetensors"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes(), name


def test_in_two_segments_it_ends_at_the_same_bits(whole: tuple[Path, SegmentResult], tmp_path: Path) -> None:
    for half in ("first", "second"):
        (tmp_path / half).mkdir()
    train(spec(stop=10), tmp_path / "first")
    train(spec(start=10), tmp_path / "second", parent=tmp_path / "first" / "state.safetensors")
    assert (tmp_path / "second/state.safetensors").read_bytes() == (whole[0] / "state.safetensors").read_bytes()
