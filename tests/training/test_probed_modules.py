"""Modules that tell the norms of examples: against one backward pass per example, for every layer and whole models."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glidepath.training import probed_functions
from glidepath.training.probed_modules import TIED, Probe
from tests.training.gpt import GPT, VOCAB, T, group_name, mean_loss, sequences, squares_of_gradients

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def one_by_one(
    model: nn.Module, examples: Iterable[tuple[Tensor, Tensor]], tied: bool, loss: Loss = mean_loss
) -> list[dict[str, float]]:
    """|g_b|² by group of every example, from a backward pass of its own."""
    squares = []
    for inputs, targets in examples:
        model.zero_grad()
        loss(model, inputs, targets).backward()  # type: ignore[no-untyped-call]
        squares.append(squares_of_gradients(model, tied))
    model.zero_grad()
    return squares


def of_every_example(inputs: Tensor, targets: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    return zip(inputs.split(1), targets.split(1), strict=True)


def mean(squares: list[dict[str, float]]) -> dict[str, float]:
    return {group: sum(example[group] for example in squares) / len(squares) for group in squares[0]}


def probed_update(
    probe: Probe, model: nn.Module, inputs: Tensor, targets: Tensor, split: list[int], loss: Loss = mean_loss
) -> None:
    """Gradients of the mean over a batch, in micro-batches."""
    model.zero_grad()
    for x, y in zip(inputs.split(split), targets.split(split), strict=True):
        with probe.armed(len(x)):
            (loss(model, x, y) * len(x) / len(inputs)).backward()  # type: ignore[no-untyped-call]


VARIANTS = [
    {"tied": tied, "bias": bias, "norm": norm}
    for tied, bias, norm in itertools.product((False, True), (False, True), ("LayerNorm", "RMSNorm"))
]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_a_model_tells_the_norms_of_its_examples(variant: dict[str, Any], dtype: torch.dtype, tolerance: float) -> None:
    """Whatever the micro-batches; and its gradients stay the same."""
    model, tied = GPT(**variant).to(dtype), variant["tied"]
    inputs, targets = sequences(5)
    small = mean(one_by_one(GPT(**variant).double(), of_every_example(inputs, targets), tied))
    mean_loss(model, inputs, targets).backward()  # type: ignore[no-untyped-call]
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    big = squares_of_gradients(model, tied)
    probe = Probe.attach(model)
    for split in ([5], [2, 3]):
        probed_update(probe, model, inputs, targets, split)
        for name, p in model.named_parameters():
            assert p.grad is not None
            torch.testing.assert_close(p.grad, expected[name], rtol=tolerance, atol=0.1 * tolerance)
        norms = probe.statistics()
        assert {group: n.grad_sq_norm_small for group, n in norms.items()} == pytest.approx(small, rel=tolerance)
        assert {group: n.grad_sq_norm_big for group, n in norms.items()} == pytest.approx(big, rel=tolerance)
        assert {n.small_batch_examples for n in norms.values()} == {1.0}
        assert {n.big_batch_examples for n in norms.values()} == {5.0}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("gram", "at_once"), [(True, 1), (False, 10**6), (False, 2 * 12 * VOCAB)])
def test_both_forms_tell_the_same(tied: bool, gram: bool, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simultaneous one for all examples at once, or the head's matrices two at a time and others one by one."""
    monkeypatch.setattr(probed_functions, "gram_is_cheaper", lambda *_, **__: gram)
    monkeypatch.setattr(probed_functions, "NUMBERS_AT_ONCE", {"cpu": at_once})
    model = GPT(tied=tied).double()
    inputs, targets = sequences(5)
    expected = mean(one_by_one(model, of_every_example(inputs, targets), tied))
    mean_loss(model, inputs, targets).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    probe = Probe.attach(model)
    probed_update(probe, model, inputs, targets, [5])
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad, gradient, rtol=1e-9, atol=1e-12)
    assert {g: n.grad_sq_norm_small for g, n in probe.statistics().items()} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm"])
def test_norm_layers_alone_tell_the_same(norm: str) -> None:
    model = GPT(norm=norm).double()
    inputs, targets = sequences(4)
    expected = mean(one_by_one(model, of_every_example(inputs, targets), tied=False))
    probe = Probe.attach(model, layers="norm")
    assert type(model.head) is nn.Linear
    probed_update(probe, model, inputs, targets, [4])
    norms = probe.statistics()
    assert norms.keys() == {"norm"}
    assert norms["norm"].grad_sq_norm_small == pytest.approx(expected["norm"], rel=1e-12)


