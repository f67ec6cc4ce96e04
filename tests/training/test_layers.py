"""Every layer's written-out forward and backward pass against torch's own function and autograd, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from glidepath.training import layers
from tests.training import reference

EXACT = {"rtol": 1e-11, "atol": 1e-12}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
@pytest.mark.parametrize("shape", [(6, 10), (2, 3, 4, 10)])
def test_norm_and_its_backward_are_those_of_torch(kind: layers.NormKind, shape: tuple[int, ...]) -> None:
    x, gain, dy = (
        normal(*shape, seed=1).requires_grad_(),
        normal(10, seed=2).requires_grad_(),
        normal(*shape, seed=3),
    )
    expected = reference.norm(kind, x, gain)
    dx_expected, dgain_expected = torch.autograd.grad(expected, (x, gain), dy)
    with torch.no_grad():
        y, saved = layers.norm(kind, x, gain)
        n = shape[0] // 2 if len(shape) == 2 else shape[0]
        dx, dgain = layers.norm_backward(kind, dy.clone(), gain, saved, n)
        residual = normal(*shape, seed=4)
        summed, _ = layers.norm_backward(kind, dy.clone(), gain, saved, n, onto_D=residual)
    torch.testing.assert_close(y, expected, **EXACT)
    torch.testing.assert_close(dx, dx_expected, **EXACT)
    by_example = (dy * reference.norm(kind, x, torch.ones_like(gain))).view(n, -1, 10).sum(1)
    torch.testing.assert_close(dgain, by_example.detach(), **EXACT)
    torch.testing.assert_close(dgain.sum(0), dgain_expected, **EXACT)
    assert summed is residual
    torch.testing.assert_close(summed, normal(*shape, seed=4) + dx_expected, **EXACT)


@pytest.mark.parametrize("kind", ["gelu", "swiglu"])
def test_feed_forward_activation_and_its_backward_are_those_of_torch(kind: layers.FeedForwardKind) -> None:
    h = normal(5, 8).requires_grad_()
    gate, up = h.chunk(2, dim=-1)
    expected = F.gelu(h) if kind == "gelu" else F.silu(gate) * up
    da = normal(*expected.shape, seed=1)
    (dh_expected,) = torch.autograd.grad(expected, h, da)
    with torch.no_grad():
        a, saved = layers.feed_forward_activation(kind, h)
        dh = layers.feed_forward_activation_backward(kind, da.clone(), saved)
    torch.testing.assert_close(a, expected, **EXACT)
    torch.testing.assert_close(dh, dh_expected, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_and_its_backward_are_those_of_torch(dtype: torch.dtype) -> None:
    """In float32 by oneDNN, in float64 not: both within rounding of the double result."""
    tolerance = EXACT if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    x, w, dy = (normal(*shape, seed=seed) for seed, shape in enumerate([(40, 24), (7, 24), (40, 7)]))
    gradient = normal(7, 24, seed=3)
    expected = gradient + dy.T @ x
    gradient = gradient.to(dtype)
    layers.accumulate_linear_gradient(gradient, dy.to(dtype), x.to(dtype))
    torch.testing.assert_close(layers.linear(x.to(dtype), w.to(dtype)).double(), x @ w.T, **tolerance)
    torch.testing.assert_close(layers.linear_backward(dy.to(dtype), w.to(dtype)).double(), dy @ w, **tolerance)
    torch.testing.assert_close(gradient.double(), expected, **tolerance)


@pytest.mark.parametrize("T", [1, 12, 64, 100, 130])  # below, at and across the query blocks
def test_explicit_and_fused_attention_agree_with_their_gradients(T: int) -> None:
    q, k, v, do = (normal(2, T, 3, 6, seed=seed) for seed in range(4))
    o, backward = layers.explicit_attention(q, k, v)
    o_fused, backward_fused = layers.fused_attention(q, k, v)
    torch.testing.assert_close(o, o_fused, **EXACT)
    for got, expected in zip(backward(do), backward_fused(do), strict=True):
        torch.testing.assert_close(got, expected, **EXACT)


def test_cross_entropy_with_gradient_is_that_of_autograd() -> None:
    z, targets = (10.0 * normal(6, 9)).requires_grad_(), torch.tensor([0, 8, 3, 3, 1, 7])
    losses = F.cross_entropy(z, targets, reduction="none")
    (expected,) = torch.autograd.grad(0.25 * losses.sum(), z)
    got_losses, got = layers.cross_entropy_with_gradient(z.detach().clone(), targets, 0.25)
    torch.testing.assert_close(got_losses, losses.detach(), **EXACT)
    torch.testing.assert_close(got, expected, **EXACT)


def test_loss_of_a_target_whose_probability_underflows_is_finite() -> None:
    z = torch.tensor([[0.0, 300.0, 0.0]])
    losses, _ = layers.cross_entropy_with_gradient(z, torch.tensor([0]), 1.0)
    assert losses.item() == 300.0


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    table = layers.rotary_table(32, 6, 10000.0, torch.device("cpu"))
    q, k = normal(1, 1, 1, 6).expand(1, 32, 1, 6), normal(1, 1, 1, 6, seed=1).expand(1, 32, 1, 6)
    q_turned, k_turned = (layers.rotate(x.clone(memory_format=torch.contiguous_format), table) for x in (q, k))
    torch.testing.assert_close(q_turned.norm(dim=-1), q.norm(dim=-1), **EXACT)
    scores = torch.einsum("bthk,bshk->ts", q_turned, k_turned)
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1], **EXACT)
    torch.testing.assert_close(q_turned[:, 0], q[:, 0], **EXACT)


def test_rotation_inverts_and_both_ways_of_writing_it_agree() -> None:
    table = layers.rotary_table(12, 6, 10000.0, torch.device("cpu"))
    x = normal(2, 12, 3, 6)
    there_and_back = layers.rotate(layers.rotate(x.clone(), table), table, inverse=True)
    torch.testing.assert_close(there_and_back, x, **EXACT)
    for inverse in (False, True):
        spelled_out = layers.rotate_spelled_out(x, table, inverse)
        torch.testing.assert_close(layers.rotate(x.clone(), table, inverse), spelled_out, **EXACT)
        torch.testing.assert_close(layers.rotate(layers.head_by_head(x), table, inverse), spelled_out, **EXACT)
