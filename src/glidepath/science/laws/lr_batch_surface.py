"""Learning rate and batch together: one quadratic valley whose bottom moves with size and horizon.

With x = ln LR, y = ln B, v = (1, ln N, ln D), all about their means, the loss of a run near the lowest of its grid is

    loss = L_c + a·x² + h·x·y + b·y² + x·(g·v) + y·(k·v)

with a level L_c of its own for every grid c (one size and horizon), and one valley for all: its shape a, h, b does not
change, its bottom moves along the logarithms. The loss is linear in all parameters, so that grids of a dozen runs, each
too coarse for a valley of its own, make one law together. Two readings of it:

    at a fixed batch     LR* = C·N^(-alpha)·D^(-beta)·B^gamma            (∂loss/∂x = 0)
    at the best batch    LR* = C'·N^(-alpha')·D^(-beta'),  B* = C''·N^size_exponent·D^horizon_exponent   (both zero)

They are tied by beta' = beta - gamma·horizon_exponent, and so by opposite signs: where the learning rate grows with
the batch (gamma > 0) and the best batch with the horizon, a rate that falls with the horizon at a fixed batch (Bjorck
et al. 2024, beta 0.32) may rise with it along the best batches (Li et al. 2025, Step Law, beta' = -0.31). Neither is
wrong; a law of the learning rate without its batch is not a statement.

A quadratic holds near the bottom only: on the published grids of Step Law the far sides are steeper in LR above than
below, and a window of 5 % of the loss instead of 1 % triples what the law's advice loses on grids hidden from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glidepath.science import fitting
from glidepath.science.laws.lr_size_horizon import refuse_lines

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Status = Literal["converged", "max_iter", "not_identified", "edge_of_grid", "failed"]

WINDOW_SHARE = 0.01
"""Runs this share of the loss above the lowest of their grid are fitted."""
MIN_POINTS = 9
"""But at least so many of each grid, the lowest ones: three learning rates at three batches."""
MIN_VALUES = 3
"""Learning rates and batches that a grid needs."""
TAILS = 1.345
"""At which Huber's estimate of a mean is 95 % efficient for normal noise."""
ROUNDS = 4
MIN_SD = 1e-7
"""Of the log of the loss: losses are written with so many digits."""
MIN_GRIDS_TO_RESAMPLE = 6
"""From so many grids on, the bootstrap moves whole valleys aside of the law too."""
WEBB = np.sqrt(np.array([0.5, 1.0, 1.5]))
WEBB = np.concatenate([WEBB, -WEBB])
"""Six factors of mean 0 and variance 1 (Webb 2014), for few groups."""


@dataclass(frozen=True)
class RateGrid:
    """Final losses of runs of one size and horizon."""

    n_params: float
    tokens: float
    peak_lrs: Floats
    batch_tokens: Floats
    losses: Floats
    """[nat/token], all three [k]."""

    @property
    def lowest(self) -> int:
        return int(np.argmin(self.losses))

    @property
    def refusal(self) -> str:
        """Why this is no grid; empty if it is one."""
        lrs, batches = (len(set(np.round(np.log(v), 2).tolist())) for v in (self.peak_lrs, self.batch_tokens))
        if min(lrs, batches) >= MIN_VALUES and len(self.losses) >= MIN_POINTS:
            return ""
        return (
            f"{len(self.losses)} runs at {lrs} learning rates and {batches} batches: a valley needs {MIN_POINTS} at "
            f"{MIN_VALUES} of each"
        )


def near_lowest(losses: Floats, share: float = WINDOW_SHARE) -> Bools:
    """Which losses are within `share` of the lowest, or among the `MIN_POINTS` lowest."""
    limit = max(float(losses.min()) * (1 + share), float(np.sort(losses)[:MIN_POINTS].max()))
    return np.asarray(losses <= limit, dtype=np.bool_)


