"""The parameters of the decoder: canonical names, kinds, shapes, initial values, and what width and depth do to
their optimizer.

Parametrisations. With m = d_model / base_width, l = n_layer / base_depth, and η, λ, ε the applied learning rate,
the decoupled weight decay and Adam's epsilon:

| kind                  | initial std              | LR sp | LR mup, completep | decay sp | decay mup, completep |
|-----------------------|--------------------------|-------|-------------------|----------|----------------------|
| embedding             | init_std_embedding       | η     | η                 | λ        | λ                    |
| matrix                | init_std_hidden/√fan_in  | η     | η/m               | λ        | λ·m                  |
| head                  | init_std_head (not sp: /m) | η   | η/m               | λ        | λ·m                  |
| embedding_head (tied) | init_std_embedding       | η     | η                 | λ        | λ                    |
| norm                  | gain 1                   | η     | η                 | 0        | 0                    |

| where                           | ε sp | ε mup | ε completep | output of each residual branch times      |
|---------------------------------|------|-------|-------------|-------------------------------------------|
| embedding, embedding_head, final norm | ε | ε/m | ε/m         |                                           |
| matrices and norms of a block   | ε    | ε/m   | ε/(m·l)     | 1 under sp and mup, 1/l under completep   |
| head                            | ε    | ε     | ε           |                                           |

`mup` is Table 3 of Yang et al. 2022 (Tensor Programs V, arXiv 2203.03466) for Adam, in which the head needs
no output multiplier; a tied head cannot have its own LR, so there the logits are multiplied by 1/m instead
(their Table 8). η·λ is the same for every kind and width. Two things muP leaves to the user: d_head should stay
fixed as the width grows (more heads, not longer ones), since attention is scaled by 1/√d_head in both; and depth
is not rescaled.

`completep` rescales depth as well: Table 1 of Dey et al. 2025 (CompleteP, arXiv 2505.01618) with α = 1, in which
LR and decay do not depend on depth and the norms of a block are treated as its matrices are.

ε follows the size of the gradients it stands beside, so that the update does not depend on it more at one size than
at another: the ε rows of the same Table 1 with their equation 40, as the authors' implementation now has it, which
gives the final norm that of the embedding. There the logits carry the factor 1/m and the head's ε is ε/m;
here the head's weights carry it, its gradients are larger by m, and so is its ε: the same update. At m = 1
`mup` equals `sp`, at l = 1 `completep` equals `mup`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from glidepath.study.forward_constants import residual_multiplier, width_ratio
from glidepath.study.specs import ModelSpec

Kind = Literal["embedding", "embedding_head", "matrix", "head", "norm"]
KINDS: tuple[Kind, ...] = ("embedding", "embedding_head", "matrix", "head", "norm")

LayerType = Literal["norm", "attention", "feed_forward", "embedding", "head", "embedding_head"]
LAYER_TYPES: tuple[LayerType, ...] = ("norm", "attention", "feed_forward", "embedding", "head", "embedding_head")
"""What gradient norms are taken of; kinds are what the optimizer tells apart."""

ALIGNMENT = 16
"""Parameters start at multiples of so many numbers: 64 bytes in float32, so that vectorised kernels, and with
them the order of their sums, do not depend on what stands before."""


@dataclass(frozen=True)
class Parameter:
    """One tensor: matrices are [out, in] as in torch, the embedding and the head are [vocab_size,
    d_model]."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    init_std: float
    """Standard deviation of the initial normal values; the gains of norms start at 1 instead."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def layer_type(self) -> LayerType:
        """The type of the layer that it belongs to."""
        return matrix_layer_type(self.name) if self.kind == "matrix" else self.kind


def matrix_layer_type(name: str) -> LayerType:
    """The type of the layer that the matrix of this name belongs to."""
    return "attention" if name.endswith(("qkv", "attention_out")) else "feed_forward"


@dataclass(frozen=True)
class Multipliers:
    """What the applied learning rate, weight decay and Adam's epsilon are multiplied by."""

    lr: float
    weight_decay: float
    eps: float = 1.0


