"""Decay on plateau: a factor on the learning rate that evaluations lower."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glidepath.study.specs import PlateauSpec


class Plateau:
    """The factor, and what decides about it; `tensor` is all of it, float64 [3], so that a state can hold it.

    After every evaluation: a loss below best·(1 - threshold) is the new best; otherwise, once more than `patience`
    evaluations in a row have brought none, the factor is multiplied by `factor`, down to `min_fraction`. The rule of
    torch's ReduceLROnPlateau in its relative mode.
    """

    def __init__(self, spec: PlateauSpec) -> None:
        self.spec = spec
        self.tensor: Tensor = torch.tensor([1.0, math.inf, 0.0], dtype=torch.float64)

    @property
    def lr_factor(self) -> float:
        return float(self.tensor[0])

    def due(self, updates_done: int) -> bool:
        """Whether an evaluation decides after so many updates."""
        return updates_done % self.spec.evaluate_every == 0

    def observe(self, val_loss: float) -> None:
        """Take note of an evaluation [nats/token]."""
        factor, best, waited = self.tensor.tolist()
        if val_loss < best * (1.0 - self.spec.threshold):
            best, waited = val_loss, 0.0
        else:
            waited += 1.0
        if waited > self.spec.patience:
            factor, waited = max(factor * self.spec.factor, self.spec.min_fraction), 0.0
        self.tensor.copy_(torch.tensor([factor, best, waited], dtype=torch.float64))
