"""The loss in size and horizon: loss = E + A·N^(-alpha) + B·D^(-beta) (Hoffmann et al. 2022, equation 2).

Loss and E in nat/token, N in parameters, D in tokens, A in nat/token·parameters^alpha, B in nat/token·tokens^beta.

A and alpha are as good as inseparable when N is 1e7 to 1e10: the term is fixed where the data are, not at N = 1. So the
fit is in E, the size's term at the geometric mean of the sizes, the horizon's term at that of the horizons, alpha and
beta. On the 240 points of Hoffmann et al. as digitised by Besiroglu et al. (2024) the condition number of the problem
(see `fitting.Fit`) is 40 in these coordinates and 280 in (E, A, B, alpha, beta). Starting points come from variable
projection: at given exponents the law is linear in the other three parameters.

With compute C = 6·N·D the loss is least at

    N* = G·(C/6)^a,  D* = G⁻¹·(C/6)^b,  a = beta/(alpha + beta),  b = alpha/(alpha + beta),
    G = (alpha·A/(beta·B))^(1/(alpha + beta)).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glidepath.science import fitting
from glidepath.science.fitting import DELTA, Fit, Profile

Floats = NDArray[np.float64]

EXPONENT_LOW, EXPONENT_HIGH = 0.02, 3.0
START_EXPONENTS = np.array([0.1, 0.2, 0.35, 0.6, 1.0])
"""Of the starting points, all pairs."""
PROFILE_POINTS = 24
"""On either side of the estimate."""
FLOPS_PER_PARAMETER_AND_TOKEN = 6.0


@dataclass(frozen=True)
class SizeHorizonLaw:
    """loss = E + A·N^(-alpha) + B·D^(-beta), none negative; arrays of any common shape, NaN where there is no fit."""

    E: Floats
    A: Floats
    B: Floats
    alpha: Floats
    beta: Floats

    def predict(self, n_params: Floats, tokens: Floats) -> Floats:
        """Losses [nat/token] at points [m] for every fit, shape [..., m]."""
        losses: Floats = (
            self.E[..., None]
            + self.A[..., None] * n_params ** -self.alpha[..., None]
            + self.B[..., None] * tokens ** -self.beta[..., None]
        )
        return losses

    @property
    def optimal_size_exponent(self) -> Floats:
        """a in N* ∝ C^a."""
        return np.asarray(self.beta / (self.alpha + self.beta), np.float64)

    @property
    def optimal_horizon_exponent(self) -> Floats:
        """b in D* ∝ C^b; a + b = 1."""
        return np.asarray(self.alpha / (self.alpha + self.beta), np.float64)

    def compute_optimal(self, train_flops_6nd: Floats) -> tuple[Floats, Floats]:
        """Size [parameters] and horizon [tokens] of least loss at compute [m], each [..., m].

        NaN where A or B is zero: then one of them should be as small as can be.
        """
        budget = np.log(np.asarray(train_flops_6nd, np.float64) / FLOPS_PER_PARAMETER_AND_TOKEN)
        with np.errstate(divide="ignore", invalid="ignore"):
            ln_g = np.log(self.alpha * self.A / (self.beta * self.B)) / (self.alpha + self.beta)
            ln_n = np.where(np.isfinite(ln_g), ln_g, np.nan)[..., None] + self.optimal_size_exponent[..., None] * budget
        return np.exp(ln_n), np.exp(budget - ln_n)


@dataclass(frozen=True)
class SizeHorizonFormula:
    """The law at points [n] in fitting coordinates: E, the two terms at the geometric means, and the exponents."""

    ln_n: Floats
    """ln N less its mean over the points."""
    ln_d: Floats
    centre: tuple[float, float]
    """Those means."""

    names = ("E", "size_term", "horizon_term", "alpha", "beta")
    low = np.array([0.0, 0.0, 0.0, EXPONENT_LOW, EXPONENT_LOW])
    high = np.array([np.inf, np.inf, np.inf, EXPONENT_HIGH, EXPONENT_HIGH])

    @classmethod
    def at(cls, n_params: Floats, tokens: Floats) -> SizeHorizonFormula:
        ln_n, ln_d = np.log(n_params), np.log(tokens)
        centre = float(ln_n.mean()), float(ln_d.mean())
        return cls(ln_n - centre[0], ln_d - centre[1], centre)

    def predict(self, theta: Floats) -> Floats:
        of_size, of_horizon = self._powers(theta)
        return theta[:, :1] + theta[:, 1:2] * of_size + theta[:, 2:3] * of_horizon

    def jacobian(self, theta: Floats) -> Floats:
        of_size, of_horizon = self._powers(theta)
        return np.stack(
            [
                np.ones_like(of_size),
                of_size,
                of_horizon,
                -theta[:, 1:2] * of_size * self.ln_n,
                -theta[:, 2:3] * of_horizon * self.ln_d,
            ],
            axis=-1,
        )

    def _powers(self, theta: Floats) -> tuple[Floats, Floats]:
        return np.exp(-theta[:, 3:4] * self.ln_n), np.exp(-theta[:, 4:5] * self.ln_d)

    def starts(self, losses: Floats, weights: Floats | None = None) -> Floats:
        """E and the terms by least squares of relative errors at every pair of `START_EXPONENTS`, shape [starts, 5]."""
        scale = (1.0 if weights is None else np.sqrt(weights)) / losses
        rows = []
        for alpha, beta in itertools.product(START_EXPONENTS, repeat=2):
            design = np.stack([np.ones_like(self.ln_n), np.exp(-alpha * self.ln_n), np.exp(-beta * self.ln_d)], axis=1)
            linear = np.linalg.lstsq(design * scale[:, None], losses * scale, rcond=None)[0]
            rows.append([*np.maximum(linear, 0.01 * losses.mean()), alpha, beta])
        return np.array(rows)

    def law(self, theta: Floats) -> SizeHorizonLaw:
        """Natural parameters of coordinates [..., 5]."""
        E, size_term, horizon_term, alpha, beta = np.moveaxis(theta, -1, 0)
        A, B = size_term * np.exp(alpha * self.centre[0]), horizon_term * np.exp(beta * self.centre[1])
        return SizeHorizonLaw(E, A, B, alpha, beta)


@dataclass(frozen=True)
class SizeHorizonFit:
    """A fitted law with what is needed to ask how well it is known."""

    law: SizeHorizonLaw
    fit: Fit
    formula: SizeHorizonFormula
    losses: Floats
    delta: float

    @property
    def residuals(self) -> Floats:
        """ln measured - ln predicted, shape [n]."""
        return np.asarray(np.log(self.losses) - np.log(self.formula.predict(self.fit.theta[None])[0]), np.float64)

    def resampled(self, *, losses: Floats | None = None, weights: Floats | None = None) -> SizeHorizonLaw:
        """The law of every bootstrap sample: losses [rows, n] measured anew, or weights [rows, n] of runs drawn anew.

        NaN in rows with a loss that is not positive and finite.
        """
        theta = fitting_rows(self.formula, self.fit, self.losses if losses is None else losses, weights, self.delta)
        return self.formula.law(theta)

    def profile(self, name: str, level: float) -> Profile:
        """Profile likelihood of one of the formula's coordinates over the whole range that it may have.

        E runs from 0 to the lowest loss, terms to four times their estimate, exponents between their bounds.
        """
        at = float(self.fit.theta[self.formula.names.index(name)])
        if name in ("alpha", "beta"):
            grid = np.geomspace(EXPONENT_LOW, EXPONENT_HIGH, 2 * PROFILE_POINTS)
            grid = np.concatenate([grid, at * np.geomspace(0.5, 2.0, 2 * PROFILE_POINTS)])
            grid = grid[(grid >= EXPONENT_LOW) & (grid <= EXPONENT_HIGH)]
        else:
            end = float(self.losses.min()) if name == "E" else 4 * max(at, 1e-3)
            grid = np.linspace(0.0, end, 2 * PROFILE_POINTS)
        grid = np.unique(np.append(grid, at))
        return fitting.profile(self.formula, self.losses, self.fit, name, grid, level, delta=self.delta)


def fitting_rows(formula: fitting.Formula, found: Fit, losses: Floats, weights: Floats | None, delta: float) -> Floats:
    """Coordinates of every bootstrap sample [rows, p]; NaN in rows with a loss that is not positive and finite."""
    if losses.ndim == 1:
        return fitting.resampled_fits(formula, found, losses, weights=weights, delta=delta).theta
    usable = (np.isfinite(losses) & (losses > 0)).all(1)
    theta = np.full((len(losses), len(found.theta)), np.nan)
    if usable.any() and np.isfinite(found.theta).all():
        theta[usable] = fitting.resampled_fits(formula, found, losses[usable], weights=weights, delta=delta).theta
    return theta


def fit_size_horizon_law(n_params: Floats, tokens: Floats, losses: Floats, *, delta: float = DELTA) -> SizeHorizonFit:
    """Huber on ln loss [n] from 25 starting points; exponents within 0.02 and 3, E, A and B not negative.

    Raises ValueError for fewer than three sizes or three horizons, or fewer points than parameters: the law would not
    be identified.
    """
    sizes, horizons = len(set(n_params.tolist())), len(set(tokens.tolist()))
    if sizes < 3 or horizons < 3:
        raise ValueError(
            f"the law in size and horizon needs at least three of each, there are {sizes} sizes and {horizons} "
            f"horizons. Add runs of other sizes or horizons"
        )
    fitting.refuse_losses(losses)
    formula = SizeHorizonFormula.at(n_params, tokens)
    found = fitting.fit(formula, losses, formula.starts(losses), delta=delta)
    return SizeHorizonFit(formula.law(found.theta), found, formula, losses, delta)
