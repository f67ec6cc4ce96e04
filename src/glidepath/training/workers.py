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

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor

from glidepath.training.parameters import FlatGroup


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
        """Sum a flat buffer over processes; afterwards only this process' slice of it is of use."""
        if self.size > 1:
            dist.reduce_scatter_single(self.own(flat), flat)

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

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        flags = torch.tensor(flag, dtype=torch.int32)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags)

    def as_leader_has(self, values: Tensor) -> Tensor:
        """The leader's values, on the CPU: what is decided by them is decided alike everywhere."""
        values = values.cpu()
        if self.size > 1:
            dist.broadcast(values, src=0)
        return values

    def gathered(self, own: Tensor) -> Tensor | None:
        """All slices as one flat buffer on the CPU of the leader, None elsewhere."""
        if self.size == 1:
            return own.cpu()
        part = own.detach().cpu()
        parts = [torch.empty_like(part) for _ in range(self.size)] if self.leads else None
        dist.gather(part, parts, dst=0)
        return torch.cat(parts) if parts is not None else None

    def wait(self) -> None:
        """Until every process is here."""
        self.any(False)


ALONE = Workers()


@contextmanager
def joined(device: torch.device) -> Iterator[Workers]:
    """The processes that `torchrun` started for this cell, connected; without it, this one alone.

    Tensors of a GPU go through NCCL, those of the CPU, which carry decisions and files, through gloo. When a process
    dies the others' next call fails or is ended by torchrun: connections are closed in good order only when all
    processes leave together.
    """
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    dist.init_process_group("gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl")
    yield Workers(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()
