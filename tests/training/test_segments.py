"""Whole segments: what is recorded, that it repeats bit for bit, and that it survives every way to die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from glidepath.training.device import Machine
from glidepath.training.evaluation import block_losses
from glidepath.training.lock import locked
from glidepath.training.loop import has_diverged
from glidepath.training.model import Decoder
from glidepath.training.snapshots import SnapshotFile
from glidepath.training.state import load_header, load_tensors
from tests.training.small import CPU, assert_same_tables, counting_tokens, segment_spec, train

EVERYTHING = {
    "evaluate_subset_at": (3, 12),
    "evaluate_full_at": (12,),
    "snapshot_at": (2, 9, 12),
    "probe_every": 4,
    "probe_norm_layers_every": 1,
}


def test_a_segment_records_what_it_was_asked_to(tmp_path: Path) -> None:
    spec = segment_spec(norms_every=5, **EVERYTHING)
    logged: list[int] = []
    result = train(spec, tmp_path, progress=logged.append)
    assert (result.status, result.diverged_step) == ("completed", None)
    assert logged == [5, 10, 12]
    assert list(result.updates["step"]) == list(range(12))
    for norm in ("grad_norm_l1", "update_norm", "param_norm"):
        assert list(np.flatnonzero(np.isfinite(result.updates[norm]))) == [4, 9, 11]
    assert list(result.updates["batch_tokens"]) == [48] * 6 + [96] * 6
    assert list(result.updates["tokens_seen"]) == [*range(48, 289, 48), *range(384, 865, 96)]
    np.testing.assert_allclose(result.updates["lr"], [0.01 / 3, 0.02 / 3, *[0.01] * 10])
    assert list(result.evaluations["updates_done"]) == [3, 12, 12, 12]
    assert list(result.evaluations["domain"]) == ["counting", "counting", "counting", "other"]
    assert list(result.evaluations["eval_set"]) == ["subset", "subset", "full", "full"]
    assert list(result.evaluations["n_eval_tokens"]) == [48, 48, 120, 60]
    assert list(result.block_losses["domain"]) == ["counting"] * 10 + ["other"] * 5
    assert list(result.block_losses["block"]) == [*range(10), *range(5)]
    # Every fourth update all layers, in between the norm layers alone.
    all_types = ["norm", "attention", "feed_forward", "embedding", "head"]
    steps = [0, 1, 2, *[3] * 5, 4, 5, 6, *[7] * 5, 8, 9, 10, *[11] * 5]
    assert list(result.gradient_statistics["step"]) == steps
    assert list(result.gradient_statistics["group"]) == (["norm"] * 3 + all_types) * 3
    assert list(result.gradient_statistics["big_batch_tokens"]) == [48 if step < 6 else 96 for step in steps]
    assert list(result.gradient_statistics["tokens_seen"]) == [result.updates["tokens_seen"][step] for step in steps]
    assert set(result.gradient_statistics["small_batch_tokens"]) == {12}
    # The mean of squared norms is at least the squared norm of the mean.
    assert np.all(result.gradient_statistics["grad_sq_norm_small"] >= result.gradient_statistics["grad_sq_norm_big"])
    assert result.timing["tokens_per_second"] > 0.0
    activities = ("setup", "updates", "evaluation", "probes", "snapshots")
    assert result.timing["total"] == pytest.approx(sum(result.timing[activity] for activity in activities))


def test_the_probe_sees_the_whole_gradient_before_clipping(tmp_path: Path) -> None:
    spec = segment_spec(probe_every=4)
    optimizer = spec.trajectory.optimizer.model_copy(update={"grad_clip_norm": 0.1})
    spec = spec.model_copy(update={"trajectory": spec.trajectory.model_copy(update={"optimizer": optimizer})})
    result = train(spec, tmp_path)
    statistics = result.gradient_statistics
    for step in (3, 7, 11):
        big = statistics["grad_sq_norm_big"][statistics["step"] == step].sum()
        assert big == pytest.approx(result.updates["grad_norm"][step] ** 2, rel=1e-5)
    assert (result.updates["grad_norm"] > 0.1).all()


def test_training_learns(tmp_path: Path) -> None:
    result = train(segment_spec(stop=100, evaluate_full_at=(100,)), tmp_path)
    assert result.updates["train_loss"][0] == pytest.approx(np.log(23), abs=0.2)
    assert result.evaluations["val_loss"][0] < 1.7


def test_the_same_segment_twice_is_bit_identical(tmp_path: Path) -> None:
    spec = segment_spec(**EVERYTHING)
    first, second = train(spec, tmp_path / "a"), train(spec, tmp_path / "b")
    assert_same_tables(first, second)
    for name in ("state.safetensors", "snapshots.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_probes_evaluations_and_snapshots_do_not_change_the_weights(tmp_path: Path) -> None:
    train(segment_spec(**EVERYTHING), tmp_path / "a")
    train(segment_spec(), tmp_path / "b")
    assert (tmp_path / "a" / "state.safetensors").read_bytes() == (tmp_path / "b" / "state.safetensors").read_bytes()


def test_a_chain_of_segments_is_bit_identical_to_one(tmp_path: Path) -> None:
    whole = train(segment_spec(stop=12), tmp_path / "whole")
    train(segment_spec(stop=7), tmp_path / "first")
    rest = train(segment_spec(start=7, stop=12), tmp_path / "rest", tmp_path / "first" / "state.safetensors")
    assert (tmp_path / "whole" / "state.safetensors").read_bytes() == (
        tmp_path / "rest" / "state.safetensors"
    ).read_bytes()
    np.testing.assert_array_equal(whole.updates["train_loss"][7:], rest.updates["train_loss"])
    np.testing.assert_array_equal(whole.updates["tokens_seen"][7:], rest.updates["tokens_seen"])


def test_micro_batches_do_not_change_the_result(tmp_path: Path) -> None:
    spec = segment_spec(probe_every=4)
    whole = train(spec, tmp_path / "whole")
    for size in (1, 3):
        machine = Machine("cpu", 1, micro_batch_sequences=size, compile=False, compile_cache=None)
        split = train(spec, tmp_path / f"micro{size}", machine=machine)
        np.testing.assert_allclose(split.updates["train_loss"], whole.updates["train_loss"], rtol=1e-4)
        for column in ("grad_sq_norm_small", "grad_sq_norm_big"):
            expected = whole.gradient_statistics[column]
            np.testing.assert_allclose(split.gradient_statistics[column], expected, rtol=1e-3)


DYING_JOB = """
    import os, signal, sys
    from pathlib import Path
    from tests.training.small import segment_spec, train
    from tests.training.test_segments import EVERYTHING

    def die(updates_done):
        if updates_done == {at}:
            os.kill(os.getpid(), signal.{signal})

    train(segment_spec(**EVERYTHING), Path(sys.argv[1]), resume_every_seconds={every}, progress=die)
