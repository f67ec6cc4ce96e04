"""A model of plain modules of torch, as people write them, with its loss and some sequences."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glidepath.training.probed_modules import TIED

VOCAB, T = 17, 6


class GPT(nn.Module):
    """A decoder of two blocks, its weights a function of nothing."""

    def __init__(
        self, tied: bool = False, bias: bool = True, norm: str = "LayerNorm", width: int = 12, n_layer: int = 2
    ) -> None:
        super().__init__()
        self.heads = 2
        self.embedding, self.position = nn.Embedding(VOCAB, width), nn.Embedding(T, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({
                "norm1": self.norm(norm, width, bias), "qkv": nn.Linear(width, 3 * width, bias),
                "out": nn.Linear(width, width, bias), "norm2": self.norm(norm, width, bias),
                "up": nn.Linear(width, 4 * width, bias), "down": nn.Linear(4 * width, width, bias),
            })
            for _ in range(n_layer)
        )  # fmt: skip
        self.final_norm = self.norm(norm, width, bias)
        self.head = nn.Linear(width, VOCAB, bias=bias)
        if tied:
            self.head.weight = self.embedding.weight
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in self.parameters():
                gain = 1.0 if p.dim() == 1 else 0.0
                p.copy_(gain + 0.3 * torch.randn(p.shape, generator=generator))

    @staticmethod
    def norm(kind: str, width: int, bias: bool) -> nn.Module:
        return nn.RMSNorm(width) if kind == "RMSNorm" else nn.LayerNorm(width, bias=bias)

    def forward(self, ids_BT: Tensor) -> Tensor:
        positions_BT = torch.arange(ids_BT.shape[1]).expand(ids_BT.shape)
        x = self.embedding(ids_BT) + self.position(positions_BT)
        for block in self.blocks:
            B, T, D = x.shape
            q, k, v = block["qkv"](block["norm1"](x)).view(B, T, 3, self.heads, -1).transpose(1, 3).unbind(2)
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + block["out"](attended.transpose(1, 2).reshape(B, T, D))
            x = x + block["down"](F.gelu(block["up"](block["norm2"](x))))
        y: Tensor = self.head(self.final_norm(x))
        return y


def sequences(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    ids = torch.randint(0, VOCAB, (n, T + 1), generator=torch.Generator().manual_seed(seed))
    return ids[:, :-1], ids[:, 1:]


def mean_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def group_name(name: str, tied: bool) -> str:
    if tied and name in ("embedding.weight", "head.weight", "head.bias"):
        return TIED
    return "embedding" if name in ("embedding.weight", "position.weight") else "norm" if "norm" in name else "linear"


def squares_of_gradients(model: nn.Module, tied: bool) -> dict[str, float]:
    squares: dict[str, float] = {}
    for name, p in model.named_parameters():
        group = group_name(name, tied)
        assert p.grad is not None
        squares[group] = squares.get(group, 0.0) + float(p.grad.double().square().sum())
    return squares
