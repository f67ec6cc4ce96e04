"""The running mean against one that holds everything in float64."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from glidepath.science.averaging import Step, cheapest_step, ema_weights, uniform_weights
from glidepath.training.weighted_mean import WeightedMean

SHAPES = {"embedding": (70, 1000), "gain": (7,), "matrix": (33, 1001)}

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Kept:
    """Snapshots in memory, counting how often one is read."""

    tensors: dict[int, dict[str, Tensor]]
    reads: list[int] = field(default_factory=list)

    def tensor(self, updates_done: int, name: str) -> Tensor:
        if name == "gain":
            self.reads.append(updates_done)
        return self.tensors[updates_done][name]


def trajectory(n: int, dtype: torch.dtype = torch.float32) -> Kept:
    """A random walk of weights of size one."""
    generator = torch.Generator().manual_seed(0)
    now = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    found: dict[int, dict[str, Tensor]] = {}
    for i in range(n):
        now = {name: w + 0.05 * torch.randn(w.shape, generator=generator) for name, w in now.items()}
        found[10 * (i + 1)] = {name: w.to(dtype) for name, w in now.items()}
    return Kept(found)


def model() -> dict[str, Tensor]:
    return {name: torch.full(shape, torch.nan) for name, shape in SHAPES.items()}


def twin(kept: Kept, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Σ w_i θ_i in float64, all of it in memory."""
    return {
        name: sum(w * kept.tensors[u][name].double().numpy() for w, u in zip(weights, kept.tensors, strict=True))
        for name in SHAPES
    }  # fmt: skip


def padded(weights: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    return np.concatenate([weights, np.zeros(n - len(weights))])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_window_that_slides_for_long_stays_at_the_twin(dtype: torch.dtype) -> None:
    """Ninety steps of a window of twenty, two reads each but for the first; the error does not grow."""
    n, k = 110, 20
    kept, at = trajectory(n, dtype), 10 * np.arange(1, n + 1)
    weights = model()
    mean = WeightedMean(weights)
    before = np.zeros(n)
    for last in range(k, n + 1):
        after = padded(uniform_weights(at[:last], at[last - 1] - 10.0 * k), n)
        mean.step(cheapest_step(before, after), tuple(at), kept)
        before = after
        if last in (k, k + 1, n):
            for name, expected in twin(kept, after).items():
                # Half a unit in the last place of the float32 that the model has.
                np.testing.assert_allclose(weights[name].numpy(), expected, rtol=2.0**-24, atol=1e-12)
    assert len(kept.reads) == k + 2 * (n - k)


def test_all_kinds_of_steps_in_a_row() -> None:
    n = 12
    kept, at = trajectory(n), 10 * np.arange(1, n + 1)
    generator = np.random.default_rng(0)
    targets = [padded(ema_weights(at[:m], 25.0), n) for m in range(4, n + 1)]
    targets += [w / w.sum() for w in generator.random((5, n))]
    weights = model()
    mean, before = WeightedMean(weights), np.zeros(n)
    for after in targets:
        mean.step(cheapest_step(before, after), tuple(at), kept)
        before = after
        for name, expected in twin(kept, after).items():
            np.testing.assert_allclose(weights[name].numpy(), expected, rtol=1e-6, atol=1e-7)


def test_a_model_of_another_shape_is_refused() -> None:
    kept = trajectory(2)
    kept.tensors[20]["gain"] = torch.zeros(8)
    with pytest.raises(ValueError, match=r"gain has the shape \(8,\) after 20 updates, the model has \(7,\)"):
        WeightedMean(model()).step(Step(0.0, ((0, 0.5), (1, 0.5))), (10, 20), kept)


@pytest.mark.parametrize("written", ["own_snapshots", "rounded_checkpoints"])
def test_memory_is_two_copies_of_the_model_at_any_time_whatever_the_window(written: str, tmp_path: Path) -> None:
    """Fourteen snapshots on disk, in a process of its own."""
    command = [sys.executable, "-m", "tests.training.averaging_memory", written, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["right"]
    assert 1.9 * found["model"] < found["used"] < 2.1 * found["model"] + 2e6
