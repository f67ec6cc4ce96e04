"""Laws in the horizon: of the optimal learning rate, of the loss, and what a schedule saves of another's compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glidepath.science import fitting
from glidepath.science.fitting import DELTA

Floats = NDArray[np.float64]

EXPONENT_LOW, EXPONENT_HIGH = 0.02, 2.0
START_EXPONENTS = np.geomspace(0.03, 1.8, 16)
N_STARTS = 2
"""Of these, the best by least squares, for every sample by itself."""
NOTHING = 1e-12
"""A term smaller than this share of the loss is none."""


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
        losses: Floats = self.irreducible_loss[..., None] + self.K[..., None] * x ** -self.exponent[..., None]
        return losses

    def invert(self, losses: Floats) -> Floats:
        """x at which every fit [...] reaches losses [..., m]; infinite for a loss that it never reaches."""
        above = losses - self.irreducible_loss[..., None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            x = (self.K[..., None] / above) ** (1 / self.exponent[..., None])
        reached: Floats = np.where(above > 0, x, np.where(np.isnan(above), np.nan, np.inf))
        return reached


@dataclass(frozen=True)
class SaturatingFormula:
    """The law at x in fitting coordinates: the asymptote, the other term at the geometric mean of x, the exponent."""

    ln_x: Floats
    """Less its mean, shape [n]."""

    names = ("irreducible_loss", "term", "exponent")
    low = np.array([0.0, 0.0, EXPONENT_LOW])
    high = np.array([np.inf, np.inf, EXPONENT_HIGH])

    def predict(self, theta: Floats) -> Floats:
        return theta[:, :1] + theta[:, 1:2] * np.exp(-theta[:, 2:] * self.ln_x)

    def jacobian(self, theta: Floats) -> Floats:
        power = np.exp(-theta[:, 2:] * self.ln_x)
        return np.stack([np.ones_like(power), power, -theta[:, 1:2] * power * self.ln_x], axis=-1)

    def starts(self, rows: Floats) -> Floats:
        """The best exponents by least squares, with what they leave for the rest, shape [N_STARTS, rows, 3]."""
        errors, found = [], []
        for exponent in START_EXPONENTS:
            design = np.stack([np.ones_like(self.ln_x), np.exp(-exponent * self.ln_x)], axis=1)
            linear = rows @ np.linalg.pinv(design).T
            # A negative asymptote is none, and the other term is then alone.
            alone = rows @ design[:, 1] / (design[:, 1] @ design[:, 1])
            floored = np.stack([np.zeros_like(alone), alone], axis=1)
            linear = np.maximum(np.where(linear[:, :1] < 0, floored, linear), 0.0)
            errors.append(((rows - linear @ design.T) ** 2).sum(1))
            found.append(np.column_stack([linear, np.full(len(rows), exponent)]))
        best = np.argsort(np.array(errors), axis=0)[:N_STARTS]
        starts: Floats = np.array(found)[best, np.arange(len(rows))]
        return starts


def fit_saturating_law(
    x: Floats, losses: Floats, *, weights: Floats | None = None, delta: float = DELTA
) -> SaturatingLaw:
    """Huber on ln loss for rows of losses [..., n] at x [n], exponent within 0.02 and 2, the other two not negative.

    weights [..., n] say how often a bootstrap drew each point; rows that drew fewer than three are NaN.

    Rows whose losses do not fall with x, and rows with a loss that is not positive and finite, are NaN. `bound_hit`
    marks them, and fits with a zero asymptote or an exponent at an end of its range: the data do not identify them.

    Raises ValueError for fewer than three distinct x.
    """
    if len(set(x.tolist())) < 3:
        raise ValueError(f"three parameters through x = {x.tolist()}: at least three different x are needed")
    rows = np.atleast_2d(losses)
    centre = float(np.log(x).mean())
    formula = SaturatingFormula(np.log(x) - centre)
    theta = np.full((len(rows), 3), np.nan)
    w = np.broadcast_to(1.0 if weights is None else weights, rows.shape)
    usable = (np.isfinite(rows) & (rows > 0)).all(1) & ((w > 0).sum(1) >= 3)
    if usable.any():
        measured, w = rows[usable], w[usable]
        starts = formula.starts(measured)
        ends = [fitting.minimise(formula, measured, start, weights=w, delta=delta) for start in starts]
        best = np.argmin([end.objective for end in ends], axis=0)
        theta[usable] = np.array([end.theta for end in ends])[best, np.arange(len(measured))]
        falls = theta[:, 1] > NOTHING * np.nanmax(rows, axis=1, initial=0.0)
        theta[~falls] = np.nan
    bound = ~((theta[:, 0] > 0) & (theta[:, 2] > EXPONENT_LOW) & (theta[:, 2] < EXPONENT_HIGH))
    irreducible_loss, term, exponent = (theta[:, j].reshape(losses.shape[:-1]) for j in range(3))
    return SaturatingLaw(irreducible_loss, term * np.exp(exponent * centre), exponent, bound.reshape(losses.shape[:-1]))


def compute_saving_by_law(x: Floats, law: SaturatingLaw, reference: SaturatingLaw) -> Floats:
    """Share of the reference's compute at x [m] that a schedule saves to reach the same loss, shape [..., m].

    saving(x) = 1 - L⁻¹(L_ref(x))/x with both laws as fitted, so it also answers beyond the horizons that were trained;
    minus infinity where the schedule never reaches that loss.
    """
    return np.asarray(1.0 - law.invert(reference.predict(x)) / x, np.float64)


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
