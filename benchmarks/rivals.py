"""What the training update is measured against: the same shapes by autograd and `torch.optim`, each in its best eager
form on a CPU.

`NanoGPT` is the model and the update of karpathy/nanoGPT, written anew: GELU, LayerNorm without bias, learned
positions, tied head, `scaled_dot_product_attention`. `llama` is `LlamaForCausalLM` of transformers: SwiGLU, RMSNorm,
rotary embedding, untied head, with its `sdpa` attention.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glidepath.study.specs import ModelSpec

Update = Callable[[], float]


class NanoGPT(nn.Module):
    """Returns the mean loss of a batch."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(spec.vocab_size, spec.d_model)
        self.position = nn.Embedding(spec.context_length, spec.d_model)
        self.blocks = nn.ModuleList(NanoGPTBlock(spec) for _ in range(spec.n_layer))
        self.norm = nn.LayerNorm(spec.d_model, bias=False)
        self.head = nn.Linear(spec.d_model, spec.vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.head.weight = self.embedding.weight
        self.register_buffer("positions", torch.arange(spec.context_length))

    def forward(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        x = self.embedding(inputs_BT) + self.position(self.positions)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        loss: Tensor = F.cross_entropy(logits.flatten(0, 1), targets_BT.flatten())
        return loss


class NanoGPTBlock(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.n_head = spec.n_head
        self.attention_norm = nn.LayerNorm(spec.d_model, bias=False)
        self.qkv = nn.Linear(spec.d_model, 3 * spec.d_model, bias=False)
        self.out = nn.Linear(spec.d_model, spec.d_model, bias=False)
        self.feed_forward_norm = nn.LayerNorm(spec.d_model, bias=False)
        self.up = nn.Linear(spec.d_model, spec.d_ff, bias=False)
        self.down = nn.Linear(spec.d_ff, spec.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = (
            y.view(B, T, self.n_head, -1).transpose(1, 2) for y in self.qkv(self.attention_norm(x)).split(D, dim=2)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(B, T, D))
        y: Tensor = x + self.down(F.gelu(self.up(self.feed_forward_norm(x))))
        return y


def transformers_version() -> str:
    """Ends the program, before anything is measured, if there is none."""
    try:
        return importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        sys.exit("transformers, a rival of this benchmark, is not installed: pip install -e '.[benchmarks]'")


def nanogpt_update(spec: ModelSpec, ids_BT: Tensor, compiled: bool = False) -> Update:
    """One update of nanoGPT's loop; `compiled` as it is on a GPU."""
    model = NanoGPT(spec)
    loss_of = torch.compile(model) if compiled else model
    inputs_BT, targets_BT = ids_BT[:, :-1], ids_BT[:, 1:]
    return _update(model, lambda: loss_of(inputs_BT, targets_BT))


def llama_update(spec: ModelSpec, ids_BT: Tensor) -> Update:
    """One update of `LlamaForCausalLM` in the same loop."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=spec.vocab_size, hidden_size=spec.d_model, intermediate_size=spec.d_ff,
        num_hidden_layers=spec.n_layer, num_attention_heads=spec.n_head, max_position_embeddings=spec.context_length,
        use_cache=False, tie_word_embeddings=False, attn_implementation="sdpa",  # type: ignore[call-arg]
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    inputs_BT, targets_BT = ids_BT[:, :-1], ids_BT[:, 1:]

    def loss_of() -> Tensor:
        return F.cross_entropy(model(input_ids=inputs_BT).logits.flatten(0, 1), targets_BT.flatten())

    return _update(model, loss_of)


def _update(model: nn.Module, loss_of: Callable[[], Tensor]) -> Update:
    """Gradients by autograd, clipped; AdamW with its fused kernel, on a CPU the fastest of the three."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def update() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return update
