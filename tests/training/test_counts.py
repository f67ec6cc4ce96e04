"""The counts of `science.accounting` against the decoder that is trained."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from glidepath.science.accounting import FeedForward, param_counts, train_flops_per_token
from glidepath.study.specs import ModelSpec
from glidepath.training.model import Decoder
from tests.training.small import model_spec

SIZES = ("n_layer", "d_model", "n_head", "d_head", "d_ff", "vocab_size", "feed_forward")


def sizes(spec: ModelSpec, *more: str) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in (*SIZES, *more)}


@pytest.mark.parametrize(
    ("feed_forward", "norm", "tied", "qk_norm"),
    itertools.product(("gelu", "swiglu"), ("rmsnorm", "layernorm"), (False, True), (False, True)),
)
def test_parameters_of_the_decoder(feed_forward: FeedForward, norm: str, tied: bool, qk_norm: bool) -> None:
    spec = model_spec(feed_forward=feed_forward, norm=norm, tied_embeddings=tied, qk_norm=qk_norm)
    decoder = Decoder(spec)
    counts = param_counts(**sizes(spec, "tied_embeddings", "qk_norm"))
    tables = [w.numel() for name, w in decoder.weights.items() if name in ("embedding", "head")]
    gains = [w.numel() for w in decoder.weights.values() if w.dim() == 1]
    assert decoder.layout.size == counts.n_params_total
    assert decoder.layout.size - sum(tables) == counts.n_params_non_embedding
    assert decoder.layout.size - sum(gains) - (0 if tied else tables[0]) == counts.n_params_matrices_and_head


@pytest.mark.parametrize("feed_forward", ["gelu", "swiglu"])
def test_flops_of_the_decoder(feed_forward: FeedForward) -> None:
    """torch counts the products that run: all T keys of the attention (2T/(T+1) of the unmasked pairs), five products
    backward where the formula has four."""
    spec = model_spec(feed_forward=feed_forward, d_model=64, n_head=4, d_head=16, d_ff=256, vocab_size=512, context_length=64)
    decoder = Decoder(spec)
    decoder.initialise(0)
    ids = torch.randint(0, 512, (2, 65), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        decoder.accumulate_gradients(ids[:, :-1], ids[:, 1:], 1.0)
    by_kind = {str(kind): flops / ids[:, 1:].numel() for kind, flops in counter.get_flop_counts()["Global"].items()}
    attention = sum(flops for kind, flops in by_kind.items() if "attention" in kind)
    mine = train_flops_per_token(**sizes(spec, "context_length"))
    mine_attention = 3 * spec.n_layer * 2 * spec.n_head * spec.d_head * (spec.context_length + 1)
    assert sum(by_kind.values()) - attention == pytest.approx(mine - mine_attention, rel=0.01)
    T = spec.context_length
    assert attention == pytest.approx(mine_attention * (2 * T / (T + 1)) * (2 + 5) / (2 + 4), rel=0.01)
