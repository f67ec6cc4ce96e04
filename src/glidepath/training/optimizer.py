"""AdamW with decoupled weight decay and its schedule-free form, on flat buffers.

Not `torch.optim`: its first step imports `torch._dynamo`, a second of every process, and it keeps a count of its own.
Here an update is a function of the update index, and learning rate, weight decay and both betas are arrays over it.
`torch._fused_adamw_`, the kernel under `torch.optim.AdamW(fused=True)`, does a whole group in one call on CPU and GPU
alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glidepath.study.specs import OptimizerSpec, PathArrays
from glidepath.training.parameters import FlatGroup
from glidepath.training.workers import ALONE, Workers

Floats = NDArray[np.float64]


class AdamW:
    """For update s, gradient g and the multipliers of a group, η = lr·multiplier, λ = weight_decay·multiplier:

        m ← β₁m + (1-β₁)g,   v ← β₂v + (1-β₂)g²
        p ← p·(1 - ηλ) - η·(m/(1-Πβ₁)) / (√(v/(1-Πβ₂)) + ε)

    Loshchilov & Hutter 2019 (arXiv 1711.05101), in the form of PyTorch, where decay is multiplied by η. The products
    run over the updates so far; they are β₁ᵗ and β₂ᵗ while the betas are constant. Raises ValueError if ε is not
    positive: a weight whose gradient was never anything but zero would become 0/0.
    """

    def __init__(
        self, spec: OptimizerSpec, weights: Tensor, gradients: Tensor, groups: list[FlatGroup], path: PathArrays
    ) -> None:
        check_epsilon(spec)
        self.spec, self.path = spec, path
        self.buffers = {
            "weights": weights,
            "exp_avg": torch.zeros_like(weights),
            "exp_avg_sq": torch.zeros_like(weights),
        }
        self._count, self._lr_scale = bias_corrections(path.adam_beta1, path.adam_beta2)
        self._step = torch.zeros((), dtype=torch.float32, device=weights.device)
        flat = (weights, gradients, self.buffers["exp_avg"], self.buffers["exp_avg_sq"])
        self._groups = [(g.multipliers, [[buffer[g.begin : g.end]] for buffer in flat]) for g in groups]

    def update(self, step: int, lr_factor: float = 1.0) -> None:
        """Apply update `step` (0-based), with its learning rate multiplied by `lr_factor`."""
        path, scale = self.path, float(self._lr_scale[step])
        lr = float(path.lr[step]) * lr_factor * scale
        weight_decay = float(path.weight_decay[step]) / scale
        self._step.fill_(float(self._count[step]))
        for multipliers, (weights, gradients, exp_avg, exp_avg_sq) in self._groups:
            torch._fused_adamw_(
                weights, gradients, exp_avg, exp_avg_sq, [], [self._step],
                lr=lr * multipliers.lr, weight_decay=weight_decay * multipliers.weight_decay,
                beta1=float(path.adam_beta1[step]), beta2=float(path.adam_beta2[step]),
                eps=self.spec.adam_eps * multipliers.eps, amsgrad=False, maximize=False,
            )  # fmt: skip

    def restored(self, updates_done: int) -> None:
        """To be called when the buffers have been loaded with the state after `updates_done` updates."""

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Within it the model's weights are those that are evaluated."""
        yield


