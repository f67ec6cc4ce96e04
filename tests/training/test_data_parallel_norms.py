"""Squared norms of the gradients of processes and of their average: those of one process that takes the same parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from glidepath.training.data_parallel_norms import average_and_measure
from tests.training.data_parallel_norms_job import EXAMPLES
from tests.training.gpt import GPT, mean_loss, sequences, squares_of_gradients

ROOT = Path(__file__).parents[2]
Results = list[dict[str, Any]]


@pytest.fixture(scope="module", params=[2, 3])
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What each of so many processes got."""
    folder = tmp_path_factory.mktemp("processes")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(request.param)]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.training.data_parallel_norms_job", str(folder)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(request.param)]


def squares(parts: int) -> list[dict[str, float]]:
    """|g|² by group of the mean loss of each part of the batch."""
    result = []
    for inputs, targets in zip(*(ids.chunk(parts) for ids in sequences(EXAMPLES)), strict=True):
        model = GPT(tied=True).double()
        mean_loss(model, inputs, targets).backward()  # type: ignore[no-untyped-call]
        result.append(squares_of_gradients(model, tied=True))
    return result


@pytest.mark.parametrize("way", ["hook", "hook, micro-batches", "hook, scaled", "hand"])
def test_norms_are_those_of_one_process(measured: Results, way: str) -> None:
    parts, (whole,) = squares(len(measured)), squares(1)
    for result in measured:
        assert result[way].keys() == whole.keys()
        for group, norms in result[way].items():
            small = sum(part[group] for part in parts) / len(parts)
            assert norms["grad_sq_norm_small"] == pytest.approx(small, rel=1e-12)
            assert norms["grad_sq_norm_big"] == pytest.approx(whole[group], rel=1e-12)
            assert norms["small_batch_examples"] * len(parts) == norms["big_batch_examples"] == EXAMPLES


def test_unequal_shares_and_unmeasured_updates_are_refused(measured: Results) -> None:
    for rank, result in enumerate(measured):
        unequal, unmeasured = result["refusals"]
        here = EXAMPLES // len(measured) - (rank == 0)
        assert unequal.startswith(
            f"n_examples = {here} here, {EXAMPLES - 1} in {len(measured)} processes: every process"
        )
        assert unmeasured.startswith("no gradient was averaged while armed")


def test_one_process_has_one_batch_size_only() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="1 process: two batch sizes need at least two"):
            average_and_measure({"all": [torch.ones(3)]}, 4)
    finally:
        dist.destroy_process_group()
