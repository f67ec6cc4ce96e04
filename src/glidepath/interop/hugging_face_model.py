"""Our decoder as a model that transformers knows: the same function with other names, every multiplier folded in.

| model              | written as           | because                                                               |
|--------------------|----------------------|-----------------------------------------------------------------------|
| qk_norm off        | `LlamaForCausalLM`   |                                                                       |
| qk_norm on, swiglu | `Qwen3ForCausalLM`   | Llama has no norms of queries and keys; Qwen3 is Llama with them      |
| qk_norm on, gelu   | `ApertusForCausalLM` | as Qwen3, but its feed-forward has no gate; Qwen3's cannot be held open |

What has no place in these is folded into weights, in float64:

* Residual multiplier: into the matrices that write to the residual stream.
* Logits multiplier of a tied head: into a head of its own.
* gelu in Llama: its feed-forward is down·(gelu(gate·x) ⊙ (up·x + b)), ours with up = 0 and b = 1.
* layernorm: it is rmsnorm of x - mean(x), so whatever writes to the residual stream is centred, W ← (I - 11ᵀ/d)·W and
  likewise the rows of the embedding; the head keeps the embedding as it was.
* Rotary pairs: ours are neighbours (2k, 2k+1), theirs are halves (k, k + d_head/2), so rows of queries and keys, and
  gains of their norms, are reordered. Scores do not change.

What is left is rounding, below 1e-5 in the logits but for one thing: transformers computes rotary angles in float32, we
do in float64. Measured with random weights and logits of standard deviation 1, that alone is 1e-5 at 256 tokens, 7e-5
at 2,048 and 2e-4 at 4,096.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glidepath.study.forward_constants import NORM_EPSILON, logits_multiplier, residual_multiplier
from glidepath.study.specs import ModelSpec

Weights = Mapping[str, NDArray[np.float32]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HuggingFaceModel:
    """What config.json and model.safetensors hold."""

    config: dict[str, Any]
    tensors: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Architecture:
    """One of transformers' classes, and what its parts are called."""

    name: str
    model_type: str
    attention_norm: str
    feed_forward_norm: str


LLAMA = Architecture("LlamaForCausalLM", "llama", "input_layernorm", "post_attention_layernorm")
QWEN3 = Architecture("Qwen3ForCausalLM", "qwen3", "input_layernorm", "post_attention_layernorm")
APERTUS = Architecture("ApertusForCausalLM", "apertus", "attention_layernorm", "feedforward_layernorm")


def hugging_face_model(spec: ModelSpec, weights: Weights, end_of_document: int) -> HuggingFaceModel:
    """Weights by our names, as training keeps them, to configuration and tensors of transformers.

    `end_of_document` is the token id that begins and ends a text. Raises ValueError for a model that transformers
    cannot hold, for weights that are not those of the model, and for weights that are not finite.
    """
    if spec.d_model % spec.n_head:
        raise ValueError(
            f"d_model {spec.d_model} is not a multiple of n_head {spec.n_head}, which transformers refuses to load; "
            "export a model with n_head heads of d_model / n_head"
        )
    source = _Source(spec, weights)
    tied = spec.tied_embeddings and spec.norm == "rmsnorm" and logits_multiplier(spec) == 1.0
    embedding = source.take("embedding", spec.vocab_size, spec.d_model)
    tensors: dict[str, Floats] = {"model.embed_tokens.weight": _centred_rows(spec, embedding)}
    for i in range(spec.n_layer):
        block = _attention(spec, source, f"blocks.{i}") | _feed_forward(spec, source, f"blocks.{i}")
        tensors |= {f"model.layers.{i}.{name}": values for name, values in block.items()}
    tensors["model.norm.weight"] = source.take("final_norm", spec.d_model)
    head = embedding if spec.tied_embeddings else source.take("head", spec.vocab_size, spec.d_model)
    if not tied:
        tensors["lm_head.weight"] = head * logits_multiplier(spec)
    source.check_empty()
    return HuggingFaceModel(
        _config(spec, tied, end_of_document),
        {name: np.ascontiguousarray(values, np.float32) for name, values in tensors.items()},
    )


def architecture(spec: ModelSpec) -> Architecture:
    """The class of the table above."""
    if not spec.qk_norm:
        return LLAMA
    return QWEN3 if spec.feed_forward == "swiglu" else APERTUS