class ScheduleFreeAdamW:
    """Gradients are taken at y, an interpolation of the iterate z and its average x; x is what is evaluated:

        v ← β₂v + (1-β₂)g²
        z ← z - η·(g/(√(v/(1-Πβ₂)) + ε) + λ·y)
        x ← (1 - c)·x + c·z,   c = w_s/Σ_{i≤s} w_i,   w_i = (max_{j≤i} lr_j)²
        y ← (1-β₁)·z + β₁·x

    Defazio et al. 2024 (arXiv 2405.15682), Algorithm 1, with the decay at y and the weights w of its published code
    (power 2 of the largest learning rate so far, which leaves the warm-up out of the average). The state holds x as
    its weights, and z. Raises ValueError as `AdamW` does.
    """

    def __init__(
        self, spec: OptimizerSpec, weights: Tensor, gradients: Tensor, groups: list[FlatGroup], path: PathArrays
    ) -> None:
        check_epsilon(spec)
        self.spec, self.path = spec, path
        self.buffers = {"weights": weights.clone(), "z": weights.clone(), "exp_avg_sq": torch.zeros_like(weights)}
        self._live = weights
        self._average_share = averaging_shares(path.lr)
        self._second_moment_share = 1.0 - np.cumprod(path.adam_beta2)
        flat = (weights, gradients, self.buffers["weights"], self.buffers["z"], self.buffers["exp_avg_sq"])
        self._groups = [(g.multipliers, [buffer[g.begin : g.end] for buffer in flat]) for g in groups]
        self._updates_done = 0

    def update(self, step: int, lr_factor: float = 1.0) -> None:
        """Apply update `step` (0-based), with its learning rate multiplied by `lr_factor`."""
        path = self.path
        beta2 = float(path.adam_beta2[step])
        for multipliers, (y, gradients, x, z, exp_avg_sq) in self._groups:
            lr = float(path.lr[step]) * lr_factor * multipliers.lr
            exp_avg_sq.mul_(beta2).addcmul_(gradients, gradients, value=1.0 - beta2)
            denominator = (exp_avg_sq / float(self._second_moment_share[step])).sqrt_()
            denominator.add_(self.spec.adam_eps * multipliers.eps)
            z.addcdiv_(gradients, denominator, value=-lr)
            z.add_(y, alpha=-lr * float(path.weight_decay[step]) * multipliers.weight_decay)
            x.lerp_(z, float(self._average_share[step]))
        self._updates_done = step + 1
        self._interpolate()

    def restored(self, updates_done: int) -> None:
        """To be called when the buffers have been loaded with the state after `updates_done` updates."""
        self._updates_done = updates_done
        self._interpolate()

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Within it the model's weights are the average x."""
        self._live.copy_(self.buffers["weights"])
        yield
        self._interpolate()

    def _interpolate(self) -> None:
        if self._updates_done == 0:
            self._live.copy_(self.buffers["weights"])
            return
        share = 1.0 - float(self.path.adam_beta1[self._updates_done - 1])
        torch.lerp(self.buffers["weights"], self.buffers["z"], share, out=self._live)


Optimizer = AdamW | ScheduleFreeAdamW


def make_optimizer(
    spec: OptimizerSpec, weights: Tensor, gradients: Tensor, groups: list[FlatGroup], path: PathArrays
) -> Optimizer:
    """The optimizer of a specification, for initialised weights."""
    kind = AdamW if spec.kind == "adamw" else ScheduleFreeAdamW
    return kind(spec, weights, gradients, groups, path)


def check_epsilon(spec: OptimizerSpec) -> None:
    """Raises ValueError if ε is not positive."""
    if spec.adam_eps <= 0.0:
        raise ValueError(
            f"adam_eps = {spec.adam_eps}: must be positive, unused vocabulary has zero gradients; use 1e-8"
        )


def bias_corrections(adam_beta1: Floats, adam_beta2: Floats) -> tuple[Floats, Floats]:
    """What makes the kernel's corrections right when the betas change: (count, lr_scale), each of shape [updates].

    The kernel divides by 1 - βᵗ with the betas of the update. A count with β₂^count = Πβ₂ makes the second moment
    right, and the learning rate times (1 - β₁^count)/(1 - Πβ₁) the first one. While the betas are constant they are
    exactly s+1 and 1.
    """
    count = np.arange(1.0, len(adam_beta1) + 1.0)
    scale = np.ones_like(count)
    changed = (adam_beta1 != adam_beta1[:1]) | (adam_beta2 != adam_beta2[:1])
    if changed.any():
        since = int(np.argmax(changed))
        with np.errstate(divide="ignore", invalid="ignore"):
            log_beta2 = np.log(adam_beta2)
            log_product = np.cumsum(log_beta2)
            # A beta of 0 has forgotten the zeros that the moment began with: no correction, however often applied.
            exact = np.where(np.isfinite(log_product), log_product / log_beta2, np.inf)
        count[since:] = exact[since:]
        ratio = (1.0 - adam_beta1**count) / (1.0 - np.cumprod(adam_beta1))
        scale[since:] = ratio[since:]
    return count, scale


def averaging_shares(lr: Floats) -> Floats:
    """c of `ScheduleFreeAdamW` for every update, shape as `lr`; the first is 1."""
    weight = np.maximum.accumulate(lr) ** 2
    shares: Floats = weight / np.cumsum(weight)
    return shares


def clip_gradients(gradients: Tensor, grad_clip_norm: float | None, workers: Workers = ALONE) -> Tensor:
    """Scale the gradients, of which each process has a slice, so that their norm is at most `grad_clip_norm`; returns
    the norm before, without waiting for it."""
    norm = workers.norm(gradients)
    if grad_clip_norm is not None:
        gradients.mul_((grad_clip_norm / norm).clamp_(max=1.0))
    return norm
