"""Models whose every number matters, written as directories that transformers loads."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glidepath.corpus.tokenizer import train_bpe
from glidepath.interop.hugging_face_export import export_model
from glidepath.interop.model_card import ModelCard
from glidepath.study.specs import ModelSpec
from glidepath.training.model import Decoder
from glidepath.training.parameters import parameters
from tests.corpus.corpus_texts import documents
from tests.training.small import model_spec, segment_spec

Weights = dict[str, NDArray[np.float32]]

VOCAB_SIZE = 280
END_OF_DOCUMENT = 0
"""Its id in a tokenizer trained here."""
SCALE = {"embedding": 0.6, "embedding_head": 0.2, "matrix": 0.2, "head": 0.2}


def spec_of(**changes: Any) -> ModelSpec:
    """Two layers; logits and branches are halved where the parametrisation has multipliers for them."""
    return model_spec(**{
        "vocab_size": VOCAB_SIZE, "context_length": 32, "d_head": 8, "rope_base": 500.0,
        "base_width": 8, "base_depth": 1, **changes,
    })  # fmt: skip


def random_weights(spec: ModelSpec) -> Weights:
    """No gain is 1, no matrix zero or centred. Small enough that rounding to float32 is not blown up."""
    rng = np.random.default_rng(0)
    return {
        p.name: (
            rng.uniform(0.5, 1.5, p.shape) if p.kind == "norm" else rng.normal(0.05, SCALE[p.kind], p.shape)
        ).astype(np.float32)
        for p in parameters(spec)
    }


def decoder_of(spec: ModelSpec, weights: Weights) -> Decoder:
    decoder = Decoder(spec)
    for name, weight in decoder.weights.items():
        weight.copy_(torch.from_numpy(weights[name]))
    return decoder


@cache
def tokenizer_json() -> str:
    """A tokenizer of `VOCAB_SIZE` ids."""
    text: str = train_bpe((text.encode() for text in documents(20)), VOCAB_SIZE, 100_000).to_str()
    return text


def card(spec: ModelSpec) -> ModelCard:
    trajectory = segment_spec().trajectory.model_copy(update={"model": spec})
    return ModelCard("tiny", trajectory, "random weights", trajectory.updates_done, None, None, None, ("words",))


def export(spec: ModelSpec, weights: Weights, output: Path) -> None:
    export_model(spec, weights, tokenizer_json(), END_OF_DOCUMENT, card(spec), output)
