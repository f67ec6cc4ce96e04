"""Several processes that train one cell together: data parallel, with the optimizer's state shared out.

Every process holds all weights and computes the gradient of its share of each batch. The flat gradient buffer is then
summed so that each process receives one slice of it (reduce-scatter), the process updates that slice of weights and
moments, and the weights are put together again (all-gather). This is ZeRO-2 (Rajbhandari et al. 2020, arXiv 1910.02054,
section 5): it moves as many bytes as the one all-reduce of plain data parallelism, while moments and their arithmetic
are divided by the number of processes. PyTorch's FSDP2 (`fully_shard`) would do the same and besides reshard weights
between layers; it works by hooks on `nn.Module`s and autograd, and here are neither: the backward pass is written by
hand and adds into one buffer, of which a slice is a slice.

Which sequences a process takes depends on its place in the batch only, so the data order is that of one process. Sums
run in another order, so results agree within rounding. Files are those of one process: they are gathered first, and
may be continued by another number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from glidepath.training.parameters import FlatGroup

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """This process among those of its cell. All of them call the same methods in the same order; of one process, they
    do nothing."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """This process' part of n things: all parts are consecutive, disjoint, and differ by at most one in length."""
        return range(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def own(self, flat: Tensor) -> Tensor:
        """This process' slice of a flat buffer that divides into as many as there are processes, a view."""
        return flat.view(self.size, -1)[self.rank]

    def own_groups(self, groups: Sequence[FlatGroup], size: int) -> list[FlatGroup]:
        """What of the optimizer's groups lies in this process' slice of buffers of `size` numbers, counted from its
        start."""
        length = size // self.size
        first = self.rank * length
        clipped = (replace(g, begin=max(g.begin - first, 0), end=min(g.end - first, length)) for g in groups)
        return [g for g in clipped if g.begin < g.end]

    def sum_into_slices(self, flat: Tensor) -> None:
        """Sum a flat buffer over processes: afterwards this process' slice holds sums and the rest is of no use."""
        if self.size > 1:
            dist.reduce_scatter_single(self.own(flat), flat)

    def clear_others(self, flat: Tensor) -> None:
        """Set the slices of the other processes to zero."""
        slices = flat.view(self.size, -1)
        slices[: self.rank].zero_()
        slices[self.rank + 1 :].zero_()

    def join_slices(self, flat: Tensor) -> None:
        """Fill a flat buffer with the slices of all processes."""
        if self.size > 1:
            dist.all_gather_single(flat, self.own(flat))

    def sum(self, values: Tensor) -> Tensor:
        """Σ over processes, in place; returns it."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def norm(self, own: Tensor, order: int = 2) -> Tensor:
        """(Σ|x|^order)^(1/order) over the slices of all processes, without waiting for it."""
        norm: Tensor = torch.linalg.vector_norm(own, order)
        if self.size == 1:
            return norm
        return self.sum(norm.double() ** order).pow(1.0 / order).to(norm.dtype)

    def greatest(self, number: int) -> int:
        """The greatest of the processes' numbers."""
        if self.size == 1:
            return number
        numbers = torch.tensor(number)
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return int(numbers)

    def as_leader_has(self, values: Tensor) -> Tensor:
        """The leader's values, on the CPU: what is decided by them is decided alike everywhere."""
        values = values.cpu()
        if self.size > 1:
            dist.broadcast(values, src=0)
        return values

    def from_leader(self, thing: T) -> T:
        """What the leader passes, whatever the others do."""
        if self.size == 1:
            return thing
        things = [thing]
        dist.broadcast_object_list(things, src=0, device=torch.device("cpu"))
        return things[0]

    def gather(self, own: Tensor, whole: Tensor | None) -> None:
        """Copy all slices into the leader's whole buffer on the CPU; the others have None."""
        parts = None if whole is None else list(whole.view(self.size, -1).unbind())
        dist.gather(own.cpu(), parts, dst=0)

    def scatter(self, whole: Tensor | None, own: Tensor) -> None:
        """Copy each process' part of the leader's whole buffer into its slice; the others have None."""
        parts = None if whole is None else list(whole.view(self.size, -1).unbind())
        received = torch.empty(own.shape, dtype=own.dtype)
        dist.scatter(received, parts, src=0)
        own.copy_(received)

    def wait(self) -> None:
        """Until every process is here."""
        self.greatest(0)


ALONE = Workers()


def processes() -> int:
    """How many processes torchrun started for this cell; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


@contextmanager
def joined(device: torch.device) -> Iterator[Workers]:
    """The processes that `torchrun` started for this cell, connected; without it, this one alone.

    Tensors of a GPU go through NCCL, those of the CPU, which carry decisions and files, through gloo. When a process
    dies the others' next call fails or is ended by torchrun: connections are closed in good order only when all
    processes leave together.
    """
    if processes() == 1:
        yield ALONE
        return
    dist.init_process_group("gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl")
    yield Workers(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()