def parameters(spec: ModelSpec) -> tuple[Parameter, ...]:
    """All parameters in network order, which is also the order in which initial values are drawn.

    Query, key and value are one matrix of rows (q heads, k heads, v heads); gate and up are one matrix of
    rows (gate, up). No layer has a bias. Raises ValueError for a shape that rotary embedding cannot serve.
    """
    if spec.d_head % 2:
        raise ValueError(f"d_head = {spec.d_head}: rotary embedding turns pairs of numbers, choose an even d_head")
    width = spec.n_head * spec.d_head
    m = width_ratio(spec)

    def norm(name: str, size: int) -> Parameter:
        return Parameter(name, "norm", (size,), 0.0)

    def matrix(name: str, d_out: int, d_in: int, output_projection: bool = False) -> Parameter:
        zero = output_projection and spec.zero_init_output_projections
        return Parameter(name, "matrix", (d_out, d_in), 0.0 if zero else spec.init_std_hidden / math.sqrt(d_in))

    def block(i: int) -> Iterator[Parameter]:
        yield norm(f"blocks.{i}.attention_norm", spec.d_model)
        yield matrix(f"blocks.{i}.qkv", 3 * width, spec.d_model)
        if spec.qk_norm:
            yield norm(f"blocks.{i}.q_norm", spec.d_head)
            yield norm(f"blocks.{i}.k_norm", spec.d_head)
        yield matrix(f"blocks.{i}.attention_out", spec.d_model, width, output_projection=True)
        yield norm(f"blocks.{i}.feed_forward_norm", spec.d_model)
        if spec.feed_forward == "swiglu":
            yield matrix(f"blocks.{i}.gate_up", 2 * spec.d_ff, spec.d_model)
        else:
            yield matrix(f"blocks.{i}.up", spec.d_ff, spec.d_model)
        yield matrix(f"blocks.{i}.down", spec.d_model, spec.d_ff, output_projection=True)

    table = (spec.vocab_size, spec.d_model)
    first: Kind = "embedding_head" if spec.tied_embeddings else "embedding"
    found = [Parameter("embedding", first, table, spec.init_std_embedding)]
    for i in range(spec.n_layer):
        found.extend(block(i))
    found.append(norm("final_norm", spec.d_model))
    if not spec.tied_embeddings:
        found.append(Parameter("head", "head", table, spec.init_std_head / m))
    return tuple(found)


def multipliers(spec: ModelSpec, parameter: Parameter) -> Multipliers:
    """The LR, weight-decay and epsilon columns of the tables above, for one parameter."""
    m = width_ratio(spec)
    eps = 1.0 / m
    if parameter.name.startswith("blocks."):
        eps *= residual_multiplier(spec)
    match parameter.kind:
        case "matrix":
            return Multipliers(lr=1.0 / m, weight_decay=m, eps=eps)
        case "head":
            return Multipliers(lr=1.0 / m, weight_decay=m, eps=1.0)
        case "norm":
            return Multipliers(lr=1.0, weight_decay=0.0, eps=eps)
        case "embedding" | "embedding_head":
            return Multipliers(lr=1.0, weight_decay=1.0, eps=eps)


def initial_values(spec: ModelSpec, init_seed: int) -> dict[str, Tensor]:
    """Initial weights by name, float32 on the CPU: a pure function of its two arguments."""
    generator = torch.Generator().manual_seed(init_seed)
    values: dict[str, Tensor] = {}
    for p in parameters(spec):
        if p.kind == "norm":
            values[p.name] = torch.ones(p.shape)
        elif p.init_std == 0.0:
            values[p.name] = torch.zeros(p.shape)
        else:
            values[p.name] = torch.randn(p.shape, generator=generator) * p.init_std
    return values


@dataclass(frozen=True)
class FlatGroup:
    """A stretch of the flat buffers whose parameters share their multipliers."""

    begin: int
    end: int
    multipliers: Multipliers


@dataclass(frozen=True)
class Stretch:
    """A stretch of the flat buffers whose parameters belong to layers of one type."""

    begin: int
    end: int
    layer_type: LayerType


class Layout:
    """Where each parameter lies in one flat buffer: sorted by kind, so that a group of the optimizer is one
    slice.

    The gaps that alignment leaves are zero in weights and gradients, and AdamW keeps them so. So is the end, which is
    filled up until the buffer divides into `n_slices` equal, aligned parts, one per process.
    """

    def __init__(self, spec: ModelSpec, n_slices: int = 1) -> None:
        self.parameters = parameters(spec)
        self.groups: list[FlatGroup] = []
        self.stretches: list[Stretch] = []
        self._offsets: dict[str, int] = {}
        end = 0
        for kind in KINDS:
            for p in self.of_kind(kind):
                begin = self._offsets[p.name] = end
                end += -(-p.size // ALIGNMENT) * ALIGNMENT
                self._append(FlatGroup(begin, end, multipliers(spec, p)))
                self._extend(Stretch(begin, end, p.layer_type))
        self.size = -(-end // (n_slices * ALIGNMENT)) * n_slices * ALIGNMENT

    def _append(self, group: FlatGroup) -> None:
        if self.groups and self.groups[-1].multipliers == group.multipliers:
            group = FlatGroup(self.groups.pop().begin, group.end, group.multipliers)
        self.groups.append(group)

    def _extend(self, stretch: Stretch) -> None:
        if self.stretches and self.stretches[-1].layer_type == stretch.layer_type:
            stretch = replace(stretch, begin=self.stretches.pop().begin)
        self.stretches.append(stretch)

    def of_kind(self, kind: Kind) -> list[Parameter]:
        """The parameters of one kind, in network order."""
        return [p for p in self.parameters if p.kind == kind]

    @property
    def kinds(self) -> list[Kind]:
        """The kinds this model has."""
        return [kind for kind in KINDS if self.of_kind(kind)]

    @property
    def layer_types(self) -> list[LayerType]:
        """The types of layers this model has; norms first."""
        return [layer_type for layer_type in LAYER_TYPES if any(s.layer_type == layer_type for s in self.stretches)]

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The parameters as views of a flat buffer, by name in network order."""
        return {
            p.name: flat[self._offsets[p.name] : self._offsets[p.name] + p.size].view(p.shape) for p in self.parameters
        }
