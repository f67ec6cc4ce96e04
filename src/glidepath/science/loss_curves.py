"""How much training a loss takes: the inverse of a noisy loss curve.

A loss along training falls, its evaluations do not always. The curve is made monotone by isotonic regression in the
centred form (Oron & Flournoy 2017): neighbours out of order are one point at the mean of their ln tokens and losses,
between points the curve is linear in ln tokens. Unlike a running minimum it is not biased towards lucky evaluations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

Floats = NDArray[np.float64]

MOST_APART = 2.5
"""Evaluations on both sides of a loss are at most such a factor of tokens apart, or it is not known where it was
reached."""


def monotone_curve(tokens_seen: ArrayLike, losses: ArrayLike) -> tuple[Floats, Floats]:
    """ln tokens (ascending) and losses (falling) of the centred isotonic regression, [m] each, m ≤ n.

    Raises ValueError unless tokens are positive and ascend and there is one finite loss for each.
    """
    tokens, values = np.asarray(tokens_seen, np.float64), np.asarray(losses, np.float64)
    if tokens.ndim != 1 or tokens.shape != values.shape or not len(tokens) or not np.isfinite(values).all():
        raise ValueError(f"tokens {tokens.tolist()} and losses {values.tolist()}: one finite loss for each is needed")
    if (tokens[0] <= 0) or (np.diff(tokens) <= 0).any():
        raise ValueError(f"tokens {tokens.tolist()}: they must be positive and ascend")
    pooled = isotonic_regression(values, increasing=False)
    starts = np.asarray(pooled.blocks)[:-1]
    sizes = np.diff(pooled.blocks)
    centres: Floats = np.add.reduceat(np.log(tokens), starts) / sizes
    return centres, np.asarray(pooled.x, np.float64)[starts]


def tokens_to_loss(tokens_seen: ArrayLike, losses: ArrayLike, targets: ArrayLike) -> Floats:
    """Training tokens at which the monotone curve through `losses` [n] reaches `targets` [k], shape [k].

    0 where it is there at its first point already, infinite where it never is, NaN where the evaluations on both sides
    are more than a factor `MOST_APART` apart. Raises ValueError as `monotone_curve` does.
    """
    ln_tokens, falling = monotone_curve(tokens_seen, losses)
    wanted = np.atleast_1d(np.asarray(targets, np.float64))
    found = np.exp(np.interp(-wanted, -falling, ln_tokens))
    tokens = np.asarray(tokens_seen, np.float64)
    after = np.clip(np.searchsorted(tokens, found), 1, max(len(tokens) - 1, 1))
    if len(tokens) > 1:
        found = np.where(tokens[after] > MOST_APART * tokens[after - 1], np.nan, found)
    found = np.where(wanted < falling[-1], np.inf, found)
    return np.where(wanted >= falling[0], 0.0, found)
