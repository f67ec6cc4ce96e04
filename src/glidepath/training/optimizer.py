"""AdamW with decoupled weight decay, on flat buffers.

Not `torch.optim`: its first step imports `torch._dynamo`, a second of every process, and it keeps a count of
its own. Here an update is a function of the update index. `torch._fused_adamw_`, the kernel under
`torch.optim.AdamW(fused=True)`, does a whole group in one call on CPU and GPU alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glidepath.study.specs import OptimizerSpec
from glidepath.training.parameters import FlatGroup


class AdamW:
    """For update s with t = s+1, gradient g, η = lr·multiplier, λ = weight_decay·multiplier of the group:

        m ← β₁m + (1-β₁)g,   v ← β₂v + (1-β₂)g²
        p ← p·(1 - ηλ) - η·(m/(1-β₁ᵗ)) / (√(v/(1-β₂ᵗ)) + ε)

    Loshchilov & Hutter 2019 (arXiv 1711.05101), in the form of PyTorch, where decay is multiplied by η.
    Raises ValueError if ε is not positive: a weight whose gradient was never anything but zero would become
    0/0.
    """

    def __init__(self, spec: OptimizerSpec, weights: Tensor, gradients: Tensor, groups: list[FlatGroup]) -> None:
        if spec.adam_eps <= 0.0:
            raise ValueError(
                f"adam_eps = {spec.adam_eps}: must be positive, unused vocabulary has zero gradients; use 1e-8"
            )
        self.spec = spec
        self.weights, self.gradients = weights, gradients
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(weights), torch.zeros_like(weights)
        self._count = torch.zeros((), dtype=torch.float32, device=weights.device)
        buffers = (weights, gradients, self.exp_avg, self.exp_avg_sq)
        self._groups = [(g.multipliers, [[buffer[g.begin : g.end]] for buffer in buffers]) for g in groups]

    def update(self, step: int, lr: float, weight_decay: float) -> None:
        """Apply update `step` (0-based) with the given learning rate and weight decay."""
        self._count.fill_(step + 1)
        for multipliers, (weights, gradients, exp_avg, exp_avg_sq) in self._groups:
            torch._fused_adamw_(
                weights, gradients, exp_avg, exp_avg_sq, [], [self._count],
                lr=lr * multipliers.lr, weight_decay=weight_decay * multipliers.weight_decay,
                beta1=self.spec.adam_beta1, beta2=self.spec.adam_beta2, eps=self.spec.adam_eps,
                amsgrad=False, maximize=False,
            )  # fmt: skip


def clip_gradients(gradients: Tensor, grad_clip_norm: float | None) -> Tensor:
    """Scale the gradients so that their norm is at most `grad_clip_norm`; returns the norm before, without
    waiting for it."""
    norm: Tensor = torch.linalg.vector_norm(gradients)
    if grad_clip_norm is not None:
        gradients.mul_((grad_clip_norm / norm).clamp_(max=1.0))
    return norm