def test_groups_may_be_ones_own() -> None:
    model = GPT().double()
    inputs, targets = sequences(3)
    probe = Probe.attach(model, group_of=lambda name, _: "head" if name == "head" else "body")
    probed_update(probe, model, inputs, targets, [3])
    norms = probe.statistics()
    assert norms.keys() == {"head", "body"}
    squares = [model.head.weight.grad, model.head.bias.grad]
    assert norms["head"].grad_sq_norm_big == pytest.approx(
        sum(float(g.square().sum()) for g in squares if g is not None)
    )


def test_masked_targets_weigh_examples_by_their_valid_tokens() -> None:
    """Loss: sum over valid tokens over their number in the whole batch."""
    model = GPT(tied=True).double()
    inputs, targets = sequences(4)
    targets = targets.clone()
    for b, masked in enumerate((0, 3, 1, 5)):
        targets[b, T - masked :] = -100
    valid_B = (targets >= 0).sum(1)
    expected = one_by_one(model, of_every_example(inputs, targets), tied=True)
    probe = Probe.attach(model)
    for split in ([4], [1, 3]):
        model.zero_grad()
        for x, y in zip(inputs.split(split), targets.split(split), strict=True):
            with probe.armed(len(x)):
                loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum") / valid_B.sum()
                loss.backward()  # type: ignore[no-untyped-call]
        norms = probe.statistics(valid_B)
        small = {group: n.grad_sq_norm_small for group, n in norms.items()}
        assert small == pytest.approx(mean(expected), rel=1e-9)
        assert norms[TIED].big_batch_examples == pytest.approx(15**2 / (6**2 + 3**2 + 5**2 + 1))


LAYERS: list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]] = [
    ("linear without a sequence", lambda: nn.Linear(5, 3), (4, 5)),
    ("linear, simultaneous", lambda: nn.Linear(3, 4), (4, 50, 3)),
    ("linear, Gram", lambda: nn.Linear(60, 50), (4, 3, 60)),
    ("linear with two dimensions between", lambda: nn.Linear(5, 3, bias=False), (4, 2, 3, 5)),
    ("RMSNorm without a sequence", lambda: nn.RMSNorm(6), (4, 6)),
    ("RMSNorm of heads", lambda: nn.RMSNorm(6, eps=1e-3), (4, 2, 3, 6)),
    ("LayerNorm over two dimensions", lambda: nn.LayerNorm((2, 3)), (4, 5, 2, 3)),
    ("LayerNorm without bias", lambda: nn.LayerNorm(6, bias=False), (4, 5, 6)),
]


@pytest.mark.parametrize(("make", "shape"), [layer[1:] for layer in LAYERS], ids=[layer[0] for layer in LAYERS])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_a_layer_tells_the_norms_of_its_examples(
    make: Callable[[], nn.Module], shape: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    layer = make().double()
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape))
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def loss(y: Tensor) -> Tensor:
        return (y * torch.linspace(-1.0, 2.0, y[0].numel(), dtype=y.dtype).view(y[0].shape)).sin().sum()

    squares = []
    for b in range(len(x)):
        layer.zero_grad()
        loss(layer(x[b : b + 1])).backward()  # type: ignore[no-untyped-call]
        squares.append(sum(float(p.grad.square().sum()) for p in layer.parameters() if p.grad is not None))
    layer.zero_grad()
    x.grad = None
    loss(layer(x)).backward()  # type: ignore[no-untyped-call]
    expected = [None if y.grad is None else y.grad.clone() for y in (x, *layer.parameters())]
    layer, x = layer.to(dtype), x.detach().to(dtype).requires_grad_()
    layer.zero_grad()
    probe = Probe.attach(layer)
    with probe.armed(len(x)):
        loss(layer(x)).backward()  # type: ignore[no-untyped-call]
    (norms_B,) = probe.squared_norms().values()
    torch.testing.assert_close(norms_B, torch.tensor(squares, dtype=torch.float64), rtol=tolerance, atol=0.0)
    for got, wanted in zip([x.grad, *(p.grad for p in layer.parameters())], expected, strict=True):
        assert got is not None
        assert wanted is not None
        torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max()))


@pytest.mark.parametrize("tied", [False, True])
def test_frozen_parameters_do_not_count(tied: bool) -> None:
    model = GPT(tied=tied).double()
    model.blocks[0]["up"].weight.requires_grad_(False)
    model.final_norm.requires_grad_(False)
    model.position.requires_grad_(False)
    inputs, targets = sequences(3)
    examples = list(of_every_example(inputs, targets))
    squares = {"embedding": 0.0, "linear": 0.0, "norm": 0.0} | ({TIED: 0.0} if tied else {})
    for x, y in examples:
        model.zero_grad()
        mean_loss(model, x, y).backward()  # type: ignore[no-untyped-call]
        for name, p in model.named_parameters():
            squares[group_name(name, tied)] += 0.0 if p.grad is None else float(p.grad.square().sum()) / 3
    probe = Probe.attach(model)
    probed_update(probe, model, inputs, targets, [3])
    expected = {group: value for group, value in squares.items() if value}
    assert {group: n.grad_sq_norm_small for group, n in probe.statistics().items()} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("tied", [False, True])
