"""The last-iterate bound of convex optimisation, and as a law of loss curves.

For SGD on a convex f with gradient norms G_t and any learning rates η_t, W_t = Σ_{s≤t} η_s and D the distance to a
minimum (Theorem 10 of Defazio et al. 2023, arXiv 2310.07831; Ω_T of Schaipp et al. 2025, arXiv 2501.18965),

    Ω_t = D²/(2W_t) + Σ_{s≤t} η_s²G_s²/(2W_t) + ½ Σ_{k<t} η_k/(W_t - W_k) · Σ_{k≤s≤t} η_s²G_s²/(W_t - W_{k-1}).

η_k/((W_t - W_k)(W_t - W_{k-1})) is a difference of neighbours, so the double sum is a single one:

    Ω_t = D²/(2W_t) + ½ η_tG_t² + ½ Σ_{k<t} η_k²G_k²/(W_t - W_k).

The law is loss(t) = irreducible_loss + scale·Ω_t with D = 1 and the norms that Schaipp et al. fit,

    G_t = G1·exp(-A1·t) + G2·t^(-A2) + B,    t in updates from 1.

The training of a network is not convex and its G_t depends on the learning rate; here it is one function of t for all
curves. Updates of learning rate 0 change nothing: the bound after them is that before them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glidepath.science.laws.curve import Curve
from glidepath.science.laws.curve_fit import CurveFit, Weighting, fit_curve_law, pooled_losses, typical_loss

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Norms = Literal["constant", "fitted"]

KNOTS = 90
"""G² is linear in t between so many updates, equally far apart in ln t; exact for every t up to the first few."""
ABSENT = -30.0
"""ln of a term that is switched off."""
START_RATES = (3.0, 30.0)
START_EXPONENTS = (0.3, 1.0)
START_RATIOS = (-8.0, 0.0)


@dataclass(frozen=True)
class BoundTerms:
    """The terms of the bound for a peak learning rate of 1: the first falls with it, the other grows."""

    distance: float
    """D²/(2 Σ s_t)."""
    noise: float
    """½ s_T·G_T² + ½ Σ s_k²G_k²/Σ_{t>k} s_t."""

    def at(self, peak_lr: float) -> float:
        """The bound Ω_T on f(x_T) - f*."""
        return self.distance / peak_lr + self.noise * peak_lr

    @property
    def optimal_peak_lr(self) -> float:
        """γ* = √(distance/noise)."""
        return math.sqrt(self.distance / self.noise)

    @property
    def lowest(self) -> float:
        """Ω* = 2·√(distance·noise), the bound at the optimal peak."""
        return 2.0 * math.sqrt(self.distance * self.noise)


def last_iterate_bound(multipliers: ArrayLike, grad_norms: ArrayLike = 1.0, distance: float = 1.0) -> BoundTerms:
    """Terms of the last-iterate bound for η_t = γ·s_t at γ = 1, s_t = `multipliers` of shape [updates].

    `grad_norms` G_t is of the same shape or one number, `distance` is D. Raises ValueError unless a multiplier is
    positive.
    """
    s, g = np.broadcast_arrays(np.asarray(multipliers, np.float64), np.asarray(grad_norms, np.float64))
    if not (s > 0).any():
        raise ValueError("multipliers: the bound needs at least one positive learning rate")
    weights = _weights(s, len(s))
    return BoundTerms(distance**2 / (2 * float(s.sum())), float(weights @ g[: len(weights)] ** 2))


@dataclass(frozen=True)
class ConvexBoundLaw:
    """loss = irreducible_loss + scale·Ω (D = 1), parameters of any one shape, a bootstrap included."""

    irreducible_loss: Floats
    """[nat/token]"""
    scale: Floats
    """[nat/token × learning rate]: of 1/(2W)."""
    G1: Floats
    A1: Floats
    """[1/updates]"""
    G2: Floats
    A2: Floats
    B: Floats

    def grad_norms(self, t: Floats) -> Floats:
        """G_t at updates t [m] counted from 1, shape [..., m]."""
        falling = self.G1[..., None] * np.exp(-self.A1[..., None] * t)
        power = self.G2[..., None] * t ** -self.A2[..., None]
        return falling + power + self.B[..., None]

    def predict(self, curve: Curve) -> Floats:
        """Losses at the curve's points, shape [..., n]."""
        kernel = bound_kernel(curve.lr, curve.updates_done)
        noise = self.grad_norms(kernel.knots) ** 2 @ kernel.noise.T
        return self.irreducible_loss[..., None] + self.scale[..., None] * (kernel.distance + noise)

    def at_end(self, curve: Curve) -> tuple[float, Floats]:
        """The loss at the curve's last point, and its derivatives by the learning rate of every update after the
        warm-up, shape [total_steps - warmup_steps]; 0 for updates after that point. The law is of scalars."""
        lr = curve.lr[: int(np.flatnonzero(curve.lr[: curve.updates_done[-1]])[-1]) + 1]
        knots = knots_up_to(len(curve.lr))
        squares = np.interp(np.arange(1, len(lr) + 1), knots, self.grad_norms(knots) ** 2)
        after = np.cumsum(lr[::-1])[::-1][1:]
        ratios = lr[:-1] ** 2 * squares[:-1] / after
        total = float(lr.sum())
        bound = (1 / total + lr[-1] * squares[-1] + ratios.sum()) / 2
        by_lr = np.append(lr[:-1] * squares[:-1] / after, squares[-1] / 2) - 1 / (2 * total**2)
        # A later update adds to what follows an earlier one.
        by_lr[1:] -= np.cumsum(ratios / after) / 2
        slopes = np.zeros(len(curve.lr))
        slopes[: len(lr)] = self.scale * by_lr
        return float(self.irreducible_loss + self.scale * bound), slopes[curve.warmup_steps :]


