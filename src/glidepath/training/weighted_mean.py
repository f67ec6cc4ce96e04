"""A running weighted mean of snapshots, out of core.

The mean lives in the tensors of the model that will be evaluated, in float32, and what rounding takes from it in a
second buffer of the same size: two copies of the model, whatever is averaged, and together about 48 significant bits.
Sums go through float64 in pieces that stay in the processor's cache, so that memory is read and written once per step
and not once per snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from glidepath.science.averaging import Step

PIECE = 1 << 15
"""Numbers handled together: 256 KiB in float64."""


class Snapshots(Protocol):
    """Where weights are read from."""

    def tensor(self, updates_done: int, name: str) -> Tensor:
        """One parameter after some updates, on the CPU, of any floating type; not written to."""
        ...


class WeightedMean:
    """mean ← keep·mean + Σ share·snapshot, in place in a model's weights.

    `weights` are the model's own tensors by name, float32 and contiguous, each once: a tied one has one name.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._rest = {name: torch.zeros(w.shape, dtype=torch.float32) for name, w in weights.items()}
        self._sum = torch.empty(PIECE, dtype=torch.float64)
        self._term = torch.empty(PIECE, dtype=torch.float64)

    def step(self, step: Step, updates_done: tuple[int, ...], snapshots: Snapshots) -> None:
        """Take one step; its shares are of the snapshots after `updates_done`.

        Raises ValueError, naming it, for a snapshot of another shape than the model's.
        """
        for name, weight in self._weights.items():
            parts = [(share, snapshots.tensor(updates_done[i], name)) for i, share in step.shares]
            for i, (_, part) in zip((i for i, _ in step.shares), parts, strict=True):
                if part.shape != weight.shape:
                    raise ValueError(
                        f"{name} has the shape {tuple(part.shape)} after {updates_done[i]} updates, the model has "
                        f"{tuple(weight.shape)}: only checkpoints of one model can be averaged"
                    )
            mean = weight if weight.device.type == "cpu" else weight.cpu()
            self._add(mean.view(-1), self._rest[name].view(-1), step.keep, [(s, p.reshape(-1)) for s, p in parts])
            if mean is not weight:
                weight.copy_(mean)

    def _add(self, mean: Tensor, rest: Tensor, keep: float, parts: list[tuple[float, Tensor]]) -> None:
        for begin in range(0, len(mean), PIECE):
            piece = slice(begin, min(begin + PIECE, len(mean)))
            n = piece.stop - piece.start
            total, term = self._sum[:n], self._term[:n]
            if keep:
                total.copy_(mean[piece]).add_(rest[piece]).mul_(keep)
            else:
                total.zero_()
            for share, part in parts:
                total.add_(term.copy_(part[piece]), alpha=share)
            mean[piece] = total
            rest[piece] = total.sub_(mean[piece])
