"""The gradient noise scale in a training loop of one's own: modules of torch that tell the squared gradient norm of
every example (sequence), from the same backward pass that trains.

    probe = Probe.attach(model)                       # before torch.compile and before the first update
    for inputs, targets in micro_batches:
        with probe.armed(len(inputs)):
            (loss_of(inputs, targets) * len(inputs) / batch_examples).backward()
    for group, norms in probe.statistics().items():   # before gradients are clipped
        ...                                           # science/noise_scale.py makes noise scales of them
    optimizer.step()

The modules stay the same objects with the same parameters; only their class changes, to one whose forward pass is
torch's own while the probe is disarmed. Armed, each is an autograd function that hands the squared norms out as the
gradient of a leaf (`probed_functions.py`). So there are no hooks, and `torch.compile(fullgraph=True)` keeps one graph.

The loss of the whole batch has to be a mean over its examples, Σ_b ℓ_b/B, or Σ_b w_b·ℓ_b with shares w_b that add up to
one: micro-losses that are means are multiplied by n_micro/B. Where a `GradScaler` multiplies the loss, `statistics` is
to be called after `scaler.unscale_(optimizer)` and told the scale. Sequences are the examples, not tokens, and nothing
may mix them, as a batch norm does. Parameters have to be used by way of their modules, once in a pass. This is for one
process: with several, see `data_parallel_norms.py`.

Shape legend: B examples, T tokens, D inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from glidepath.training import probed_functions as functions
from glidepath.training.per_example import square_sums

TIED = "embedding_head"
NORMS = (nn.RMSNorm, nn.LayerNorm)
GRADIENT_TOLERANCE = 1e-2
"""How much longer than the sum of its examples' a gradient may seem, in the coarsest precision."""


@dataclass(frozen=True)
class SquaredNorms:
    """Squared gradient norms at two batch sizes of one group of parameters, as `gradient_statistics` has them."""

    grad_sq_norm_small: float
    """|g_b|², a mean over examples, or over the parts of a batch."""
    grad_sq_norm_big: float
    """|g_B|² of the whole batch."""
    small_batch_examples: float
    big_batch_examples: float


def layer_type(name: str, module: nn.Module) -> str:  # noqa: ARG001
    """embedding, linear, norm or other."""
    if isinstance(module, nn.Embedding):
        return "embedding"
    if isinstance(module, nn.Linear):
        return "linear"
    return "norm" if isinstance(module, NORMS) else "other"


def check_loss_scale(loss_scale: float) -> None:
    """Raises ValueError unless it is positive and finite."""
    if not 0.0 < loss_scale < float("inf"):
        raise ValueError(
            f"loss_scale = {loss_scale}: must be a positive number, what the loss was multiplied by; give the scaler's "
            "get_scale() of this backward pass, or leave it out where the loss was not scaled"
        )


