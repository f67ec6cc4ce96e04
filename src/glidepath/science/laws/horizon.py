"""Laws in the horizon and the size. Each fit searches over exponents, with linear least squares inside.

Given its exponents each law is linear in its other parameters (variable projection: the conditioning of the joint
problem improves by orders of magnitude), so a grid finds the neighbourhood of the global minimum without starting
points, and a thousand bootstrap samples are fitted together. From there every sample walks on by itself: bootstrap
exponents rounded to a grid make intervals that cover too rarely.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Status = Literal["converged", "bound_hit", "not_identified", "failed"]

EXPONENTS = np.geomspace(0.02, 2.0, 120)
SIZE_EXPONENTS = np.geomspace(0.05, 2.0, 40)
WALK_STEPS = 16
"""Halvings of the grid's spacing (4 and 10 %) or moves by it."""


@dataclass(frozen=True)
class PowerLaw:
    """y = scale·x^(-exponent)."""

    scale: Floats
    exponent: Floats

    def predict(self, x: Floats) -> Floats:
        """Values at x [m] for every fit, shape [..., m]."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.scale[..., None] * x ** -self.exponent[..., None]


def fit_power_law(x: Floats, y: Floats) -> PowerLaw:
    """Least squares of ln y on ln x for rows y [..., n]; rows with a NaN give NaN (Bjorck et al. 2024: LR* ∝ D^-β).

    Raises ValueError for fewer than two distinct x.
    """
    if len(set(x.tolist())) < 2:
        raise ValueError(f"a power law through x = {x.tolist()}: at least two different x are needed")
    ln_x = np.log(x) - np.log(x).mean()
    # Samples may lie at 0 or infinity, which only says on which side of the grid they are.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
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
    """Least squares of losses [..., n] at x [n], exponent within `EXPONENTS`, irreducible_loss and K not negative.

    Where the free asymptote would be negative it is zero. `bound_hit` marks fits with a zero asymptote or an exponent
    at an end of its grid: the data do not identify them.

    Raises ValueError for fewer than three distinct x.
    """
    if len(set(x.tolist())) < 3:
        raise ValueError(f"three parameters through x = {x.tolist()}: at least three different x are needed")
    rows = np.atleast_2d(losses)

    def design(exponents: Floats) -> Floats:
        z = x**-exponents
        return np.stack([np.ones_like(z), z], axis=-1)

    linear, exponents, at_end = _search(design, rows, EXPONENTS[:, None], EXPONENTS[1] / EXPONENTS[0])
    shape = losses.shape[:-1]
    irreducible_loss, K = (linear[:, j].reshape(shape) for j in range(2))
    bound = at_end.reshape(shape) | ~(irreducible_loss > 0)
    return SaturatingLaw(irreducible_loss, K, exponents[:, 0].reshape(shape), bound)


def _search(
    design: Callable[[Floats], Floats], rows: Floats, grid: Floats, spacing: float
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Least squares of rows [r, n] over exponents: the best of `grid` [m, k], then downhill by ever smaller steps.

    `design` makes [r, n, p] of exponents [r, k]. Returns the linear parameters [r, p], the exponents [r, k], both NaN
    where no exponents are admitted, and whether the walk ended at an end of the grid, shape [r].
    """
    r, k = len(rows), grid.shape[1]
    best, exponents = np.full(r, np.inf), np.full((r, k), np.nan)
    for point in grid:
        error = _linear(design(point[None]), rows)[1]
        exponents[error < best] = point
        best = np.minimum(best, error)
    found = np.isfinite(best)
    rows, best, walked = rows[found], best[found], exponents[found]
    moves = np.array([move for move in itertools.product((-1, 0, 1), repeat=k) if any(move)])
    step = np.full((len(rows), 1), np.log(spacing) / 2)
    low, high = grid.min(0), grid.max(0)
    for _ in range(WALK_STEPS if len(rows) else 0):
        candidates = [np.clip(walked * np.exp(step * move), low, high) for move in moves]
        errors = np.array([_linear(design(candidate), rows)[1] for candidate in candidates])
        move = errors.argmin(0)
        downhill = errors.min(0) < best
        walked = np.where(downhill[:, None], np.array(candidates)[move, np.arange(len(rows))], walked)
        best = np.minimum(best, errors.min(0))
        step = np.where(downhill[:, None], step, step / 2)
    linear = np.full((r, design(grid[:1]).shape[-1]), np.nan)
    if len(rows):
        linear[found], exponents[found] = _linear(design(walked), rows)[0], walked
    return linear, exponents, ((exponents == low) | (exponents == high)).any(1)