"""


def run_dying_job(folder: Path, at: int, signal_name: str, every: float) -> int:
    code = textwrap.dedent(DYING_JOB.format(at=at, signal=signal_name, every=every))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, check=False).returncode


@pytest.mark.parametrize("at", [1, 10])
def test_a_killed_job_continues_and_ends_bit_identical(tmp_path: Path, at: int) -> None:
    assert run_dying_job(tmp_path / "killed", at, "SIGKILL", every=0.0) == -signal.SIGKILL
    resumed = train(segment_spec(**EVERYTHING), tmp_path / "killed")
    untouched = train(segment_spec(**EVERYTHING), tmp_path / "untouched")
    assert_same_tables(resumed, untouched)
    for name in ("state.safetensors", "snapshots.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "untouched" / name).read_bytes()


def test_a_terminated_job_saves_first(tmp_path: Path) -> None:
    assert run_dying_job(tmp_path / "killed", 5, "SIGTERM", every=1e9) == 128 + signal.SIGTERM
    assert (tmp_path / "killed" / "scratch" / "progress.safetensors").exists()
    again: list[int] = []
    resumed = train(segment_spec(**EVERYTHING), tmp_path / "killed", progress=again.append)
    assert again[0] > 5
    assert_same_tables(resumed, train(segment_spec(**EVERYTHING), tmp_path / "untouched"))


def test_scratch_of_another_segment_is_refused(tmp_path: Path) -> None:
    run_dying_job(tmp_path, 5, "SIGTERM", every=1e9)
    with pytest.raises(ValueError, match=r"is the progress of segment .* not of .*: remove"):
        train(segment_spec(peak_lr=0.02), tmp_path)


def test_scratch_in_use_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "scratch"), pytest.raises(RuntimeError, match=r"in use by another process"):
        train(segment_spec(), tmp_path)


def test_absurd_learning_rate_is_a_result_and_so_are_its_children(tmp_path: Path) -> None:
    result = train(segment_spec(peak_lr=1e4, snapshot_at=(1, 12)), tmp_path / "a")
    assert result.status == "diverged"
    assert result.diverged_step == 1
    assert result.last_finite_loss == pytest.approx(np.log(23), abs=0.2)
    assert list(result.updates["step"]) == [0]
    assert SnapshotFile(tmp_path / "a" / "snapshots.safetensors").updates_done == [1]

    child_spec = segment_spec(start=12, stop=20, peak_lr=1e4, snapshot_at=(20,))
    child = train(child_spec, tmp_path / "b", tmp_path / "a" / "state.safetensors")
    assert (child.status, child.diverged_step) == ("diverged", 1)
    assert child.last_finite_loss == result.last_finite_loss
    assert len(child.updates["step"]) == 0
    grandchild_spec = segment_spec(start=20, stop=21, peak_lr=1e4)
    grandchild = train(grandchild_spec, tmp_path / "c", tmp_path / "b" / "state.safetensors")
    assert grandchild.diverged_step == 1


def test_the_rule_of_divergence() -> None:
    assert not has_diverged(1.9 * np.log(23), 5.0, 23)
    assert has_diverged(2.1 * np.log(23), 5.0, 23)
    assert has_diverged(float("nan"), 5.0, 23)
    assert has_diverged(1.0, float("inf"), 23)


def test_state_of_another_trajectory_is_refused(tmp_path: Path) -> None:
    train(segment_spec(stop=7), tmp_path / "first")
    with pytest.raises(ValueError, match=r"is the state of trajectory .* after 7 updates, needed is .* after 7"):
        train(segment_spec(start=7, peak_lr=0.02), tmp_path / "rest", tmp_path / "first" / "state.safetensors")


def test_snapshots_and_state_round_trip(tmp_path: Path) -> None:
    spec = segment_spec(snapshot_at=(2, 12), evaluate_full_at=(12,))
    result = train(spec, tmp_path)
    kept = SnapshotFile(tmp_path / "snapshots.safetensors")
    assert kept.updates_done == [2, 12]
    decoder = Decoder(spec.trajectory.model)
    assert sorted(kept.weights(2)) == sorted(decoder.weights)
    header = load_header(tmp_path / "state.safetensors", spec.trajectory)
    assert header.updates_done == 12
    load_tensors(tmp_path / "state.safetensors", {f"weights/{name}": w for name, w in decoder.weights.items()})
    for name, weights in kept.weights(12).items():
        np.testing.assert_array_equal(weights, decoder.weights[name])
        assert weights.dtype == torch.float32
    losses = block_losses(decoder, counting_tokens().validation("counting"))
    np.testing.assert_array_equal(losses, result.block_losses["loss"][:10])
    with pytest.raises(KeyError, match=r"no snapshot after 3 updates"):
        kept.weights(3)


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a parent is needed exactly if start > 0"):
        train(segment_spec(start=3), tmp_path)
    with pytest.raises(ValueError, match=r"recording.snapshot_at has 13: this segment covers 1 to 12"):
        train(segment_spec(snapshot_at=(13,)), tmp_path)
    with pytest.raises(ValueError, match=r"recording.probe_every = -1: must be at least 1, or 0 for never"):
        train(segment_spec(probe_every=-1), tmp_path)
    with pytest.raises(ValueError, match=r"vocab_size = 24: the tokens have vocab_size = 23"):
        train(segment_spec(vocab_size=24), tmp_path)
    with pytest.raises(ValueError, match=r"subset_blocks = 11: domain 'counting' has 10 blocks"):
        train(segment_spec(evaluate_subset_at=(3,), subset_blocks=11), tmp_path)
    with pytest.raises(ValueError, match=r"device = 'tpu'"):
        train(segment_spec(), tmp_path, machine=Machine("tpu", 1, None, compile=False, compile_cache=None))
    assert CPU.threads == 1


def test_a_cpu_process_imports_neither_torch_optim_nor_dynamo(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.training.small import segment_spec, train;"
        "train(segment_spec(), Path(sys.argv[1]));"
        "print([m for m in ('torch._dynamo', 'torch._inductor', 'sympy') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(root)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
