"""Which runs to make next: those that take most variance off what is asked for, per cost (Bayesian linear design).

Quantities q (the predicted loss of a target, its ln peak_lr) and the outcomes y of runs that could be made are taken
for jointly Gaussian, with the covariances of bootstrap samples of both. Observing one y with noise sigma leaves

    cov(q) - cov(q, y)·cov(y, q)/(var(y) + sigma²),

whatever its value (and with matrices for several runs that are made together); so runs can be chosen before any is
made. They are chosen one after another (greedily), each by the mean share of the quantities' variance that it removes
over its cost, with all covariances updated after each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SIGNIFICANT = 3.0
"""A correlation of n samples below so many 1/sqrt(n) is taken for none: chance correlations of many cheap runs would
else outweigh the real ones of dear runs."""
MIN_SHARE = 0.05
"""A run that removes less of every quantity's variance is not worth its place."""


@dataclass(frozen=True)
class Chosen:
    """One group of runs of the choice."""

    index: int
    cost: float
    removed: Floats
    """Share of the variance that every quantity had before any run, which this one removes, shape [quantities]."""


def covariance(quantities: Floats, outcomes: Floats) -> Floats:
    """Of samples [n, q] and [n, c] side by side, [q + c, q + c]; correlations that chance explains are zero."""
    joint = np.hstack([quantities, outcomes])
    centred = joint - joint.mean(0)
    n = len(joint)
    found = centred.T @ centred / (n - 1)
    sd = np.sqrt(np.diag(found))
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = np.abs(found) < SIGNIFICANT / np.sqrt(n) * np.outer(sd, sd)
    # Only against quantities: among outcomes a covariance of zero could leave a matrix that is none.
    q = quantities.shape[1]
    chance[q:, q:] = False
    chance[np.arange(q), np.arange(q)] = False
    found[chance] = 0.0
    return np.asarray(found, np.float64)


def removed_variance(cov: Floats, n_quantities: int, noise_sd: Floats, group: Indices) -> Floats:
    """Variance that observing the outcomes of a group together removes of each quantity, shape [quantities]."""
    at = n_quantities + group
    total = cov[np.ix_(at, at)] + np.diag(noise_sd[group] ** 2)
    across = cov[:n_quantities, at]
    return np.asarray((across * np.linalg.lstsq(total, across.T, rcond=None)[0].T).sum(1), np.float64)


def choose(
    quantities: Floats,
    outcomes: Floats,
    noise_sd: Floats,
    groups: Sequence[Indices],
    costs: Callable[[tuple[int, ...]], Floats],
    n_groups: int,
    exact: Floats | None = None,
) -> list[Chosen]:
    """At most n_groups of the groups of runs, the best per cost first.

    quantities [n, q] and outcomes [n, c] are finite samples, noise_sd [c] that of a single observation; a group is
    the columns of the outcomes of runs that are made together. `costs` says what every group costs [groups] once the
    groups given are made; one that cannot be made costs infinity. `exact` is the joint covariance [q + c, q + c] where
    it is known without samples. Raises ValueError for samples that are not finite.
    """
    if not (np.isfinite(quantities).all() and np.isfinite(outcomes).all()):
        raise ValueError("samples of quantities and outcomes must be finite: leave out the rows that are not")
    q = quantities.shape[1]
    cov = covariance(quantities, outcomes) if exact is None else exact.copy()
    at_first = np.maximum(np.diag(cov)[:q], np.finfo(float).tiny)
    found: list[Chosen] = []
    while len(found) < n_groups:
        taken = [chosen.index for chosen in found]
        cost = costs(tuple(taken))
        shares = np.array([removed_variance(cov, q, noise_sd, group) for group in groups]) / at_first
        with np.errstate(invalid="ignore", divide="ignore"):
            per_cost = np.where(np.isfinite(cost), shares.mean(1) / np.maximum(cost, np.finfo(float).tiny), 0.0)
        per_cost[shares.max(1) < MIN_SHARE] = 0.0
        per_cost[taken] = 0.0
        best = int(per_cost.argmax())
        if per_cost[best] <= 0:
            break
        found.append(Chosen(best, float(cost[best]), shares[best]))
        at = q + groups[best]
        total = cov[np.ix_(at, at)] + np.diag(noise_sd[groups[best]] ** 2)
        cov = cov - cov[:, at] @ np.linalg.lstsq(total, cov[at], rcond=None)[0]
    return found
