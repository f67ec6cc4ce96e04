"""What a machine contributes: device, threads, precision, memory behaviour, and how fast its matrix products
are."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from glidepath.study.specs import ModelSpec
from glidepath.training.lease import leased, slots_of
from glidepath.training.parameters import Layout


@dataclass(frozen=True)
class Machine:
    """Choices that may change speed but not results (on a CPU: not one bit, threads and micro-batch held
    fixed)."""

    device: str
    """"cpu", or "cuda" or "cuda:1" for the first or second GPU that this process sees."""
    threads: int
    micro_batch_sequences: int | None
    """Sequences per backward pass; None is the whole batch."""
    compile: bool
    """Use `torch.compile`: pays on a GPU, and on a CPU only for runs of many minutes."""
    compile_cache: Path | None
    """Where compiled kernels are kept between jobs; None is torch's own place."""


@contextmanager
def placed(gpu_share: int) -> Iterator[str]:
    """Where a job runs: the GPU with most room, of which it holds `gpu_share` percent until it ends, or "cpu" if the
    share is 0 or this torch sees no GPU.

    Shares are agreed upon among all jobs of this user on this machine, by the serial number of the GPU. The share is
    also the most memory this process may take of it. Raises ValueError for a share that no GPU has.
    """
    if gpu_share != 0:
        slots_of(gpu_share)
    if gpu_share == 0 or not torch.cuda.is_available():
        yield "cpu"
        return
    folder = Path(tempfile.gettempdir()) / f"glidepath-gpus-{os.getuid()}"
    serials = [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
    with leased(serials, gpu_share, folder) as index:
        torch.cuda.set_per_process_memory_fraction(gpu_share / 100.0, index)
        yield f"cuda:{index}"


def configure(machine: Machine) -> torch.device:
    """Set up this process for a machine and return the torch device.

    Raises ValueError for a device this torch cannot use.
    """
    kind, _, index = machine.device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise ValueError(f"device = {machine.device!r}: must be 'cpu' or 'cuda'; one of several GPUs is 'cuda:1'")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device = {machine.device!r}: this torch sees {torch.cuda.device_count()} GPUs; install a CUDA build of "
            "torch or use the device 'cpu'"
        )
    if machine.threads < 1:
        raise ValueError(f"threads = {machine.threads}: must be at least 1")
    torch.set_num_threads(machine.threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    if machine.compile_cache is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(machine.compile_cache)
    if kind == "cuda":
        # Where a kernel is launched without naming a device, and where NCCL looks.
        torch.cuda.set_device(int(index or 0))
        torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device(machine.device)


MEMORY_SHARE = 0.8
"""Of the memory this process may take; the rest is for what the allocator cannot use, the kernels' workspace and
surprises."""
PARAMETER_BYTES = 22
"""Per parameter: weights, gradients, both moments and a copy for the norm of an update in float32, and weights rounded
to bfloat16."""


def sequences_that_fit(model: ModelSpec, free_bytes: float) -> int:
    """Sequences whose activations fit beside the parameters, at least one.

    Per token: 12 bytes per row of the head (logits, their gradient and a bfloat16 copy) and per layer about 40·d_model
    + 20·d_ff bytes (residual stream, norms, packed projections and attention, both halves of the feed-forward block, in
    bfloat16 or float32 as the backward pass keeps them). An estimate from the code, not measured on a device: it only
    decides how an update is split, which changes results within rounding.
    """
    per_token = 12 * model.vocab_size + model.n_layer * (40 * model.d_model + 20 * model.d_ff)
    for_activations = MEMORY_SHARE * free_bytes - PARAMETER_BYTES * Layout(model).size
    return max(1, int(for_activations / (per_token * model.context_length)))


def micro_batch_sequences(model: ModelSpec, device: str, gpu_share: int = 100) -> int | None:
    """How many sequences one backward pass takes in this share of the device [percent]; None, the whole batch, on a
    CPU.

    What is free now may be wanted by cells that start at the same moment, so it is no more than the share.
    """
    if device == "cpu":
        return None
    free, total = torch.cuda.mem_get_info(torch.device(device))
    return sequences_that_fit(model, min(free, total * gpu_share / 100.0))


def matmul_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU, float32 on a CPU (without AMX bfloat16 is three times slower there)."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def keep_freed_memory() -> None:
    """Ask glibc to keep freed buffers instead of returning them, which would cost page faults in every
    update."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            m_trim_threshold, m_mmap_threshold = -1, -3
            libc.mallopt(m_mmap_threshold, 32 << 20)  # the most that glibc accepts on 64-bit machines
            libc.mallopt(m_trim_threshold, 1 << 30)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given, so that a clock may be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_peak_flops_per_second(device: str, threads: int) -> float:
    """The best rate of a few square matrix products in the precision of training [FLOP/s], about a second's
    work.

    Sets the number of threads of this process.
    """
    torch.set_num_threads(threads)
    place = torch.device(device)
    sizes = (512, 1024) if place.type == "cpu" else (4096, 8192)
    best = 0.0
    for n in sizes:
        a = torch.ones(n, n, dtype=matmul_dtype(place), device=place)
        out = a @ a
        for _ in range(12):
            synchronise(place)
            began = time.perf_counter()
            torch.mm(a, a, out=out)
            synchronise(place)
            best = max(best, 2.0 * n**3 / (time.perf_counter() - began))
    return best
