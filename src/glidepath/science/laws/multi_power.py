"""The multi-power law of Luo et al. (2025, arXiv 2503.12811, equation 1).

    L(t) = L0 + A·S1(t)^(-α) - B·Σ_{k≤t} (η_{k-1} - η_k)·G(η_k^(-γ)·S_k(t)),   G(x) = 1 - (C·x + 1)^(-β),
    S1(t) = Σ_{τ≤t} η_τ with the warm-up as applied,   S_k(t) = Σ_{τ=k…t} η_τ,

in nat/token, t and k in updates, η the applied learning rate. Each drop of the learning rate lowers the loss by B times
the drop in the end, at the pace of the learning rate that follows. The paper's sum begins after the warm-up; in the
code released with it the increments of the warm-up are drops of negative sign, from zero on, and its published
parameters are of that kind. Fitted to one peak the two differ by little but L0; over several peaks the latter says that
a larger learning rate holds the loss up, the former does not.

With the size, N parameters in millions, extended here as the annealing law is by its authors (not by Luo et al.),

    L(t, N) = L0 + A·S1(t)^(-α) + D·(N/10⁶)^(-δ) - (N/10⁶)^ε·B·Σ_k ….

η_k^(-γ) has no value at η_k = 0: there it is taken at 1e-10, as in the released code. B, C, β and γ are hardly told
apart by data: on the published curves of 25M parameters the fit of the least objective has twice the published B and a
fifth of its β. Compare predictions, not parameters.

How the sum is evaluated is in drop_nodes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from glidepath.science.laws.curve import SIZE_UNIT, Curve, check_sizes, n_params_of
from glidepath.science.laws.curve_fit import CurveFit, fit_curve_law, with_linear_terms
from glidepath.science.laws.drop_nodes import LOWEST_LR, Nodes, nodes_of
from glidepath.science.laws.pooled_curves import PooledCurves, Weighting, pooled_losses

Floats = NDArray[np.float64]

LARGEST_EXPONENT = 600.0
"""Of e in x: beyond, G is 1 to the last digit."""
AT_ONCE = 50_000
"""Nodes times samples that are evaluated together: more do not stay in the processor's cache."""

START_ALPHAS = (0.3, 0.5, 0.8)
START_PACES = (0.5, 2.5, 4.5)
START_BETAS = (0.15, 0.5, 1.5)
START_GAMMAS = (0.3, 0.7)
START_SIZE_EXPONENT = 0.25