@dataclass(frozen=True)
class SurfaceLaw:
    """The valley, of any leading shape; NaN where it has no bottom (a ≤ 0 or 4ab ≤ h²)."""

    curvature: Floats
    """a, h, b [..., 3], in nat/token per (ln)²."""
    slopes: Floats
    """g and k [..., 2, 3]; the columns of what did not vary are 0."""
    centre: Floats
    """Means of ln LR, ln B, ln N and ln D [4]."""

    @property
    def has_bottom(self) -> Bools:
        a, h, b = np.moveaxis(self.curvature, -1, 0)
        return np.asarray((a > 0) & (4 * a * b > h**2), dtype=np.bool_)

    @property
    def gamma(self) -> Floats:
        """d ln LR*/d ln B at a fixed size and horizon."""
        with np.errstate(divide="ignore", invalid="ignore"):
            gamma = -self.curvature[..., 1] / (2 * self.curvature[..., 0])
        return np.asarray(np.where(self.curvature[..., 0] > 0, gamma, np.nan), dtype=np.float64)

    @property
    def at_fixed_batch(self) -> Floats:
        """ln LR* = row·(1, ln N, ln D) + gamma·ln B about the centre, shape [..., 3]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            row = -self.slopes[..., 0, :] / (2 * self.curvature[..., :1])
        return np.asarray(np.where(self.curvature[..., :1] > 0, row, np.nan), dtype=np.float64)

    @property
    def at_best_batch(self) -> Floats:
        """(ln LR*, ln B*) = rows·(1, ln N, ln D) about the centre, shape [..., 2, 3]."""
        a, h, b = (self.curvature[..., i, None] for i in range(3))
        g, k = self.slopes[..., 0, :], self.slopes[..., 1, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = np.stack([h * k - 2 * b * g, h * g - 2 * a * k], axis=-2) / (4 * a * b - h**2)[..., None]
        return np.where(self.has_bottom[..., None, None], rows, np.nan)

    def exponents(self) -> dict[str, Floats]:
        """The two laws by the names of this module's head, each of the leading shape."""
        x, y, n, d = self.centre
        fixed, (rate, batch) = self.at_fixed_batch, np.moveaxis(self.at_best_batch, -2, 0)
        where = np.array([1.0, -n, -d])
        with np.errstate(over="ignore"):
            scale, scale_at_best, scale_of_batch = (
                np.exp(v) for v in (x + fixed @ where - self.gamma * y, x + rate @ where, y + batch @ where)
            )
        return {
            "C": scale,
            "alpha": -fixed[..., 1],
            "beta": -fixed[..., 2],
            "gamma": self.gamma,
            "C_at_best_batch": scale_at_best,
            "alpha_at_best_batch": -rate[..., 1],
            "beta_at_best_batch": -rate[..., 2],
            "C_of_batch": scale_of_batch,
            "size_exponent_of_batch": batch[..., 1],
            "horizon_exponent_of_batch": batch[..., 2],
        }

    def peak_lr(self, n_params: Floats, tokens: Floats, batch_tokens: Floats) -> Floats:
        """Best learning rate at given batches, at points [m], shape [..., m]."""
        x, y, _, _ = self.centre
        ln_b = np.log(batch_tokens) - y
        ln_lr = x + self.at_fixed_batch @ self._v(n_params, tokens) + self.gamma[..., None] * ln_b
        return np.asarray(np.exp(ln_lr), dtype=np.float64)

    def best(self, n_params: Floats, tokens: Floats) -> tuple[Floats, Floats]:
        """Best learning rate and best batch [tokens] together, at points [m], each [..., m]."""
        rate, batch = np.moveaxis(self.at_best_batch @ self._v(n_params, tokens), -2, 0)
        return np.exp(self.centre[0] + rate), np.exp(self.centre[1] + batch)

    def _v(self, n_params: Floats, tokens: Floats) -> Floats:
        n, d = np.log(n_params) - self.centre[2], np.log(tokens) - self.centre[3]
        return np.stack([np.ones_like(n), n, d])


@dataclass(frozen=True)
class SurfaceFit:
    """A law and what its bootstrap needs."""

    law: SurfaceLaw
    status: Status
    used: list[Bools]
    """Of every grid, which runs were fitted."""
    residuals: Floats
    """[nat/token] of all runs fitted, grid after grid."""
    solver: Floats
    """Least squares with the robust weights of the data: parameters = solver @ losses."""
    tails: float
    """Mean weight over the share of runs that have full weight: by so much the weights, held fixed, understate how a
    robust fit answers to noise (the sandwich of Huber 1967)."""
    fitted: Floats
    axes: Floats
    """x and y of all runs fitted, about the means of their grid [n, 2]."""
    of_grid: NDArray[np.int64]
    slots: NDArray[np.int64]
    """Where the parameters behind the levels go in (a, h, b, g, k)."""
    condition_number: float

    @property
    def n_points(self) -> int:
        return len(self.residuals)

    @property
    def n_left_out(self) -> int:
        """Runs too far above the lowest of their grid."""
        return int(sum((~used).sum() for used in self.used))

    @property
    def resamples_grids(self) -> bool:
        return len(self.used) >= MIN_GRIDS_TO_RESAMPLE


