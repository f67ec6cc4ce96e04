"""Every model of ours, loaded by transformers from the directory that was written, gives the logits of the decoder."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from glidepath.interop.hugging_face_model import hugging_face_model
from tests.interop.exported import END_OF_DOCUMENT, VOCAB_SIZE, Weights, decoder_of, export, random_weights, spec_of

COMBINATIONS = list(
    itertools.product(
        ("sp", "mup", "completep"), (False, True), ("swiglu", "gelu"), ("rmsnorm", "layernorm"), (False, True)
    )
)
TOKENS = torch.from_numpy(np.random.default_rng(1).integers(0, VOCAB_SIZE, (3, 32)))


@pytest.mark.parametrize(("parametrization", "tied", "feed_forward", "norm", "qk_norm"), COMBINATIONS)
def test_logits_are_those_of_the_decoder(
    parametrization: str, tied: bool, feed_forward: str, norm: str, qk_norm: bool, tmp_path: Path
) -> None:
    spec = spec_of(
        parametrization=parametrization, tied_embeddings=tied, feed_forward=feed_forward, norm=norm, qk_norm=qk_norm
    )
    weights = random_weights(spec)
    export(spec, weights, tmp_path / "model")
    ours = decoder_of(spec, weights).logits(TOKENS).view(*TOKENS.shape, -1).numpy()
    assert ours.std() > 0.3
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    for attention in ("eager", "sdpa"):
        model.set_attn_implementation(attention)
        with torch.no_grad():
            assert_allclose(model(TOKENS).logits.numpy(), ours, rtol=0, atol=1e-5)


def test_a_long_context_differs_by_their_rounding_of_rotary_angles_alone(tmp_path: Path) -> None:
    spec = spec_of(feed_forward="swiglu", context_length=1024, d_head=16, rope_base=10000.0)
    tokens = torch.from_numpy(np.random.default_rng(1).integers(0, VOCAB_SIZE, (1, 1024)))
    weights = random_weights(spec)
    export(spec, weights, tmp_path / "model")
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()(tokens).logits[0].numpy()
    decoder = decoder_of(spec, weights)
    assert_allclose(theirs, decoder.logits(tokens).numpy(), rtol=0, atol=1e-3)
    frequencies = 1.0 / (spec.rope_base ** (torch.arange(0, 16, 2, dtype=torch.float) / 16))
    angles = torch.arange(1024).float()[:, None] * frequencies
    decoder.rotary = torch.stack([angles.cos(), angles.sin()], dim=-1)[:, None].contiguous()
    assert_allclose(theirs, decoder.logits(tokens).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"feed_forward": "swiglu"}, "LlamaForCausalLM"),
        ({"feed_forward": "gelu"}, "LlamaForCausalLM"),
        ({"feed_forward": "swiglu", "qk_norm": True}, "Qwen3ForCausalLM"),
        ({"feed_forward": "gelu", "qk_norm": True}, "ApertusForCausalLM"),
    ],
)
def test_transformers_finds_every_tensor_it_needs_and_no_other(
    changes: dict[str, object], name: str, tmp_path: Path
) -> None:
    spec = spec_of(**changes)
    export(spec, random_weights(spec), tmp_path / "model")
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert type(model).__name__ == name
    assert {what: found for what, found in info.items() if found} == {}
    assert model.config.max_position_embeddings == spec.context_length
    assert model.config.eos_token_id == END_OF_DOCUMENT


@pytest.mark.parametrize(
    ("changes", "untied"),
    [({}, False), ({"parametrization": "mup"}, True), ({"norm": "layernorm"}, True), ({"base_width": 16}, False)],
)
def test_a_tied_head_stays_tied_where_it_can(changes: dict[str, object], untied: bool, tmp_path: Path) -> None:
    spec = spec_of(tied_embeddings=True, **changes)
    export(spec, random_weights(spec), tmp_path / "model")
    assert ("lm_head.weight" in load_file(tmp_path / "model/model.safetensors")) == untied


def without(weights: Weights, name: str) -> Weights:
    return {key: values for key, values in weights.items() if key != name}


def test_weights_of_another_model_are_refused() -> None:
    spec = spec_of()
    weights = random_weights(spec)
    nan = weights["head"].copy()
    nan[3, 5] = np.nan
    for wrong, says in (
        (without(weights, "blocks.1.up"), "no 'blocks.1.up', which the model needs"),
        (weights | {"blocks.2.up": weights["blocks.1.up"]}, r"hold \['blocks.2.up'\], which the model does not have"),
        (weights | {"head": weights["head"][:, 1:]}, r"'head' has shape \(280, 15\), the model's is \(280, 16\)"),
        (weights | {"head": nan}, "'head' holds NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=says):
            hugging_face_model(spec, wrong, END_OF_DOCUMENT)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    spec = spec_of(n_head=3, d_head=6)
    with pytest.raises(ValueError, match="d_model 16 is not a multiple of n_head 3"):
        hugging_face_model(spec, random_weights(spec), END_OF_DOCUMENT)
