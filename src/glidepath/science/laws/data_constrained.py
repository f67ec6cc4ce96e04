"""The loss in size and horizon where text is repeated (Muennighoff et al. 2023, equations 5 to 7).

With U unique tokens, D trained tokens and N parameters, repeated tokens and parameters beyond those that U tokens can
use are worth less and less:

    loss = E + A·N'^(-alpha) + B·D'^(-beta)                                                     [nat/token]
    D' = U + U·R_D*·(1 - exp(-R_D/R_D*)),        R_D = D/U - 1 (repetitions)
    N' = U_N + U_N·R_N*·(1 - exp(-R_N/R_N*)),    R_N = N/U_N - 1,  U_N = min(N_opt(U), N)

N_opt(U) is the size for which U tokens are the compute-optimal horizon of the same A, B, alpha, beta:

    ln N_opt = [ln(alpha·A/(beta·B)) + beta·ln U]/alpha.

R* [repetitions] is where 63 % of all that repeating can give is reached; infinite means as good as fresh. Whether R_D*
is identified depends on runs with many repetitions: on the authors' 182 runs it is not (profile of `fit`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from glidepath.science import fitting
from glidepath.science.fitting import DELTA, Fit, Profile
from glidepath.science.laws.size_horizon import (
    EXPONENT_HIGH,
    EXPONENT_LOW,
    PROFILE_POINTS,
    SizeHorizonFormula,
    SizeHorizonLaw,
    fitting_rows,
)

Floats = NDArray[np.float64]

REPETITIONS_LOW, REPETITIONS_HIGH = 0.01, 1e6
"""Of R_D* and R_N*: beyond, a repetition is worth nothing or as much as fresh text."""
LEAST_TERM = 1e-6
"""Of the terms of size and horizon [nat/token]: N_opt needs their ratio."""
FAR_BELOW = 40.0
"""ln of how far N_opt may lie below a size; nothing is known so far from the data."""
START_TOKEN_REPETITIONS = (1.0, 5.0, 20.0, 100.0, 1000.0)
START_PARAMETER_REPETITIONS = (0.5, 2.0, 8.0, 50.0)
START_EXPONENTS = (0.25, 0.4, 0.7)
MOST_STARTS = 24
"""Of all combinations, those of the lowest objective."""


@dataclass(frozen=True)
class DataConstrainedLaw:
    """The law; arrays of any common shape."""

    fresh: SizeHorizonLaw
    """What it is where nothing is repeated and no parameter is too many."""
    R_D: Floats
    """R_D* [repetitions]"""
    R_N: Floats
    """R_N*"""

    def effective_tokens(self, tokens: Floats, unique_tokens: Floats) -> Floats:
        """D' at points [m], shape [..., m]."""
        return _effective(tokens, np.minimum(unique_tokens, tokens), self.R_D[..., None])

    def effective_params(self, n_params: Floats, unique_tokens: Floats) -> Floats:
        """N' at points [m], shape [..., m]."""
        law = self.fresh
        with np.errstate(divide="ignore"):
            ratio = np.log(law.alpha * law.A / (law.beta * law.B))[..., None]
        ln_useful = (ratio + law.beta[..., None] * np.log(unique_tokens)) / law.alpha[..., None]
        ln_n = np.log(n_params)
        return _effective(n_params, np.exp(np.clip(ln_useful, ln_n - FAR_BELOW, ln_n)), self.R_N[..., None])

    def predict(self, n_params: Floats, tokens: Floats, unique_tokens: Floats) -> Floats:
        """Losses [nat/token] at points [m] for every fit, shape [..., m]."""
        law = self.fresh
        of_size = self.effective_params(n_params, unique_tokens) ** -law.alpha[..., None]
        of_horizon = self.effective_tokens(tokens, unique_tokens) ** -law.beta[..., None]
        losses: Floats = law.E[..., None] + law.A[..., None] * of_size + law.B[..., None] * of_horizon
        return losses


def _effective(total: Floats, unique: Floats, repetitions: Floats) -> Floats:
    worth: Floats = unique * (1 - repetitions * np.expm1(-(total / unique - 1) / repetitions))
    return worth


