"""The whole decoder: losses, gradients and per-example norms against autograd through a plain decoder, causality,
precision, repeatability, compilation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from glidepath.training import per_example
from glidepath.training.model import Decoder, Probe
from tests.training import reference
from tests.training.small import model_spec

VARIANTS = [
    {"feed_forward": f, "norm": n, "tied_embeddings": t, "qk_norm": q, "parametrization": p, "base_depth": 1}
    for f, n, t, q, p in itertools.product(
        ("gelu", "swiglu"), ("rmsnorm", "layernorm"), (False, True), (False, True), ("sp", "mup", "completep")
    )
]


def perturbed_decoder(changes: dict[str, Any], dtype: torch.dtype = torch.float64) -> Decoder:
    """Initial weights with noise on top, so that no gain is 1 and no projection 0."""
    decoder = Decoder(model_spec(**changes), dtype=dtype)
    decoder.initialise(1)
    generator = torch.Generator().manual_seed(0)
    for weights in decoder.weights.values():
        weights += 0.1 * torch.randn(weights.shape, generator=generator, dtype=torch.float64).to(dtype)
    return decoder


def sequences(n: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(0, 23, (n, 13), generator=torch.Generator().manual_seed(3))
    return ids[:, :-1], ids[:, 1:]


def autograd_gradients(decoder: Decoder, inputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean loss and its gradients, by autograd through the plain decoder."""
    weights = {name: w.detach().clone().requires_grad_() for name, w in decoder.weights.items()}
    loss = reference.token_losses(decoder.spec, weights, inputs, targets).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), {name: w.grad for name, w in weights.items() if w.grad is not None}


def norms_one_by_one(decoder: Decoder, inputs: Tensor, targets: Tensor) -> Tensor:
    """|g_b|² of every example's own mean loss by type of layer, [types, B], by one backward pass per example."""
    layer_types = decoder.layout.layer_types
    rows = {p.name: layer_types.index(p.layer_type) for p in decoder.layout.parameters}
    norms = torch.zeros(len(layer_types), len(inputs), dtype=torch.float64)
    for b in range(len(inputs)):
        for name, g in autograd_gradients(decoder, inputs[b : b + 1], targets[b : b + 1])[1].items():
            norms[rows[name], b] += g.double().square().sum()
    return norms


def probed(
    decoder: Decoder, inputs: Tensor, targets: Tensor, split: list[int], probe: Probe = "all"
) -> tuple[float, Tensor]:
    """Mean loss, and |g_b|² by type of layer [types, B], of a batch that is split into micro-batches.

    With the loss scaled by the whole batch, every example's gradient comes divided by B.
    """
    decoder.flat_gradients.zero_()
    total, norms = 0.0, []
    for x, y in zip(inputs.split(split), targets.split(split), strict=True):
        loss, sq_norms = decoder.accumulate_gradients(x, y, 1.0 / targets.numel(), probe)
        assert sq_norms is not None
        total += loss.item()
        norms.append(sq_norms)
    return total / targets.numel(), len(inputs) ** 2 * torch.cat(norms, 1)


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda c: "-".join(map(str, c.values())))
def test_gradients_and_per_example_norms_are_exact(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = perturbed_decoder(changes)
    inputs, targets = sequences(5)
    expected_norms = norms_one_by_one(decoder, inputs, targets)
    for gram in (False, True):
        monkeypatch.setattr(per_example, "gram_is_cheaper", lambda *_, chosen=gram: chosen)
        loss, norms = probed(decoder, inputs, targets, [2, 3])
        torch.testing.assert_close(norms, expected_norms, rtol=1e-9, atol=0.0)
    expected_loss, expected = autograd_gradients(decoder, inputs, targets)
    assert loss == pytest.approx(expected_loss.item(), rel=1e-13)
    torch.testing.assert_close(
        decoder.token_losses(inputs, targets),
        reference.token_losses(decoder.spec, decoder.weights, inputs, targets),
        rtol=1e-12,
        atol=0.0,
    )
    for name, gradient in decoder.gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-14)