class _Source:
    """Our weights, each to be taken once."""

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        self.spec = spec
        self._left = dict(weights)

    def take(self, name: str, *shape: int) -> Floats:
        if name not in self._left:
            raise ValueError(f"weights have no '{name}', which the model needs; {self._remedy}")
        values = self._left.pop(name)
        if values.shape != shape:
            raise ValueError(f"weights: '{name}' has shape {values.shape}, the model's is {shape}; {self._remedy}")
        if not np.isfinite(values).all():
            raise ValueError(f"weights: '{name}' holds NaN or infinity; export weights from before it diverged")
        return values.astype(np.float64)

    def check_empty(self) -> None:
        if self._left:
            raise ValueError(f"weights hold {sorted(self._left)}, which the model does not have; {self._remedy}")

    _remedy = "give the specification and the weights of one model"


def _attention(spec: ModelSpec, source: _Source, block: str) -> dict[str, Floats]:
    """Tensors of one attention block, by their names within the layer."""
    width = spec.n_head * spec.d_head
    found = {f"{architecture(spec).attention_norm}.weight": source.take(f"{block}.attention_norm", spec.d_model)}
    q, k, v = np.split(source.take(f"{block}.qkv", 3 * width, spec.d_model), 3)
    halves = _halves(spec.d_head)
    # [H·K, D], its rows reordered head by head.
    q, k = (x.reshape(spec.n_head, spec.d_head, -1)[:, halves].reshape(width, -1) for x in (q, k))
    if spec.qk_norm:
        found |= {
            f"self_attn.{x}.weight": source.take(f"{block}.{x}", spec.d_head)[halves] for x in ("q_norm", "k_norm")
        }
    o = _written_to_stream(spec, source.take(f"{block}.attention_out", spec.d_model, width))
    return found | {f"self_attn.{name}_proj.weight": x for name, x in (("q", q), ("k", k), ("v", v), ("o", o))}


def _feed_forward(spec: ModelSpec, source: _Source, block: str) -> dict[str, Floats]:
    """Tensors of one feed-forward block, by their names within the layer."""
    found = {f"{architecture(spec).feed_forward_norm}.weight": source.take(f"{block}.feed_forward_norm", spec.d_model)}
    if spec.feed_forward == "swiglu":
        gate, up = np.split(source.take(f"{block}.gate_up", 2 * spec.d_ff, spec.d_model), 2)
        found |= {"mlp.gate_proj.weight": gate, "mlp.up_proj.weight": up}
    else:
        expand = source.take(f"{block}.up", spec.d_ff, spec.d_model)
        found |= {"mlp.up_proj.weight": expand} if architecture(spec) is APERTUS else _open_gate(spec, expand)
    return found | {
        "mlp.down_proj.weight": _written_to_stream(spec, source.take(f"{block}.down", spec.d_model, spec.d_ff))
    }


def _open_gate(spec: ModelSpec, expand: Floats) -> dict[str, Floats]:
    """A gated feed-forward whose second factor is 1."""
    return {
        "mlp.gate_proj.weight": expand,
        "mlp.gate_proj.bias": np.zeros(spec.d_ff),
        "mlp.up_proj.weight": np.zeros_like(expand),
        "mlp.up_proj.bias": np.ones(spec.d_ff),
        "mlp.down_proj.bias": np.zeros(spec.d_model),
    }


def _halves(d_head: int) -> NDArray[np.intp]:
    """Rows of a head in the order of rotary halves: 0, 2, 4, … then 1, 3, 5, …"""
    return np.arange(d_head).reshape(-1, 2).T.ravel()


def _written_to_stream(spec: ModelSpec, matrix: Floats) -> Floats:
    """A matrix [D, in] whose output joins the residual stream."""
    return _centred_rows(spec, matrix.T).T * residual_multiplier(spec)


def _centred_rows(spec: ModelSpec, rows: Floats) -> Floats:
    """Vectors of the residual stream [·, D], without their mean if the norms would take it off."""
    return rows - rows.mean(-1, keepdims=True) if spec.norm == "layernorm" else rows


def _config(spec: ModelSpec, tied: bool, end_of_document: int) -> dict[str, Any]:
    kind = architecture(spec)
    config: dict[str, Any] = {
        "architectures": [kind.name],
        "model_type": kind.model_type,
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.d_model,
        "intermediate_size": spec.d_ff,
        "num_hidden_layers": spec.n_layer,
        "num_attention_heads": spec.n_head,
        "num_key_value_heads": spec.n_head,
        "head_dim": spec.d_head,
        "hidden_act": "silu" if spec.feed_forward == "swiglu" else "gelu",
        "max_position_embeddings": spec.context_length,
        "rms_norm_eps": NORM_EPSILON,
        # transformers 5 reads the second, older programs the first.
        "rope_theta": spec.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": spec.rope_base},
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end_of_document,
        "eos_token_id": end_of_document,
        "pad_token_id": None,
        "dtype": "float32",
        "use_cache": True,
    }
    if kind is LLAMA:
        config["mlp_bias"] = spec.feed_forward == "gelu"
    return config
