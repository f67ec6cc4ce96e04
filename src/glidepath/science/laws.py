"""Laws in the horizon and the size. Each fit is a small grid over exponents with linear least squares inside.

Given its exponents each law is linear in its other parameters (variable projection: the conditioning of the joint problem
improves by orders of magnitude), so the grid finds the global minimum, needs no starting points, and fits a thousand
bootstrap samples in one array operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Status = Literal["converged", "bound_hit", "not_identified", "failed"]

EXPONENTS = np.geomspace(0.02, 2.0, 120)
SIZE_EXPONENTS = np.geomspace(0.05, 2.0, 40)
"""Grids of exponents. Neighbours differ by 4 and 10 %; around the best ones the grids are made `FINER` times finer."""
FINER = 16


@dataclass(frozen=True)
class PowerLaw:
    """y = scale·x^(-exponent)."""

    scale: Floats
    exponent: Floats

    def predict(self, x: Floats) -> Floats:
        """Values at x [m] for every fit, shape [..., m]."""
        return self.scale[..., None] * x ** -self.exponent[..., None]


def fit_power_law(x: Floats, y: Floats) -> PowerLaw:
    """Least squares of ln y on ln x for rows y [..., n]; rows with a NaN give NaN (Bjorck et al. 2024: LR* ∝ D^-β).

    Raises ValueError for fewer than two distinct x.
    """
    if len(set(x.tolist())) < 2:
        raise ValueError(f"a power law through x = {x.tolist()}: at least two different x are needed")
    ln_x = np.log(x) - np.log(x).mean()
    ln_y = np.log(y)
    slope = ln_y @ ln_x / (ln_x @ ln_x)
    return PowerLaw(np.exp(ln_y.mean(-1) - slope * np.log(x).mean()), -slope)


@dataclass(frozen=True)
class SaturatingLaw:
    """loss = irreducible_loss + K·x^(-exponent), K and irreducible_loss not negative."""

    irreducible_loss: Floats
    K: Floats
    exponent: Floats
    bound_hit: NDArray[np.bool_]

    def predict(self, x: Floats) -> Floats:
        """Values at x [m] for every fit, shape [..., m]."""
        return self.irreducible_loss[..., None] + self.K[..., None] * x ** -self.exponent[..., None]


def fit_saturating_law(x: Floats, losses: Floats) -> SaturatingLaw:
    """Least squares of losses [..., n] at x [n], exponent on `EXPONENTS`, irreducible_loss and K by linear least squares ≥ 0.

    Where the free asymptote would be negative it is zero. `bound_hit` marks fits with a zero asymptote or an exponent at
    an end of its grid: the data do not identify them.

    Raises ValueError for fewer than three distinct x.
    """
    if len(set(x.tolist())) < 3:
        raise ValueError(f"three parameters through x = {x.tolist()}: at least three different x are needed")
    rows = np.atleast_2d(losses)
    parameters = _best_saturating(x, rows, EXPONENTS)
    at_end = np.isin(parameters[:, 2], EXPONENTS[[0, -1]])
    for exponent in np.unique(parameters[np.isfinite(parameters[:, 2]), 2]):
        here = parameters[:, 2] == exponent
        parameters[here] = _best_saturating(x, rows[here], exponent * _finer(EXPONENTS))
    shape = losses.shape[:-1]
    irreducible_loss, K, exponents = (parameters[:, j].reshape(shape) for j in range(3))
    bound = at_end | (parameters[:, 0] == 0) | np.isnan(parameters[:, 0])
    return SaturatingLaw(irreducible_loss, K, exponents, bound.reshape(shape))


def _finer(exponents: Floats) -> Floats:
    """Factors from one neighbour in the grid to the other."""
    return (exponents[1] / exponents[0]) ** np.linspace(-1, 1, 2 * FINER + 1)


def _best_saturating(x: Floats, rows: Floats, exponents: Floats) -> Floats:
    """irreducible_loss, K and exponent of the best exponent for every row, NaN where none is admitted, shape [rows, 3]."""
    best = np.full(len(rows), np.inf)
    parameters = np.full((len(rows), 3), np.nan)
    for exponent in exponents:
        z = x**-exponent
        design = np.stack([np.ones_like(z), z], axis=1)
        linear = rows @ np.linalg.pinv(design).T
        floored = np.stack([np.zeros(len(rows)), rows @ z / (z @ z)], axis=1)
        linear = np.where(linear[:, :1] < 0, floored, linear)
        error = ((rows - linear @ design.T) ** 2).sum(1)
        better = (error < best) & (linear[:, 1] >= 0)
        best = np.where(better, error, best)
        parameters[better, :2], parameters[better, 2] = linear[better], exponent
    return parameters


@dataclass(frozen=True)
class SizeHorizonLaw:
    """loss = E + A·N^(-alpha) + B·D^(-beta) (Hoffmann et al. 2022), all not negative."""

    E: Floats
    A: Floats
    B: Floats
    alpha: Floats
    beta: Floats
    bound_hit: NDArray[np.bool_]

    def predict(self, n_params: Floats, tokens: Floats) -> Floats:
        """Values at points [m] for every fit, shape [..., m]."""
        return (
            self.E[..., None]
            + self.A[..., None] * n_params ** -self.alpha[..., None]
            + self.B[..., None] * tokens ** -self.beta[..., None]
        )


def fit_size_horizon_law(n_params: Floats, tokens: Floats, losses: Floats) -> SizeHorizonLaw:
    """Least squares of losses [..., n]; alpha and beta on `SIZE_EXPONENTS`, E, A, B by linear least squares.

    Fits with a negative E, A or B are not admitted. `bound_hit`: an exponent at an end of its grid.

    Raises ValueError for fewer than three sizes or three horizons: the law would not be identified.
    """
    sizes, horizons = len(set(n_params.tolist())), len(set(tokens.tolist()))
    if sizes < 3 or horizons < 3:
        raise ValueError(
            f"the law in size and horizon needs at least three of each, there are {sizes} sizes and {horizons} horizons. "
            f"Add models or tokens_per_parameter to the grid"
        )
    rows = np.atleast_2d(losses)
    # Scaled so that the design's columns are of order one.
    n, d = n_params / n_params.min(), tokens / tokens.min()
    parameters = _best_size_horizon(n, d, rows, SIZE_EXPONENTS, SIZE_EXPONENTS)
    bound = np.isin(parameters[:, 3:], SIZE_EXPONENTS[[0, -1]]).any(1) | np.isnan(parameters[:, 0])
    finer = _finer(SIZE_EXPONENTS)
    pairs, pair = np.unique(np.nan_to_num(parameters[:, 3:]), axis=0, return_inverse=True)
    for i, (alpha, beta) in enumerate(pairs):
        if alpha > 0:
            parameters[pair == i] = _best_size_horizon(n, d, rows[pair == i], alpha * finer, beta * finer)
    E, A, B, alphas, betas = (parameters[:, k].reshape(losses.shape[:-1]) for k in range(5))
    return SizeHorizonLaw(
        E, A * n_params.min() ** alphas, B * tokens.min() ** betas, alphas, betas, bound.reshape(losses.shape[:-1])
    )


def _best_size_horizon(n: Floats, d: Floats, rows: Floats, alphas: Floats, betas: Floats) -> Floats:
    """E, A, B, alpha, beta of the best pair of exponents for every row, NaN where none is admitted, shape [rows, 5]."""
    best = np.full(len(rows), np.inf)
    parameters = np.full((len(rows), 5), np.nan)
    for alpha in alphas:
        for beta in betas:
            design = np.stack([np.ones_like(n), n**-alpha, d**-beta], axis=1)
            linear = rows @ np.linalg.pinv(design).T
            error = ((rows - linear @ design.T) ** 2).sum(1)
            better = (error < best) & (linear >= 0).all(1)
            best = np.where(better, error, best)
            parameters[better, :3], parameters[better, 3:] = linear[better], (alpha, beta)
    return parameters


def compute_saving(tokens_per_parameter: Floats, losses: Floats, reference_losses: Floats) -> Floats:
    """Share of the reference's compute that a schedule saves to reach the same loss, rows of losses [..., n], shape [..., n].

    saving(x) = 1 - L⁻¹(L_ref(x))/x  (Bergsma et al. 2025, the curve behind their 60 %), with L⁻¹ by linear interpolation of
    ln x between the horizons that were trained. NaN where that would extrapolate.
    """
    rows, references = np.atleast_2d(losses), np.atleast_2d(reference_losses)
    ln_x = np.log(tokens_per_parameter)
    order = np.argsort(ln_x)
    savings = np.full(rows.shape, np.nan)
    for row, reference, saving in zip(rows[:, order], references, savings, strict=True):
        # Noise can make a longer horizon look worse; the running minimum is the loss reachable within a horizon.
        reachable = np.minimum.accumulate(row)
        needed = np.interp(-reference, -reachable, ln_x[order], left=np.nan, right=np.nan)
        saving[:] = 1.0 - np.exp(needed - ln_x)
    return savings.reshape(losses.shape)
