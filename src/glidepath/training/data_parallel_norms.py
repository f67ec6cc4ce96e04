"""Squared gradient norms at two batch sizes from data-parallel training: of each process' own gradient, before
gradients are averaged, and of the average.

With as many examples b in each of P processes, the mean of the processes' |g_b|² and the |g_B|² of their average
(B = P·b) give the two estimators of the noise scale for any model, whatever its layers (McCandlish et al. 2018,
arXiv 1812.06162, appendix A.1). It costs one reading of the gradients and one small sum over processes, but few parts
of a batch are a noisy measurement, the noisier the larger b: single examples (`probed_modules.py`) are better
where they can be had.

Every process' loss is the mean over its own examples. Read before gradients are clipped. With a scaled loss, square
norms of scaled gradients are scaled by the square; `DataParallelProbe` is read after gradients were unscaled and is
told the scale.
"""

# Annotations are evaluated here, as `DistributedDataParallel` compares those of a hook with classes.
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from glidepath.training.per_example import square_sums
from glidepath.training.probed_modules import TIED, SquaredNorms, check_loss_scale, layer_type

Hook = Callable[[Any, GradBucket], torch.futures.Future[Tensor]]


def average_and_measure(
    gradients: Mapping[str, Iterable[Tensor]], n_examples: int, process_group: dist.ProcessGroup | None = None
) -> dict[str, SquaredNorms]:
    """Average the gradients over processes, in place, and return the squared norms before and after by group: what a
    loop without `DistributedDataParallel` calls in every process in place of its all-reduce.

    `n_examples` are those of this process' loss. Raises ValueError if other processes have more or fewer, or if
    there are none.
    """
    tensors = {group: list(of_group) for group, of_group in gradients.items()}
    small = {group: _sq_norm(of_group) for group, of_group in tensors.items()}
    waits = [dist.all_reduce(g, group=process_group, async_op=True) for of_group in tensors.values() for g in of_group]
    for wait in waits:
        wait.wait()
    for of_group in tensors.values():
        for gradient in of_group:
            gradient /= dist.get_world_size(process_group)
    big = {group: _sq_norm(of_group) for group, of_group in tensors.items()}
    return _over_processes(small, big, n_examples, process_group)


class DataParallelProbe:
    """The same for a model in `DistributedDataParallel`, by its communication hook:

    probe = DataParallelProbe.attach(model)
    with probe.armed():
        loss_of(model, inputs, targets).backward()      # the pass that synchronises, if there are several
    norms = probe.statistics(len(inputs))               # before gradients are clipped
    """

    def __init__(self, model: DistributedDataParallel, groups: dict[Tensor, str], hook: Hook, state: Any) -> None:
        self._model, self._groups, self._hook, self._state = model, groups, hook, state
        self._armed = False
        self._small: dict[str, Tensor] = {}

    @classmethod
    def attach(
        cls,
        model: DistributedDataParallel,
        group_of: Callable[[str, nn.Module], str] = layer_type,
        hook: Hook = allreduce_hook,
        state: Any = None,
    ) -> Self:
        """Register a communication hook that reads each bucket and hands it to `hook` with its `state`.

        Squared norms are summed by the group that `group_of` gives for a module and its name; an embedding and a module
        that shares its parameter are `embedding_head`. A model takes one hook only (RuntimeError by torch).
        """
        users: dict[Tensor, list[nn.Module]] = {}
        names: dict[nn.Module, str] = {}
        for name, module in model.module.named_modules():
            names[module] = name
            for p in module.parameters(recurse=False):
                users.setdefault(p, []).append(module)
        shared = [modules for modules in users.values() if len(modules) > 1]
        tied = {m for modules in shared if any(isinstance(m, nn.Embedding) for m in modules) for m in modules}
        groups = {
            p: TIED if modules[0] in tied else group_of(names[modules[0]], modules[0]) for p, modules in users.items()
        }
        probe = cls(model, groups, hook, state)
        model.register_comm_hook(probe, _measuring)
        return probe

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Measure the backward pass inside, the last of an update, in which processes synchronise."""
        self._small = {}
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    def statistics(self, n_examples: int, loss_scale: float = 1.0) -> dict[str, SquaredNorms]:
        """Squared norms by group of the update just measured, `n_examples` being those of this process' loss.

        `loss_scale` is what the loss was multiplied by and the gradients have been divided by since, as in
        `probed_modules.Probe.statistics`. To be called in every process. Raises ValueError if nothing was measured, if
        other processes have more or fewer examples, if there are none, or for a scale that is not a positive number.
        """
        check_loss_scale(loss_scale)
        if not self._small:
            raise ValueError("no gradient was averaged while armed: the backward pass that synchronises belongs inside")
        averages: dict[str, list[Tensor]] = {group: [] for group in sorted(set(self._groups.values()))}
        for p, group in self._groups.items():
            if p.grad is not None:
                averages[group].append(p.grad)
        big = {group: _sq_norm(gradients) for group, gradients in averages.items() if gradients}
        small = {group: square / loss_scale**2 for group, square in self._small.items()}
        return _over_processes(small, big, n_examples, self._model.process_group)

    def _measure(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        if self._armed:
            for p, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
                group, square = self._groups[p], _sq_norm([gradient])
                self._small[group] = self._small[group] + square if group in self._small else square
        return self._hook(self._state, bucket)


def _measuring(probe: DataParallelProbe, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    return probe._measure(bucket)


def _sq_norm(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([square_sums(tensor[None]) for tensor in tensors]).sum()


def _over_processes(
    small: Mapping[str, Tensor], big: Mapping[str, Tensor], n_examples: int, process_group: dist.ProcessGroup | None
) -> dict[str, SquaredNorms]:
    """The mean over processes of the small ones, which the same groups have everywhere."""
    processes = dist.get_world_size(process_group)
    if processes < 2:
        raise ValueError(f"{processes} process: two batch sizes need at least two; use Probe for single examples")
    groups = sorted(big)
    squares = torch.stack([small[group] for group in groups])
    counts = squares.new_tensor([n_examples, n_examples**2])
    summed = torch.cat([squares, counts])
    dist.all_reduce(summed, group=process_group)
    *small_sums, n_all, n_squares = summed.tolist()
    if processes * n_squares != n_all**2:
        raise ValueError(
            f"n_examples = {n_examples} here, {n_all:.0f} in {processes} processes: every process must have as many, "
            "since the small batch has one size; drop the remainder of a batch"
        )
    return {
        group: SquaredNorms(small_sum / processes, float(big[group]), float(n_examples), n_all)
        for group, small_sum in zip(groups, small_sums, strict=True)
    }
