"""The last-iterate bound of convex optimisation as a law of loss curves (Schaipp et al. 2025, arXiv 2501.18965).

With Ω_t the bound (science/laws/last_iterate_bound.py) for D = 1, loss(t) = irreducible_loss + scale·Ω_t, and the norms
that Schaipp et al. fit are

    G_t = G1·exp(-A1·t) + G2·t^(-A2) + B,    t in updates from 1.

The training of a network is not convex and its G_t depends on the learning rate; here it is one function of t for all
curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glidepath.science.laws.curve import Curve
from glidepath.science.laws.curve_fit import CurveFit, fit_curve_law
from glidepath.science.laws.last_iterate_bound import bound_kernel, knots_up_to
from glidepath.science.laws.pooled_curves import Weighting, pooled_losses, typical_loss

Floats = NDArray[np.float64]
Norms = Literal["constant", "fitted"]

ABSENT = -30.0
"""ln of a term that is switched off."""
START_RATES = (3.0, 30.0)
START_EXPONENTS = (0.3, 1.0)
START_RATIOS = (-8.0, 0.0)


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