class Probe:
    """The probed modules of a model, and the squared norms of the examples seen since the last `statistics`."""

    def __init__(self, modules: Sequence[ProbedModule], names: Sequence[str], groups: Sequence[str]) -> None:
        self._modules, self._names, self._groups = modules, names, groups
        self._seen: list[list[Tensor]] = []

    @classmethod
    def attach(
        cls,
        model: nn.Module,
        layers: Literal["all", "norm"] = "all",
        group_of: Callable[[str, nn.Module], str] = layer_type,
    ) -> Probe:
        """Make the modules of a model tell their norms: all, or the norm layers alone.

        Norms are summed by the group that `group_of` gives for a module and its name; a tied embedding and head are
        always `embedding_head`. Modules whose parameters are all frozen are left alone.

        Raises ValueError for a parameter that cannot be accounted for (`all`), for a model without norm layers
        (`norm`), and for a model that has a probe already.
        """
        found = {name: module for name, module in model.named_modules() if _is_to_be_probed(name, module, layers)}
        if not found:
            raise ValueError(f"no parameter to probe with layers={layers!r}: it knows {_known(layers)} only")
        tied = _tied_pairs(found)
        modules = {name: _with_probe(module) for name, module in found.items()}
        groups = {name: group_of(name, module) for name, module in found.items()}
        for pair in tied:
            tie = Tie()
            for name in pair:
                modules[name].tie, groups[name] = tie, TIED
        return cls(list(modules.values()), list(modules), list(groups.values()))

    def detach(self) -> None:
        """Make the modules those of torch again."""
        for module in self._modules:
            module.__dict__.pop("leaf", None)
            module.__dict__.pop("tie", None)
            # What mypy has as its class is no longer true.
            cast(nn.Module, module).__class__ = module.plain

    @contextmanager
    def armed(self, n_examples: int) -> Iterator[None]:
        """Take the norms of one micro-batch: forward and backward pass belong inside.

        The first dimension of what modules are given must be the examples. Raises ValueError at the end if no backward
        pass reached a probed module.
        """
        if n_examples < 1:
            raise ValueError(f"n_examples = {n_examples}: must be at least 1")
        device = next(p.device for module in self._modules for p in module.parameters())
        if device.type not in functions.NUMBERS_AT_ONCE:
            raise ValueError(
                f"device = {device}: costs and float64 sums are known for {[*functions.NUMBERS_AT_ONCE]} only"
            )
        for module in self._modules:
            module.leaf = torch.zeros(n_examples + 1, dtype=torch.float64, device=device, requires_grad=True)
        try:
            yield
            gradients = [module.leaf.grad for module in self._modules if module.leaf is not None]
        finally:
            for module in self._modules:
                module.leaf = None
                if module.tie:
                    module.tie.begin()
        if all(gradient is None for gradient in gradients):
            raise ValueError(
                "no backward pass reached a probed module: forward and backward pass belong inside `armed`"
            )
        nothing = torch.zeros(n_examples + 1, dtype=torch.float64, device=device)
        self._seen.append([nothing if gradient is None else gradient for gradient in gradients])

    def squared_norms(self) -> dict[str, Tensor]:
        """|∂loss/∂parameters from example b|² by group, float64 [B] over all micro-batches since the last `statistics`.

        They are those of the loss as it was differentiated, so for a mean over B examples |g_b|²/B². Raises ValueError
        if there are none, or if a module was used more than once in a pass.
        """
        if not self._seen:
            raise ValueError("no examples since the last statistics: arm the probe for a backward pass first")
        norms: dict[str, Tensor] = {}
        seen_MB = torch.cat([torch.stack(leaves)[:, :-1] for leaves in self._seen], dim=1)
        uses_M = torch.stack([torch.stack(leaves)[:, -1] for leaves in self._seen]).amax(0).tolist()
        for name, group, uses, squares_B in zip(self._names, self._groups, uses_M, seen_MB, strict=True):
            if uses > 1:
                raise ValueError(
                    f"{name}: was used {uses:.0f} times in one pass; the gradient of an example is the sum over its "
                    "uses, whose norm is not known from theirs: use it once, or attach with layers='norm'"
                )
            norms[group] = norms[group] + squares_B if group in norms else squares_B
        return norms

    def statistics(self, weights_B: Tensor | None = None, loss_scale: float = 1.0) -> dict[str, SquaredNorms]:
        """Squared norms at the two batch sizes by group; forgets the examples. To be read before the gradients are
        clipped, and gradients must be of this batch alone.

        An example's gradient arrives as w_b·g_b, so its square is divided by w_b². The shares w_b are 1/B, or in
        proportion to the weights given, in the order in which examples were seen: where targets are masked and the loss
        is a mean over tokens, the numbers of valid tokens. The noise scale is then that of the mean so weighted. Such a
        mean is as noisy as a plain one of 1/Σ_b w_b² examples (B for equal shares), if the gradients of short and long
        examples are equally noisy: that is the big batch.

        `loss_scale` is what the loss was multiplied by beyond these shares and the gradients have been divided by since
        (`scaler.unscale_(optimizer)`, then `scaler.get_scale()`): the norms of examples come from the scaled backward
        pass and are divided by its square, the gradients are taken as they are now. An update that the scaler is going
        to skip has norms that are no numbers.

        Raises ValueError for weights that are not one positive number per example, for a scale that is not a positive
        number, for a gradient that is longer than the sum of its examples' (there is more in it than this batch, or it
        still holds the scale), and as `squared_norms`.
        """
        check_loss_scale(loss_scale)
        norms = self.squared_norms()
        n = len(next(iter(norms.values())))
        weights_B = (torch.ones(n) if weights_B is None else weights_B.detach().cpu()).double()
        if weights_B.shape != (n,) or not bool((weights_B > 0.0).all()):
            raise ValueError(
                f"weights of shape {tuple(weights_B.shape)}, the smallest {float(weights_B.min()):.3g}: must be a "
                f"positive number for each of {n} examples; leave examples without a valid token out of the batch"
            )
        shares_B = weights_B / weights_B.sum()
        big_batch_examples = float(weights_B.sum().square() / weights_B.square().sum())
        big = self._gradient_sq_norms()
        result: dict[str, SquaredNorms] = {}
        for group, squares_B in norms.items():
            squares_B = squares_B.cpu() / loss_scale**2
            longest = float(squares_B.sqrt().sum()) ** 2
            if big[group] > (1.0 + GRADIENT_TOLERANCE) * longest:
                raise ValueError(
                    f"{group}: the gradient has squared norm {big[group]:.6g}, more than the {longest:.6g} that its "
                    "examples can add up to: it must hold this batch alone, so set it to zero before, use parameters "
                    f"by way of their modules, and unscale it if the loss was scaled (loss_scale = {loss_scale:g})"
                )
            small = float((squares_B / shares_B.square()).mean())
            result[group] = SquaredNorms(small, big[group], 1.0, big_batch_examples)
        self.clear()
        return result

    def clear(self) -> None:
        """Forget the examples seen so far."""
        self._seen.clear()

    def _gradient_sq_norms(self) -> dict[str, float]:
        # A tied parameter has two modules and counts once.
        owned = zip(self._modules, self._groups, strict=True)
        groups = {p: group for module, group in owned for p in module.parameters(recurse=False)}
        squares: dict[str, list[Tensor]] = {group: [] for group in self._groups}
        for p, group in groups.items():
            if p.requires_grad and p.grad is not None:
                squares[group].append(square_sums(p.grad[None]))
        return {group: float(torch.cat(parts).sum()) if parts else 0.0 for group, parts in squares.items()}


