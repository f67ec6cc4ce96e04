"""The decoder as one would write it first, from the functions of torch: what the written-out passes are compared
with. Differentiable by autograd, any precision."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from glidepath.study.forward_constants import NORM_EPSILON
from glidepath.study.specs import ModelSpec


def token_losses(spec: ModelSpec, weights: dict[str, Tensor], inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """Loss of every token [nats], shape [B, T]."""
    losses = F.cross_entropy(logits(spec, weights, inputs_BT), targets_BT.flatten(), reduction="none")
    return losses.view(targets_BT.shape)


def logits(spec: ModelSpec, weights: dict[str, Tensor], inputs_BT: Tensor) -> Tensor:
    """Logits of the next token, [B·T, V]."""
    branch = spec.base_depth / spec.n_layer if spec.parametrization == "completep" else 1.0
    x = weights["embedding"][inputs_BT]
    for i in range(spec.n_layer):
        block = {name.removeprefix(f"blocks.{i}."): w for name, w in weights.items()}
        x = x + branch * attention(spec, block, norm(spec.norm, x, block["attention_norm"]))
        x = x + branch * feed_forward(spec, block, norm(spec.norm, x, block["feed_forward_norm"]))
    x = norm(spec.norm, x, weights["final_norm"])
    if not spec.tied_embeddings:
        return (x @ weights["head"].T).flatten(0, 1)
    width = 1.0 if spec.parametrization == "sp" else spec.d_model / spec.base_width
    return (x @ weights["embedding"].T / width).flatten(0, 1)


def norm(kind: str, x: Tensor, gain: Tensor) -> Tensor:
    if kind == "rmsnorm":
        return F.rms_norm(x, gain.shape, gain, NORM_EPSILON)
    return F.layer_norm(x, gain.shape, gain, None, NORM_EPSILON)


def attention(spec: ModelSpec, block: dict[str, Tensor], x: Tensor) -> Tensor:
    B, T, _ = x.shape
    q, k, v = (y.view(B, T, spec.n_head, spec.d_head).transpose(1, 2) for y in (x @ block["qkv"].T).chunk(3, dim=-1))
    if spec.qk_norm:
        q, k = norm("rmsnorm", q, block["q_norm"]), norm("rmsnorm", k, block["k_norm"])
    q, k = rotated(q, spec.rope_base), rotated(k, spec.rope_base)
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    scores = (q @ k.mT / math.sqrt(spec.d_head)).masked_fill(future, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, -1) @ block["attention_out"].T


def rotated(x: Tensor, base: float) -> Tensor:
    """Pair (2k, 2k+1) of position t turned by the angle t·base^(-2k/d_head)."""
    T, K = x.shape[-2:]
    angle = torch.arange(T)[:, None] * base ** (-torch.arange(0, K, 2, dtype=torch.float64) / K)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()
    return torch.stack(turned, dim=-1).flatten(-2)


def feed_forward(spec: ModelSpec, block: dict[str, Tensor], x: Tensor) -> Tensor:
    if spec.feed_forward == "gelu":
        return F.gelu(x @ block["up"].T) @ block["down"].T
    gate, up = (x @ block["gate_up"].T).chunk(2, dim=-1)
    return (F.silu(gate) * up) @ block["down"].T