@dataclass(frozen=True)
class BoundKernel:
    """Ω at n points as a linear function of G²: Ω = distance + noise·G²(knots)."""

    distance: Floats
    """1/(2W_t), shape [n]."""
    noise: Floats
    """[n, knots]"""
    knots: Floats
    """Updates, counted from 1."""


def bound_kernel(lr: Floats, updates_done: Ints, knots: Floats | None = None) -> BoundKernel:
    """Once per curve, O(updates) for each point; a prediction then costs O(knots) for each.

    Raises ValueError for a point before any positive learning rate or beyond the last update.
    """
    lr, points = np.asarray(lr, np.float64), np.asarray(updates_done, np.int64)
    if len(points) and (points.min() < 1 or points.max() > len(lr) or not lr[: int(points.min())].any()):
        raise ValueError(
            f"points at {points.min()} … {points.max()} updates of a path of {len(lr)}: the bound is known after the "
            "first update at a positive learning rate, up to the last"
        )
    at = knots_up_to(len(lr)) if knots is None else knots
    t = np.arange(1, len(lr) + 1, dtype=np.float64)
    left = np.clip(np.searchsorted(at, t, side="right") - 1, 0, len(at) - 2)
    share = (t - at[left]) / (at[left + 1] - at[left])
    total = np.cumsum(lr)
    noise = np.empty((len(points), len(at)))
    for row, point in zip(noise, points, strict=True):
        weights = _weights(lr, int(point))
        n = len(weights)
        row[:] = np.bincount(left[:n], weights * (1 - share[:n]), len(at))
        row += np.bincount(left[:n] + 1, weights * share[:n], len(at))
    return BoundKernel(1 / (2 * total[points - 1]), noise, at)


def knots_up_to(total_steps: int) -> Floats:
    """Where G² is taken, from 1 to `total_steps`, two at least."""
    grid = np.unique(np.round(np.geomspace(1, max(total_steps, 2), KNOTS)))
    return np.asarray(grid, np.float64)


def _weights(lr: Floats, stop: int) -> Floats:
    """What Ω's noise term multiplies G_k² by, for the updates up to the last positive one before `stop`."""
    used = lr[: int(np.flatnonzero(lr[:stop])[-1]) + 1]
    total = np.cumsum(used)
    # The sum of the rates that follow, from the end on: a difference of the sums from the start would lose digits.
    following = np.cumsum(used[:0:-1])[::-1]
    weights = np.empty_like(total)
    weights[-1] = used[-1] / 2
    weights[:-1] = used[:-1] ** 2 / (2 * following)
    return weights


