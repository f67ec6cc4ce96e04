"""Parameters and FLOPs of a tiny decoder, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from glidepath.science.accounting import param_counts, train_flops_6nd, train_flops_per_token

TINY: dict[str, Any] = {
    "n_layer": 2, "d_model": 4, "n_head": 2, "d_head": 3, "d_ff": 5, "vocab_size": 7, "feed_forward": "gelu",
}  # fmt: skip


def test_tiny_decoder() -> None:
    """Per layer: qkv 4·18 + out 6·4 = 96, feed-forward 4·5 + 5·4 = 40, gains 4 + 4; final gain 4; tables 7·4."""
    counts = param_counts(**TINY, tied_embeddings=False, qk_norm=False)
    assert counts.n_params_non_embedding == 2 * (96 + 40 + 8) + 4
    assert counts.n_params_total == 2 * (96 + 40 + 8) + 4 + 28 + 28
    assert counts.n_params_matrices_and_head == 2 * (96 + 40) + 28


def test_what_the_options_change() -> None:
    plain = param_counts(**TINY, tied_embeddings=False, qk_norm=False)
    tied = param_counts(**TINY, tied_embeddings=True, qk_norm=False)
    normed = param_counts(**TINY, tied_embeddings=False, qk_norm=True)
    swiglu = param_counts(**{**TINY, "feed_forward": "swiglu"}, tied_embeddings=False, qk_norm=False)
    assert plain.n_params_total - tied.n_params_total == 28
    assert plain.n_params_non_embedding == tied.n_params_non_embedding
    assert plain.n_params_matrices_and_head == tied.n_params_matrices_and_head
    assert normed.n_params_non_embedding - plain.n_params_non_embedding == 2 * (3 + 3)
    assert swiglu.n_params_total - plain.n_params_total == 2 * 4 * 5


def test_flops_of_the_tiny_decoder() -> None:
    """Per token forward: 2·(272 + 28) for matrices; attention per layer and pair 2·6 for scores and 2·6 for values,
    pairs of 9 positions (1 + … + 9)/9 = 5; backward twice the forward."""
    flops = train_flops_per_token(**TINY, context_length=9)
    assert flops == 3 * (2 * 300 + 2 * (12 + 12) * 5)


def test_attention_counts_unmasked_pairs() -> None:
    """A sum over positions as the slow twin."""
    for T in (1, 2, 17):
        pairs = sum(t + 1 for t in range(T))
        difference = train_flops_per_token(**TINY, context_length=T) * T - 3 * 2 * 300 * T
        assert difference == pytest.approx(3 * 2 * 24 * pairs)


def test_rule_of_thumb() -> None:
    assert train_flops_6nd(10, 100) == 6000
    matrices_only = param_counts(**TINY, tied_embeddings=True, qk_norm=False).n_params_matrices_and_head
    without_attention = train_flops_per_token(**TINY, context_length=1) - 3 * 2 * 24
    assert train_flops_6nd(matrices_only, 1) == without_attention


@pytest.mark.parametrize("name", ["n_layer", "d_model", "n_head", "d_head", "d_ff", "vocab_size"])
def test_sizes_below_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
        param_counts(**{**TINY, name: 0}, tied_embeddings=True, qk_norm=True)
    with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
        train_flops_per_token(**{**TINY, name: 0}, context_length=1)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="context_length is 0"):
        train_flops_per_token(**TINY, context_length=0)
    with pytest.raises(ValueError, match="tokens is -1"):
        train_flops_6nd(1, -1)
    with pytest.raises(ValueError, match=r"feed_forward is 'relu'; choose one of \['gelu', 'swiglu'\]"):
        param_counts(**{**TINY, "feed_forward": "relu"}, tied_embeddings=True, qk_norm=True)
