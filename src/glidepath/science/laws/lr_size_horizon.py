"""The optimal learning rate over size, horizon and batch: LR* = C·N^(-alpha)·D^(-beta)·B^gamma (Bjorck et al. 2024,
section 4; the factor in B is that of rules like the square root).

In logarithms the law is linear, and its points are optima of sweeps: ln LR* with a standard deviation each. They
scatter about the law by more than that, since the law is none of nature's; the scatter τ is what makes

    Σ_i (ln LR*_i - law_i)²/(sd_i² + τ²) = n - p   (Paule and Mandel 1982; τ = 0 where the left side is smaller already)

and the points are weighted by 1/(sd_i² + τ²): a sweep that knows its optimum well counts for more, but not without
limit. The exponent of the horizon is that at a fixed batch. At the batch that is best for each horizon it is another
one, often of the other sign: `science.laws.lr_batch_surface`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLOOR = 1e-12
"""Variance of ln LR* that is none."""
SCATTER_GRID = 200
RANK_TOLERANCE = 1e-2
"""Logarithms of sizes and horizons that lie on one line to this share of their spread do not tell the exponents
apart; cells at one D/N are on a line but for the rounding of their horizons to whole updates."""


@dataclass(frozen=True)
class LrSizeHorizonLaw:
    """Parameters of any leading shape; an exponent whose variable did not vary is 0."""

    ln_C: Floats
    alpha: Floats
    beta: Floats
    gamma: Floats
    scatter: float
    """τ, of ln LR* about the law beyond what the sweeps themselves leave open."""
    degrees_of_freedom: int
    """Points less parameters, behind `scatter`."""

    def predict(self, n_params: Floats, tokens: Floats, batch_tokens: Floats | None = None) -> Floats:
        """Optimal peak learning rate at points [m] for every fit, shape [..., m]."""
        with np.errstate(invalid="ignore", over="ignore"):
            ln_lr = (
                self.ln_C[..., None] - self.alpha[..., None] * np.log(n_params) - self.beta[..., None] * np.log(tokens)
            )
            if batch_tokens is not None:
                ln_lr = ln_lr + self.gamma[..., None] * np.log(batch_tokens)
            return np.asarray(np.exp(ln_lr), dtype=np.float64)

    @property
    def C(self) -> Floats:
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(self.ln_C), dtype=np.float64)

    @property
    def factor_per_doubling(self) -> Floats:
        """What the learning rate is multiplied with when the horizon doubles, all else equal: 2^(-beta)."""
        with np.errstate(over="ignore"):
            return np.asarray(2.0**-self.beta, dtype=np.float64)


@dataclass(frozen=True)
class LrPoints:
    """Optima of sweeps [n] that one law is fitted to."""

    n_params: Floats
    tokens: Floats
    sd: Floats | None = None
    """Of ln LR*; None: not known, all alike."""
    batch_tokens: Floats | None = None
    """None: the law holds at one batch."""

    @property
    def varied(self) -> list[str]:
        """Exponents whose variable varies."""
        return [name for name, (_, values) in self._signed().items() if len(set(values.tolist())) > 1]

    def _signed(self) -> dict[str, tuple[int, Floats]]:
        """Sign in the law and variable of every exponent."""
        axes = {"alpha": (-1, self.n_params), "beta": (-1, self.tokens)}
        return axes if self.batch_tokens is None else axes | {"gamma": (1, self.batch_tokens)}

    def design(self) -> Floats:
        """Columns of 1 and of the logarithms about their means, with the signs of the law, shape [n, p].

        Raises ValueError where the points do not tell the exponents apart.
        """
        columns = [np.ones(len(self.tokens))]
        for name in self.varied:
            sign, values = self._signed()[name]
            columns.append(sign * (np.log(values) - np.log(values).mean()))
        design = np.stack(columns, axis=1)
        refuse_lines(design, ["C", *self.varied])
        return design

    def weights(self, scatter: float) -> Floats:
        """1/(sd² + τ²) over the largest."""
        variances = np.maximum((np.zeros(len(self.tokens)) if self.sd is None else self.sd) ** 2 + scatter**2, FLOOR)
        return np.asarray(variances.min() / variances, dtype=np.float64)


def off_by_cost(curvature: Floats, factor: float) -> Floats:
    """What a peak learning rate off by a factor costs [nat/token]: curvature·(ln factor)², curvature of a sweep's
    parabola in ln LR."""
    return curvature * float(np.log(factor)) ** 2


def fit_lr_size_horizon_law(points: LrPoints, peak_lrs: Floats, *, scatter: float | None = None) -> LrSizeHorizonLaw:
    """Weighted least squares of ln LR* [..., n].

    A variable that does not vary has exponent 0: the law then holds at that size, horizon or batch only. `scatter` is
    given to fit bootstrap samples [n_samples, n] with the weights of the data. Rows with an optimum that is 0 or
    infinite, far off its sweep's grid, give parameters that are so too, or NaN.

    Raises ValueError where the points do not tell the exponents apart.
    """
    design = points.design()
    with np.errstate(divide="ignore"):
        ln_lr = np.asarray(np.log(peak_lrs), dtype=np.float64)
    n, p = design.shape
    if scatter is None:
        scatter = float(scatter_of(points, ln_lr, np.array([float(n - p)]))[0]) if n > p else 0.0
    root = np.sqrt(points.weights(scatter))
    solver = np.linalg.pinv(design * root[:, None]) * root
    with np.errstate(invalid="ignore"):
        theta = dict(zip(["C", *points.varied], np.moveaxis(ln_lr @ solver.T, -1, 0), strict=True))
        zero = np.zeros_like(theta["C"])
        alpha, beta, gamma = (theta.get(name, zero) for name in ("alpha", "beta", "gamma"))
        ln_c = theta["C"] + alpha * np.log(points.n_params).mean() + beta * np.log(points.tokens).mean()
        if points.batch_tokens is not None:
            ln_c = ln_c - gamma * np.log(points.batch_tokens).mean()
    return LrSizeHorizonLaw(ln_c, alpha, beta, gamma, scatter, n - p)


def scatter_of(points: LrPoints, ln_lr: Floats, squares: Floats) -> Floats:
    """τ at which the weighted sum of squares of ln LR* [n] about the law is each of `squares` [m].

    n - p is what is expected of it and gives the estimate. Draws of χ²(n - p) give what τ may be instead (the
    Q-profile of Viechtbauer 2007): with one degree of freedom that is anything.
    """
    design = points.design()
    low, high = np.log(FLOOR), np.log(max(1.0, float(np.ptp(ln_lr)) ** 2) * 1e6)
    grid = np.linspace(low, high, SCATTER_GRID)
    sd = np.zeros(len(ln_lr)) if points.sd is None else points.sd
    root = 1.0 / np.sqrt(sd**2 + np.exp(grid)[:, None])
    weighted = ln_lr * root
    # Q of the weighted design spans what the law takes.
    basis = np.linalg.qr(design * root[..., None])[0]
    taken = (np.swapaxes(basis, -1, -2) @ weighted[..., None])[..., 0]
    sums = np.maximum(((weighted - (basis @ taken[..., None])[..., 0]) ** 2).sum(-1), np.finfo(np.float64).tiny)
    # The sum falls as τ grows. Below the first grid point τ is nothing.
    found = np.exp(np.interp(-np.log(squares), -np.log(sums), grid, left=-np.inf) / 2)
    return np.asarray(found, dtype=np.float64)


def scatter_samples(points: LrPoints, peak_lrs: Floats, n_samples: int, seed: int) -> Floats:
    """Draws of τ [n_samples]; zeros without a degree of freedom, where nothing tells it."""
    degrees = len(peak_lrs) - points.design().shape[1]
    if degrees < 1:
        return np.zeros(n_samples)
    return scatter_of(points, np.log(peak_lrs), np.random.default_rng(seed).chisquare(degrees, size=n_samples))


def refuse_lines(design: Floats, names: list[str]) -> None:
    """Raise ValueError if columns [n, p] of logarithms about their means (the first is constant) lie on a line, or
    there are fewer points than columns."""
    n, p = design.shape
    if n < p:
        raise ValueError(f"{p} parameters ({', '.join(names)}) through {n} optima: add horizons or sizes")
    varied = design[:, 1:]
    if varied.shape[1] < 2:
        return
    if on_one_line(varied):
        raise ValueError(
            f"the exponents {', '.join(names[1:])} are not told apart: the logarithms of what they belong to lie on "
            f"one line, as at one tokens_per_parameter. Vary one of them by itself"
        )


def on_one_line(columns: Floats) -> bool:
    """Whether logarithms [n, p] about their means lie on a line, or a plane, to `RANK_TOLERANCE` of their spread."""
    spread = np.linalg.norm(columns, axis=0)
    values = np.linalg.svd(columns / np.where(spread > 0, spread, 1.0), compute_uv=False)
    return bool(values[-1] <= RANK_TOLERANCE * values[0])
