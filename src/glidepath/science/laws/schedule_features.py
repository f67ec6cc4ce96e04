"""Final loss regressed on features of the learning-rate schedule, in the manner of Opt-Laws (Xie et al., 2409.04777).

The feature list of that paper could not be verified, so this is named after what it does. With η_t the learning rate
applied to update t = 1 … T, and S_t = sum of η_s over s > t what training still has before it, the features are

    ln Σ η_t,  ln Σ η_t²,  ln Σ η_t²·exp(-S_t/m) for three memories m,  ln max η,  ln warm-up updates,  ln N,  ln D,

and ln L is linear in them, by ridge regression. A sum of logarithms is monotone in the peak, while a loss has a minimum
over it; so the squares of the features, centred, may join. Whether they do, and how strong the ridge is, is chosen by
leaving out one group of runs after another within the runs that are fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MEMORIES = (0.03, 0.1, 0.3)
"""Memories of the tails, over the median Σ η of the runs."""
LR_FEATURES = (
    "ln_lr_sum",
    "ln_lr_square_sum",
    *(f"ln_tail_{round(100 * m)}" for m in MEMORIES),
    "ln_peak_lr",
    "ln_warmup_steps",
)
STRENGTHS = tuple(10.0**k for k in range(-7, 2))
"""Of the ridge, over the number of runs, on standardised features: the prior that no feature matters."""
VARIES = 1e-9
"""A feature whose standard deviation is less says nothing."""


def lr_features(lr: Floats, warmup_steps: int, memories: Sequence[float]) -> Floats:
    """The features of one applied learning rate [T] in the order of `LR_FEATURES`; memories are in units of Σ η.

    A schedule without warm-up counts as one of a single update. Raises ValueError if no update has a learning rate
    above zero.
    """
    if not len(lr) or lr.max() <= 0:
        raise ValueError(f"a learning rate of {len(lr)} updates, none above zero, trains nothing: leave the run out")
    ahead = np.cumsum(lr[::-1])[::-1] - lr
    squares = np.square(lr)
    tails = [float(np.log((squares * np.exp(-ahead / m)).sum())) for m in memories]
    return np.array(
        [np.log(lr.sum()), np.log(squares.sum()), *tails, np.log(lr.max()), np.log(max(warmup_steps, 1))], np.float64
    )


@dataclass(frozen=True)
class FeatureLaw:
    """ln L = intercept + Σ coefficient·z, z the standardised features (with `squares`, also their squares less one)."""

    names: tuple[str, ...]
    """Of the coefficients; squares end in _squared."""
    dropped: tuple[str, ...]
    """Features that did not vary among the runs."""
    squares: bool
    strength: float
    intercept: Floats
    """Leading shape of a bootstrap, or none."""
    coefficients: Floats
    """[..., terms]"""
    residuals: Floats
    """ln predicted less ln L of every run [n], by laws that had not seen its group."""
    _kept: Bools
    _mean: Floats
    _scale: Floats

    def predict(self, features: Floats) -> Floats:
        """Loss [nat/token] for features [n, p], shape [..., n]."""
        terms = _terms((features[:, self._kept] - self._mean) / self._scale, squares=self.squares)
        return np.exp(self.intercept[..., None] + self.coefficients @ terms.T)

    def interval(self, features: Floats, level: float) -> Floats:
        """Ends of the interval of a single new run of a group not seen, [2, n]: the quantile of what the law missed on
        groups that were hidden from it. Infinite where there are too few runs for the quantile."""
        return self.predict(features) * np.exp(np.array([[-1.0], [1.0]]) * _quantile(np.abs(self.residuals), level))

    def resampled(self, features: Floats, losses: Floats, weights: Floats) -> FeatureLaw:
        """The same features and ridge on runs drawn with replacement: how often each was drawn, [rows, n]."""
        terms = _terms((features[:, self._kept] - self._mean) / self._scale, squares=self.squares)
        intercept, coefficients = _ridge(terms, np.log(losses), self.strength, weights)
        return FeatureLaw(
            self.names, self.dropped, self.squares, self.strength, intercept, coefficients, self.residuals,
            self._kept, self._mean, self._scale,
        )  # fmt: skip


def fit_feature_law(
    features: Floats,
    losses: Floats,
    names: Sequence[str],
    groups: NDArray[np.int64],
    *,
    squares: bool | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> FeatureLaw:
    """Fit losses [n] of runs with features [n, p].

    groups [n] are what is left out in turn to choose the ridge's strength and, unless it is given, whether squares
    join. Raises ValueError for losses that are not positive, fewer than two groups, or features that are not finite.
    """
    if not (np.isfinite(losses) & (losses > 0)).all() or not np.isfinite(features).all():
        raise ValueError("losses must be positive and all features finite: leave out the other runs")
    if len(set(groups.tolist())) < 2:
        raise ValueError(
            "all runs are of one group: the strength of the ridge is chosen by leaving out one after another, and "
            "needs two at least"
        )
    y = np.log(losses)
    forms = (False, True) if squares is None else (squares,)
    trials = [
        (strength, form, _left_out(features, y, groups, strength, squares=form))
        for form in forms
        for strength in strengths
    ]
    strength, form, residuals = min(trials, key=lambda trial: float(np.square(trial[2]).sum()))
    kept, mean, scale = _standardisation(features)
    terms = _terms((features[:, kept] - mean) / scale, squares=form)
    intercept, coefficients = _ridge(terms, y, strength, np.ones(len(y)))
    of_kept = [name for name, keep in zip(names, kept, strict=True) if keep]
    return FeatureLaw(
        names=(*of_kept, *(f"{name}_squared" for name in of_kept if form)),
        dropped=tuple(name for name, keep in zip(names, kept, strict=True) if not keep),
        squares=form,
        strength=strength,
        intercept=intercept,
        coefficients=coefficients,
        residuals=residuals,
        _kept=kept,
        _mean=mean,
        _scale=scale,
    )


def fit_divergence(features: Floats, diverged: Bools, strength: float = 1e-2) -> tuple[Floats, Floats, Floats]:
    """Logistic regression of divergence on standardised features with a ridge: weights [p + 1] with the intercept
    first, mean and scale. By Newton's method.

    Raises ValueError unless some runs diverged and some did not.
    """
    if diverged.all() or not diverged.any():
        raise ValueError(f"{int(diverged.sum())} of {len(diverged)} runs diverged: both kinds are needed")
    mean, scale = features.mean(0), features.std(0)
    x = np.column_stack([np.ones(len(features)), (features - mean) / np.where(scale > VARIES, scale, np.inf)])
    penalty = np.diag([1e-9, *np.full(features.shape[1], strength * len(features))])
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (p - diverged) + penalty @ weights
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + penalty, gradient)
        weights = weights - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return weights, mean, scale


def divergence_probability(found: tuple[Floats, Floats, Floats], features: Floats) -> Floats:
    """Probability that a run diverges, for features [n, p]."""
    weights, mean, scale = found
    z = (features - mean) / np.where(scale > VARIES, scale, np.inf)
    return np.asarray(1 / (1 + np.exp(-np.clip(weights[0] + z @ weights[1:], -30, 30))))


def f1(predicted: Bools, true: Bools) -> float:
    """2·hits/(2·hits + misses + false alarms); 0 without a hit."""
    hits = int((predicted & true).sum())
    wrong = int((predicted != true).sum())
    return 2 * hits / (2 * hits + wrong) if hits else 0.0


def _left_out(features: Floats, y: Floats, groups: NDArray[np.int64], strength: float, *, squares: bool) -> Floats:
    """ln predicted less ln L of every run [n], its group hidden."""
    residuals = np.empty(len(y))
    for group in np.unique(groups):
        rest = groups != group
        kept, mean, scale = _standardisation(features[rest])
        z = (features[:, kept] - mean) / scale
        terms = _terms(z, squares=squares)
        intercept, coefficients = _ridge(terms[rest], y[rest], strength, np.ones(int(rest.sum())))
        residuals[~rest] = intercept + terms[~rest] @ coefficients - y[~rest]
    return residuals


def _standardisation(features: Floats) -> tuple[Bools, Floats, Floats]:
    """Which features vary, and their mean and standard deviation."""
    kept = features.std(0) > VARIES * np.maximum(np.abs(features).max(0), 1.0)
    return kept, features[:, kept].mean(0), features[:, kept].std(0)


def _terms(z: Floats, *, squares: bool) -> Floats:
    return np.concatenate([z, np.square(z) - 1], axis=1) if squares else z


def _ridge(terms: Floats, y: Floats, strength: float, weights: Floats) -> tuple[Floats, Floats]:
    """Intercept [...] and coefficients [..., terms] for weights [..., n]; the intercept is not held back."""
    total = weights.sum(-1)
    means = np.einsum("...n,nk->...k", weights, terms) / total[..., None]
    y_mean = (weights * y).sum(-1) / total
    z, r = terms - means[..., None, :], y - y_mean[..., None]
    gram = np.einsum("...n,...nj,...nk->...jk", weights, z, z, optimize=True)
    penalty = strength * total[..., None, None] * np.eye(terms.shape[1])
    moment = np.einsum("...n,...nk,...n->...k", weights, z, r, optimize=True)
    coefficients = np.linalg.solve(gram + penalty, moment[..., None])[..., 0]
    return y_mean - (coefficients * means).sum(-1), coefficients


def _quantile(sizes: Floats, level: float) -> float:
    """The smallest size that covers at least the level of n + 1 (the new one among them); infinite if none does."""
    rank = int(np.ceil(level * (len(sizes) + 1)))
    return float(np.sort(sizes)[rank - 1]) if rank <= len(sizes) else float("inf")