def _linear(design: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Parameters [r, p] and squared error [r] of rows [r, n] on designs [r or 1, n, p], none negative.

    A negative first parameter, the asymptote, is floored at zero; where another one is negative the error is infinite.
    """
    linear = np.einsum("...pn,...n->...p", np.linalg.pinv(design), rows)
    without = np.einsum("...pn,...n->...p", np.linalg.pinv(design[..., 1:]), rows)
    floored = np.concatenate([np.zeros_like(linear[:, :1]), without], axis=1)
    linear = np.where(linear[:, :1] < 0, floored, linear)
    error = ((rows - np.einsum("...np,...p->...n", design, linear)) ** 2).sum(1)
    return linear, np.where((linear >= 0).all(1), error, np.inf)


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
    """Least squares of losses [..., n]; alpha and beta within `SIZE_EXPONENTS`, E, A, B not negative.

    E is zero where it would be negative; fits with a negative A or B are not admitted. `bound_hit`: E is zero or an
    exponent at an end of its grid.

    Raises ValueError for fewer than three sizes or three horizons: the law would not be identified.
    """
    sizes, horizons = len(set(n_params.tolist())), len(set(tokens.tolist()))
    if sizes < 3 or horizons < 3:
        raise ValueError(
            f"the law in size and horizon needs at least three of each, there are {sizes} sizes and {horizons} "
            f"horizons. "
            f"Add models or tokens_per_parameter to the grid"
        )
    rows = np.atleast_2d(losses)
    # Scaled so that the design's columns are of order one.
    n, d = n_params / n_params.min(), tokens / tokens.min()

    def design(exponents: Floats) -> Floats:
        alpha, beta = exponents[:, :1], exponents[:, 1:]
        return np.stack([np.ones((len(exponents), len(n))), n**-alpha, d**-beta], axis=-1)

    grid = np.array(list(itertools.product(SIZE_EXPONENTS, repeat=2)))
    linear, exponents, at_end = _search(design, rows, grid, SIZE_EXPONENTS[1] / SIZE_EXPONENTS[0])
    shape = losses.shape[:-1]
    E, A, B = (linear[:, j].reshape(shape) for j in range(3))
    alpha, beta = (exponents[:, j].reshape(shape) for j in range(2))
    bound = at_end.reshape(shape) | ~(E > 0)
    return SizeHorizonLaw(E, A * n_params.min() ** alpha, B * tokens.min() ** beta, alpha, beta, bound)


def compute_saving(tokens_per_parameter: Floats, losses: Floats, reference_losses: Floats) -> Floats:
    """Share of the reference's compute that a schedule saves to reach the same loss, rows of losses [..., n], shape
    [..., n].

    saving(x) = 1 - L⁻¹(L_ref(x))/x  (Bergsma et al. 2025, the curve behind their 60 %), with L⁻¹ by linear
    interpolation of ln x between the horizons that were trained. Infinite, of the sign it must have, where that would
    extrapolate.
    """
    rows, references = np.atleast_2d(losses), np.atleast_2d(reference_losses)
    ln_x = np.log(tokens_per_parameter)
    order = np.argsort(ln_x)
    savings = np.full(rows.shape, np.nan)
    for row, reference, saving in zip(rows[:, order], references, savings, strict=True):
        # Noise can make a longer horizon look worse; the running minimum is the loss reachable within a horizon.
        reachable = np.minimum.accumulate(row)
        needed = np.interp(-reference, -reachable, ln_x[order], left=-np.inf, right=np.inf)
        saving[:] = np.where(np.isinf(needed), -needed, 1.0 - np.exp(needed - ln_x))
    return savings.reshape(losses.shape)