@dataclass(frozen=True)
class _Linear:
    """A formula that is linear in its coordinates."""

    design: Floats

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(str(i) for i in range(self.design.shape[1]))

    @property
    def low(self) -> Floats:
        return np.full(self.design.shape[1], -np.inf)

    @property
    def high(self) -> Floats:
        return np.full(self.design.shape[1], np.inf)

    def predict(self, theta: Floats) -> Floats:
        return theta @ self.design.T

    def jacobian(self, theta: Floats) -> Floats:
        return np.broadcast_to(self.design, (len(theta), *self.design.shape))


def fit_surface_law(grids: list[RateGrid], *, share: float = WINDOW_SHARE) -> SurfaceFit:
    """Huber on the log of the loss over the runs `near_lowest` of every grid; one grid makes the valley of that grid.

    Huber's tails begin at `TAILS` robust standard deviations of what the law leaves, found in turns with the law: the
    bootstrap holds the weights of the data, which is right where few runs are in the tails and makes intervals too
    narrow by half where most are.

    Status not_identified: the valley has no bottom. Raises ValueError for a grid that is none (`RateGrid.refusal`) and
    for sizes and horizons that do not tell the exponents apart.
    """
    for grid in grids:
        if grid.refusal:
            raise ValueError(f"the grid of N = {grid.n_params:g}, D = {grid.tokens:g}: {grid.refusal}")
    used = [near_lowest(grid.losses, share) for grid in grids]
    of_grid = np.repeat(np.arange(len(grids)), [u.sum() for u in used])
    x, y = (
        np.log(np.concatenate([getattr(grid, name)[u] for grid, u in zip(grids, used, strict=True)]))
        for name in ("peak_lrs", "batch_tokens")
    )
    n, d = (np.log([getattr(grid, name) for grid in grids]) for name in ("n_params", "tokens"))
    centre = np.array([x.mean(), y.mean(), n.mean(), d.mean()])
    x, y, n, d = x - centre[0], y - centre[1], n - centre[2], d - centre[3]
    varied = [i for i, values in ((1, n), (2, d)) if len(set(values.tolist())) > 1]
    v = np.stack([np.ones_like(n), n, d])
    refuse_lines(v[[0, *varied]].T, ["C", *(("", "alpha", "beta")[i] for i in varied)])
    levels = (of_grid[:, None] == np.arange(len(grids))).astype(np.float64)
    moving = [axis * v[i][of_grid] for axis in (x, y) for i in (0, *varied)]
    slots = np.array([0, 1, 2, *(3 + 3 * axis + i for axis in range(2) for i in (0, *varied))])
    design = np.column_stack([levels, x * x, x * y, y * y, *moving])
    losses = np.concatenate([grid.losses[u] for grid, u in zip(grids, used, strict=True)])
    theta = np.linalg.lstsq(design, losses, rcond=None)[0]
    formula = _Linear(design)
    for _ in range(ROUNDS):
        delta = TAILS * _robust_sd(np.log(np.maximum(design @ theta, np.finfo(float).tiny) / losses), design.shape[1])
        found = fitting.fit(formula, losses, theta[None], delta=delta)
        theta = found.theta
    fitted = design @ theta
    weights = np.minimum(1.0, delta / np.maximum(np.abs(np.log(losses / fitted)), delta))
    root = np.sqrt(weights) / fitted
    solver = np.linalg.pinv(design * root[:, None]) * root
    law = _law(found.theta, len(grids), slots, centre)
    status: Status = "failed" if not np.isfinite(found.objective) else "converged"
    if found.status == "max_iter":
        status = "max_iter"
    if status == "converged" and not law.has_bottom:
        status = "not_identified"
    axes = np.column_stack([x, y])
    means = np.array([axes[of_grid == i].mean(0) for i in range(len(grids))])
    return SurfaceFit(
        law=law,
        status=status,
        used=used,
        residuals=losses - fitted,
        solver=solver,
        tails=float(weights.mean() / max((weights == 1).mean(), 0.5)),
        fitted=fitted,
        axes=axes - means[of_grid],
        of_grid=of_grid,
        slots=slots,
        condition_number=found.condition_number,
    )


