"""AdamW and its schedule-free form against slow twins, written like the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from glidepath.study.specs import OptimizerSpec, PathArrays
from glidepath.training.optimizer import (
    AdamW,
    ScheduleFreeAdamW,
    averaging_shares,
    bias_corrections,
    check_epsilon,
    clip_gradients,
)
from glidepath.training.parameters import FlatGroup, Multipliers

Floats = NDArray[np.float64]
EPSILON = 1e-8
UPDATES = 100
ADAMW = OptimizerSpec(kind="adamw", adam_eps=EPSILON, grad_clip_norm=1.0)
SCHEDULE_FREE = OptimizerSpec(kind="schedule_free_adamw", adam_eps=EPSILON, grad_clip_norm=1.0)
GROUPS = [FlatGroup(0, 32, Multipliers(0.5, 2.0, 3.0)), FlatGroup(32, 48, Multipliers(1.0, 0.0, 1.0))]


def path_arrays(
    lr: Floats, weight_decay: Floats, beta1: Floats | float = 0.9, beta2: Floats | float = 0.95
) -> PathArrays:
    n = len(lr)
    return PathArrays(
        lr=lr,
        weight_decay=weight_decay,
        adam_beta1=np.broadcast_to(beta1, n).astype(np.float64),
        adam_beta2=np.broadcast_to(beta2, n).astype(np.float64),
        batch_sequences=np.ones(n, dtype=np.int64),
        positions=np.arange(n + 1),
    )


def adamw_reference(p: Floats, gradients: Floats, path: PathArrays, group: Multipliers) -> Floats:
    """Loshchilov & Hutter 2019, Algorithm 2, with decay multiplied by the learning rate; corrections are the summed
    weights of the gradients so far."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    left1 = left2 = 1.0
    for s, g in enumerate(gradients):
        beta1, beta2 = path.adam_beta1[s], path.adam_beta2[s]
        left1, left2 = left1 * beta1, left2 * beta2
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        eta, decay = path.lr[s] * group.lr, path.weight_decay[s] * group.weight_decay
        p = p - eta * decay * p - eta * (m / (1 - left1)) / (np.sqrt(v / (1 - left2)) + EPSILON * group.eps)
    return p


