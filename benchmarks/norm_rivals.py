"""Ways to per-example gradient norms for one model of torch's modules: ours, Opacus' and that of `torch.func`.

All train the same decoder, nanoGPT's with an untied head, biased LayerNorm (Opacus knows no other) and positions
embedded for every example, by the same update: gradients, clipping, fused AdamW, the loss read. All know the squared
norm of the gradient of every example afterwards, over the same parameters. Opacus adds no noise and clips no example
here: `per-sample gradients` are its default, `ghost norms` those of its fast gradient clipping, without the second
backward pass that the clipping would need. `torch.func.vmap(grad)` has no batching rule for the fused attention of a
CPU and is given the form it has rules for.
"""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from rivals import NanoGPT
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from glidepath.study.specs import ModelSpec
from glidepath.training.probed_modules import Probe

Update = Callable[[], Tensor]
"""One update. Returns |g_b|² of every example over the parameters it knows, [B]; empty for plain training."""

PLAIN = "plain training"


class Model(NanoGPT):
    """Returns the mean loss of a batch."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.norm = nn.LayerNorm(spec.d_model)
        for block in self.blocks:
            block.attention_norm, block.feed_forward_norm = nn.LayerNorm(spec.d_model), nn.LayerNorm(spec.d_model)
        self.head = nn.Linear(spec.d_model, spec.vocab_size, bias=False)

    def forward(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        x = self.embedding(inputs_BT) + self.position(self.positions.expand(inputs_BT.shape).contiguous())
        for block in self.blocks:
            x = block(x)
        loss: Tensor = F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets_BT.flatten())
        return loss


def contestant(name: str, spec: ModelSpec, ids_BT: Tensor) -> Update:
    """A model of its own, from the same initial weights, and its update."""
    torch.manual_seed(0)
    model = Model(spec).to(ids_BT.device)
    inputs_BT, targets_BT = ids_BT[:, :-1].contiguous(), ids_BT[:, 1:].contiguous()
    return CONTESTANTS[name](model, inputs_BT, targets_BT)


def plain(model: nn.Module, inputs_BT: Tensor, targets_BT: Tensor) -> Update:
    def gradients() -> tuple[Tensor, Tensor]:
        loss = model(inputs_BT, targets_BT)
        loss.backward()
        return loss, torch.empty(0)

    return _update(model, gradients)


def ours(model: nn.Module, inputs_BT: Tensor, targets_BT: Tensor, layers: str = "all") -> Update:
    probe = Probe.attach(model, layers="norm" if layers == "norm" else "all")
    n = len(inputs_BT)

    def gradients() -> tuple[Tensor, Tensor]:
        with probe.armed(n):
            loss = model(inputs_BT, targets_BT)
            loss.backward()
        sq_norms_B = torch.stack(list(probe.squared_norms().values())).sum(0)
        probe.clear()
        return loss, n**2 * sq_norms_B

    return _update(model, gradients)


def ours_norm_layers(model: nn.Module, inputs_BT: Tensor, targets_BT: Tensor) -> Update:
    return ours(model, inputs_BT, targets_BT, "norm")


def opacus_gradients(model: nn.Module, inputs_BT: Tensor, targets_BT: Tensor) -> Update:
    from opacus.grad_sample import GradSampleModule

    parameters = list(model.parameters())
    hooked = GradSampleModule(model, loss_reduction="mean")

    def gradients() -> tuple[Tensor, Tensor]:
        loss = hooked(inputs_BT, targets_BT)
        loss.backward()
        sq_norms_B = _sum_of_squares(p.grad_sample for p in parameters)  # type: ignore[attr-defined]
        for p in parameters:
            p.grad_sample = None  # type: ignore[attr-defined]
        return loss, sq_norms_B

    return _update(model, gradients)


def opacus_norms(model: nn.Module, inputs_BT: Tensor, targets_BT: Tensor) -> Update:
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    parameters = list(model.parameters())
    hooked = GradSampleModuleFastGradientClipping(
        model, loss_reduction="mean", max_grad_norm=1.0, use_ghost_clipping=True
    )

    def gradients() -> tuple[Tensor, Tensor]:
        loss = hooked(inputs_BT, targets_BT)
        loss.backward()
        norms_BP = torch.stack([p._norm_sample for p in parameters], 1)  # type: ignore[attr-defined]
        return loss, norms_BP.double().square().sum(1)

    return _update(model, gradients)


def vmap_of_grad(model: nn.Module, inputs_BT: Tensor, targets_BT: Tensor) -> Update:
    parameters = dict(model.named_parameters())

    def loss_of(weights: dict[str, Tensor], inputs_T: Tensor, targets_T: Tensor) -> Tensor:
        loss: Tensor = functional_call(model, weights, (inputs_T[None], targets_T[None]))
        return loss

    of_every_example = vmap(grad_and_value(loss_of), (None, 0, 0))

    def gradients() -> tuple[Tensor, Tensor]:
        weights = {name: p.detach() for name, p in parameters.items()}
        with sdpa_kernel(SDPBackend.MATH):
            gradients_B, losses_B = of_every_example(weights, inputs_BT, targets_BT)
        for name, p in parameters.items():
            p.grad = gradients_B[name].mean(0)
        return losses_B.mean(), _sum_of_squares(gradients_B.values())

    return _update(model, gradients)


CONTESTANTS: dict[str, Callable[[nn.Module, Tensor, Tensor], Update]] = {
    PLAIN: plain,
    "ours, norm layers": ours_norm_layers,
    "ours, all layers": ours,
    "Opacus, ghost norms": opacus_norms,
    "Opacus, per-sample gradients": opacus_gradients,
    "torch.func.vmap(grad)": vmap_of_grad,
}


def of_all_layers(name: str) -> bool:
    """Whether it tells the norm over all parameters."""
    return name not in (PLAIN, "ours, norm layers")


def opacus_version() -> str:
    """Ends the program, before anything is measured, if there is none."""
    try:
        return importlib.metadata.version("opacus")
    except importlib.metadata.PackageNotFoundError:
        sys.exit("opacus, a rival of this benchmark, is not installed: pip install -e '.[benchmarks]'")


def silence_hooks() -> None:
    """Opacus hooks embeddings, whose inputs have no gradient; torch tells so at every one."""
    warnings.filterwarnings("ignore", message="Full backward hook is firing")


def _sum_of_squares(gradients: Iterable[Tensor]) -> Tensor:
    norms_BP = torch.stack([torch.linalg.vector_norm(g_B.flatten(1), dim=1) for g_B in gradients], 1)
    return norms_BP.double().square().sum(1)


def _update(model: nn.Module, gradients: Callable[[], tuple[Tensor, Tensor]]) -> Update:
    """The update around them, as in `rivals.py`."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def update() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss, sq_norms_B = gradients()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        return sq_norms_B

    return update
