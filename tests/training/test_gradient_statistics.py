"""Squared gradient norms as the engine records them: against one backward pass per sequence in double precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glidepath.science import schedules
from glidepath.study.specs import PathSpec, SegmentSpec
from glidepath.training.batches import batch
from glidepath.training.device import Machine
from glidepath.training.loop import SegmentResult
from glidepath.training.parameters import initial_values, parameters
from glidepath.training.trainer import Trainer
from glidepath.training.workers import ALONE
from tests.training import reference
from tests.training.small import CPU, SyntheticTokens, counting_tokens, segment_spec, train

IN_MICRO_BATCHES = Machine("cpu", 1, micro_batch_sequences=3, compile=False, compile_cache=None)


def by_group(result: SegmentResult, step: int) -> dict[str, tuple[float, float]]:
    """|g_b|² and |g_B|² of one update."""
    s = result.gradient_statistics
    return {
        str(s["group"][i]): (float(s["grad_sq_norm_small"][i]), float(s["grad_sq_norm_big"][i]))
        for i in np.flatnonzero(s["step"] == step)
    }


@pytest.mark.parametrize("machine", [CPU, IN_MICRO_BATCHES], ids=["whole", "micro-batches"])
def test_a_batch_of_equal_sequences_has_no_noise(machine: Machine, tmp_path: Path) -> None:
    """Four of them, later eight: the gradient of one is that of all."""
    text = np.arange(1000) % 12
    tokens = SyntheticTokens(text.astype(np.uint16), counting_tokens().held_out, 23)
    result = train(segment_spec(probe_every=4), tmp_path, machine=machine, tokens=tokens)
    statistics = result.gradient_statistics
    assert list(np.unique(statistics["big_batch_tokens"] / statistics["small_batch_tokens"])) == [4, 8]
    np.testing.assert_allclose(statistics["grad_sq_norm_small"], statistics["grad_sq_norm_big"], rtol=1e-4)


def one_update(n: int, **changes: Any) -> SegmentSpec:
    """Of n sequences, with a probe of all layers."""
    spec = segment_spec(stop=1, probe_every=1, **changes)
    path = PathSpec(
        batch_sequences=(schedules.Stage(n, 1),),
        lr=schedules.constant(0.01, n),
        weight_decay=schedules.constant(0.1, n),
        adam_beta1=schedules.constant(0.9, n),
        adam_beta2=schedules.constant(0.95, n),
    )
    return spec.model_copy(update={"trajectory": spec.trajectory.model_copy(update={"path": path})})


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n", [1, 5, 8])
def test_statistics_are_those_of_a_backward_pass_per_sequence(n: int, tied: bool, tmp_path: Path) -> None:
    """With micro-batches of 1, of 3 and 2, and of 3, 3 and 2."""
    spec = one_update(n, tied_embeddings=tied, init_std_embedding=0.2)
    result = train(spec, tmp_path, machine=IN_MICRO_BATCHES)
    trajectory = spec.trajectory
    weights = {
        name: w.double().requires_grad_() for name, w in initial_values(trajectory.model, trajectory.init_seed).items()
    }
    ids = torch.from_numpy(batch(counting_tokens().train, trajectory.data_seed, 0, n, trajectory.model.context_length))
    losses_B = reference.token_losses(trajectory.model, weights, ids[:, :-1], ids[:, 1:]).mean(1)
    gradients = [torch.autograd.grad(loss, list(weights.values()), retain_graph=True) for loss in losses_B]
    expected: dict[str, tuple[float, float]] = {}
    for p, *of_examples in zip(parameters(trajectory.model), *gradients, strict=True):
        g_B = torch.stack(of_examples)
        small, big = expected.get(p.layer_type, (0.0, 0.0))
        small, big = small + float(g_B.square().sum()) / n, big + float(g_B.mean(0).square().sum())
        expected[p.layer_type] = small, big
    found = by_group(result, 0)
    assert found.keys() == expected.keys()
    for group, norms in found.items():
        assert norms == pytest.approx(expected[group], rel=1e-5)


def test_the_norm_of_millions_of_numbers_is_that_of_double_precision() -> None:
    """A head of 2.6 million, whose |g|² one float32 sum would miss by some 1e-4 on a CPU."""
    spec = one_update(64, vocab_size=40_000, d_model=64, context_length=64)
    optimizer = spec.trajectory.optimizer.model_copy(update={"grad_clip_norm": None})
    spec = spec.model_copy(update={"trajectory": spec.trajectory.model_copy(update={"optimizer": optimizer})})
    trainer = Trainer(spec, counting_tokens(40_000, n_train=5000), CPU, torch.device("cpu"), ALONE)
    trainer.begin(0)
    found = trainer.update(0, norms=False, probe="all").sq_norms
    exact: dict[str, float] = {}
    for p in parameters(spec.trajectory.model):
        square = float(trainer.decoder.gradients[p.name].double().square().sum())
        exact[p.layer_type] = exact.get(p.layer_type, 0.0) + square
    assert {layer_type: float(norms[1]) for layer_type, norms in found.items()} == pytest.approx(exact, rel=1e-6)
