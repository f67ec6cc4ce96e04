"""Loss by position in the sequence, and its evolution along training: the temporal law (Xiong et al., 2404.17785).

At one checkpoint the loss falls with the context as a hyperbola in the position i = 1 … n [tokens of context],

    L_i = a0 / (1 + a1·i) + a2                                                                       [nat/token],

and later in training, a0 and a1 settled, only the plateau a2 moves. How the paper writes that evolution could not be
verified; this is a stand-in, with t the tokens trained and h the annealed share of the learning rate:

    a2(t) = q - r·ln t - c·h(t),    h = 1 - η(t)/η_max,    a0 and a1: means over the last third of the fit window.

a2 is taken anew with a0 and a1 held, as what they leave of the mean loss, so that their noise does not enter the trend.
All positions then fall alike. Packed documents end within blocks, so that position is not always context; position 1,
which follows one token, is part of the fit unless it is left out of `positions`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

GRID_POINTS = 60
GOLDEN = (np.sqrt(5.0) - 1) / 2
REFINEMENTS = 40
"""Each shrinks the bracket by 0.618: 40 leave 4e-9 of it."""
MIN_CHECKPOINTS = 4
"""In a fit window: two parameters of the trend, and two to tell how well it holds."""


@dataclass(frozen=True)
class Hyperbola:
    """a0/(1 + a1·i) + a2, parameters of any leading shape."""

    a0: Floats
    """Worth of the context: loss at position 0 above the plateau [nat/token]."""
    a1: Floats
    """How fast context helps [1/token]."""
    a2: Floats
    """Plateau of long contexts [nat/token]."""
    r_squared: Floats
    """Share of the weighted variance over positions that it takes; NaN where there is none."""
    at_edge: Bools
    """a1 is at the end of what the positions can tell: they say only that it is beyond."""

    def predict(self, positions: Floats) -> Floats:
        """Loss at positions [n], shape [..., n]."""
        return self.a0[..., None] / (1 + self.a1[..., None] * positions) + self.a2[..., None]


def fit_hyperbola(positions: Floats, losses: Floats, sems: Floats | None = None) -> Hyperbola:
    """Weighted least squares of losses [..., n] at positions [n], weights 1/sem²; by variable projection.

    For a given a1 the law is linear in a0 and a2, which are solved for; a1 is looked for on a grid from 0.01/max(i), a
    straight line, to 100/min(i), plainly 1/i, and between the neighbours of the best by golden section. Raises
    ValueError for fewer than four positions, positions below 1, or losses or standard errors that are not finite and
    (the errors) positive.
    """
    if len(positions) < 4 or positions.min() < 1:
        raise ValueError(
            f"{len(positions)} positions from {positions.min() if len(positions) else 'none'} on: a hyperbola of three "
            "parameters needs four, counted from 1. Evaluate longer sequences"
        )
    weights = np.ones_like(losses) if sems is None else 1.0 / np.square(sems)
    if not (np.isfinite(losses).all() and np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError("losses by position must be finite, and their standard errors finite and above zero")
    shape = losses.shape[:-1]
    flat, w = losses.reshape(-1, len(positions)), np.broadcast_to(weights, losses.shape).reshape(-1, len(positions))
    grid = np.linspace(np.log(0.01 / positions.max()), np.log(100 / positions.min()), GRID_POINTS)
    squares = np.stack([_projected(positions, flat, w, np.full(len(flat), at))[2] for at in grid], axis=1)
    best = squares.argmin(1)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, GRID_POINTS - 1)]
    for _ in range(REFINEMENTS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        lower = _projected(positions, flat, w, left)[2] < _projected(positions, flat, w, right)[2]
        low, high = np.where(lower, low, left), np.where(lower, right, high)
    ln_a1 = (low + high) / 2
    a0, a2, residual = _projected(positions, flat, w, ln_a1)
    spread = (w * (flat - np.average(flat, axis=1, weights=w)[:, None]) ** 2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        r_squared = np.where(spread > 0, 1 - residual / spread, np.nan)
    at_edge = (ln_a1 - grid[0] < grid[1] - grid[0]) | (grid[-1] - ln_a1 < grid[1] - grid[0])
    return Hyperbola(
        a0.reshape(shape),
        np.exp(ln_a1).reshape(shape),
        a2.reshape(shape),
        r_squared.reshape(shape),
        at_edge.reshape(shape),
    )


def _projected(positions: Floats, losses: Floats, weights: Floats, ln_a1: Floats) -> tuple[Floats, Floats, Floats]:
    """a0, a2 and the weighted sum of squares for given a1, each [rows]."""
    x = 1.0 / (1.0 + np.exp(ln_a1)[:, None] * positions)
    total = weights.sum(1)
    x_mean, y_mean = (weights * x).sum(1) / total, (weights * losses).sum(1) / total
    dx, dy = x - x_mean[:, None], losses - y_mean[:, None]
    a0 = (weights * dx * dy).sum(1) / (weights * dx**2).sum(1)
    return a0, y_mean - a0 * x_mean, (weights * (dy - a0[:, None] * dx) ** 2).sum(1)


@dataclass(frozen=True)
class TemporalLaw:
    """The evolution, parameters of any leading shape: a bootstrap is one object."""

    a0: Floats
    a1: Floats
    q: Floats
    """Plateau at one token, by extrapolation [nat/token]."""
    r: Floats
    """Fall of the plateau per unit of ln t [nat/token]."""
    c: Floats
    """Fall of the plateau when the learning rate has come down to zero [nat/token]; 0 where no checkpoint of the window
    was annealed."""

    def plateau(self, tokens: Floats, annealed: Floats | None = None) -> Floats:
        """a2 after so many tokens [m], shape [..., m]."""
        h = np.zeros_like(tokens) if annealed is None else annealed
        return self.q[..., None] - self.r[..., None] * np.log(tokens) - self.c[..., None] * h

    def position_losses(self, positions: Floats, tokens: Floats, annealed: Floats | None = None) -> Floats:
        """Loss at every position and checkpoint, shape [..., m, n]."""
        context = self.a0[..., None] / (1 + self.a1[..., None] * positions)
        return context[..., None, :] + self.plateau(tokens, annealed)[..., None]

    def mean_loss(self, positions: Floats, tokens: Floats, annealed: Floats | None = None) -> Floats:
        """Mean over the positions at every checkpoint, shape [..., m]."""
        context = self.a0[..., None] / (1 + self.a1[..., None] * positions)
        return np.asarray(context.mean(-1)[..., None] + self.plateau(tokens, annealed), np.float64)


@dataclass(frozen=True)
class TemporalFit:
    """The law of one fit window, with what tells how far it can be trusted."""

    law: TemporalLaw
    hyperbolas: Hyperbola
    """Of every checkpoint of the window, [m]."""
    tokens: Floats
    """[m], ascending."""
    residual_sd: float
    """Scatter of the mean loss about the law [nat/token], with m less the parameters as degrees of freedom."""
    degrees_of_freedom: int
    bend: float
    """Coefficient that (ln t)² would have beside the line [nat/token]. The plateau is a line in ln t for a while only;
    what this comes to at a later checkpoint is in the interval, told from scatter or not."""
    annealing_seen: bool
    _inverse: Floats
    _bow: Floats

    def interval(self, positions: Floats, tokens: Floats, level: float, annealed: Floats | None = None) -> Floats:
        """Ends of the interval of the mean loss at later checkpoints [m], shape [2, m].

        Scatter, uncertainty of the line and the bend that it leaves out, by Student's t. Infinite where the learning
        rate is annealed and no checkpoint of the window was.
        """
        h = np.zeros_like(tokens) if annealed is None else annealed
        centre = self.law.mean_loss(positions, tokens, h)
        x = _design(tokens, h, annealing=self.annealing_seen)
        leverage = np.einsum("mi,ij,mj->m", x, self._inverse, x)
        missed = self.bend * (np.log(tokens) ** 2 - x @ self._bow)
        width = np.sqrt(self.residual_sd**2 * (1 + leverage) + missed**2)
        half = float(stats.t.ppf((1 + level) / 2, self.degrees_of_freedom)) * width
        if not self.annealing_seen:
            half = np.where(h > ANNEALED, np.inf, half)
        return np.stack([centre - half, centre + half])


ANNEALED = 0.01
"""A learning rate lower than its maximum by less than this share counts as not annealed."""


def fit_temporal_law(
    positions: Floats,
    losses: Floats,
    tokens: Floats,
    *,
    sems: Floats | None = None,
    annealed: Floats | None = None,
) -> TemporalFit:
    """Fit losses [m, n] of checkpoints after `tokens` [m], ascending, at positions [n].

    Raises ValueError for fewer than four checkpoints (five if their learning rate is annealed), for tokens that do not
    rise, and as `fit_hyperbola` does.
    """
    h = np.zeros_like(tokens) if annealed is None else annealed
    annealing = _told_apart(tokens, h)
    needed = MIN_CHECKPOINTS + annealing
    if len(tokens) < needed:
        raise ValueError(f"{len(tokens)} checkpoints: the trend of the plateau needs {needed}. Evaluate more snapshots")
    if not (np.diff(tokens) > 0).all() or tokens[0] <= 0:
        raise ValueError(f"tokens of checkpoints must rise from above zero, not {tokens.tolist()}")
    found = fit_hyperbola(positions, losses, sems)
    law = _law(positions, losses, tokens, h, found, np.ones(len(tokens)), annealing=annealing)
    x = _design(tokens, h, annealing=annealing)
    residuals = losses.mean(1) - law.mean_loss(positions, tokens, h)
    degrees = len(tokens) - x.shape[1]
    sd = float(np.sqrt((residuals**2).sum() / degrees))
    inverse = np.asarray(np.linalg.inv(x.T @ x), np.float64)
    # The part of (ln t)² that the line cannot take, and how much of it the plateau has.
    bow = inverse @ x.T @ np.log(tokens) ** 2
    curve = np.log(tokens) ** 2 - x @ bow
    bend = float(curve @ residuals / (curve @ curve))
    return TemporalFit(law, found, tokens, sd, degrees, bend, annealing, inverse, bow)


def resampled_temporal_laws(
    fit: TemporalFit, positions: Floats, losses: Floats, weights: Floats, annealed: Floats | None = None
) -> TemporalLaw:
    """Laws of checkpoints drawn with replacement: how often each was drawn, [rows, m]. NaN where too few differ."""
    h = np.zeros_like(fit.tokens) if annealed is None else annealed
    return _law(positions, losses, fit.tokens, h, fit.hyperbolas, weights, annealing=fit.annealing_seen)


def _told_apart(tokens: Floats, annealed: Floats) -> bool:
    """Whether annealing can be told from the trend: some checkpoints are annealed, and not in step with ln t."""
    if annealed.max(initial=0.0) <= ANNEALED or len(tokens) < 3:
        return False
    x = _design(tokens, annealed, annealing=True)
    return bool(np.linalg.cond((x - x.mean(0))[:, 1:] / x[:, 1:].std(0)) < COLLINEAR)


COLLINEAR = 30.0
SINGULAR = 1e-10
"""Smallest eigenvalue of normal equations with a unit diagonal that still has a solution."""


def _design(tokens: Floats, annealed: Floats, *, annealing: bool) -> Floats:
    columns = [np.ones_like(tokens), -np.log(tokens), *([-annealed] if annealing else [])]
    return np.stack(columns, axis=1)


def _law(
    positions: Floats,
    losses: Floats,
    tokens: Floats,
    annealed: Floats,
    found: Hyperbola,
    weights: Floats,
    *,
    annealing: bool,
) -> TemporalLaw:
    """Weights [..., m] of checkpoints."""
    third = np.arange(len(tokens)) >= len(tokens) - max(1, len(tokens) // 3)
    late = weights * third
    # A sample without any of them takes them all.
    late = np.where(late.sum(-1, keepdims=True) > 0, late, third)
    share = late / late.sum(-1, keepdims=True)
    a0, a1 = (share * found.a0).sum(-1), (share * found.a1).sum(-1)
    context = (a0[..., None] / (1 + a1[..., None] * positions)).mean(-1)
    a2 = losses.mean(-1) - context[..., None]
    x = _design(tokens, annealed, annealing=annealing)
    gram = np.einsum("...m,mi,mj->...ij", weights, x, x)
    # A sample of too few different checkpoints determines no line, one without annealed ones nothing of annealing.
    scale = np.sqrt(np.maximum(np.einsum("...ii->...i", gram), 1e-300))
    told = np.linalg.eigvalsh(gram / (scale[..., :, None] * scale[..., None, :]))[..., 0] > SINGULAR
    enough = told & ((weights > 0).sum(-1) > x.shape[1])
    gram = np.where(enough[..., None, None], gram, np.eye(x.shape[1]))
    solved = np.linalg.solve(gram, np.einsum("...m,mi->...i", weights * a2, x)[..., None])[..., 0]
    solved = np.where(enough[..., None], solved, np.nan)
    c = solved[..., 2] if annealing else np.zeros_like(solved[..., 0])
    return TemporalLaw(np.asarray(a0), np.asarray(a1), solved[..., 0], solved[..., 1], np.asarray(c))