@dataclass(frozen=True)
class DataConstrainedFormula:
    """The law at points [n] in fitting coordinates: those of `SizeHorizonFormula`, ln R_D* and ln R_N*."""

    ln_n: Floats
    ln_d: Floats
    ln_u: Floats
    """ln of size, horizon and unique tokens, less the centres; shape [n]."""
    centre: tuple[float, float]
    low: Floats
    high: Floats

    names = ("E", "size_term", "horizon_term", "alpha", "beta", "R_D", "R_N")

    @classmethod
    def at(cls, n_params: Floats, tokens: Floats, unique_tokens: Floats) -> DataConstrainedFormula:
        centre = float(np.log(n_params).mean()), float(np.log(tokens).mean())
        ends = np.log([REPETITIONS_LOW, REPETITIONS_HIGH])
        return cls(
            np.log(n_params) - centre[0],
            np.log(tokens) - centre[1],
            np.log(np.minimum(unique_tokens, tokens)) - centre[1],
            centre,
            np.array([0.0, LEAST_TERM, LEAST_TERM, EXPONENT_LOW, EXPONENT_LOW, ends[0], ends[0]]),
            np.array([np.inf, np.inf, np.inf, EXPONENT_HIGH, EXPONENT_HIGH, ends[1], ends[1]]),
        )

    def with_known(self, law: SizeHorizonLaw) -> DataConstrainedFormula:
        """With E, A, B, alpha and beta fixed: only R_D* and R_N* are fitted."""
        known = np.array(
            [
                law.E,
                law.A * np.exp(-law.alpha * self.centre[0]),
                law.B * np.exp(-law.beta * self.centre[1]),
                law.alpha,
                law.beta,
            ],
            dtype=np.float64,
        )
        return replace(self, low=np.concatenate([known, self.low[5:]]), high=np.concatenate([known, self.high[5:]]))

    def predict(self, theta: Floats) -> Floats:
        E, size_term, horizon_term, alpha, beta, *_ = _columns(theta)
        ln_params, ln_tokens, _ = self._effective(theta)
        return E + size_term * np.exp(-alpha * ln_params) + horizon_term * np.exp(-beta * ln_tokens)

    def jacobian(self, theta: Floats) -> Floats:
        _, size_term, horizon_term, alpha, beta, ln_rd, ln_rn = _columns(theta)
        ln_params, ln_tokens, ln_useful = self._effective(theta)
        of_size, of_horizon = np.exp(-alpha * ln_params), np.exp(-beta * ln_tokens)
        # By ln N' and ln D', and these by ln R* and, for parameters beyond the useful ones, by ln U_N.
        by_params, by_tokens = -alpha * size_term * of_size, -beta * horizon_term * of_horizon
        beyond = (ln_useful < self.ln_n) & (ln_useful > self.ln_n - FAR_BELOW)
        extra = np.expm1(self.ln_n - ln_useful)
        rn, rd = np.exp(ln_rn), np.exp(ln_rd)
        kept = np.exp(-extra / rn)
        by_useful = by_params * np.where(beyond, 1 - kept * np.exp(self.ln_n - ln_params), 0.0)
        params_by_rn = np.exp(ln_useful - ln_params) * (-rn * np.expm1(-extra / rn) - extra * kept)
        repeated = np.expm1(self.ln_d - self.ln_u)
        tokens_by_rd = np.exp(self.ln_u - ln_tokens) * (
            -rd * np.expm1(-repeated / rd) - repeated * np.exp(-repeated / rd)
        )
        return np.stack(
            [
                np.ones_like(of_size),
                of_size + by_useful / (alpha * size_term),
                of_horizon - by_useful / (alpha * horizon_term),
                -size_term * of_size * ln_params + by_useful * (1 / alpha - ln_useful) / alpha,
                -horizon_term * of_horizon * ln_tokens + by_useful * (self.ln_u - 1 / beta) / alpha,
                by_tokens * tokens_by_rd,
                by_params * params_by_rn,
            ],
            axis=-1,
        )

    def _effective(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """ln N', ln D' and ln U_N, less the centres, shape [rows, n]."""
        _, size_term, horizon_term, alpha, beta, ln_rd, ln_rn = _columns(theta)
        optimal = (np.log(alpha * size_term / (beta * horizon_term)) + beta * self.ln_u) / alpha
        useful = np.clip(optimal, self.ln_n - FAR_BELOW, self.ln_n)
        rd, rn = np.exp(ln_rd), np.exp(ln_rn)
        ln_params = useful + np.log1p(-rn * np.expm1(-np.expm1(self.ln_n - useful) / rn))
        ln_tokens = self.ln_u + np.log1p(-rd * np.expm1(-np.expm1(self.ln_d - self.ln_u) / rd))
        return ln_params, ln_tokens, useful

    def starts(self, losses: Floats) -> Floats:
        """Least squares for E and the terms at every combination of exponents and R*, as if no size were too large."""
        rows = []
        fixed = (self.low == self.high)[:5].all()
        pairs = list(itertools.product(START_TOKEN_REPETITIONS, START_PARAMETER_REPETITIONS))
        for rd, rn in pairs:
            repetitions = [float(np.log(rd)), float(np.log(rn))]
            if fixed:
                rows.append([*self.low[:5], *repetitions])
                continue
            ln_tokens = self.ln_u + np.log1p(-rd * np.expm1(-np.expm1(self.ln_d - self.ln_u) / rd))
            for alpha, beta in itertools.product(START_EXPONENTS, repeat=2):
                design = np.stack(
                    [np.ones_like(self.ln_n), np.exp(-alpha * self.ln_n), np.exp(-beta * ln_tokens)], axis=1
                )
                linear = np.linalg.lstsq(design / losses[:, None], np.ones_like(losses), rcond=None)[0]
                rows.append([*np.maximum(linear, 0.01 * losses.mean()), alpha, beta, *repetitions])
        return np.array(rows)

    def law(self, theta: Floats) -> DataConstrainedLaw:
        """Natural parameters of coordinates [..., 7]."""
        fresh = SizeHorizonFormula(self.ln_n, self.ln_d, self.centre).law(theta[..., :5])
        return DataConstrainedLaw(fresh, np.exp(theta[..., 5]), np.exp(theta[..., 6]))


def _columns(theta: Floats) -> list[Floats]:
    return [theta[:, j : j + 1] for j in range(theta.shape[1])]


@dataclass(frozen=True)
class DataConstrainedFit:
    """A fitted law with what is needed to ask how well it is known."""

    law: DataConstrainedLaw
    fit: Fit
    formula: DataConstrainedFormula
    losses: Floats
    delta: float

    @property
    def residuals(self) -> Floats:
        """ln measured - ln predicted, shape [n]."""
        return np.asarray(np.log(self.losses) - np.log(self.formula.predict(self.fit.theta[None])[0]), np.float64)

    def resampled(self, *, losses: Floats | None = None, weights: Floats | None = None) -> DataConstrainedLaw:
        """The law of every bootstrap sample, as `SizeHorizonFit.resampled`."""
        theta = fitting_rows(self.formula, self.fit, self.losses if losses is None else losses, weights, self.delta)
        return self.formula.law(theta)

    def profile(self, name: str, level: float) -> Profile:
        """Profile likelihood of R_D or R_N (as ln R*) over the whole range that they may have, or of an exponent."""
        j = self.formula.names.index(name)
        low, high, at = (float(ends[j]) for ends in (self.formula.low, self.formula.high, self.fit.theta))
        if not np.isfinite(high):
            low, high = 0.0, float(self.losses.min()) if name == "E" else 4 * at
        grid = np.unique(np.append(np.linspace(low, high, 2 * PROFILE_POINTS), at))
        return fitting.profile(self.formula, self.losses, self.fit, name, grid, level, delta=self.delta)


def fit_data_constrained_law(
    n_params: Floats,
    tokens: Floats,
    unique_tokens: Floats,
    losses: Floats,
    *,
    known: SizeHorizonLaw | None = None,
    delta: float = DELTA,
) -> DataConstrainedFit:
    """Huber on ln loss [n] from many starting points; with `known` only R_D* and R_N* are fitted.

    Raises ValueError where no run repeats its tokens, and for fewer than three sizes or horizons if the other
    parameters are fitted too.
    """
    if not (tokens > unique_tokens).any():
        raise ValueError("no run is longer than its unique tokens: nothing says what a repetition is worth")
    sizes, horizons = len(set(n_params.tolist())), len(set(tokens.tolist()))
    if known is None and (sizes < 3 or horizons < 3):
        raise ValueError(
            f"the law needs at least three sizes and horizons, there are {sizes} sizes and {horizons} horizons, or "
            f"the parameters of the law without repetition"
        )
    fitting.refuse_losses(losses)
    formula = DataConstrainedFormula.at(n_params, tokens, unique_tokens)
    if known is not None:
        formula = formula.with_known(known)
    starts = formula.starts(losses)
    best = np.argsort(fitting.objective(formula, losses, starts, delta=delta), kind="stable")[:MOST_STARTS]
    found = fitting.fit(formula, losses, starts[best], delta=delta)
    return DataConstrainedFit(formula.law(found.theta), found, formula, losses, delta)
