"""Squared gradient norms of single examples against autograd, one example at a time, layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from glidepath.training import per_example

SHAPES = [(3, 8, 5, 7), (2, 1, 4, 3), (1, 9, 1, 2), (4, 131, 6, 5)]
"""B, T, D, O: whole blocks of pairs, a single token, and blocks that do not come out even."""


TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-5}


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def one_by_one(function: Callable[[Tensor, int], Tensor], parameter: Tensor, dy_B: Tensor) -> Tensor:
    """|g_b|² for the output gradients dy_b of one example after another."""
    norms = []
    for b, dy in enumerate(dy_B):
        parameter = parameter.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(parameter, b), parameter, dy)
        norms.append(gradient.square().sum())
    return torch.stack(norms)


FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "simultaneous": lambda x, dy: per_example.square_sums(per_example.weight_gradients(x, dy)),
    "gram": per_example.gram_sq_norms,
    "chosen": per_example.linear_weight_sq_norms,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_weight(shape: tuple[int, int, int, int], form: str) -> None:
    B, T, inputs, outputs = shape
    x, dy = normal(B, T, inputs), normal(B, T, outputs, seed=1)
    expected = one_by_one(lambda w, b: F.linear(x[b], w), normal(outputs, inputs, seed=2), dy)
    found = FORMS[form](x, dy)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(FORMS[form](x.float(), dy.float()), expected, rtol=1e-5, atol=0.0)
    # Exact for the rounded operands: nothing else is in bfloat16.
    x, dy = x.bfloat16(), dy.bfloat16()
    torch.testing.assert_close(FORMS[form](x, dy), FORMS[form](x.double(), dy.double()), rtol=1e-5, atol=0.0)


def test_linear_bias() -> None:
    x, dy, weight = normal(3, 8, 5), normal(3, 8, 7, seed=1), normal(7, 5, seed=2)
    expected = one_by_one(lambda c, b: F.linear(x[b], weight, c), normal(7, seed=3), dy)
    torch.testing.assert_close(per_example.bias_sq_norms(dy), expected, rtol=1e-12, atol=0.0)
    rounded = dy.bfloat16()
    torch.testing.assert_close(
        per_example.bias_sq_norms(rounded), per_example.bias_sq_norms(rounded.double()), rtol=1e-5, atol=0.0
    )


def test_gain_and_bias_of_a_norm() -> None:
    x, dy = normal(3, 8, 5), normal(3, 8, 5, seed=1)
    gain, bias = normal(5, seed=2), normal(5, seed=3)
    xhat = F.layer_norm(x, (5,))
    of_gain = one_by_one(lambda g, b: F.layer_norm(x[b], (5,), g, bias), gain, dy)
    of_bias = one_by_one(lambda c, b: F.layer_norm(x[b], (5,), gain, c), bias, dy)
    torch.testing.assert_close(per_example.gain_sq_norms((dy * xhat).sum(1)), of_gain, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(per_example.bias_sq_norms(dy), of_bias, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("vocab_size", [1, 4, 1000])
def test_embedding_adds_up_the_places_of_an_id(vocab_size: int) -> None:
    ids = torch.randint(0, vocab_size, (3, 11), generator=torch.Generator().manual_seed(0))
    dx = normal(3, 11, 5, seed=1)
    expected = one_by_one(lambda table, b: F.embedding(ids[b], table), normal(vocab_size, 5), dx)
    torch.testing.assert_close(per_example.embedding_sq_norms(ids, dx), expected, rtol=1e-12, atol=0.0)


def test_embedding_of_one_id_by_hand() -> None:
    """(1 + 2)² + 4² for an id that comes twice and one that comes once."""
    found = per_example.embedding_sq_norms(torch.tensor([[7, 3, 7]]), torch.tensor([[[1.0], [4.0], [2.0]]]))
    assert found.tolist() == [25.0]


def test_tied_table_needs_the_cross_term() -> None:
    """The table is used twice, as embedding and as head, with a fixed map between."""
    V, D = 6, 5
    ids = torch.randint(0, V, (4, 9), generator=torch.Generator().manual_seed(0))
    middle, dlogits = normal(D, D, seed=1), normal(4, 9, V, seed=2)
    table = normal(V, D, seed=3)
    normed = torch.tanh(F.embedding(ids, table) @ middle)
    dx = ((dlogits @ table) * (1.0 - normed.square())) @ middle.T
    expected = one_by_one(lambda w, b: torch.tanh(F.embedding(ids[b], w) @ middle) @ w.T, table, dlogits)
    uses = per_example.embedding_sq_norms(ids, dx) + per_example.linear_weight_sq_norms(normed, dlogits)
    cross = per_example.tied_cross_terms(ids, dx, normed, dlogits)
    torch.testing.assert_close(uses + cross, expected, rtol=1e-12, atol=0.0)
    assert ((uses - expected).abs() > 0.01 * expected).all()


@pytest.mark.parametrize(
    "shape", [(1, 2_500_000), (2, 3 * per_example.ROW), (3, per_example.ROW + 1), (2, 5, 9000), (4,)]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_square_sums_are_those_of_double_precision(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """However many numbers there are and however few bits they have."""
    x_B = normal(*shape).to(dtype)
    found, expected = per_example.square_sums(x_B), x_B.double().square().reshape(shape[0], -1)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected.sum(1), rtol=TOLERANCES[dtype], atol=0.0)


def test_square_sums_of_a_transposed_matrix() -> None:
    x = normal(3, 20_000, dtype=torch.float32)
    torch.testing.assert_close(
        per_example.square_sums(x.t()[None]), x.double().square().sum()[None], rtol=1e-7, atol=0.0
    )


def test_gram_form_is_chosen_where_it_costs_less() -> None:
    """At 128 tokens a square layer switches at width 157 on a CPU, with longer contexts nearly in proportion."""

    def switch(tokens: int, device_type: str) -> int:
        return next(d for d in range(1, 10_000) if per_example.gram_is_cheaper(tokens, d, d, device_type))

    assert [switch(tokens, "cpu") for tokens in (1, 32, 128, 1024)] == [2, 38, 157, 1276]
    # Where numbers cost more to move than to compute, storage decides: 4·s·T² against 2·D².
    assert switch(1024, "cuda") == 1231
    # Products of pairs cost the sum of the two widths, a gradient their product: a narrow layer is not for pairs,
    # however large its gradient is.
    assert 2 * 512**2 < 32 * 50_000
    assert not per_example.gram_is_cheaper(512, 32, 50_000, "cpu")