class Tie:
    """What a tied embedding hands to its head in the forward pass: the ids and the carrier (`probed_functions.py`)."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Nothing is handed over yet."""
        self.ids_BT: Tensor | None = None
        self.carrier_BTD: Tensor | None = None
        self.head_was_used = False

    def hand_over(self) -> tuple[Tensor | None, Tensor | None]:
        """To the head, once."""
        handed = self.ids_BT, self.carrier_BTD
        self.ids_BT = self.carrier_BTD = None
        self.head_was_used = True
        return handed


class Probed:
    """What the modules below have beside those of torch."""

    plain: ClassVar[type[nn.Module]]
    leaf: Tensor | None = None
    """While armed: its gradient becomes the squared norms of B examples, and the number of uses."""
    tie: Tie | None = None

    def _check(self, x: Tensor, leaf: Tensor, least_dimensions: int) -> None:
        n = leaf.shape[0] - 1
        if x.dim() < least_dimensions or x.shape[0] != n:
            raise ValueError(
                f"{self.plain.__name__}: input of shape {tuple(x.shape)}, but the probe was armed for {n} examples: "
                f"the first of at least {least_dimensions} dimensions must be the examples; positions that all "
                "examples share are to be expanded to [examples, tokens] before they are embedded"
            )


class ProbedLinear(Probed, nn.Linear):
    """nn.Linear on [B, D] or [B, …, D]."""

    plain = nn.Linear

    def forward(self, input: Tensor) -> Tensor:
        """y = x·Wᵀ + c."""
        if self.leaf is None:
            return nn.Linear.forward(self, input)
        self._check(input, self.leaf, 2)
        operands = _as_autocast(input, self.weight, self.bias)
        handed = self.tie.hand_over() if self.tie else (None, None)
        y: Tensor = functions.Linear.apply(*operands, self.leaf, *handed)  # type: ignore[no-untyped-call]
        return y


class ProbedEmbedding(Probed, nn.Embedding):
    """nn.Embedding of ids [B, …]."""

    plain = nn.Embedding

    def forward(self, input: Tensor) -> Tensor:
        """The rows of the ids."""
        if self.leaf is None:
            return nn.Embedding.forward(self, input)
        self._check(input, self.leaf, 2)
        y: Tensor
        if self.tie is None:
            y = functions.Embedding.apply(input, self.weight, self.leaf)  # type: ignore[no-untyped-call]
            return y
        if self.tie.head_was_used:
            raise ValueError("a tied head was used before its embedding: the product of their gradients is not known")
        y, carrier_BTD = functions.TiedEmbedding.apply(input, self.weight, self.leaf)  # type: ignore[no-untyped-call]
        self.tie.ids_BT, self.tie.carrier_BTD = input.flatten(1), carrier_BTD
        return y