def test_autocast_keeps_norms_near_those_of_double_precision(tied: bool) -> None:
    """Products of bfloat16 have three significant digits; gradients stay those of autocast without a probe."""
    model = GPT(tied=tied, width=16)
    inputs, targets = sequences(4)
    expected = mean(one_by_one(GPT(tied=tied, width=16).double(), of_every_example(inputs, targets), tied))

    def loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return mean_loss(model, inputs, targets)

    loss(model, inputs, targets).backward()  # type: ignore[no-untyped-call]
    plain = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    probe = Probe.attach(model)
    probed_update(probe, model, inputs, targets, [4], loss)
    for name, p in model.named_parameters():
        assert p.grad is not None
        assert p.grad.dtype == torch.float32
        assert torch.linalg.vector_norm(p.grad - plain[name]) < 0.01 * torch.linalg.vector_norm(plain[name])
    assert {g: n.grad_sq_norm_small for g, n in probe.statistics().items()} == pytest.approx(expected, rel=0.03)


def test_statistics_of_a_bfloat16_model_are_summed_in_more_bits() -> None:
    """Exact for the gradients that there are; and examples' norms add up to them, as far as those are exact."""
    model = GPT().bfloat16()
    inputs, targets = sequences(1)
    probe = Probe.attach(model)
    probed_update(probe, model, inputs, targets, [1])
    big = squares_of_gradients(model, tied=False)
    for group, norms in probe.statistics().items():
        assert norms.grad_sq_norm_big == pytest.approx(big[group], rel=1e-6)
        assert norms.grad_sq_norm_small == pytest.approx(big[group], rel=5e-3)


def test_the_big_batch_of_equal_shares_is_their_number() -> None:
    model = nn.Linear(3, 2)
    probe = Probe.attach(model)
    for n in range(1, 50):
        model.zero_grad()
        backward(probe, model, torch.ones(n, 3))
        assert probe.statistics()["linear"].big_batch_examples == n


def test_a_scaled_loss_gives_the_same_statistics_once_gradients_are_unscaled() -> None:
    model = GPT()
    optimizer = torch.optim.SGD(model.parameters())
    inputs, targets = sequences(4)
    probe = Probe.attach(model)
    probed_update(probe, model, inputs, targets, [4])
    expected = probe.statistics()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def scaled(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = scaler.scale(mean_loss(model, inputs, targets))
        return loss

    probed_update(probe, model, inputs, targets, [4], scaled)
    with pytest.raises(ValueError, match=r"unscale it if the loss was scaled \(loss_scale = 1024\)"):
        probe.statistics(loss_scale=scaler.get_scale())
    scaler.unscale_(optimizer)
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"loss_scale = .*: must be a positive number"):
            probe.statistics(loss_scale=wrong)
    assert probe.statistics(loss_scale=scaler.get_scale()) == expected


def test_disarmed_and_detached_models_are_those_of_torch() -> None:
    model, twin = GPT(tied=True), GPT(tied=True)
    inputs, targets = sequences(3)
    probe = Probe.attach(model)
    probed_update(probe, model, inputs, targets, [3])
    probe.clear()
    assert model.state_dict().keys() == twin.state_dict().keys()
    for detached in (False, True):
        if detached:
            probe.detach()
            assert [type(m) for m in model.modules()] == [type(m) for m in twin.modules()]
        for m in (model, twin):
            m.zero_grad()
            mean_loss(m, inputs, targets).backward()  # type: ignore[no-untyped-call]
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            assert p.grad is not None
            assert q.grad is not None
            assert torch.equal(p.grad, q.grad)


# Of the compiler, on its way through any autograd function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("tied", [False, True])
def test_one_compiled_graph_tells_the_same(tied: bool) -> None:
    model = GPT(tied=tied, norm="RMSNorm" if tied else "LayerNorm", n_layer=1).double()
    inputs, targets = sequences(4)
    expected = one_by_one(model, of_every_example(inputs, targets), tied)
    mean_loss(model, inputs, targets).backward()  # type: ignore[no-untyped-call]
    plain = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    probe = Probe.attach(model)
    compiled = torch.compile(mean_loss, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        probed_update(probe, model, inputs, targets, [4], lambda m, x, y: compiled(m, x, y))
        small = {group: n.grad_sq_norm_small for group, n in probe.statistics().items()}
        assert small == pytest.approx(mean(expected), rel=1e-9)
        for p, gradient in zip(model.parameters(), plain, strict=True):
            assert p.grad is not None
            torch.testing.assert_close(p.grad, gradient, rtol=1e-9, atol=1e-12)


class Scale(nn.Module):
    """A parameter that is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.by * x


class Twice(nn.Module):
    """One layer used two times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layer(self.layer(x)))