@dataclass(frozen=True)
class ConvexBoundFormula:
    """The law at the points of several curves, in fitting coordinates: with scale and noise relative to the points'
    own, and every norm relative to B,

    c: irreducible_loss in units of the losses' median; ln_distance, ln_noise: of both terms; ln_g1, rate: G1/B and A1
    times the longest curve; ln_g2, exponent: G2/B at the longest curve's end, and A2.
    """

    curves: tuple[Curve, ...]
    distance: Floats
    noise: Floats
    knots: Floats
    norms: Norms
    loss_unit: float
    distance_unit: float
    noise_unit: float

    names = ("c", "ln_distance", "ln_noise", "ln_g1", "rate", "ln_g2", "exponent")

    @property
    def low(self) -> Floats:
        off = [ABSENT, 1.0, ABSENT, 0.5] if self.norms == "constant" else [-12.0, 0.1, -12.0, 0.02]
        return np.array([0.0, ABSENT, ABSENT, *off])

    @property
    def high(self) -> Floats:
        off = [ABSENT, 1.0, ABSENT, 0.5] if self.norms == "constant" else [8.0, 1e3, 8.0, 2.0]
        return np.array([20.0, 12.0, 12.0, *off])

    @property
    def end(self) -> float:
        return float(self.knots[-1])

    def predict(self, theta: Floats) -> Floats:
        c, ln_distance, ln_noise, *shape = theta.T
        g = sum(self._shapes(*shape), np.ones((1, len(self.knots))))
        distance = np.exp(ln_distance)[:, None] * self.distance / self.distance_unit
        noise = np.exp(ln_noise)[:, None] * (g**2 @ self.noise.T) / self.noise_unit
        predicted: Floats = self.loss_unit * (c[:, None] + distance + noise)
        return predicted

    def jacobian(self, theta: Floats) -> Floats:
        _, ln_distance, ln_noise, *shape = theta.T
        falling, power = self._shapes(*shape)
        g = 1.0 + falling + power
        times = self.knots / self.end

        def through(change: Floats) -> Floats:
            """Derivative of the loss where G changes like this."""
            found: Floats = np.exp(ln_noise)[:, None] * ((2 * g * change) @ self.noise.T) / self.noise_unit
            return found

        columns = [
            np.ones((len(theta), len(self.distance))),
            np.exp(ln_distance)[:, None] * self.distance / self.distance_unit,
            np.exp(ln_noise)[:, None] * (g**2 @ self.noise.T) / self.noise_unit,
            through(falling),
            through(-times * falling),
            through(power),
            through(-np.log(times) * power),
        ]
        return self.loss_unit * np.stack(columns, axis=-1)

    def _shapes(self, ln_g1: Floats, rate: Floats, ln_g2: Floats, exponent: Floats) -> tuple[Floats, Floats]:
        """The two terms of G_t/B that fall, [rows, knots] each."""
        times = self.knots / self.end
        falling = np.exp(ln_g1[:, None] - rate[:, None] * times)
        power = np.exp(ln_g2[:, None] - exponent[:, None] * np.log(times))
        return falling, power

    def law(self, theta: Floats) -> ConvexBoundLaw:
        """Natural parameters of coordinates [..., 7]."""
        c, ln_distance, ln_noise, ln_g1, rate, ln_g2, exponent = np.moveaxis(theta, -1, 0)
        scale = self.loss_unit * np.exp(ln_distance) / self.distance_unit
        B = np.sqrt(np.exp(ln_noise - ln_distance) * self.distance_unit / self.noise_unit)
        return ConvexBoundLaw(
            irreducible_loss=self.loss_unit * c,
            scale=scale,
            G1=B * np.exp(ln_g1),
            A1=rate / self.end,
            G2=B * np.exp(ln_g2 + exponent * np.log(self.end)),
            A2=exponent,
            B=B,
        )

    def starts(self, weights: Floats) -> Floats:
        """Shapes of G on a grid, with linear least squares with weights [n] for the rest, shape [rows, p]."""
        losses, roots = pooled_losses(self.curves) / self.loss_unit, np.sqrt(weights)
        one = [[ABSENT, 1.0, ABSENT, 0.5]]
        grid = [
            [g1, rate, g2, exponent]
            for g1 in START_RATIOS
            for rate in START_RATES
            for g2 in START_RATIOS
            for exponent in START_EXPONENTS
        ]
        found = []
        for shape in one if self.norms == "constant" else grid:
            g = 1.0 + sum(self._shapes(*np.array(shape)[:, None]))[0]  # type: ignore[index]
            terms = np.stack([self.distance / self.distance_unit, self.noise @ g**2 / self.noise_unit], axis=1)
            for share in (0.6, 0.9):
                c = share * losses[weights > 0].min()
                found_factors = np.linalg.lstsq(terms * roots[:, None], (losses - c) * roots, rcond=None)[0]
                factors = np.maximum(found_factors, 1e-3)
                found.append([c, *np.log(factors), *shape])
        return np.array(found)


def convex_bound_formula(curves: Sequence[Curve], norms: Norms = "fitted") -> ConvexBoundFormula:
    """The formula at all points of curves, one curve after the other. Raises ValueError for curves without losses."""
    knots = knots_up_to(max(len(curve.lr) for curve in curves))
    kernels = [bound_kernel(curve.lr, curve.updates_done, knots) for curve in curves]
    distance = np.concatenate([kernel.distance for kernel in kernels])
    noise = np.concatenate([kernel.noise for kernel in kernels])
    return ConvexBoundFormula(
        curves=tuple(curves),
        distance=distance,
        noise=noise,
        distance_unit=float(np.median(distance)),
        noise_unit=float(np.median(noise.sum(1))),
        knots=knots,
        norms=norms,
        loss_unit=typical_loss(curves),
    )


def fit_convex_bound(
    curves: Sequence[Curve], *, norms: Norms = "fitted", weighting: Weighting = "points"
) -> CurveFit[ConvexBoundLaw]:
    """Fit to all points of curves, Huber 1e-3 on log loss.

    norms: `fitted`, the law's seven parameters, or `constant`, G_t = B. Raises ValueError for fewer points than
    parameters.
    """
    return fit_curve_law(convex_bound_formula(curves, norms), weighting=weighting)
