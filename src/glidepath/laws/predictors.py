"""The laws that may say a loss or a peak learning rate of a run that was not made, fitted to points of size and
horizon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glidepath.science.laws.horizon import fit_saturating_law
from glidepath.science.laws.lr_size_horizon import RANK_TOLERANCE, on_one_line
from glidepath.science.laws.size_horizon import fit_size_horizon_law

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Curve = Callable[[Floats, Floats], Floats]
"""Values at sizes [k] and horizons [k]: [k] of a fit, [samples, k] of its bootstrap."""

SAME_SIZE = 0.02
"""Models whose sizes differ by less are one size."""
ONE_LINE = (
    "what size and horizon do apart: all points lie on one line in ln N and ln D, so that it holds along that line "
    "only. Vary one of them by itself"
)


@dataclass(frozen=True)
class Points:
    """What laws are fitted to: a value per size and horizon."""

    n_params: Floats
    tokens: Floats
    values: Floats
    """Losses [nat/token], or ln peak_lr."""
    samples: Floats | None
    """The values measured anew, shape [samples, points]; None without replicates."""

    @property
    def compute(self) -> Floats:
        """N·D."""
        return self.n_params * self.tokens

    def where(self, keep: Bools) -> Points:
        """Some of the points."""
        samples = None if self.samples is None else self.samples[:, keep]
        return Points(self.n_params[keep], self.tokens[keep], self.values[keep], samples)


@dataclass(frozen=True)
class Fitted:
    """A law through points."""

    curve: Curve
    again: Callable[[Floats], Curve]
    """The curve of every row of values [rows, points] measured anew."""
    doubt: str = ""
    """What the fit does not identify, for a person; empty if nothing."""


@dataclass(frozen=True)
class Predictor:
    """A law that may predict a target."""

    name: str
    n_parameters: int
    one_size: bool
    """Fitted to the points of the target's own size only."""
    fit: Callable[[Points], Fitted]
    """Raises ValueError where the points do not carry the law."""
    source: tuple[str, str] | None
    """Table and `parameter` of a row of its fit; None: in no table."""

    def used(self, points: Points, n_params: float) -> Points:
        """The points that it is fitted to for a target of that size."""
        if not self.one_size:
            return points
        return points.where(np.abs(np.log(points.n_params / n_params)) < SAME_SIZE)


def _fit_horizon(points: Points) -> Fitted:
    """loss = irreducible_loss + K·D^(-exponent)."""
    first = points.tokens.min()
    law = fit_saturating_law(points.tokens / first, points.values)
    if not np.isfinite(law.K):
        raise ValueError("losses do not fall with the horizon")

    def again(rows: Floats) -> Curve:
        resampled = fit_saturating_law(points.tokens / first, rows)
        return lambda _, d: resampled.predict(d / first)

    return Fitted(
        lambda _, d: law.predict(d / first),
        again,
        "its irreducible loss, so that the prediction holds near the trained horizons only. Add longer horizons"
        if law.bound_hit
        else "",
    )


def _fit_size_horizon(points: Points) -> Fitted:
    """loss = E + A·N^(-alpha) + B·D^(-beta)."""
    if len(points.values) < 5:
        raise ValueError(f"{len(points.values)} points for five parameters")
    found = fit_size_horizon_law(points.n_params, points.tokens, points.values)
    if not np.isfinite(found.law.E):
        raise ValueError("the law in size and horizon has no fit")
    doubt = ""
    if _on_one_line(points.n_params, points.tokens):
        doubt = ONE_LINE
    elif found.fit.at_bound:
        doubt = f"{', '.join(found.fit.at_bound)}, at the end of what a parameter may be"
    return Fitted(found.law.predict, lambda rows: found.resampled(losses=rows).predict, doubt)


def _on_one_line(n: Floats, d: Floats) -> bool:
    ln = np.log(np.stack([n, d], axis=1))
    return on_one_line(ln - ln.mean(0))


def told_at(points: Points, n: Floats, d: Floats) -> Bools:
    """At which sizes and horizons [k] a law in both, fitted to the points, says anything: on the points' line if they
    lie on one, else everywhere."""
    if not _on_one_line(points.n_params, points.tokens):
        return np.ones(len(n), dtype=np.bool_)
    with_one = [(np.append(points.n_params, a), np.append(points.tokens, b)) for a, b in zip(n, d, strict=True)]
    return np.array([_on_one_line(*both) for both in with_one], dtype=np.bool_)


def _log_linear(*, size: bool, exponential: bool) -> Callable[[Points], Fitted]:
    """value = a - b·ln D - c·ln N, or the exponential of that, c = 0 without `size`; by least squares.

    Points on one line in ln N and ln D tell the slope along it only: the law is then flat across it.
    """

    def logarithms(n: Floats, d: Floats) -> Floats:
        return np.log(np.stack([d, n] if size else [d], axis=-1))

    def fit(points: Points) -> Fitted:
        x = logarithms(points.n_params, points.tokens)
        centre = x.mean(0)
        spread = np.linalg.norm(x - centre, axis=0)
        if not (spread > 0).any():
            raise ValueError("too few different sizes or horizons")
        scale, m = np.where(spread > 0, spread, 1.0), len(x)
        solve = np.vstack([np.full((1, m), 1 / m), np.linalg.pinv((x - centre) / scale, rcond=RANK_TOLERANCE)])

        def curve_of(values: Floats) -> Curve:
            with np.errstate(invalid="ignore", divide="ignore"):
                theta = (np.log(values) if exponential else values) @ solve.T

            def curve(n: Floats, d: Floats) -> Floats:
                at = (logarithms(n, d) - centre) / scale
                with np.errstate(invalid="ignore"):
                    y = theta @ np.concatenate([np.ones_like(at[:, :1]), at], axis=1).T
                return np.asarray(np.exp(y) if exponential else y, np.float64)

            return curve

        return Fitted(curve_of(points.values), curve_of, ONE_LINE if size and on_one_line(x - centre) else "")

    return fit


LOSS_PREDICTORS: tuple[Predictor, ...] = (
    Predictor("loss_horizon", 3, True, _fit_horizon, ("laws/loss_horizon/parameters", "K")),
    Predictor("loss_size_horizon", 5, False, _fit_size_horizon, ("laws/loss_size_horizon/parameters", "E")),
    Predictor(
        "power_law_in_horizon",
        2,
        True,
        _log_linear(size=False, exponential=True),
        ("laws/loss_horizon/parameters", "scale_without_asymptote"),
    ),
)
"""The first one that can is believed where nothing can be hidden from any."""
LR_PREDICTORS: tuple[Predictor, ...] = (
    Predictor(
        "lr_horizon",
        2,
        True,
        _log_linear(size=False, exponential=False),
        ("laws/lr_horizon/parameters", "exponent"),
    ),
    Predictor("power_law_in_size_and_horizon", 3, False, _log_linear(size=True, exponential=False), None),
)
