"""Speed of training on a GPU: one cell at four sizes, and small cells packed onto one device.

    python benchmarks/gpu.py [--seconds 10] [--sizes 10M,58M,125M,350M] [--packed 1,2,4,8] [--json FILE]
    python benchmarks/gpu.py --tiny          tiny shapes on whatever there is: a test of this file

An update is a whole one, as in `glidepath.training.loop`: tokens copied from pinned memory, gradients in micro-batches
that fit, clipping, AdamW; the loss is read once per turn. Shapes are those of config/h200.yaml (and two between), with
128 sequences of 1,024 tokens; `captured` is the compiled pass as one CUDA graph, which is not in the engine: it tells
whether that would pay. Model-FLOPs utilisation counts the matrix products of the model (`flops_per_token`), over the
data sheet's dense bfloat16 rate where the device is known and over the measured rate of matrix products in any case.

Packing: so many processes train the smallest shape at the same time, each with its share of the device's memory; their
tokens per second over one common stretch are added. `mps` in the heading says whether CUDA's multi-process service ran.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glidepath.study.cells import flops_per_token, param_counts
from glidepath.study.specs import ModelSpec, OptimizerSpec, PathArrays
from glidepath.training.device import (
    Machine,
    configure,
    matmul_dtype,
    matmul_peak_flops_per_second,
    micro_batch_sequences,
    synchronise,
)
from glidepath.training.model import Decoder
from glidepath.training.optimizer import AdamW, clip_gradients

SHAPES = {"10M": (320, 8), "58M": (640, 12), "125M": (896, 13), "350M": (1280, 18)}
"""d_model and n_layer by non-embedding parameters; heads are 64 wide."""
TINY = {"tiny": (64, 1), "small": (128, 2)}
DATA_SHEET = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 [FLOP/s] of the SXM modules."""
OPTIMIZER = OptimizerSpec(kind="adamw", adam_eps=1e-8, grad_clip_norm=1.0)
ENDLESS = 1_000_000


@dataclass(frozen=True)
class Work:
    """What is trained."""

    model: ModelSpec
    batch_sequences: int

    @property
    def batch_tokens(self) -> int:
        return self.batch_sequences * self.model.context_length


@dataclass(frozen=True)
class Row:
    """One measurement."""

    size: str
    n_params: int
    batch_sequences: int
    micro_batch_sequences: int
    how: str
    """`eager`, `compiled`, `captured`, or `packed N`."""
    tokens_per_second: float
    flops_per_second: float
    memory_gib: float
    first_update_seconds: float
    """With compilation or capture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of every measurement")
    parser.add_argument("--sizes", default=",".join(SHAPES))
    parser.add_argument("--packed", default="1,2,4,8", help="numbers of cells at once")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    device = configure(machine())
    peak = matmul_peak_flops_per_second(device.type, 1)
    sheet = next((rate for name, rate in DATA_SHEET.items() if name in device_name(device)), None)
    print(
        f"{device_name(device)}, torch {torch.__version__}, CUDA {torch.version.cuda}, Python "
        f"{platform.python_version()}, mps {'on' if mps_runs() else 'off'}, matrix products {peak / 1e12:.3g} TFLOP/s"
    )
    print("| parameters | batch | micro-batch | how | tokens/s | of products | of data sheet | GiB | first update s |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows: list[Row] = []
    for row in measurements(arguments, device):
        rows.append(row)
        of_sheet = f"{row.flops_per_second / sheet:.1%}" if sheet else "-"
        print(
            f"| {row.size} | {row.batch_sequences} | {row.micro_batch_sequences} | {row.how} | "
            f"{row.tokens_per_second:,.0f} | {row.flops_per_second / peak:.1%} | {of_sheet} | {row.memory_gib:.2f} | "
            f"{row.first_update_seconds:.1f} |",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def measurements(arguments: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    """All rows, one after the other, each in a process of its own, so that none finds memory taken."""
    shapes = TINY if arguments.tiny else {size: SHAPES[size] for size in arguments.sizes.split(",")}
    batches = (4,) if arguments.tiny else (128,)
    hows = ["eager"] if device.type == "cpu" else ["eager", "compiled"]
    for size, shape in shapes.items():
        for batch in batches:
            for how in hows:
                yield together(size, Work(model_spec(*shape, arguments.tiny), batch), how, 1, arguments.seconds)
    smallest, shape = next(iter(shapes.items()))
    packed = "compiled" if device.type == "cuda" else "eager"
    # A small batch leaves most of a device idle and is where launches cost most.
    for batch in (2,) if arguments.tiny else (8, 128):
        work = Work(model_spec(*shape, arguments.tiny), batch)
        if device.type == "cuda":
            yield together(smallest, work, "captured", 1, arguments.seconds)
        for n in (int(n) for n in arguments.packed.split(",")):
            yield together(smallest, work, packed, n, arguments.seconds)


def together(size: str, work: Work, how: str, processes: int, seconds: float) -> Row:
    """Processes that train the same at the same time, their rates added."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    arguments = (work, how, processes, seconds, barrier, results)
    started = [context.Process(target=train, args=arguments) for _ in range(processes)]
    for process in started:
        process.start()
    measured = [results.get(timeout=600.0) for _ in started]
    for process in started:
        process.join()
    rate = sum(m["tokens_per_second"] for m in measured)
    return Row(
        size=size,
        n_params=param_counts(work.model).n_params_non_embedding,
        batch_sequences=work.batch_sequences,
        micro_batch_sequences=int(measured[0]["micro_batch_sequences"]),
        how=how if processes == 1 else f"{how}, packed {processes}",
        tokens_per_second=rate,
        flops_per_second=rate * flops_per_token(work.model),
        memory_gib=sum(m["memory_gib"] for m in measured),
        first_update_seconds=max(m["first_update_seconds"] for m in measured),
    )


