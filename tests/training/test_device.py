"""What a machine contributes, and that it does not decide results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from glidepath.training.device import Machine, configure, micro_batch_sequences, placed, sequences_that_fit
from glidepath.training.model import Decoder, Probe
from glidepath.training.parameters import Layout
from tests.training.small import CPU, counting_tokens, model_spec, segment_spec, train


def test_a_cpu_takes_the_whole_batch() -> None:
    assert micro_batch_sequences(model_spec(), "cpu") is None


def test_twice_the_memory_for_activations_takes_twice_the_sequences_and_one_always_fits() -> None:
    spec = model_spec()
    per_sequence = (12 * spec.vocab_size + spec.n_layer * (40 * spec.d_model + 20 * spec.d_ff)) * spec.context_length
    parameters = 22 * Layout(spec).size
    assert sequences_that_fit(spec, (parameters + 100.5 * per_sequence) / 0.8) == 100
    assert sequences_that_fit(spec, (parameters + 200.5 * per_sequence) / 0.8) == 200
    assert sequences_that_fit(spec, 0.0) == 1


@pytest.mark.parametrize("name", ["tpu", "cpu:0", "cuda:x"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be 'cpu' or 'cuda'"):
        configure(Machine(name, 1, None, False, None))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"device = '{name}': this torch sees 0 GPUs"):
        configure(Machine(name, 1, None, False, None))


def test_a_job_without_a_share_runs_on_the_cores_and_an_impossible_share_is_refused() -> None:
    with placed(0) as place:
        assert place == "cpu"
    with pytest.raises(ValueError, match="gpu_share = 200: the share of one device"), placed(200):
        pass


def gradients(dtype: torch.dtype, micro_batch: int) -> tuple[float, NDArray[np.float64]]:
    """Loss and gradient of eight sequences, so many at a time."""
    model = model_spec(tied_embeddings=True, qk_norm=True, feed_forward="swiglu")
    decoder = Decoder(model, dtype=dtype)
    decoder.initialise(3)
    ids = torch.from_numpy(counting_tokens().train[: 8 * 13].astype(np.int64)).view(8, 13)
    scale = 1.0 / ids[:, 1:].numel()
    losses = [decoder.accumulate_gradients(part[:, :-1], part[:, 1:], scale)[0] for part in ids.split(micro_batch)]
    return scale * float(sum(losses)), decoder.flat_gradients.double().numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_gradients_do_not_depend_on_the_micro_batch(dtype: torch.dtype, tolerance: float) -> None:
    whole_loss, whole = gradients(dtype, 8)
    for micro_batch in (1, 2, 4, 5):
        loss, split = gradients(dtype, micro_batch)
        assert loss == pytest.approx(whole_loss, rel=tolerance)
        np.testing.assert_allclose(split, whole, rtol=0, atol=tolerance * np.abs(whole).max())


def test_a_segment_does_not_depend_on_the_micro_batch(tmp_path: Path) -> None:
    spec = segment_spec(evaluate_full_at=(12,))
    whole = train(spec, tmp_path / "whole")
    for micro_batch in (1, 2, 4):
        machine = replace(CPU, micro_batch_sequences=micro_batch)
        split = train(spec, tmp_path / f"by{micro_batch}", machine=machine)
        for column in ("train_loss", "grad_norm"):
            np.testing.assert_allclose(split.updates[column], whole.updates[column], rtol=1e-5)
        np.testing.assert_allclose(split.block_losses["loss"], whole.block_losses["loss"], rtol=1e-5)


def test_products_in_bfloat16_give_the_gradient_in_its_precision() -> None:
    """The precision of a GPU, with torch's own attention kernel: bfloat16 has three digits, the sums are float32."""
    model = model_spec(qk_norm=True, feed_forward="swiglu")
    ids = torch.from_numpy(counting_tokens().train[: 4 * 13].astype(np.int64)).view(4, 13)
    exact, rounded = Decoder(model), Decoder(model, matmul_dtype=torch.bfloat16)
    found = []
    for decoder in (exact, rounded):
        decoder.initialise(3)
        found.append(float(decoder.accumulate_gradients(ids[:, :-1], ids[:, 1:], 1.0 / 48)[0]))
        assert decoder.flat_weights.dtype == decoder.flat_gradients.dtype == torch.float32
    assert found[1] == pytest.approx(found[0], rel=1e-2)
    error = torch.linalg.vector_norm(exact.flat_gradients - rounded.flat_gradients)
    assert float(error / torch.linalg.vector_norm(exact.flat_gradients)) < 0.03


def test_a_batch_ramp_is_compiled_twice_for_every_probe() -> None:
    """Once for the first batch and once for all others: their sizes and scales are arguments of the compiled pass,
    which is one graph. Together they stay below torch's limit of eight."""
    torch._dynamo.reset()
    decoder = Decoder(model_spec(d_head=8, qk_norm=True, tied_embeddings=True), matmul_dtype=torch.bfloat16)
    decoder.initialise(3)
    compiled = []

    def counted(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Callable[..., object]:
        compiled.append(graph)
        return graph

    accumulate_gradients = torch.compile(decoder.accumulate_gradients, backend=counted, fullgraph=True)
    probes: tuple[Probe, ...] = ("none", "norms", "all")
    for n in range(4, 16):
        ids = torch.from_numpy(counting_tokens().train[: n * 13].astype(np.int64)).view(n, 13)
        for probe in probes:
            accumulate_gradients(ids[:, :-1], ids[:, 1:], 1.0 / (12 * n), probe)
    assert len(compiled) <= 6
