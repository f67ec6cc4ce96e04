"""On a machine with a GPU: the same training as on the cores within the precision of bfloat16, also from a state.
Elsewhere only the benchmark is tested."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glidepath.training import layers, per_example
from glidepath.training.device import placed
from glidepath.training.model import Decoder
from tests.training.small import CPU, model_spec, segment_spec, train

ROOT = Path(__file__).parents[2]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = replace(CPU, device="cuda")
SHAPE = {"n_head": 2, "d_head": 8}
"""Attention kernels want heads of a multiple of eight."""
EVERYTHING = {"evaluate_full_at": (12,), "snapshot_at": (9,), "probe_every": 4, "probe_norm_layers_every": 1}


@needs_gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_a_segment_is_that_of_the_cores(tmp_path: Path, compiled: bool) -> None:
    spec = segment_spec(**EVERYTHING, **SHAPE)
    cores = train(spec, tmp_path / "cpu")
    device = train(spec, tmp_path / "cuda", machine=replace(GPU, compile=compiled))
    np.testing.assert_allclose(device.updates["train_loss"], cores.updates["train_loss"], rtol=2e-2)
    np.testing.assert_allclose(device.updates["grad_norm"], cores.updates["grad_norm"], rtol=1e-1)
    np.testing.assert_allclose(device.block_losses["loss"], cores.block_losses["loss"], rtol=5e-2)
    for column in ("grad_sq_norm_small", "grad_sq_norm_big"):
        expected = cores.gradient_statistics[column]
        np.testing.assert_allclose(device.gradient_statistics[column], expected, rtol=0.2)


@needs_gpu
def test_the_micro_batch_moves_a_segment_by_rounding_only(tmp_path: Path) -> None:
    spec = segment_spec(**SHAPE)
    whole = train(spec, tmp_path / "whole", machine=GPU)
    split = train(spec, tmp_path / "split", machine=replace(GPU, micro_batch_sequences=2))
    np.testing.assert_allclose(split.updates["train_loss"], whole.updates["train_loss"], rtol=1e-2)


@needs_gpu
def test_a_segment_continues_from_the_state_of_another(tmp_path: Path) -> None:
    whole = train(segment_spec(**SHAPE), tmp_path / "whole", machine=GPU)
    train(segment_spec(stop=7, **SHAPE), tmp_path / "first", machine=GPU)
    parent = tmp_path / "first" / "state.safetensors"
    rest = train(segment_spec(start=7, **SHAPE), tmp_path / "rest", parent, machine=GPU)
    np.testing.assert_allclose(rest.updates["train_loss"], whole.updates["train_loss"][7:], rtol=1e-3)


@needs_gpu
@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
@pytest.mark.parametrize("shape", [(4 * 12, 40), (4, 12, 3, 24), (4, 20000)])
def test_the_kernel_of_norms_is_the_backward_pass_of_the_cores(kind: layers.NormKind, shape: tuple[int, ...]) -> None:
    """In bfloat16, within its precision; what is added onto stays float32, as do the gain's gradients by example."""
    x, dy, onto = (torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in range(3))
    gain = torch.linspace(0.5, 2.0, shape[-1])
    found: dict[str, tuple[torch.Tensor, ...]] = {}
    for place in ("cpu", "cuda"):
        _, saved = layers.norm(kind, x.to(place), gain.to(place))
        alone = layers.norm_backward(kind, dy.to(place).clone(), gain.to(place), saved, 4)
        flat = tuple(t.reshape(-1, t.shape[-1]) for t in saved)
        rows, summed = dy.reshape(-1, shape[-1]).to(place), onto.reshape(-1, shape[-1]).to(place).clone()
        low = rows.bfloat16() if place == "cuda" else rows.clone()
        added, dgain = layers.norm_backward(kind, low, gain.to(place), (flat[0], flat[1]), 4, summed)
        assert added is summed
        assert dgain.dtype == torch.float32
        found[place] = tuple(t.cpu() for t in (*alone, added, dgain))
    for i, (device, cores) in enumerate(zip(found["cuda"], found["cpu"], strict=True)):
        tolerance = 1e-5 if i < 2 else 2e-2
        torch.testing.assert_close(device, cores, rtol=tolerance, atol=tolerance * float(cores.abs().max()))


@needs_gpu
@pytest.mark.parametrize("form", [per_example.gram_sq_norms, per_example.linear_weight_sq_norms])
def test_squared_norms_of_bfloat16_operands_are_summed_in_float32(form: Callable[..., torch.Tensor]) -> None:
    x, dy = (torch.randn(3, 40, n, generator=torch.Generator().manual_seed(n)).bfloat16() for n in (16, 24))
    found = form(x.cuda(), dy.cuda())
    torch.testing.assert_close(found.cpu(), form(x.double(), dy.double()), rtol=1e-4, atol=0.0)


@pytest.fixture
def _waiting_is_told() -> Iterator[None]:
    """Torch warns of every operation that waits for the device."""
    torch.cuda.set_sync_debug_mode("warn")
    yield
    torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@pytest.mark.usefixtures("_waiting_is_told")
def test_the_host_does_not_wait_for_the_device_within_an_update(tmp_path: Path) -> None:
    """It does where rows are read, and where a state is written."""
    with pytest.warns(UserWarning, match="called a synchronizing CUDA operation") as caught:
        train(segment_spec(norms_every=12, probe_norm_layers_every=1, **SHAPE), tmp_path, machine=GPU)
    update = ("optimizer.py", "layers.py", "model.py", "per_example.py", "trainer.py", "workers.py", "batches.py")
    assert [f"{w.filename}:{w.lineno}" for w in caught if Path(w.filename).name in update] == []


@needs_gpu
def test_a_share_gives_a_device_and_a_limit() -> None:
    with placed(25) as place:
        decoder = Decoder(model_spec(), device=place)
        assert decoder.flat_weights.device.index == int(place.removeprefix("cuda:"))
        total = torch.cuda.get_device_properties(place).total_memory
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.3 * total), dtype=torch.uint8, device=place)


def test_tiny_benchmark(tmp_path: Path) -> None:
    """Every row is there and its numbers agree: FLOP/s are tokens/s times FLOPs per token."""
    command = ["benchmarks/gpu.py", "--tiny", "--seconds", "0.2", "--packed", "1,2", "--json", str(tmp_path / "rows")]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows").read_text())
    assert {row["size"] for row in rows} == {"tiny", "small"}
    assert any(row["how"].endswith("packed 2") for row in rows)
    for row in rows:
        assert row["tokens_per_second"] > 0.0
    tiny = [row["flops_per_second"] / row["tokens_per_second"] for row in rows if row["size"] == "tiny"]
    # d_model 64, one layer: 4·64² of attention, 3·64·176 of the feed-forward block, 512·64 of the head.
    assert tiny == pytest.approx([3 * (2 * (4 * 64**2 + 3 * 64 * 176 + 512 * 64) + 2 * 64 * 33)] * len(tiny))
    assert "| parameters | batch |" in done.stdout