def train(
    work: Work, how: str, processes: int, seconds: float, barrier: Barrier, results: Queue[dict[str, float]]
) -> None:
    """One process: warm up, then count updates until the time is over."""
    device = configure(machine())
    share = 100 // processes
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(share / 100.0)
    at_once = min(micro_batch_sequences(work.model, device.type, share) or work.batch_sequences, work.batch_sequences)
    update, loss = updates(work, how, at_once, device)
    began = time.perf_counter()
    update()
    synchronise(device)
    first = time.perf_counter() - began
    for _ in range(2):
        update()
    synchronise(device)
    barrier.wait()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(4):
            update()
        loss.item()
        done += 4
    elapsed = time.perf_counter() - began
    # Nobody's end gives the others a faster device.
    barrier.wait()
    memory = torch.cuda.max_memory_reserved() if device.type == "cuda" else 0
    results.put({
        "tokens_per_second": done * work.batch_tokens / elapsed, "memory_gib": memory / 2**30,
        "micro_batch_sequences": at_once, "first_update_seconds": first,
    })  # fmt: skip


def updates(work: Work, how: str, at_once: int, device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """A function that does one update, and the loss it leaves on the device."""
    decoder = Decoder(work.model, device=device, matmul_dtype=matmul_dtype(device))
    decoder.initialise(0)
    path = PathArrays(
        lr=np.full(ENDLESS, 1e-3), weight_decay=np.full(ENDLESS, 0.1), adam_beta1=np.full(ENDLESS, 0.9),
        adam_beta2=np.full(ENDLESS, 0.95), batch_sequences=np.full(ENDLESS, work.batch_sequences),
        positions=np.arange(ENDLESS + 1) * work.batch_sequences,
    )  # fmt: skip
    optimizer = AdamW(OPTIMIZER, decoder.flat_weights, decoder.flat_gradients, decoder.layout.groups, path)
    ids_BT = torch.randint(0, work.model.vocab_size, (work.batch_sequences, work.model.context_length + 1))
    ids_BT = ids_BT.pin_memory() if device.type == "cuda" else ids_BT
    loss = torch.zeros((), dtype=torch.float64, device=device)
    passes = -(-work.batch_sequences // at_once)
    scale = 1.0 / work.batch_tokens

    def gradients(micro_BT: Tensor) -> Tensor:
        return decoder.accumulate_gradients(micro_BT[:, :-1], micro_BT[:, 1:], scale)[0]

    if how == "compiled":
        gradients = torch.compile(gradients)
    elif how == "captured":
        size = len(torch.tensor_split(ids_BT, passes)[0])
        gradients = captured(torch.compile(gradients), torch.empty_like(ids_BT[:size], device=device))
    steps = iter(range(ENDLESS))

    def update() -> None:
        decoder.flat_gradients.zero_()
        loss.zero_()
        for micro_BT in torch.tensor_split(ids_BT.to(device, non_blocking=True), passes):
            loss.add_(gradients(micro_BT))
        clip_gradients(decoder.flat_gradients, OPTIMIZER.grad_clip_norm)
        optimizer.update(next(steps))

    return update, loss


def captured(gradients: Callable[[Tensor], Tensor], static_BT: Tensor) -> Callable[[Tensor], Tensor]:
    """The pass as one CUDA graph that reads its tokens from `static_BT`. Learning rate and weight decay are arguments
    of the optimizer's kernels, which stay outside, so that the graph is the same for every update."""
    static_BT.zero_()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            gradients(static_BT)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = gradients(static_BT)

    def replay(micro_BT: Tensor) -> Tensor:
        # Of passes that differ by one sequence, the shorter repeats the last of the one before: work of equal size.
        static_BT[: len(micro_BT)].copy_(micro_BT)
        graph.replay()
        return loss

    return replay


def model_spec(d_model: int, n_layer: int, tiny: bool) -> ModelSpec:
    """A model of config/h200.yaml at a width and depth."""
    return ModelSpec.model_validate({
        "n_layer": n_layer, "d_model": d_model, "n_head": d_model // 64, "d_head": 64,
        "d_ff": -(-8 * d_model // 48) * 16,
        "context_length": 32 if tiny else 1024, "vocab_size": 512 if tiny else 32768, "feed_forward": "swiglu",
        "norm": "rmsnorm", "tied_embeddings": False, "qk_norm": True, "rope_base": 10000.0, "parametrization": "mup",
        "base_width": 320, "base_depth": 2, "init_std_embedding": 0.5, "init_std_hidden": 1.0,
        "init_std_head": 0.05, "zero_init_output_projections": True,
    })  # fmt: skip


def machine() -> Machine:
    return Machine(
        "cuda" if torch.cuda.is_available() else "cpu", 1, None, compile=torch.cuda.is_available(), compile_cache=None
    )


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"


def mps_runs() -> bool:
    """Whether CUDA's multi-process service listens where this process would look for it."""
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control").exists()


if __name__ == "__main__":
    main()
