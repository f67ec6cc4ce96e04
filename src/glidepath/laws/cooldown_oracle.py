"""What a stable-phase checkpoint would be worth after a cooldown, from its snapshots alone.

The raw weights stand above the floor of a valley; an average of the latest snapshots stands near it, but where the
floor was when the averaged weights were made; a cooldown goes down to the floor and on along it, more slowly the lower
its learning rate is (the picture of Wen et al. 2024, arXiv 2410.05192, and of Hägele et al. 2024, arXiv 2405.18392). So
the drop of the loss by a cooldown from branch tokens t to end tokens T is modelled as

    drop = gain·(a + c·length) + b·progress,
    length = ln((1 - m)·(T - t)/T / 0.1),
    progress = slope·(ln(1 + m·(T - t)/t) + ln(t/(t - lag))),

gain: raw minus averaged loss at t. slope: by how much the averaged loss falls per unit of ln tokens, up to t. m: mean
learning rate of the cooldown over the peak, as it was applied. lag: mean age of the averaged weights. All of it is
known at t. length says how much of the training is spent how far below the peak; it is 0 for a linear decay over the
last fifth, and tells shapes and lengths of cooldowns apart without coefficients of their own. a = b = 1 and c = 0 would
be the picture taken literally. They are fitted by least squares on the study's own cooldowns, with

    penalty = PENALTY·c²    [nat²/token²]:

where all cooldowns are alike, c could not be told from a and would be anything; it is then nearly 0. Against several
lengths or shapes, with gains of a few hundredths of a nat, the penalty is nothing.

It is scored beside two predictors that a reader would use without it: the cooled loss is the averaged loss (no
coefficient), and the drop is the mean drop of the calibration (one).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
Labels = NDArray[Any]

ORACLE, AVERAGED, MEAN_DROP = "oracle", "averaged", "mean_drop"
PREDICTORS = (ORACLE, AVERAGED, MEAN_DROP)
PENALTY = 1e-5
LENGTH_UNIT = 0.1
AGE = 0.1
"""Of the averages at a point, the one whose mean age is nearest to this part of the training so far is used: a window
as long as a usual cooldown. It is fixed, not chosen by errors: choosing by them flattered them by 8 to 20 % in two
studies of tiny models, in which wider windows were the worse predictors wherever the learning rate was not far too
high."""
SLOPE_OCTAVES = 2.0
MIN_SLOPE_OCTAVES = 0.5
ROUNDING = 1.05
"""Lengths are whole updates: what should be equal may differ by so much."""


@dataclass(frozen=True)
class Cooldowns:
    """Cooldowns as the model sees them, arrays of one length."""

    shape: Labels
    """Shape of the decay and what it ends at."""
    trunk: Labels
    gain: Floats
    length: Floats
    progress: Floats
    drop: Floats
    """Raw loss at the branch minus cooled loss [nat/token]; NaN where unknown."""

    def __len__(self) -> int:
        return len(self.gain)

    def where(self, chosen: NDArray[np.bool_]) -> Cooldowns:
        """Those chosen."""
        return Cooldowns(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True)
class Fit:
    """A predictor of drops, with the error that it makes on trunks that it has not seen."""

    predictor: str
    shapes: tuple[str, ...]
    """Those of the calibration."""
    coefficients: Floats
    """a, c, b of the oracle; the mean drop; none of the averaged loss."""
    error_sd: float
    """Root of the mean squared leave-one-trunk-out error, every trunk counted once [nat/token]."""
    degrees_of_freedom: int
    """Trunks less coefficients."""

    def drops(self, cooldowns: Cooldowns) -> Floats:
        """Predicted drops [nat/token]; NaN for a shape that was not calibrated."""
        design, offset = _design(self.predictor, cooldowns)
        drops: Floats = offset + design @ self.coefficients
        return np.where(_known(self.predictor, self.shapes, cooldowns), drops, np.nan)

    def half_widths(self, level: float, gain_sem: Floats) -> Floats:
        """Half of Student's prediction intervals, shape of `gain_sem`; NaN without degrees of freedom.

        The leave-one-trunk-out error holds the noise of checkpoints, of the fit and of the validation text already;
        `gain_sem`, the error of a point's own gain over validation blocks, is added for points whose text is noisier
        than that of the calibration. Where it is not, the interval is too wide rather than too narrow.
        """
        quantile = stdtrit(self.degrees_of_freedom, (1 + level) / 2) if self.degrees_of_freedom > 0 else np.nan
        halves: Floats = quantile * np.hypot(self.error_sd, gain_sem)
        return halves


def fit(predictor: str, cooldowns: Cooldowns) -> Fit:
    """Penalised least squares on cooldowns whose drops are known, each counted once.

    Raises ValueError without any.
    """
    if not len(cooldowns):
        raise ValueError("no cooldown to calibrate on; train wsd cells on trunks whose snapshots are averaged")
    shapes = tuple(sorted(set(cooldowns.shape.tolist())))
    trunks, index = np.unique(cooldowns.trunk, return_inverse=True)
    design, offset = _design(predictor, cooldowns)
    target = cooldowns.drop - offset
    n = design.shape[1]
    squares = np.zeros((len(trunks), n, n))
    products = np.zeros((len(trunks), n))
    np.add.at(squares, index, design[:, :, None] * design[:, None, :])
    np.add.at(products, index, design * target[:, None])
    penalty = np.diag([0.0, PENALTY, 0.0]) if predictor == ORACLE else np.zeros((n, n))
    whole = _solved(squares.sum(0) + penalty, products.sum(0))
    without = _solved(squares.sum(0) + penalty - squares, products.sum(0) - products)
    errors = np.einsum("ij,ij->i", design, without[index]) - target
    # A shape on one trunk only cannot be predicted without it.
    errors[~_elsewhere(predictor, shapes, cooldowns, index)] = np.nan
    return Fit(predictor, shapes, whole, _root_mean_square(errors, index), len(trunks) - n)


def held_out(
    predictor: str, cooldowns: Cooldowns, groups: Labels, level: float, gain_sem: Floats
) -> tuple[Floats, Floats]:
    """Drops predicted without the cooldown's own group, and half-widths of their intervals, shape [cooldowns].

    Whatever is fitted or estimated for a cooldown, the error behind its interval included, comes from the other groups.
    NaN where the rest has no cooldown of its shape.
    """
    drops, halves = np.full((2, len(cooldowns)), np.nan)
    for group in np.unique(groups):
        hidden = groups == group
        if hidden.all():
            break
        others = fit(predictor, cooldowns.where(~hidden))
        drops[hidden] = others.drops(cooldowns.where(hidden))
        halves[hidden] = others.half_widths(level, gain_sem[hidden])
    return drops, halves


def length(branch_tokens: Floats, end_tokens: Floats, mean_lr: Floats) -> Floats:
    """Training spent below the peak, as in the module's formula; `mean_lr` is its m."""
    found: Floats = np.log((1.0 - mean_lr) * (1.0 - branch_tokens / end_tokens) / LENGTH_UNIT)
    return found


