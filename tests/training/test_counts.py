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
    list(itertools.product(("gelu", "swiglu"), ("rmsnorm", "layernorm"), (False, True), (False, True))),
)
def test_parameters_of_the_decoder(feed_forward: FeedForward, norm: str, tied: bool, qk_norm: bool) -> None:
    spec = model_spec(feed_forward=feed_forward, norm=norm, tied_embeddings=tied, qk_norm=qk_norm)
    decoder = Decoder(spec)
    counts = param_counts(**sizes(spec, "tied_embeddings", "qk_norm"))
    tables = [w.numel() for name, w in decoder.weights.items() if name in ("embedding", "head")]
    gains = [w.numel() for w in decoder.weights.values() if w.dim() == 1]
    total = sum(w.numel() for w in decoder.weights.values())
    assert total == counts.n_params_total
    assert total - sum(tables) == counts.n_params_non_embedding
    assert total - sum(gains) - (0 if tied else tables[0]) == counts.n_params_matrices_and_head


@pytest.mark.parametrize("feed_forward", ["gelu", "swiglu"])
def test_flops_of_the_decoder(feed_forward: FeedForward) -> None:
    """torch counts the products that run. Those with weights agree to the FLOP, forward and backward. Those of the
    forward attention are over one block of queries, hence over all T keys: 2T/(T+1) of the unmasked pairs."""
    spec = model_spec(
        feed_forward=feed_forward, d_model=64, n_head=4, d_head=16, d_ff=256, vocab_size=512, context_length=64
    )
    decoder = Decoder(spec, dtype=torch.float64)  # products of oneDNN, in float32, are not counted
    decoder.initialise(0)
    ids = torch.randint(0, 512, (2, 65), generator=torch.Generator().manual_seed(0))
    T, features = spec.context_length, spec.n_head * spec.d_head
    attention = 3 * spec.n_layer * 2 * features * (T + 1)
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as training:
        decoder.accumulate_gradients(ids[:, :-1], ids[:, 1:], 1.0)
    weights = train_flops_per_token(**sizes(spec, "context_length")) - attention
    counts = training.get_flop_counts()["Global"]
    assert counts[torch.ops.aten.mm] + counts[torch.ops.aten.addmm_] == weights * 2 * T
    with FlopCounterMode(display=False) as forward:
        decoder.logits(ids[:, :-1])
    assert forward.get_total_flops() == (weights + attention * 2 * T / (T + 1)) / 3 * 2 * T
