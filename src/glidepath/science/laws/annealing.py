"""The annealing law of Tissue, Wang and Wang (2024, arXiv 2408.11029, equation 1), also called the momentum law.

    L(s) = L0 + A·S1(s)^(-α) - C·S2(s),   S1(s) = Σ_{i≤s} η_i,   S2(s) = Σ_{i≤s} m_i,
    m_i = λ·m_{i-1} + (η_{i-1} - η_i),

in nat/token, s and i in updates, η the applied learning rate. A drop d of the learning rate lowers the loss by
C·d/(1-λ) in the end, most of it within 1/(1-λ) updates. With the size (equation 7), N non-embedding parameters,

    L(s, N) = L0 + A·S1^(-α) + B·(N/10⁶)^(-β) - C·S2·(N/10⁶)^γ.

λ is the memory of one update: at another batch, the same memory in tokens is another λ, and it knows nothing of how
large the learning rate is. A and C carry units of a power of the learning rate.

Known failures, by construction. At a learning rate of zero, where weights no longer move, S1 stands still and S2 still
grows: the law keeps predicting a falling loss for some 1/(1-λ) updates. A linear cooldown comes out concave. And the
schedule it calls best holds the peak and drops at once (Luo et al. 2025, appendix F), so do not optimise schedules
with it unless drops are kept gradual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from glidepath.science.laws.curve import SIZE_UNIT, Curve, Warmup, check_sizes, n_params_of
from glidepath.science.laws.curve_fit import CurveFit, fit_curve_law, with_linear_terms
from glidepath.science.laws.pooled_curves import PooledCurves, Weighting, pooled_losses

Floats = NDArray[np.float64]

PUBLISHED_MOMENTA = (0.95, 0.99, 0.995, 0.999, 0.9995)
"""Among which Luo et al. (2025) choose λ by the training objective."""
FASTEST = 0.5
"""Largest 1 - λ of a fit; the smallest is one over the longest run."""
MEMORY_SPACING = 0.1
"""Of ln(1-λ) where S2 is tabulated for a fit; between them a cubic through values and slopes, exact to 1e-6."""
START_EXPONENTS = (0.2, 0.4, 0.6, 0.9, 1.3)
START_MEMORIES = 8


@dataclass(frozen=True)
class AnnealingLaw:
    """Parameters of any leading shape; B, β and γ are None where the size does not enter."""

    irreducible_loss: Floats
    """L0."""
    A: Floats
    alpha: Floats
    C: Floats
    momentum: Floats
    """λ, per update."""
    B: Floats | None = None
    beta: Floats | None = None
    gamma: Floats | None = None
    warmup: Warmup = "as_at_peak"
    """How S1 counts the warm-up; S2 begins after it either way."""

    def predict(self, curve: Curve) -> Floats:
        """Losses at the curve's points, shape [..., n].

        Raises ValueError if the law has a size and the curve has none.
        """
        S2 = _S2_of_many(curve, np.ravel(self.momentum)).reshape(*np.shape(self.momentum), -1)
        L0, A, alpha, C = (np.asarray(x)[..., None] for x in (self.irreducible_loss, self.A, self.alpha, self.C))
        if self.B is not None and self.beta is not None and self.gamma is not None:
            millions = n_params_of(curve) / SIZE_UNIT
            L0 = L0 + (self.B * millions ** -np.asarray(self.beta))[..., None]
            C = C * (millions ** np.asarray(self.gamma))[..., None]
        return np.asarray(L0 + A * curve.lr_sum(self.warmup) ** -alpha - C * S2)

    def at_end(self, curve: Curve) -> tuple[float, Floats]:
        """The loss at the curve's last point, and its derivatives by the learning rate of every update after the
        warm-up, shape [total_steps - warmup_steps]; 0 for updates after that point. The law is of scalars."""
        done = int(curve.updates_done[-1])
        excess, drops = self._scales(curve)
        slopes = np.zeros(len(curve.lr))
        slopes[:done] = -self.alpha * excess / curve.lr_sum(self.warmup)[-1]
        # What a drop before update k has become at the end; an update's rate belongs to two drops.
        worth = drops * -np.expm1(np.arange(done, 0, -1) * np.log(self.momentum)) / (1 - self.momentum)
        slopes[:done] += worth
        slopes[: done - 1] -= worth[1:]
        return float(self.predict(curve)[-1]), slopes[curve.warmup_steps :]

    def _scales(self, curve: Curve) -> tuple[float, float]:
        """The power of S1 at the last point, and what S2 is multiplied with."""
        excess = float(self.A * curve.lr_sum(self.warmup)[-1] ** -self.alpha)
        if self.gamma is None:
            return excess, float(self.C)
        return excess, float(self.C * (n_params_of(curve) / SIZE_UNIT) ** self.gamma)


def annealed(curve: Curve, momentum: float) -> tuple[Floats, Floats]:
    """S2 at the curve's points and its derivative by λ, each of shape [n]."""
    m = lfilter([1.0], [1.0, -momentum], curve.drops)
    slope = lfilter([0.0, 1.0], [1.0, -momentum], m)
    at = curve.updates_done - 1
    return np.cumsum(m)[at], np.cumsum(slope)[at]