class HeadFirst(nn.Module):
    """A tied pair in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.embedding(self.head(x).argmax(-1)))


def two_of_one_weight() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(3, 3), Scale()), r"1\.by belongs to a Scale: .* layers='norm'"),
        (nn.MultiheadAttention(4, 2), "in_proj_weight belongs to a MultiheadAttention"),
        (nn.Sequential(nn.Embedding(5, 3, padding_idx=0)), "0: padding_idx = 0: .* set it to None"),
        (nn.Sequential(nn.Embedding(5, 3, sparse=True)), "0: sparse = True: .* set it to False"),
        (two_of_one_weight(), "0, 1 share a parameter: .* untie them"),
        (nn.Sequential(nn.ReLU()), "no parameter to probe with layers='all'"),
    ],
)
def test_what_cannot_be_accounted_for_is_refused(model: nn.Module, message: str) -> None:
    classes = [type(module) for module in model.modules()]
    with pytest.raises(ValueError, match=message):
        Probe.attach(model)
    assert [type(module) for module in model.modules()] == classes


def test_what_norm_layers_do_not_need_is_not_refused() -> None:
    Probe.attach(nn.Sequential(two_of_one_weight(), Scale(), nn.LayerNorm(3)), layers="norm")
    with pytest.raises(
        ValueError, match=r"no parameter to probe with layers='norm': it knows nn\.RMSNorm, nn\.LayerNorm only"
    ):
        Probe.attach(nn.Linear(3, 3), layers="norm")


def test_a_second_probe_is_refused() -> None:
    model = nn.Linear(3, 3)
    probe = Probe.attach(model)
    with pytest.raises(ValueError, match="has a probe already"):
        Probe.attach(model)
    probe.detach()
    Probe.attach(model)


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (nn.Linear(3, 3), torch.ones(7, 3), r"Linear: input of shape \(7, 3\), but the probe was armed for 4 examples"),
        (nn.Embedding(5, 3), torch.arange(4), "positions that all examples share are to be expanded"),
        (nn.LayerNorm(4), torch.ones(4), "the first of at least 2 dimensions must be the examples"),
        (HeadFirst(), torch.ones(4, 2, 3), "a tied head was used before its embedding"),
    ],
)
def test_passes_whose_examples_cannot_be_told_apart_are_refused(model: nn.Module, given: Tensor, message: str) -> None:
    probe = Probe.attach(model)
    with pytest.raises(ValueError, match=message), probe.armed(4):
        model(given)
    model(given)  # disarmed again


def backward(probe: Probe, model: nn.Module, x: Tensor) -> None:
    with probe.armed(len(x)):
        model(x).square().sum().backward()


def test_two_uses_of_a_layer_are_refused() -> None:
    model = nn.Sequential(Twice(), nn.Linear(3, 3))
    probe = Probe.attach(model)
    backward(probe, model, torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"0\.layer: was used 2 times in one pass"):
        probe.statistics()


def test_statistics_want_one_pass_per_example_and_its_gradient_alone() -> None:
    model = nn.Linear(3, 2)
    probe = Probe.attach(model)
    with pytest.raises(ValueError, match="no examples since the last statistics"):
        probe.statistics()
    with pytest.raises(ValueError, match="n_examples = 0"), probe.armed(0):
        pass
    with pytest.raises(ValueError, match="device = meta"), Probe.attach(nn.Linear(3, 2, device="meta")).armed(4):
        pass
    with pytest.raises(ValueError, match="no backward pass reached a probed module"), probe.armed(4):
        model(torch.ones(4, 3))
    backward(probe, model, torch.ones(4, 3))
    for weights in (torch.ones(3), torch.tensor([1.0, 0.0, 1.0, 1.0])):
        with pytest.raises(ValueError, match="must be a positive number for each of 4 examples"):
            probe.statistics(weights)
    backward_again = torch.ones(4, 3)
    probe.clear()
    backward(probe, model, backward_again)
    with pytest.raises(ValueError, match=r"linear: the gradient has squared norm .* set it to zero before"):
        probe.statistics()
    model.zero_grad()
    probe.clear()
    backward(probe, model, backward_again)
    # Four equal examples: nothing but the mean.
    norms = probe.statistics()["linear"]
    assert norms.grad_sq_norm_small == pytest.approx(norms.grad_sq_norm_big)