def _robust_sd(residuals: Floats, n_parameters: int) -> float:
    """From the median of their sizes, with n/(n - p); not below rounding."""
    n = len(residuals)
    spread = 1.4826 * float(np.median(np.abs(residuals))) * float(np.sqrt(n / max(n - n_parameters, 1)))
    return max(spread, MIN_SD)


def _law(theta: Floats, n_grids: int, slots: NDArray[np.int64], centre: Floats) -> SurfaceLaw:
    """Parameters [..., p] of a fit as a law."""
    full = np.zeros((*theta.shape[:-1], 9))
    full[..., slots] = theta[..., n_grids:]
    return SurfaceLaw(full[..., :3], full[..., 3:].reshape(*theta.shape[:-1], 2, 3), centre)


def resampled_laws(fit: SurfaceFit, n_samples: int, seed: int) -> SurfaceLaw:
    """Laws of losses that could have been measured, each with the robust weights of the data.

    Every run's residual is turned over at random (wild bootstrap). From `MIN_GRIDS_TO_RESAMPLE` grids on, every grid's
    valley is also moved aside of the law as valleys are: by random mixtures of the slopes that the law leaves in the
    grids, with Student's factors for how few grids tell of it. Turning over whole grids instead would say too little
    about grids at the corners of the design, which pull the law to themselves.
    """
    random = np.random.default_rng(seed)
    n_grids, n = len(fit.used), fit.n_points
    degrees = n - n_grids - len(fit.slots)
    terms = (len(fit.slots) - 3) // 2
    residuals, moved = fit.residuals, np.zeros((n_samples, n))
    if fit.resamples_grids:
        degrees -= 2 * (n_grids - terms)
        slopes = np.array([_slopes(fit, i) for i in range(n_grids)])
        residuals = residuals - (fit.axes * slopes[fit.of_grid]).sum(1)
        left = n_grids - terms
        student = np.sqrt(1 / random.chisquare(left, size=(n_samples, 1, 1)))
        drawn = student * (random.standard_normal((n_samples, n_grids, n_grids)) @ slopes)
        moved = (drawn[:, fit.of_grid] * fit.axes).sum(-1)
    if degrees < 1:
        nothing = np.full((n_samples, n_grids + len(fit.slots)), np.nan)
        return _law(nothing, n_grids, fit.slots, fit.law.centre)
    student = fit.tails * np.sqrt(n / random.chisquare(degrees, size=(n_samples, 1)))
    turned = random.choice(WEBB, size=(n_samples, n)) * student * residuals
    return _law((fit.fitted + moved + turned) @ fit.solver.T, n_grids, fit.slots, fit.law.centre)


def _slopes(fit: SurfaceFit, grid: int) -> Floats:
    """Least squares of the residuals of one grid on its axes [2]."""
    own = fit.of_grid == grid
    return np.asarray(np.linalg.lstsq(fit.axes[own], fit.residuals[own], rcond=None)[0], dtype=np.float64)


def loss_at(grid: RateGrid, peak_lr: float, batch_tokens: float) -> tuple[float, bool]:
    """Measured loss between runs of the grid, and whether the point is inside it.

    Linear in ln LR at the two neighbouring batches, then linear in ln B; beyond an end, the loss at that end, which is
    a lower bound wherever the valley rises on.
    """
    x, y = np.log(peak_lr), np.log(batch_tokens)
    batches = np.unique(grid.batch_tokens)
    ln_b = np.log(batches)
    inside = bool(ln_b[0] <= y <= ln_b[-1])
    values = []
    right = int(np.clip(np.searchsorted(ln_b, y), 1, len(ln_b) - 1))
    for i in (right - 1, right):
        rows = np.flatnonzero(grid.batch_tokens == batches[i])
        rows = rows[np.argsort(grid.peak_lrs[rows])]
        ln_lr = np.log(grid.peak_lrs[rows])
        inside &= bool(ln_lr[0] <= x <= ln_lr[-1])
        values.append(float(np.interp(x, ln_lr, grid.losses[rows])))
    return float(np.interp(y, ln_b[right - 1 : right + 1], values)), inside
