"""Speed of one training update on this machine: ours against a plain eager PyTorch step of the same shape.

    python benchmarks/training.py [--threads 1] [--rounds 15]

The plain step is what one writes first: nn.Linear, F.rms_norm, rotary by halves,
scaled_dot_product_attention, F.cross_entropy, autograd, clip_grad_norm_, torch.optim.AdamW. It shares our
process and so profits from `keep_freed_memory`, which alone is worth some 10 % to it. The two alternate in
short turns, and the median of the ratios of neighbouring turns is reported, so that other work on the machine
cancels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glidepath.study.specs import ModelSpec, OptimizerSpec
from glidepath.training.device import Machine, configure, matmul_peak_flops_per_second
from glidepath.training.model import Decoder
from glidepath.training.optimizer import AdamW, clip_gradients

BATCH_SEQUENCES, CONTEXT_LENGTH, VOCAB_SIZE = 8, 128, 512
SHAPES = ((32, 2, 1), (48, 2, 2), (64, 4, 2))  # d_model, n_layer, n_head
OPTIMIZER = OptimizerSpec(adam_beta1=0.9, adam_beta2=0.95, adam_eps=1e-8, grad_clip_norm=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    configure(Machine("cpu", arguments.threads, None, compile=False, compile_cache=None))
    peak = matmul_peak_flops_per_second("cpu", arguments.threads)
    print(
        f"matmul peak {peak / 1e9:.0f} GFLOP/s, {arguments.threads} thread(s), "
        f"batch {BATCH_SEQUENCES} x {CONTEXT_LENGTH}"
    )
    print(f"{'model':32} {'parameters':>10} {'ours':>12} {'plain eager':>12} {'ratio':>6} {'of peak':>8}")
    for d_model, n_layer, n_head in SHAPES:
        for feed_forward in ("gelu", "swiglu"):
            spec = model_spec(d_model, n_layer, n_head, feed_forward)
            ids = torch.randint(0, VOCAB_SIZE, (BATCH_SEQUENCES, CONTEXT_LENGTH + 1))
            ours, plain = our_step(spec, ids), plain_step(spec, ids)
            rates, plain_rates = alternate(ours, plain, arguments.rounds)
            ratio = statistics.median(a / b for a, b in zip(rates, plain_rates, strict=True))
            n = sum(p.size for p in Decoder(spec).layout.parameters if p.kind in ("matrix", "norm"))
            flops = 6.0 * (n + d_model * VOCAB_SIZE) + 12.0 * n_layer * d_model * CONTEXT_LENGTH
            rate = statistics.median(rates)
            print(
                f"{f'd {d_model} x {n_layer}, {n_head} head(s), {feed_forward}':32} {n:10d} {rate:8.0f} t/s "
                f"{statistics.median(plain_rates):8.0f} t/s {ratio:6.2f} {rate * flops / peak:8.0%}"
            )


def model_spec(d_model: int, n_layer: int, n_head: int, feed_forward: str) -> ModelSpec:
    """The recipe of the default study at a shape; swiglu has 2/3 of the hidden width, so as many
    parameters."""
    return ModelSpec.model_validate({
        "n_layer": n_layer, "d_model": d_model, "n_head": n_head, "d_head": d_model // n_head,
        "d_ff": 4 * d_model if feed_forward == "gelu" else 8 * d_model // 3 // 8 * 8,
        "context_length": CONTEXT_LENGTH, "vocab_size": VOCAB_SIZE, "feed_forward": feed_forward,
        "norm": "rmsnorm", "tied_embeddings": False, "qk_norm": False, "rope_base": 10000.0,
        "parametrization": "mup", "base_width": 64, "base_depth": 2, "init_std_embedding": 0.5, "init_std_hidden": 1.0,
        "init_std_head": 0.05, "zero_init_output_projections": True,
    })  # fmt: skip


def alternate(a: Callable[[int], None], b: Callable[[int], None], rounds: int) -> tuple[list[float], list[float]]:
    """Tokens per second of both, in turns of 20 updates."""
    rates: tuple[list[float], list[float]] = ([], [])
    step, updates = 0, 20
    for turn in range(rounds + 1):
        for kept, update in zip(rates, (a, b), strict=True):
            began = time.perf_counter()
            for s in range(step, step + updates):
                update(s)
            if turn:  # the first turn warms up
                kept.append(updates * BATCH_SEQUENCES * CONTEXT_LENGTH / (time.perf_counter() - began))
        step += updates
    return rates


def our_step(spec: ModelSpec, ids: Tensor) -> Callable[[int], None]:
    """One update as in `glidepath.training.loop`."""
    decoder = Decoder(spec)
    decoder.initialise(0)
    optimizer = AdamW(OPTIMIZER, decoder.flat_weights, decoder.flat_gradients, decoder.layout.groups)

    def update(step: int) -> None:
        with torch.no_grad():
            decoder.flat_gradients.zero_()
            float(decoder.accumulate_gradients(ids[:, :-1], ids[:, 1:], 1.0 / (BATCH_SEQUENCES * CONTEXT_LENGTH)))
            clip_gradients(decoder.flat_gradients, OPTIMIZER.grad_clip_norm)
            optimizer.update(step, 1e-3, 0.1)

    return update


def plain_step(spec: ModelSpec, ids: Tensor) -> Callable[[int], None]:
    """One update of `PlainDecoder` by autograd and torch.optim."""
    model = PlainDecoder(spec)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def update(_step: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()

    return update


class PlainDecoder(nn.Module):
    """The same network from the modules of torch."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(spec.vocab_size, spec.d_model)
        self.blocks = nn.ModuleList(PlainBlock(spec) for _ in range(spec.n_layer))
        self.norm = nn.RMSNorm(spec.d_model)
        self.head = nn.Linear(spec.d_model, spec.vocab_size, bias=False)
        frequencies = spec.rope_base ** (-torch.arange(0, spec.d_head, 2) / spec.d_head)
        angles = torch.arange(spec.context_length)[:, None] * torch.cat([frequencies, frequencies])
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.head(self.norm(x))


class PlainBlock(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.n_head, self.gated = spec.n_head, spec.feed_forward == "swiglu"
        self.attention_norm, self.feed_forward_norm = nn.RMSNorm(spec.d_model), nn.RMSNorm(spec.d_model)
        self.qkv = nn.Linear(spec.d_model, 3 * spec.n_head * spec.d_head, bias=False)
        self.out = nn.Linear(spec.n_head * spec.d_head, spec.d_model, bias=False)
        self.up = nn.Linear(spec.d_model, spec.d_ff * (2 if self.gated else 1), bias=False)
        self.down = nn.Linear(spec.d_ff, spec.d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, _ = x.shape
        q, k, v = (
            y.view(B, T, self.n_head, -1).transpose(1, 2) for y in self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        )
        q, k = (y * cos + torch.cat([-y.chunk(2, -1)[1], y.chunk(2, -1)[0]], -1) * sin for y in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, -1))
        hidden = self.up(self.feed_forward_norm(x))
        if self.gated:
            gate, up = hidden.chunk(2, dim=-1)
            return x + self.down(F.silu(gate) * up)
        return x + self.down(F.gelu(hidden))


if __name__ == "__main__":
    main()