BETAS = {
    "constant": (0.9, 0.95),
    "cycled": (np.linspace(0.95, 0.85, UPDATES), 0.95),
    "by half-life": (0.9, 0.5 ** (np.repeat([1.0, 2.0, 8.0, 4.0], UPDATES // 4) / 30)),
    "no memory": (0.0, np.repeat([0.95, 0.0, 0.9, 0.5], UPDATES // 4)),
}


@pytest.mark.parametrize("betas", BETAS)
def test_adamw_equals_its_slow_twin_over_100_random_gradients(betas: str) -> None:
    generator = np.random.default_rng(0)
    start, gradients = generator.normal(size=48), generator.normal(size=(UPDATES, 48))
    path = path_arrays(0.01 * generator.random(UPDATES), generator.random(UPDATES), *BETAS[betas])
    # The kernel takes its count of updates as float32, exactly while it is a whole number.
    for dtype, tolerance in ((torch.float64, 1e-12 if betas == "constant" else 1e-7), (torch.float32, 1e-5)):
        weights, buffer = torch.tensor(start, dtype=dtype), torch.zeros(48, dtype=dtype)
        optimizer = AdamW(ADAMW, weights, buffer, GROUPS, path)
        for step in range(UPDATES):
            buffer.copy_(torch.from_numpy(gradients[step]))
            optimizer.update(step)
        expected = [adamw_reference(start[g.begin : g.end], gradients[:, g.begin : g.end], path, g.multipliers)
                    for g in GROUPS]  # fmt: skip
        np.testing.assert_allclose(weights, np.concatenate(expected), rtol=tolerance, atol=tolerance)


def test_a_plateau_multiplies_the_learning_rate() -> None:
    lr, weight_decay = np.full(3, 0.02), np.full(3, 0.1)
    halved, whole = torch.ones(48), torch.ones(48)
    gradients = torch.full((48,), 0.3)
    halves = AdamW(ADAMW, halved, gradients, GROUPS, path_arrays(lr, weight_decay))
    wholes = AdamW(ADAMW, whole, gradients, GROUPS, path_arrays(lr / 2, weight_decay))
    for step in range(3):
        halves.update(step, 0.5)
        wholes.update(step)
    assert torch.equal(halved, whole)


@given(n=st.integers(1, 50), beta1=st.floats(0, 0.999), beta2=st.floats(0, 0.9999))
def test_constant_betas_are_corrected_as_in_the_paper(n: int, beta1: float, beta2: float) -> None:
    count, scale = bias_corrections(np.full(n, beta1), np.full(n, beta2))
    assert count.tolist() == list(range(1, n + 1))
    assert scale.tolist() == [1.0] * n


def schedule_free_reference(
    start: Floats, gradients: Floats, path: PathArrays, group: Multipliers
) -> tuple[Floats, Floats]:
    """Defazio et al. 2024, Algorithm 1 (AdamW): x and y after the last update. The average is taken anew every time,
    over all iterates with their weights."""
    z, y, v = start.copy(), start.copy(), np.zeros_like(start)
    weights = np.maximum.accumulate(path.lr) ** 2
    iterates: list[Floats] = []
    left2 = 1.0
    x = start.copy()
    for s, g in enumerate(gradients):
        left2 *= path.adam_beta2[s]
        v = path.adam_beta2[s] * v + (1 - path.adam_beta2[s]) * g**2
        direction = g / (np.sqrt(v / (1 - left2)) + EPSILON * group.eps)
        z = z - path.lr[s] * group.lr * (direction + path.weight_decay[s] * group.weight_decay * y)
        iterates.append(z)
        x = np.average(iterates, axis=0, weights=weights[: s + 1])
        y = (1 - path.adam_beta1[s]) * z + path.adam_beta1[s] * x
    return x, y


def test_schedule_free_equals_its_slow_twin_and_is_evaluated_at_the_average() -> None:
    generator = np.random.default_rng(1)
    start, given = generator.normal(size=48), generator.normal(size=(UPDATES, 48))
    lr = np.minimum(1.0, np.arange(1, UPDATES + 1) / 10) * 0.05
    path = path_arrays(lr, np.full(UPDATES, 0.1))
    weights, gradients = torch.tensor(start), torch.zeros(48, dtype=torch.float64)
    optimizer = ScheduleFreeAdamW(SCHEDULE_FREE, weights, gradients, GROUPS, path)
    for step in range(UPDATES):
        gradients.copy_(torch.from_numpy(given[step]))
        optimizer.update(step)
    parts = [schedule_free_reference(start[g.begin : g.end], given[:, g.begin : g.end], path, g.multipliers)
             for g in GROUPS]  # fmt: skip
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    np.testing.assert_allclose(weights, y, rtol=1e-10)
    np.testing.assert_allclose(optimizer.buffers["weights"], x, rtol=1e-10)
    with optimizer.evaluated_weights():
        np.testing.assert_allclose(weights, x, rtol=1e-10)
    np.testing.assert_allclose(weights, y, rtol=1e-10)


def test_a_restored_schedule_free_state_continues_where_it_was() -> None:
    path = path_arrays(np.full(6, 0.05), np.full(6, 0.1))
    gradients = torch.linspace(-1.0, 1.0, 48)
    whole = torch.ones(48)
    first = ScheduleFreeAdamW(SCHEDULE_FREE, whole, gradients, GROUPS, path)
    for step in range(3):
        first.update(step)
    continued = torch.zeros(48)
    second = ScheduleFreeAdamW(SCHEDULE_FREE, continued, gradients, GROUPS, path)
    for name, buffer in second.buffers.items():
        buffer.copy_(first.buffers[name])
    second.restored(3)
    assert torch.equal(continued, whole)
    for step in range(3, 6):
        first.update(step)
        second.update(step)
    assert torch.equal(continued, whole)


def test_the_average_leaves_the_warm_up_out() -> None:
    """Squares of the largest learning rate so far: 1, 4, 16, 16 after a warm-up of three updates."""
    assert averaging_shares(np.array([0.25, 0.5, 1.0, 1.0])).tolist() == [1.0, 4 / 5, 16 / 21, 16 / 37]
    np.testing.assert_allclose(averaging_shares(np.full(5, 0.1)), 1 / np.arange(1, 6))


def test_alignment_gaps_stay_zero() -> None:
    path = path_arrays(np.full(3, 0.1), np.full(3, 0.1))
    for spec, kind in ((ADAMW, AdamW), (SCHEDULE_FREE, ScheduleFreeAdamW)):
        weights, gradients = torch.zeros(48), torch.zeros(48)
        optimizer = kind(spec, weights, gradients, GROUPS, path)
        for step in range(3):
            optimizer.update(step)
        assert not weights.any()


def test_clipping_returns_the_norm_before_and_keeps_the_direction() -> None:
    gradients = torch.tensor([3.0, 4.0])
    assert clip_gradients(gradients, 1.0).item() == 5.0
    torch.testing.assert_close(gradients, torch.tensor([0.6, 0.8]))
    assert clip_gradients(gradients, 2.0).item() == pytest.approx(1.0)
    torch.testing.assert_close(gradients, torch.tensor([0.6, 0.8]))
    assert clip_gradients(torch.tensor([3.0, 4.0]), None).item() == 5.0


def test_clipping_leaves_a_zero_gradient_alone() -> None:
    gradients = torch.zeros(2)
    clip_gradients(gradients, 1.0)
    assert not gradients.any()


def test_zero_epsilon_is_refused() -> None:
    with pytest.raises(ValueError, match=r"adam_eps = 0"):
        check_epsilon(OptimizerSpec(kind="adamw", adam_eps=0.0, grad_clip_norm=None))