def test_completep_halves_the_branches_of_twice_the_depth() -> None:
    """The same function as halving the output projections, which are linear."""
    decoder = perturbed_decoder({"parametrization": "completep", "base_depth": 1})
    twin = perturbed_decoder({"parametrization": "mup"})
    twin.flat_weights.copy_(decoder.flat_weights)
    for i in range(2):
        for name in ("attention_out", "down"):
            twin.weights[f"blocks.{i}.{name}"] *= 0.5
    inputs, _ = sequences(2)
    torch.testing.assert_close(decoder.logits(inputs), twin.logits(inputs), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("gram", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_per_example_norms_hold_in_lower_precision(
    dtype: torch.dtype, tolerance: float, gram: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With products in bfloat16 the gradients themselves are rounded: single examples are off by some percent, their
    mean by one."""
    monkeypatch.setattr(per_example, "gram_is_cheaper", lambda *_: gram)
    inputs, targets = sequences(5)
    for tied in (False, True):
        changes: dict[str, Any] = {"tied_embeddings": tied, "qk_norm": True, "feed_forward": "swiglu"}
        double = perturbed_decoder(changes)
        decoder = Decoder(double.spec, matmul_dtype=dtype)
        decoder.flat_weights.copy_(double.flat_weights)
        _, norms = probed(decoder, inputs, targets, [5])
        expected = norms_one_by_one(double, inputs, targets)
        assert norms.dtype == torch.float64
        torch.testing.assert_close(norms, expected, rtol=tolerance, atol=0.0)
        torch.testing.assert_close(norms.sum(0).mean(), expected.sum(0).mean(), rtol=tolerance / 10, atol=0.0)


def test_per_example_norms_do_not_depend_on_the_split() -> None:
    decoder = perturbed_decoder({})
    inputs, targets = sequences(6)
    norms = [probed(decoder, inputs, targets, split)[1] for split in ([6], [3, 3], [1, 5], [1] * 6)]
    for other in norms[1:]:
        torch.testing.assert_close(other, norms[0], rtol=1e-12, atol=0.0)


def test_one_example_has_the_norm_of_its_batch() -> None:
    """With B = 1 both sizes are the same measurement: this is where a wrong factor B² would show for B = 1
    and not B = 4."""
    decoder = perturbed_decoder({"tied_embeddings": True})
    inputs, targets = sequences(1)
    for copies in (1, 4):
        _, norms = probed(decoder, inputs.repeat(copies, 1), targets.repeat(copies, 1), [copies])
        assert norms.sum(0).mean().item() == pytest.approx(decoder.flat_gradients.square().sum().item(), rel=1e-12)


def test_a_probe_does_not_change_one_bit_of_the_gradients() -> None:
    decoder = perturbed_decoder({"qk_norm": True, "tied_embeddings": True}, torch.float32)
    inputs, targets = sequences(5)
    loss, nothing = decoder.accumulate_gradients(inputs, targets, 1.0 / targets.numel())
    assert nothing is None
    gradients = decoder.flat_gradients.clone()
    norms: dict[Probe, Tensor] = {}
    for probe in ("norms", "all"):
        probed_loss, norms[probe] = probed(decoder, inputs, targets, [5], probe)
        assert probed_loss == loss.item() / targets.numel()
        assert torch.equal(decoder.flat_gradients, gradients)
    assert norms["norms"].shape == (1, 5)
    assert decoder.layer_types("norms") == ["norm"]
    assert decoder.layer_types("all") == ["norm", "attention", "feed_forward", "embedding_head"]
    assert torch.equal(norms["norms"][0], norms["all"][0])


def test_future_tokens_do_not_change_past_logits() -> None:
    decoder = perturbed_decoder({"qk_norm": True})
    inputs, _ = sequences(1)
    changed = inputs.clone()
    changed[0, 7:] = (changed[0, 7:] + 1) % 23
    before, after = decoder.logits(inputs), decoder.logits(changed)
    assert torch.equal(before[:7], after[:7])
    assert not torch.allclose(before[7:], after[7:])


def test_bfloat16_products_stay_close_to_float32() -> None:
    inputs, targets = sequences(4)
    changes: dict[str, Any] = {"feed_forward": "swiglu", "qk_norm": True}
    exact = perturbed_decoder(changes, torch.float32)
    rounded = Decoder(exact.spec, matmul_dtype=torch.bfloat16)
    rounded.flat_weights.copy_(exact.flat_weights)
    scale = 1.0 / targets.numel()
    losses = [decoder.accumulate_gradients(inputs, targets, scale)[0].item() * scale for decoder in (exact, rounded)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    cosine = torch.cosine_similarity(exact.flat_gradients, rounded.flat_gradients, dim=0).item()
    assert cosine > 0.999
    assert rounded.flat_gradients.dtype == torch.float32


@pytest.mark.parametrize("context_length", [12, 150])  # within and across the query blocks
def test_float32_and_its_repetition(context_length: int) -> None:
    """Single precision differs from double by rounding only, and twice the same pass gives the same bits."""
    changes: dict[str, Any] = {"context_length": context_length, "feed_forward": "swiglu"}
    single, double = (perturbed_decoder(changes, dtype) for dtype in (torch.float32, torch.float64))
    ids = torch.randint(0, 23, (3, context_length + 1), generator=torch.Generator().manual_seed(4))
    inputs, targets = ids[:, :-1], ids[:, 1:]
    passes = []
    for _ in range(2):
        single.flat_gradients.zero_()
        loss, _ = single.accumulate_gradients(inputs, targets, 1.0 / targets.numel())
        passes.append((loss, single.flat_gradients.clone()))
    assert torch.equal(passes[0][0], passes[1][0])
    assert torch.equal(passes[0][1], passes[1][1])
    expected_loss, expected = autograd_gradients(double, inputs, targets)
    assert passes[0][0].item() / targets.numel() == pytest.approx(expected_loss.item(), rel=1e-6)
    for name, gradient in single.gradients.items():
        error = (gradient - expected[name]).norm() / expected[name].norm()
        assert error.item() < 1e-5, name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("matmul_dtype", "changes"),
    [
        (torch.bfloat16, {"feed_forward": "swiglu", "norm": "layernorm"}),
        (torch.float32, {"feed_forward": "gelu", "tied_embeddings": True}),
    ],
    ids=["as on a GPU", "as on a CPU"],
)
def test_the_step_compiles_whole_and_gives_the_same_gradients(
    matmul_dtype: torch.dtype, changes: dict[str, Any]
) -> None:
    """With every probe; in bfloat16 with real rotation and fused attention."""
    torch._dynamo.reset()  # Its limit of graphs per function counts those of other tests.
    decoder = perturbed_decoder({"qk_norm": True, "n_layer": 1, **changes}, torch.float32)
    compiled = Decoder(decoder.spec, matmul_dtype=matmul_dtype)
    compiled.flat_weights.copy_(decoder.flat_weights)
    inputs, targets = sequences(4)
    step = torch.compile(compiled.accumulate_gradients, fullgraph=True)
    probes: tuple[Probe, ...] = ("none", "norms", "all")
    tolerance = 2e-2 if matmul_dtype == torch.bfloat16 else 1e-4
    for probe in probes:
        with torch.no_grad():
            compiled.flat_gradients.zero_()
            eager_loss, eager_norms = compiled.accumulate_gradients(inputs, targets, 1.0, probe)
            eager = compiled.flat_gradients.clone()
            compiled.flat_gradients.zero_()
            loss, norms = step(inputs, targets, 1.0, probe)
        assert torch.cosine_similarity(eager, compiled.flat_gradients, dim=0).item() > 0.999
        torch.testing.assert_close(loss, eager_loss, rtol=tolerance, atol=0.0)
        torch.testing.assert_close(norms, eager_norms, rtol=tolerance, atol=0.0)
