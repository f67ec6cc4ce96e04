"""Speed of one training update on this machine, against nanoGPT's and transformers' at the same shapes.

    python benchmarks/training.py [--seconds 2] [--rounds 8] [--shapes 50k,200k,1M,4M] [--compile]

Every update is a whole one: gradients of 16 x 128 tokens, clipping, AdamW, the loss read. All contestants live in the
same processes and so share the threads, flushed denormals and the allocator settings of `glidepath.training.device`
(worth some 10 % to the rivals too). They take short turns, in an order that rotates, and what is reported is the median
over turns of the ratio of neighbours with its quartiles, so that other work on the machine cancels. With two processes
both run the same contestant at the same time, as two cells of a study do, and their tokens are added.

The peak is the best rate of square matrix products in the same processes at once, before and after. `--compile` adds
nanoGPT under torch.compile at the first shape asked for: a minute of compilation.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

import numpy as np
import torch
from rivals import Update, llama_update, nanogpt_update, transformers_version
from torch import Tensor

from glidepath.science.accounting import train_flops_per_token
from glidepath.study.specs import ModelSpec, OptimizerSpec, PathArrays
from glidepath.training.device import Machine, configure, matmul_peak_flops_per_second
from glidepath.training.model import Decoder
from glidepath.training.optimizer import AdamW, clip_gradients

BATCH_SEQUENCES, CONTEXT_LENGTH, VOCAB_SIZE = 16, 128, 512
BATCH_TOKENS = BATCH_SEQUENCES * CONTEXT_LENGTH
SHAPES = {"50k": (48, 2, 2), "200k": (64, 4, 2), "1M": (128, 5, 4), "4M": (256, 5, 8)}
"""d_model, n_layer, n_head by non-embedding parameters."""
WORKERS = ((1, 2), (2, 1))
"""(processes, threads of each)."""
PAIRS = (("ours, gelu", "nanoGPT"), ("ours, swiglu", "Llama"))
COMPILED = ("ours, gelu", "nanoGPT compiled")
OPTIMIZER = OptimizerSpec(kind="adamw", adam_eps=1e-8, grad_clip_norm=1.0)
ENDLESS = 100_000


class Measured(NamedTuple):
    """What one process has to report."""

    peak: float
    """Matrix products [FLOP/s]."""
    rates: dict[str, list[float]]
    """Tokens per second by contestant, one per turn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn, by and large")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    shapes = arguments.shapes.split(",")
    print(f"torch {torch.__version__}, transformers {transformers_version()}, Python {platform.python_version()}")
    print(
        "| parameters | processes x threads | contestant | tokens/s | rival | tokens/s | ratio (quartiles) | of peak |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for shape in shapes:
        pairs = [*PAIRS, COMPILED] if arguments.compile and shape == shapes[0] else list(PAIRS)
        contestants = list(dict.fromkeys(name for pair in pairs for name in pair))
        for processes, threads in WORKERS:
            peak, rates = measure(shape, contestants, processes, threads, arguments.rounds, arguments.seconds)
            for name, rival in pairs:
                print(f"| {shape} | {processes} x {threads} | {row(shape, name, rival, peak, rates)} |", flush=True)


def row(shape: str, name: str, rival: str, peak: float, rates: dict[str, list[float]]) -> str:
    ratios = [a / b for a, b in zip(rates[name], rates[rival], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    rate = statistics.median(rates[name])
    return (
        f"{name} | {rate:,.0f} | {rival} | {statistics.median(rates[rival]):,.0f} | "
        f"**{middle:.2f}** ({low:.2f}-{high:.2f}) | {rate * flops_per_token(shape, name) / peak:.0%}"
    )


def flops_per_token(shape: str, name: str) -> float:
    """Matrix products of training [FLOP/token]."""
    names = "n_layer", "d_model", "n_head", "d_head", "d_ff", "context_length", "vocab_size", "feed_forward"
    spec = model_spec(shape, name)
    return train_flops_per_token(**{key: getattr(spec, key) for key in names})


def measure(
    shape: str, contestants: list[str], processes: int, threads: int, rounds: int, seconds: float
) -> tuple[float, dict[str, list[float]]]:
    """Peak and rates of so many processes at once, summed."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    arguments = (shape, contestants, threads, rounds, seconds, barrier, results)
    workers = [context.Process(target=work, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    measured: list[Measured] = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    sums = {name: [sum(turn) for turn in zip(*(m.rates[name] for m in measured), strict=True)] for name in contestants}
    return sum(m.peak for m in measured), sums


def work(
    shape: str,
    contestants: list[str],
    threads: int,
    rounds: int,
    seconds: float,
    barrier: Barrier,
    results: Queue[Measured],
) -> None:
    """One process: all contestants by turns, in step with the other processes."""
    configure(Machine("cpu", threads, None, compile=False, compile_cache=None))
    ids_BT = torch.randint(0, VOCAB_SIZE, (BATCH_SEQUENCES, CONTEXT_LENGTH + 1))
    barrier.wait()
    peak = matmul_peak_flops_per_second("cpu", threads)
    updates = {name: contestant(name, shape, ids_BT) for name in contestants}
    for update in updates.values():
        update()
    began = time.perf_counter()
    updates[contestants[0]]()
    n = max(2, round(seconds / (time.perf_counter() - began)))
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        for name in contestants[turn % len(contestants) :] + contestants[: turn % len(contestants)]:
            barrier.wait()
            rates[name].append(tokens_per_second(updates[name], n))
    barrier.wait()
    peak = max(peak, matmul_peak_flops_per_second("cpu", threads))
    results.put(Measured(peak, rates))


def tokens_per_second(update: Callable[[], float], updates: int) -> float:
    began = time.perf_counter()
    for _ in range(updates):
        update()
    return updates * BATCH_TOKENS / (time.perf_counter() - began)


def contestant(name: str, shape: str, ids_BT: Tensor) -> Update:
    spec = model_spec(shape, name)
    match name:
        case "nanoGPT":
            return nanogpt_update(spec, ids_BT)
        case "nanoGPT compiled":
            return nanogpt_update(spec, ids_BT, compiled=True)
        case "Llama":
            return llama_update(spec, ids_BT)
        case _:
            return our_update(spec, ids_BT)


def our_update(spec: ModelSpec, ids_BT: Tensor) -> Update:
    """One update as in `glidepath.training.loop`."""
    decoder = Decoder(spec)
    decoder.initialise(0)
    path = PathArrays(
        lr=np.full(ENDLESS, 1e-3), weight_decay=np.full(ENDLESS, 0.1), adam_beta1=np.full(ENDLESS, 0.9),
        adam_beta2=np.full(ENDLESS, 0.95), batch_sequences=np.full(ENDLESS, BATCH_SEQUENCES),
        positions=np.arange(ENDLESS + 1) * BATCH_SEQUENCES,
    )  # fmt: skip
    optimizer = AdamW(OPTIMIZER, decoder.flat_weights, decoder.flat_gradients, decoder.layout.groups, path)
    steps = iter(range(ENDLESS))

    def update() -> float:
        with torch.no_grad():
            decoder.flat_gradients.zero_()
            loss, _ = decoder.accumulate_gradients(ids_BT[:, :-1], ids_BT[:, 1:], 1.0 / BATCH_TOKENS)
            clip_gradients(decoder.flat_gradients, OPTIMIZER.grad_clip_norm)
            optimizer.update(next(steps))
            return loss.item()

    return update


def model_spec(shape: str, name: str) -> ModelSpec:
    """The shape in the rival's architecture, but with rotary embedding and an untied head throughout; swiglu has 2/3
    of the hidden width, so as many parameters."""
    d_model, n_layer, n_head = SHAPES[shape]
    llama = name in PAIRS[1]
    return ModelSpec.model_validate({
        "n_layer": n_layer, "d_model": d_model, "n_head": n_head, "d_head": d_model // n_head,
        "d_ff": 8 * d_model // 3 // 8 * 8 if llama else 4 * d_model,
        "context_length": CONTEXT_LENGTH, "vocab_size": VOCAB_SIZE, "feed_forward": "swiglu" if llama else "gelu",
        "norm": "rmsnorm" if llama else "layernorm", "tied_embeddings": False, "qk_norm": False, "rope_base": 10000.0,
        "parametrization": "mup", "base_width": 64, "base_depth": 2, "init_std_embedding": 0.5, "init_std_hidden": 1.0,
        "init_std_head": 0.05, "zero_init_output_projections": True,
    })  # fmt: skip


if __name__ == "__main__":
    main()