@dataclass(frozen=True)
class MultiPowerLaw:
    """Parameters of any leading shape."""

    irreducible_loss: Floats
    """L0."""
    A: Floats
    alpha: Floats
    B: Floats
    C: Floats
    beta: Floats
    gamma: Floats
    warmup_drops: bool = True
    """Whether the sum runs over the increments of the warm-up, as in the released code."""
    D: Floats | None = None
    """None, as δ and ε, where the size does not enter."""
    delta: Floats | None = None
    epsilon: Floats | None = None

    def predict(self, curve: Curve) -> Floats:
        """Losses at the curve's points, shape [..., n].

        Raises ValueError if the law has a size and the curve has none.
        """
        shape = np.shape(self.irreducible_loss)
        L0, A, alpha, B, C, beta, gamma = (
            np.ravel(x)[:, None]
            for x in (self.irreducible_loss, self.A, self.alpha, self.B, self.C, self.beta, self.gamma)
        )
        nodes = nodes_of(curve, warmup_drops=self.warmup_drops)
        rows = max(1, AT_ONCE // max(len(nodes.weights), 1))
        decayed = np.concatenate(
            [
                nodes.summed(1 - _left(nodes, np.log(C[i : i + rows]), beta[i : i + rows], gamma[i : i + rows])[0])
                for i in range(0, len(L0), rows)
            ]
        )
        offset, factor = (np.ravel(x)[:, None] for x in self._of_size(curve))
        losses = L0 + offset + A * curve.lr_sum("linear") ** -alpha - factor * B * decayed
        return np.asarray(losses.reshape(*shape, -1))

    def at_end(self, curve: Curve) -> tuple[float, Floats]:
        """The loss at the curve's last point, and its derivatives by the learning rate of every update after the
        warm-up, shape [total_steps - warmup_steps]; 0 for updates after that point. By the full sum; the law is of
        scalars."""
        done = int(curve.updates_done[-1])
        lr, sums = np.maximum(curve.lr[:done], LOWEST_LR), curve.cumulative_lr("linear")
        drops = (-np.diff(curve.lr, prepend=0.0) if self.warmup_drops else curve.drops)[:done]
        pace = self.C * lr**-self.gamma
        lags = sums[done] - sums[:done]
        left = (pace * lags + 1) ** -self.beta
        # Of drop·G by S_k, which every later update adds to.
        by_lag = drops * self.beta * pace * left / (pace * lags + 1)
        by_lr = np.where(curve.lr[:done] > LOWEST_LR, -self.gamma * by_lag * lags / lr, 0.0)
        # An update's rate belongs to two drops.
        decayed = np.cumsum(by_lag) + by_lr - (1 - left) + np.append(1 - left[1:], 0.0)
        excess = self.A * sums[done] ** -self.alpha
        offset, factor = self._of_size(curve)
        slopes = np.zeros(len(curve.lr))
        slopes[:done] = -self.alpha * excess / sums[done] - factor * self.B * decayed
        loss = self.irreducible_loss + offset + excess - factor * self.B * (drops @ (1 - left))
        return float(loss), slopes[curve.warmup_steps :]

    def _of_size(self, curve: Curve) -> tuple[Floats, Floats]:
        """What the size adds to the loss, and what it multiplies the sum over drops with."""
        if self.D is None or self.delta is None or self.epsilon is None:
            return np.zeros(()), np.ones(())
        millions = n_params_of(curve) / SIZE_UNIT
        return np.asarray(self.D * millions**-self.delta), np.asarray(millions**self.epsilon)


def fit_multi_power(
    curves: Sequence[Curve], *, warmup_drops: bool = True, with_size: bool = False, weighting: Weighting = "points"
) -> CurveFit[MultiPowerLaw]:
    """Fit the seven parameters (and D, δ, ε with the size) to all curves together: Huber on log loss.

    Raises ValueError for curves without losses, fewer points than parameters, or `with_size` and curves without
    n_params or of fewer than three sizes.
    """
    if with_size:
        check_sizes(curves)
    formula = MultiPowerFormula(tuple(curves), warmup_drops, with_size)
    return fit_curve_law(formula, weighting=weighting)


def _left(nodes: Nodes, ln_C: Floats, beta: Floats, gamma: Floats) -> tuple[Floats, Floats, Floats]:
    """1 - G, x and ln(1 + x) at every node, shape [rows, nodes], for parameters [rows, 1]."""
    x = np.exp(np.minimum(ln_C - gamma * nodes.ln_lr + nodes.ln_lr_sums, LARGEST_EXPONENT))
    ln_sum = np.log1p(x)
    return np.exp(-beta * ln_sum), x, ln_sum


@dataclass(frozen=True)
class MultiPowerFormula:
    """The law at the points of curves, by the coordinates

        L0, ln(A·s^-α), α, ln(B·p·G), ln(C·p^-γ·s), ln β, γ, and with the size ln(D·z^-δ), δ, ε,

    s, p and z the median S1, the largest peak and the median size, G taken at x = p^-γ·s: the second is the excess loss
    at s, the fourth what a drop of p is worth after a learning rate sum of s. Losses are in units of their median.
    """

    curves: tuple[Curve, ...]
    warmup_drops: bool
    with_size: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        sized = ("ln D", "delta", "epsilon") if self.with_size else ()
        return ("L0", "ln A", "alpha", "ln B", "ln C", "ln beta", "gamma", *sized)

    @property
    def low(self) -> Floats:
        return np.array([0.0, -12.0, 0.02, -12.0, -6.0, -5.0, -1.0, *((-12.0, 0.01, -2.0) if self.with_size else ())])

    @property
    def high(self) -> Floats:
        return np.array([20.0, 4.0, 5.0, 4.0, 14.0, 4.0, 3.0, *((4.0, 3.0, 2.0) if self.with_size else ())])

    def predict(self, theta: Floats) -> Floats:
        return self._in_parts(self._predict, theta)

    def jacobian(self, theta: Floats) -> Floats:
        return self._in_parts(self._jacobian, theta)

    def law(self, theta: Floats) -> MultiPowerLaw:
        L0, ln_A, alpha, ln_B, pace, ln_beta, gamma, *size = np.moveaxis(theta, -1, 0)
        pooled = self._pooled
        beta = np.exp(ln_beta)
        C = np.exp(pace + gamma * np.log(pooled.peak_lr) - pooled.ln_lr_sum)
        reached = -np.expm1(-beta * np.logaddexp(0.0, pace))
        B = pooled.loss_unit * np.exp(ln_B) / pooled.peak_lr / reached
        A = pooled.loss_unit * np.exp(ln_A + alpha * pooled.ln_lr_sum)
        law = MultiPowerLaw(pooled.loss_unit * L0, A, alpha, B, C, beta, gamma, self.warmup_drops)
        if not size:
            return law
        ln_D, delta, epsilon = size
        ln_millions = np.log(pooled.n_params / SIZE_UNIT)
        D, B = pooled.loss_unit * np.exp(ln_D + delta * ln_millions), B * np.exp(-epsilon * ln_millions)
        return replace(law, B=B, D=D, delta=delta, epsilon=epsilon)

    def starts(self, weights: Floats) -> Floats:
        """Exponents and paces on a grid, all else by linear least squares with weights [n], shape [rows, p]."""
        starts, basis = self._grid
        columns = (1, 3, 7) if self.with_size else (1, 3)
        return with_linear_terms(starts, basis, columns, pooled_losses(self.curves) / self._pooled.loss_unit, weights)

    @cached_property
    def _grid(self) -> tuple[Floats, Floats]:
        """Coordinates of the starts [rows, p] before least squares, and what it is of [rows, n, k]."""
        grid = np.stack(np.meshgrid(START_ALPHAS, START_PACES, START_BETAS, START_GAMMAS, indexing="ij"), -1)
        theta = np.zeros((grid.size // 4, len(self.names)))
        theta[:, 2], theta[:, 4], theta[:, 5], theta[:, 6] = grid.reshape(-1, 4).T
        theta[:, 5] = np.log(theta[:, 5])
        if self.with_size:
            theta[:, 8] = START_SIZE_EXPONENT
        excess, decayed = self._excess(theta), np.concatenate([self._decayed(row[None])[0] for row in theta])
        basis = [np.ones_like(excess), excess, -decayed, *((self._of_size(theta),) if self.with_size else ())]
        return theta, np.stack(basis, -1)

    def _in_parts(self, function: Callable[[Floats], Floats], theta: Floats) -> Floats:
        """In nat/token, a few rows of theta at a time."""
        rows = max(1, AT_ONCE // max(len(self._nodes.weights), 1))
        parts = [function(theta[i : i + rows]) for i in range(0, len(theta), rows)]
        return self._pooled.loss_unit * np.concatenate(parts)

    def _predict(self, theta: Floats) -> Floats:
        losses = theta[:, 0, None] + self._excess(theta) - self._decayed(theta)[0]
        return losses + self._of_size(theta) if self.with_size else losses

    def _of_size(self, theta: Floats) -> Floats:
        return np.exp(theta[:, 7, None] - theta[:, 8, None] * self._pooled.ln_sizes)

    def _jacobian(self, theta: Floats) -> Floats:
        excess = self._excess(theta)
        decayed, by_pace, by_ln_beta, by_gamma = self._decayed(theta, slopes=True)
        by_alpha = -self._pooled.ln_lr_sums * excess
        columns = [np.ones_like(excess), excess, by_alpha, -decayed, -by_pace, -by_ln_beta, -by_gamma]
        if self.with_size:
            size = self._of_size(theta)
            columns += [size, -self._pooled.ln_sizes * size, -self._pooled.ln_sizes * decayed]
        return np.stack(columns, axis=-1)

    def _excess(self, theta: Floats) -> Floats:
        return np.exp(theta[:, 1, None] - theta[:, 2, None] * self._pooled.ln_lr_sums)

    def _decayed(self, theta: Floats, *, slopes: bool = False) -> tuple[Floats, ...]:
        """What the drops take off the loss, and its slopes by the last three coordinates, each [rows, n]."""
        scale, pace, gamma = np.exp(theta[:, 3, None]), theta[:, 4, None], theta[:, 6, None]
        beta = np.exp(theta[:, 5, None])
        # G at x = p^-γ·s, by which B is scaled.
        ln_reached_sum = np.logaddexp(0.0, pace)
        reached = -np.expm1(-beta * ln_reached_sum)
        left, x, ln_sum = _left(self._nodes, pace, beta, gamma)
        scale = scale / reached
        if self.with_size:
            scale = scale * np.exp(theta[:, 9, None] * self._pooled.ln_sizes)
        decayed = scale * self._nodes.summed(1 - left)
        if not slopes:
            return (decayed,)
        by_ln_C, by_beta = beta * left * x / (1 + x), left * ln_sum
        reached_by_pace = beta * (1 - reached) * np.exp(pace - ln_reached_sum) / reached
        reached_by_ln_beta = beta * (1 - reached) * ln_reached_sum / reached
        return (
            decayed,
            scale * self._nodes.summed(by_ln_C) - reached_by_pace * decayed,
            beta * scale * self._nodes.summed(by_beta) - reached_by_ln_beta * decayed,
            -scale * self._nodes.summed(by_ln_C * self._nodes.ln_lr),
        )

    @cached_property
    def _pooled(self) -> PooledCurves:
        return PooledCurves(self.curves, "linear")

    @cached_property
    def _nodes(self) -> Nodes:
        """Of all curves, learning rates in units of p and their sums in units of s."""
        each = [nodes_of(curve, warmup_drops=self.warmup_drops) for curve in self.curves]
        offsets = np.cumsum([0, *(nodes.n_points for nodes in each)])
        return Nodes(
            np.concatenate([nodes.point + offset for nodes, offset in zip(each, offsets, strict=False)]),
            np.concatenate([nodes.weights for nodes in each]) / self._pooled.peak_lr,
            np.concatenate([nodes.ln_lr for nodes in each]) - np.log(self._pooled.peak_lr),
            np.concatenate([nodes.lr_sums for nodes in each]) / np.exp(self._pooled.ln_lr_sum),
            int(offsets[-1]),
        )
