"""What per-example gradient norms cost: to our own training, and to a model of torch's modules by us and by others.

    python benchmarks/noise_scale.py [--parts own,modules,kernel] [--shapes 50k,200k,1M,4M] [--rounds 9]
                                     [--seconds 60] [--threads 1] [--device cpu]

Updates are whole ones of 16 x 128 tokens: gradients, clipping, AdamW, loss and norms read. Contestants take turns in
an order that rotates; ratios are medians over rounds of the ratio to the unprobed turn of the same round, with
quartiles. There are as many rounds as `--seconds` per shape allow, at least `--rounds`.

own      One cell in the training engine (RMSNorm, SwiGLU), its updates without a probe, with one of the norm layers and
         with one of all layers, at every update and at every 16th.
modules  One `nn.Module` with plain training, with our modules and with Opacus and `torch.func.vmap(grad)`
         (`norm_rivals.py`), each at every update. Printed first: how far their norms are apart. Peak memory is that of
         a process of its own (of the device, on a GPU) above what it had before the model was made.
kernel   On a GPU: the backward pass of LayerNorm with the gradient of the gain by example (`norm_kernel.py`) against
         torch's with that of the whole batch, and against torch's with that by example taken afterwards.

With CPU=1 in the environment times are those of the processor: less dependent on what else runs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import torch
from norm_rivals import CONTESTANTS, PLAIN, contestant, of_all_layers, opacus_version, silence_hooks
from numpy.typing import NDArray
from torch import Tensor

from glidepath.science import schedules
from glidepath.study.specs import PathSpec, Recording, SegmentSpec, Trajectory
from glidepath.training.device import Machine, configure, synchronise
from glidepath.training.model import Probe
from glidepath.training.trainer import Trainer
from glidepath.training.workers import ALONE
from training import BATCH_SEQUENCES, CONTEXT_LENGTH, OPTIMIZER, SHAPES, VOCAB_SIZE, model_spec

ENDLESS = 200_000
EVERY = 16
OWN: dict[str, tuple[Probe, int]] = {
    "nothing": ("none", 1),
    "norm layers, every update": ("norms", 1),
    f"norm layers, every {EVERY}th": ("norms", EVERY),
    "all layers, every update": ("all", 1),
    f"all layers, every {EVERY}th": ("all", EVERY),
}
KERNEL_EXAMPLES, KERNEL_TOKENS = 64, 64 * 1024
KERNEL_WIDTHS = (320, 768, 2048, 4096)
CLOCK = time.perf_counter if not os.environ.get("CPU") else time.process_time
Turn = Callable[[int], None]
"""So many updates."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="own,modules,kernel")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=9, help="at least")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a shape, by and large")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    machine = Machine(arguments.device, arguments.threads, None, compile=arguments.device != "cpu", compile_cache=None)
    device = configure(machine)
    silence_hooks()
    versions = f"torch {torch.__version__}, opacus {opacus_version()}, Python {platform.python_version()}"
    print(f"{versions}, {arguments.threads} threads, {device}")
    parts, shapes = arguments.parts.split(","), arguments.shapes.split(",")
    if "own" in parts:
        print("\n| parameters | probed | ms per update | time over no probe (quartiles) |\n|---|---|---|---|")
        for shape in shapes:
            own(shape, machine, device, arguments.rounds, arguments.seconds)
    if "modules" in parts:
        print(
            f"\nlargest relative difference between squared norms of examples: {disagreement(shapes[0], device):.1e}\n"
        )
        print("| parameters | | ms per update | time over plain (quartiles) | peak MB | over plain |")
        print("|---|---|---|---|---|---|")
        for shape in shapes:
            modules(shape, device, arguments.threads, arguments.rounds, arguments.seconds)
    if "kernel" in parts:
        kernel(device, arguments.rounds)


def own(shape: str, machine: Machine, device: torch.device, rounds: int, seconds: float) -> None:
    """Turns of one trainer, so that nothing but the probe differs."""
    trainer = Trainer(segment(shape), RandomTokens(), machine, device, ALONE)
    trainer.begin(0)
    steps = iter(range(ENDLESS))

    def turn(probe: Probe, every: int) -> Turn:
        def updates(n: int) -> None:
            for i in range(n):
                one = trainer.update(next(steps), norms=False, probe=probe if i % every == 0 else "none")
                read = torch.cat([torch.stack([one.train_loss, one.grad_norm.double()]), *one.sq_norms.values()])
                read.tolist()

        return updates

    with torch.no_grad():
        turns = {name: turn(*probed) for name, probed in OWN.items()}
        for row in rows(timed(turns, rounds, seconds, EVERY, device)):
            print(f"| {shape} | {row} |", flush=True)