def fit_annealing(
    curves: Sequence[Curve],
    *,
    momenta: Sequence[float] | None = None,
    warmup: Warmup | None = "as_at_peak",
    with_size: bool = False,
    weighting: Weighting = "points",
) -> CurveFit[AnnealingLaw]:
    """Fit L0, A, α, C and λ (and B, β, γ with the size) to all curves together: Huber on log loss.

    λ is free, or the one of `momenta` with the lowest objective; so is the count of the warm-up if `warmup` is None.
    Raises ValueError for curves without losses, fewer points than parameters, or `with_size` and curves without
    n_params or of fewer than three sizes.
    """
    if with_size:
        check_sizes(curves)
    formulas = [
        AnnealingFormula(tuple(curves), counted, with_size, momentum)
        for counted in (("as_at_peak", "linear") if warmup is None else (warmup,))
        for momentum in ((None,) if momenta is None else momenta)
    ]
    fits = [fit_curve_law(formula, weighting=weighting) for formula in formulas]
    return min(fits, key=lambda found: found.fit.objective)


@dataclass(frozen=True)
class AnnealingFormula:
    """The law at the points of curves, by the coordinates

        L0, ln(A·s^-α), α, ln(C·p/(1-λ)), ln(1-λ), and with the size ln(B·z^-β), β, γ,

    s, p and z the median S1, the largest peak and the median size: the second is the excess loss at s, the fourth what
    a drop from the peak to zero is worth. Losses are in units of their median.
    """

    curves: tuple[Curve, ...]
    warmup: Warmup
    with_size: bool
    momentum: float | None = None
    """λ, if it is given."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("L0", "ln A", "alpha", "ln C", "ln(1-lambda)", *(("ln B", "beta", "gamma") if self.with_size else ()))

    @cached_property
    def low(self) -> Floats:
        slowest = np.log(1 / max(len(curve.lr) for curve in self.curves))
        fixed = slowest if self.momentum is None else np.log1p(-self.momentum)
        return np.array([0.0, -12.0, 0.02, -12.0, fixed, *((-12.0, 0.01, -2.0) if self.with_size else ())])

    @cached_property
    def high(self) -> Floats:
        fixed = np.log(FASTEST) if self.momentum is None else np.log1p(-self.momentum)
        return np.array([20.0, 4.0, 5.0, 4.0, fixed, *((4.0, 3.0, 2.0) if self.with_size else ())])

    def predict(self, theta: Floats) -> Floats:
        return self._pooled.loss_unit * self._terms(theta)[0]

    def jacobian(self, theta: Floats) -> Floats:
        _, excess, drop, drop_slope, size = self._terms(theta)
        columns = [np.ones_like(excess), excess, -self._pooled.ln_lr_sums * excess, -drop, -drop_slope]
        if self.with_size:
            columns += [size, -self._pooled.ln_sizes * size, -self._pooled.ln_sizes * drop]
        return self._pooled.loss_unit * np.stack(columns, axis=-1)

    def law(self, theta: Floats) -> AnnealingLaw:
        L0, ln_A, alpha, ln_C, memory, *size = np.moveaxis(theta, -1, 0)
        pooled = self._pooled
        B = beta = gamma = None
        C = pooled.loss_unit * np.exp(ln_C + memory) / pooled.peak_lr
        if size:
            ln_B, beta, gamma = size
            ln_millions = np.log(pooled.n_params / SIZE_UNIT)
            B = pooled.loss_unit * np.exp(ln_B + beta * ln_millions)
            C = C * np.exp(-gamma * ln_millions)
        A = pooled.loss_unit * np.exp(ln_A + alpha * pooled.ln_lr_sum)
        return AnnealingLaw(pooled.loss_unit * L0, A, alpha, C, -np.expm1(memory), B, beta, gamma, self.warmup)

    def starts(self, weights: Floats) -> Floats:
        """Exponents and memories on a grid, all else by linear least squares with weights [n], shape [rows, p]."""
        starts, basis = self._grid
        columns = (1, 3, 5) if self.with_size else (1, 3)
        return with_linear_terms(starts, basis, columns, pooled_losses(self.curves) / self._pooled.loss_unit, weights)

    @cached_property
    def _grid(self) -> tuple[Floats, Floats]:
        """Coordinates of the starts [rows, p] before least squares, and what it is of [rows, n, k]."""
        memories = np.unique(np.linspace(self.low[4], self.high[4], START_MEMORIES))
        exponents = np.array(START_EXPONENTS)
        if self.momentum is None:
            memories = memories[1:-1]
        sizes = (0.15, 0.4) if self.with_size else (0.0,)
        grid = np.stack(np.meshgrid(exponents, memories, sizes, indexing="ij"), -1).reshape(-1, 3)
        theta = np.zeros((len(grid), len(self.names)))
        theta[:, 2], theta[:, 4] = grid[:, 0], grid[:, 1]
        if self.with_size:
            theta[:, 6] = grid[:, 2]
        _, excess, drop, _, size = self._terms(theta)
        return theta, np.stack([np.ones_like(excess), excess, -drop, *((size,) if self.with_size else ())], -1)

    def _terms(self, theta: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """The loss, the power of S1, the drop and its slope by ln(1-λ), and the power of N, each [rows, n]."""
        excess = np.exp(theta[:, 1, None] - theta[:, 2, None] * self._pooled.ln_lr_sums)
        scale = np.exp(theta[:, 3, None])
        annealed, slope = self._table.at(theta[:, 4])
        size = np.zeros(1)
        if self.with_size:
            size = np.exp(theta[:, 5, None] - theta[:, 6, None] * self._pooled.ln_sizes)
            scale = scale * np.exp(theta[:, 7, None] * self._pooled.ln_sizes)
        scale = scale / self._pooled.peak_lr
        drop = scale * annealed
        return theta[:, 0, None] + excess + size - drop, excess, drop, scale * slope, size

    @cached_property
    def _pooled(self) -> PooledCurves:
        return PooledCurves(self.curves, self.warmup)

    @cached_property
    def _table(self) -> _AnnealedTable:
        return _AnnealedTable(self.curves, self.low[4], self.high[4])


class _AnnealedTable:
    """S2·(1-λ) of curves' points over ln(1-λ) from `low` to `high`, which may be one value."""

    def __init__(self, curves: Sequence[Curve], low: float, high: float) -> None:
        intervals = int(np.ceil((high - low) / MEMORY_SPACING))
        self.nodes = np.linspace(low, high, intervals + 1)
        values, slopes = [], []
        for node in self.nodes:
            rate = np.exp(node)
            parts = [annealed(curve, 1 - rate) for curve in curves]
            S2, by_momentum = (np.concatenate([part[j] for part in parts]) for j in range(2))
            values.append(S2 * rate)
            slopes.append((S2 - by_momentum * rate) * rate)
        self.values, self.slopes = np.array(values), np.array(slopes)

    def at(self, memory: Floats) -> tuple[Floats, Floats]:
        """The value and its derivative by ln(1-λ) at `memory` [rows], each [rows, n]: a cubic through both."""
        if len(self.nodes) == 1:
            rows = np.zeros(len(memory), dtype=np.int64)
            return self.values[rows], self.slopes[rows]
        h = self.nodes[1] - self.nodes[0]
        i = np.clip(((memory - self.nodes[0]) / h).astype(np.int64), 0, len(self.nodes) - 2)
        x = ((memory - self.nodes[i]) / h)[:, None]
        y0, y1, s0, s1 = self.values[i], self.values[i + 1], h * self.slopes[i], h * self.slopes[i + 1]
        a, b = 2 * (y0 - y1) + s0 + s1, 3 * (y1 - y0) - 2 * s0 - s1
        return y0 + x * (s0 + x * (b + x * a)), (s0 + x * (2 * b + x * 3 * a)) / h


def _S2_of_many(curve: Curve, momenta: Floats) -> Floats:
    """S2 for momenta [rows], shape [rows, n]; NaN for NaN."""
    different, which = np.unique(momenta, return_inverse=True)
    finite = different[np.isfinite(different)]
    rates = np.log1p(-finite)
    if len(finite) and len(finite) > (rates.max() - rates.min()) / MEMORY_SPACING + 2:
        table = _AnnealedTable([curve], rates.min(), rates.max())
        return table.at(np.log1p(-momenta))[0] / (1 - momenta)[:, None]
    nothing = np.full(len(curve.updates_done), np.nan)
    return np.stack([annealed(curve, x)[0] if np.isfinite(x) else nothing for x in different])[which]