def progress(
    loss_slope: Floats, lag_tokens: Floats, branch_tokens: Floats, end_tokens: Floats, mean_lr: Floats
) -> Floats:
    """How much further the floor falls [nat/token] from where the averaged weights stand to the cooldown's end.

    `mean_lr`: m of the module's formula.
    """
    onwards = np.log1p(mean_lr * (end_tokens - branch_tokens) / branch_tokens)
    back = -np.log1p(-lag_tokens / branch_tokens)
    fallen: Floats = loss_slope * (onwards + back)
    return fallen


def loss_slope(tokens_seen: Floats, lag_tokens: Floats, averaged: Floats) -> float:
    """Fall of the averaged loss per unit of ln(tokens), the age of the averaged weights taken off, at the last point.

    The least-squares line through the points of the last `SLOPE_OCTAVES` doublings; NaN if they span less than
    `MIN_SLOPE_OCTAVES`.
    """
    recent = tokens_seen * 2.0**SLOPE_OCTAVES * ROUNDING >= tokens_seen[-1]
    if tokens_seen[recent][0] * 2.0**MIN_SLOPE_OCTAVES > tokens_seen[-1] * ROUNDING:
        return float("nan")
    x = np.log(tokens_seen[recent] - lag_tokens[recent])
    x = x - x.mean()
    return float(-(x @ averaged[recent]) / (x @ x))


def _design(predictor: str, cooldowns: Cooldowns) -> tuple[Floats, Floats]:
    """Columns that the coefficients multiply, and what is added to them."""
    nothing = np.zeros(len(cooldowns))
    if predictor == AVERAGED:
        return np.empty((len(cooldowns), 0)), cooldowns.gain
    if predictor == MEAN_DROP:
        return np.ones((len(cooldowns), 1)), nothing
    return np.stack([cooldowns.gain, cooldowns.gain * cooldowns.length, cooldowns.progress], axis=1), nothing


def _known(predictor: str, shapes: tuple[str, ...], cooldowns: Cooldowns) -> NDArray[np.bool_]:
    if predictor != ORACLE:
        return np.ones(len(cooldowns), dtype=np.bool_)
    return np.isin(cooldowns.shape, shapes)


def _elsewhere(
    predictor: str, shapes: tuple[str, ...], cooldowns: Cooldowns, trunk: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether the shape of a cooldown is also on another trunk."""
    if predictor != ORACLE:
        return np.full(len(cooldowns), trunk.max() > 0)
    n_trunks = {shape: len(np.unique(trunk[cooldowns.shape == shape])) for shape in shapes}
    return np.array([n_trunks[shape] > 1 for shape in cooldowns.shape.tolist()])


def _solved(squares: Floats, products: Floats) -> Floats:
    """Least squares from sums of squares [..., n, n] and of products [..., n]; a column of zeros gets 0."""
    if squares.shape[-1] == 0:
        return products
    inverse = np.linalg.pinv(squares, rcond=1e-10, hermitian=True)
    solved: Floats = (inverse @ products[..., None])[..., 0]
    return solved


def _root_mean_square(errors: Floats, trunk: NDArray[np.intp]) -> float:
    """Every trunk counted once, by the mean square of its errors; NaN without an error."""
    means = [np.square(errors[trunk == k]) for k in range(int(trunk.max()) + 1)]
    per_trunk = [float(found[np.isfinite(found)].mean()) for found in means if np.isfinite(found).any()]
    return float(np.sqrt(np.mean(per_trunk))) if per_trunk else np.nan