def modules(shape: str, device: torch.device, threads: int, rounds: int, seconds: float) -> None:
    """Every contestant has a model of its own."""
    spec, ids_BT = model_spec(shape, "nanoGPT"), token_ids(device)

    def turn(name: str) -> Turn:
        update = contestant(name, spec, ids_BT)

        def updates(n: int) -> None:
            for _ in range(n):
                update().tolist()

        return updates

    memory = {name: peak_megabytes(name, shape, str(device), threads) for name in CONTESTANTS}
    times = timed({name: turn(name) for name in CONTESTANTS}, rounds, seconds, 1, device)
    for name, row in zip(CONTESTANTS, rows(times), strict=True):
        print(f"| {shape} | {row} | {memory[name]:.0f} | {memory[name] / memory[PLAIN]:.2f} |", flush=True)


def timed(
    turns: Mapping[str, Turn], rounds: int, seconds: float, multiple: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds per update of every turn, one per round. A turn is `multiple` updates, or more if they are very short."""
    for turn in turns.values():
        turn(multiple)
    slowest = max(clocked(turn, multiple, device) for turn in turns.values())
    n = multiple * max(1, round(0.2 / (slowest * multiple)))
    rounds = max(rounds, round(seconds / (slowest * n * len(turns))))
    names, times = list(turns), {name: list[float]() for name in turns}
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(clocked(turns[name], n, device))
    return times


def clocked(turn: Turn, n: int, device: torch.device) -> float:
    """Seconds per update."""
    synchronise(device)
    began = CLOCK()
    turn(n)
    synchronise(device)
    return (CLOCK() - began) / n


def rows(times: Mapping[str, Sequence[float]], per_second: float = 1e3) -> list[str]:
    """Name, time (in milliseconds) and ratio to the first contestant."""
    baseline = next(iter(times.values()))
    lines = []
    for name, of_one in times.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(of_one, baseline, strict=True)], n=4)
        lines.append(f"{name} | {per_second * statistics.median(of_one):.2f} | {middle:.3f} ({low:.3f}-{high:.3f})")
    return lines


def disagreement(shape: str, device: torch.device) -> float:
    """The largest relative difference between any two contestants' squared norms of an example, in the first
    update."""
    spec, ids_BT = model_spec(shape, "nanoGPT"), token_ids(device)
    norms = torch.stack([contestant(name, spec, ids_BT)() for name in CONTESTANTS if of_all_layers(name)])
    return float(((norms.amax(0) - norms.amin(0)) / norms.amin(0)).max())


def peak_megabytes(name: str, shape: str, device: str, threads: int) -> float:
    """Of two updates, in a new process."""
    context = multiprocessing.get_context("spawn")
    results: Queue[float] = context.Queue()
    process = context.Process(target=_measure_peak, args=(name, shape, device, threads, results))
    process.start()
    megabytes = results.get()
    process.join()
    return megabytes


def _measure_peak(name: str, shape: str, place: str, threads: int, results: Queue[float]) -> None:
    device = configure(Machine(place, threads, None, compile=False, compile_cache=None))
    silence_hooks()
    warm_up = contestant(name, model_spec("50k", "nanoGPT"), token_ids(device)[:2])
    warm_up()
    del warm_up
    before = memory(device, "VmRSS")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        # Forgets the highest so far (proc(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    update = contestant(name, model_spec(shape, "nanoGPT"), token_ids(device))
    for _ in range(2):
        update()
    results.put((memory(device, "VmHWM") - before) / 1e6)


def memory(device: torch.device, field: str) -> float:
    """Bytes in use now (VmRSS) or at most so far (VmHWM), of the device or of this process (Linux)."""
    if device.type == "cuda":
        now, most = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
        return float(now if field == "VmRSS" else most)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024.0 * float(status.partition(f"{field}:")[2].split()[0])


def kernel(device: torch.device, rounds: int) -> None:
    """Microseconds of a backward pass of LayerNorm."""
    if device.type != "cuda":
        print("\nkernel: needs --device cuda")
        return
    print("\n| tokens x width | dtype of dy | | µs | time over torch (quartiles) | GB/s of dy, x̂ and dx |")
    print("|---|---|---|---|---|---|")
    for width in KERNEL_WIDTHS:
        for dtype in (torch.float32, torch.bfloat16):
            times = timed(kernel_turns(width, dtype, device), rounds, 1.0, 100, device)
            moved = KERNEL_TOKENS * width * (2 * dtype.itemsize + 4)
            for row, of_one in zip(rows(times, 1e6), times.values(), strict=True):
                rate = moved / statistics.median(of_one) / 1e9
                print(f"| {KERNEL_TOKENS} x {width} | {str(dtype)[6:]} | {row} | {rate:.0f} |", flush=True)


def kernel_turns(width: int, dtype: torch.dtype, device: torch.device) -> dict[str, Turn]:
    from glidepath.training.norm_kernel import norm_backward

    x_ND, dy_ND = (torch.randn(KERNEL_TOKENS, width, device=device, dtype=dtype) for _ in range(2))
    gain_D = torch.ones(width, device=device)
    _, mean_N1, inverse_rms_N1 = torch.native_layer_norm(x_ND.float(), [width], gain_D, None, 1e-5)
    xhat_ND = ((x_ND.float() - mean_N1) * inverse_rms_N1).to(dtype)
    saved = dy_ND, x_ND, [width], mean_N1, inverse_rms_N1, gain_D.to(dtype), None

    def by_example() -> None:
        torch.ops.aten.native_layer_norm_backward(*saved, [True, False, False])
        (dy_ND * xhat_ND).view(KERNEL_EXAMPLES, -1, width).sum(1, dtype=torch.float32)

    return {
        "torch": _times(lambda: torch.ops.aten.native_layer_norm_backward(*saved, [True, True, False])),
        "torch, gain by example afterwards": _times(by_example),
        "ours": _times(lambda: norm_backward("layernorm", dy_ND, gain_D, xhat_ND, inverse_rms_N1, KERNEL_EXAMPLES)),
    }


def _times(function: Callable[[], object]) -> Turn:
    def turn(n: int) -> None:
        for _ in range(n):
            function()

    return turn


@dataclass(frozen=True)
class RandomTokens:
    """A text without order, which costs what any text does."""

    vocab_size: int = VOCAB_SIZE

    @property
    def train(self) -> NDArray[np.uint16]:
        return TOKENS

    @property
    def domains(self) -> list[str]:
        return ["random"]

    def validation(self, domain: str) -> NDArray[np.uint16]:  # noqa: ARG002
        return TOKENS[: CONTEXT_LENGTH + 1]

    def bytes_per_token(self, domain: str) -> float:  # noqa: ARG002
        return 1.0


TOKENS = np.random.default_rng(0).integers(0, VOCAB_SIZE, 1 << 18).astype(np.uint16)


def token_ids(device: torch.device) -> Tensor:
    shape = (BATCH_SEQUENCES, CONTEXT_LENGTH + 1)
    return torch.randint(0, VOCAB_SIZE, shape, generator=torch.Generator().manual_seed(0)).to(device)


def segment(shape: str) -> SegmentSpec:
    """Endless training at one learning rate."""
    sequences = ENDLESS * BATCH_SEQUENCES
    path = PathSpec(
        batch_sequences=(schedules.Stage(BATCH_SEQUENCES, ENDLESS),),
        lr=schedules.constant(1e-3, sequences),
        weight_decay=schedules.constant(0.1, sequences),
        adam_beta1=schedules.constant(0.9, sequences),
        adam_beta2=schedules.constant(0.95, sequences),
    )
    trajectory = Trajectory(
        engine_version=0, corpus_id="random", model=model_spec(shape, "ours, swiglu"), optimizer=OPTIMIZER,
        plateau=None, init_seed=1, data_seed=2, path=path,
    )  # fmt: skip
    recording = Recording(
        norms_every=ENDLESS, evaluate_subset_at=(), evaluate_full_at=(), snapshot_at=(), probe_every=0,
        probe_norm_layers_every=0, subset_blocks=1,
    )  # fmt: skip
    return SegmentSpec(trajectory=trajectory, start=0, recording=recording)


if __name__ == "__main__":
    main()