class ProbedRMSNorm(Probed, nn.RMSNorm):
    """nn.RMSNorm with a gain."""

    plain = nn.RMSNorm

    def forward(self, x: Tensor) -> Tensor:
        """y = x̂·gain with x̂ = x/√(mean x² + ε)."""
        if self.leaf is None:
            return nn.RMSNorm.forward(self, x)
        self._check(x, self.leaf, 1 + len(self.normalized_shape))
        eps = torch.finfo(functions.at_least_float32(x).dtype).eps if self.eps is None else self.eps
        y: Tensor = functions.RMSNorm.apply(x, self.weight, self.leaf, eps)  # type: ignore[no-untyped-call]
        return y


class ProbedLayerNorm(Probed, nn.LayerNorm):
    """nn.LayerNorm with a gain, with or without a bias."""

    plain = nn.LayerNorm

    def forward(self, input: Tensor) -> Tensor:
        """y = x̂·gain + bias with x̂ = (x - mean x)/√(variance + ε)."""
        if self.leaf is None:
            return nn.LayerNorm.forward(self, input)
        self._check(input, self.leaf, 1 + len(self.normalized_shape))
        operands = input, self.weight, self.bias, self.leaf, self.eps
        y: Tensor = functions.LayerNorm.apply(*operands)  # type: ignore[no-untyped-call]
        return y


ProbedModule: TypeAlias = ProbedLinear | ProbedEmbedding | ProbedRMSNorm | ProbedLayerNorm
WITH_PROBE: dict[type[nn.Module], type[ProbedModule]] = {
    nn.Linear: ProbedLinear, nn.Embedding: ProbedEmbedding, nn.RMSNorm: ProbedRMSNorm, nn.LayerNorm: ProbedLayerNorm,
}  # fmt: skip


def _known(layers: Literal["all", "norm"]) -> str:
    return ", ".join(f"nn.{known.__name__}" for known in (NORMS if layers == "norm" else WITH_PROBE))


def _is_to_be_probed(name: str, module: nn.Module, layers: Literal["all", "norm"]) -> bool:
    """Whether it has parameters that count. Raises ValueError for those that cannot be accounted for."""
    if isinstance(module, Probed):
        raise ValueError(f"{name or 'the model'}: has a probe already; detach that first")
    trained = [key for key, p in module.named_parameters(recurse=False) if p.requires_grad]
    if not trained or (layers == "norm" and type(module) not in NORMS):
        return False
    if type(module) not in WITH_PROBE:
        parameter = f"{name}.{trained[0]}" if name else trained[0]
        raise ValueError(
            f"{parameter} belongs to a {type(module).__name__}: norms of single examples are known for parameters of "
            f"{_known('all')} and not of their subclasses; build the model of these, freeze the parameter, or attach "
            "with layers='norm'"
        )
    if isinstance(module, nn.Embedding):
        plain = {"padding_idx": None, "max_norm": None, "scale_grad_by_freq": False, "sparse": False}
        for option, value in plain.items():
            if getattr(module, option) != value:
                raise ValueError(
                    f"{name or 'the model'}: {option} = {getattr(module, option)}: its gradient is not that of a plain "
                    f"embedding; set it to {value}, freeze the embedding, or attach with layers='norm'"
                )
    return True


def _tied_pairs(modules: Mapping[str, nn.Module]) -> list[list[str]]:
    """Names of embedding and linear layer with one parameter between them. Raises ValueError for other sharing."""
    users: dict[nn.Parameter, list[str]] = {}
    for name, module in modules.items():
        for p in module.parameters(recurse=False):
            users.setdefault(p, []).append(name)
    shared = [names for names in users.values() if len(names) > 1]
    for names in shared:
        if sorted(type(modules[name]).__name__ for name in names) != ["Embedding", "Linear"]:
            raise ValueError(
                f"{', '.join(names)} share a parameter: the norm of the sum of their gradients is known for one "
                "embedding and one linear layer only; untie them, or attach with layers='norm'"
            )
    return shared


def _with_probe(module: nn.Module) -> ProbedModule:
    """The same object, of the class with a probe."""
    module.__class__ = WITH_PROBE[type(module)]
    return cast(ProbedModule, module)


def _as_autocast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Operands in the precision that `autocast` gives a linear layer, where it is on. Done outside of the autograd
    function, so that gradients find their way back."""
    device_type = x.device.type
    if not torch.is_autocast_enabled(device_type) or x.dtype == torch.float64:
        return x, weight, bias
    dtype = torch.get_autocast_dtype(device_type)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
