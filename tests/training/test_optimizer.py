"""AdamW against its slow twin, written like the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from glidepath.study.specs import OptimizerSpec
from glidepath.training.optimizer import AdamW, clip_gradients
from glidepath.training.parameters import FlatGroup, Multipliers

SPEC = OptimizerSpec(adam_beta1=0.9, adam_beta2=0.95, adam_eps=1e-8, grad_clip_norm=1.0)


def adamw_reference(
    p: NDArray[np.float64],
    gradients: NDArray[np.float64],
    lr: NDArray[np.float64],
    weight_decay: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Loshchilov & Hutter 2019, Algorithm 2, with decay multiplied by the learning rate."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, (g, eta, decay) in enumerate(zip(gradients, lr, weight_decay, strict=True), start=1):
        m = SPEC.adam_beta1 * m + (1 - SPEC.adam_beta1) * g
        v = SPEC.adam_beta2 * v + (1 - SPEC.adam_beta2) * g**2
        m_hat, v_hat = m / (1 - SPEC.adam_beta1**t), v / (1 - SPEC.adam_beta2**t)
        p = p - eta * decay * p - eta * m_hat / (np.sqrt(v_hat) + SPEC.adam_eps)
    return p


def test_adamw_equals_its_slow_twin_over_100_random_gradients() -> None:
    generator = np.random.default_rng(0)
    start, gradients = generator.normal(size=48), generator.normal(size=(100, 48))
    lr, weight_decay = 0.01 * generator.random(100), generator.random(100)
    groups = [FlatGroup(0, 32, Multipliers(0.5, 2.0)), FlatGroup(32, 48, Multipliers(1.0, 0.0))]
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        weights, buffer = torch.tensor(start, dtype=dtype), torch.zeros(48, dtype=dtype)
        optimizer = AdamW(SPEC, weights, buffer, groups)
        for step in range(100):
            buffer.copy_(torch.from_numpy(gradients[step]))
            optimizer.update(step, lr[step], weight_decay[step])
        decayed = adamw_reference(start[:32], gradients[:, :32], 0.5 * lr, 2.0 * weight_decay)
        plain = adamw_reference(start[32:], gradients[:, 32:], lr, 0.0 * weight_decay)
        np.testing.assert_allclose(weights, np.concatenate([decayed, plain]), rtol=tolerance, atol=tolerance)


def test_alignment_gaps_stay_zero() -> None:
    weights, gradients = torch.zeros(16), torch.zeros(16)
    optimizer = AdamW(SPEC, weights, gradients, [FlatGroup(0, 16, Multipliers(1.0, 1.0))])
    for step in range(3):
        optimizer.update(step, 0.1, 0.1)
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
