"""What the tests let several processes measure: `torchrun … -m tests.training.data_parallel_norms_job FOLDER`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from glidepath.training.data_parallel_norms import DataParallelProbe, average_and_measure
from glidepath.training.probed_modules import SquaredNorms
from tests.training.gpt import GPT, group_name, mean_loss, sequences

EXAMPLES = 12


def as_numbers(norms: dict[str, SquaredNorms]) -> dict[str, dict[str, float]]:
    return {group: asdict(of_group) for group, of_group in norms.items()}


def by_hook(model: nn.Module, inputs: Tensor, targets: Tensor, micro_batches: int) -> dict[str, SquaredNorms]:
    """A second update, measured after one that is not."""
    parallel = DistributedDataParallel(model, bucket_cap_mb=0.002)
    probe = DataParallelProbe.attach(parallel)
    mean_loss(parallel, inputs, targets).backward()  # type: ignore[no-untyped-call]
    parallel.zero_grad()
    *first, last = zip(inputs.chunk(micro_batches), targets.chunk(micro_batches), strict=True)
    for x, y in first:
        with parallel.no_sync():
            (mean_loss(parallel, x, y) / micro_batches).backward()
    with probe.armed():
        (mean_loss(parallel, *last) / micro_batches).backward()
    return probe.statistics(len(inputs))


def by_scaled_hook(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, SquaredNorms]:
    """As with a loss that is scaled against underflow, and gradients that are unscaled before they are clipped."""
    parallel = DistributedDataParallel(model)
    probe = DataParallelProbe.attach(parallel)
    with probe.armed():
        (1024.0 * mean_loss(parallel, inputs, targets)).backward()
    for p in parallel.parameters():
        assert p.grad is not None
        p.grad /= 1024.0
    return probe.statistics(len(inputs), loss_scale=1024.0)


def by_hand(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, SquaredNorms]:
    mean_loss(model, inputs, targets).backward()  # type: ignore[no-untyped-call]
    gradients: dict[str, list[Tensor]] = {}
    for name, p in model.named_parameters():
        assert p.grad is not None
        gradients.setdefault(group_name(name, tied=True), []).append(p.grad)
    return average_and_measure(gradients, len(inputs))


def refusals(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[str]:
    """What is said where process 0 has an example less, and where nothing was measured."""
    said = []
    parallel = DistributedDataParallel(model)
    probe = DataParallelProbe.attach(parallel)
    for armed, n in ((True, len(inputs) - (dist.get_rank() == 0)), (False, len(inputs))):
        parallel.zero_grad()
        with probe.armed():
            if armed:
                mean_loss(parallel, inputs[:n], targets[:n]).backward()  # type: ignore[no-untyped-call]
        try:
            probe.statistics(n)
        except ValueError as error:
            said.append(str(error))
    return said


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    inputs, targets = (ids.chunk(processes)[rank] for ids in sequences(EXAMPLES))
    results = {
        "hook": as_numbers(by_hook(GPT(tied=True).double(), inputs, targets, 1)),
        "hook, micro-batches": as_numbers(by_hook(GPT(tied=True).double(), inputs, targets, 2)),
        "hook, scaled": as_numbers(by_scaled_hook(GPT(tied=True).double(), inputs, targets)),
        "hand": as_numbers(by_hand(GPT(tied=True).double(), inputs, targets)),
        "refusals": refusals(GPT(tied=True).double(), inputs, targets),
    }
    Path(sys.argv[1], f"{rank}.json").write_text(json.dumps(results), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
