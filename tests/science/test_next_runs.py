"""The choice of further runs against exact formulas, and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from glidepath.science.next_runs import choose, covariance, removed_variance

Floats = NDArray[np.float64]

X = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 6.0])
"""Where a line a + b·x, a and b independent with variances 1 and 0.25, may be observed."""
DESIGN = np.stack([np.ones_like(X), X], axis=1)
PRIOR = np.diag([1.0, 0.25])
AT = np.array([[1.0, 8.0]])
"""What is asked for: the line at 8."""
NOISE = np.full(len(X), 4.0)
SINGLE = [np.array([i]) for i in range(len(X))]


def exact() -> Floats:
    joint = np.vstack([AT, DESIGN])
    return np.asarray(joint @ PRIOR @ joint.T, np.float64)


def posterior_variance(observed: list[int]) -> float:
    """Of the line at 8, by the information matrix: another formula for the same."""
    rows = DESIGN[observed]
    information = np.linalg.inv(PRIOR) + rows.T @ rows / NOISE[0] ** 2
    return float((AT @ np.linalg.inv(information) @ AT.T)[0, 0])


def samples(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    theta = np.random.default_rng(seed).standard_normal((n, 2)) * np.sqrt(np.diag(PRIOR))
    return theta @ AT.T, theta @ DESIGN.T


def test_one_observation_removes_what_conditioning_says() -> None:
    for i, group in enumerate(SINGLE):
        assert exact()[0, 0] - removed_variance(exact(), 1, NOISE, group)[0] == pytest.approx(
            posterior_variance([i]), rel=1e-12
        )


def test_several_observations_remove_together_what_conditioning_says() -> None:
    found = choose(np.empty((0, 1)), np.empty((0, len(X))), NOISE, SINGLE, lambda _: np.ones(len(X)), 2, exact())
    left = exact()[0, 0] * (1 - sum(float(chosen.removed[0]) for chosen in found))
    assert len(found) == 2
    assert left == pytest.approx(posterior_variance([chosen.index for chosen in found]), rel=1e-9)


def test_a_group_removes_what_its_runs_do_together() -> None:
    group = np.array([1, 3, 5])
    left = exact()[0, 0] - removed_variance(exact(), 1, NOISE, group)[0]
    assert left == pytest.approx(posterior_variance([1, 3, 5]), rel=1e-12)
    found = choose(np.empty((0, 1)), np.empty((0, len(X))), NOISE, [group], lambda _: np.ones(1), 2, exact())
    assert [chosen.index for chosen in found] == [0]


def test_samples_choose_as_the_exact_covariance_does() -> None:
    quantities, outcomes = samples(4000)
    by_samples = choose(quantities, outcomes, NOISE, SINGLE, lambda _: np.ones(len(X)), 2)
    by_formula = choose(quantities, outcomes, NOISE, SINGLE, lambda _: np.ones(len(X)), 2, exact())
    assert [c.index for c in by_samples] == [c.index for c in by_formula]
    assert by_samples[0].removed[0] == pytest.approx(by_formula[0].removed[0], abs=0.03)


def test_a_cheap_run_wins_over_a_slightly_better_dear_one() -> None:
    cost = np.where(X == 6.0, 100.0, 1.0)
    first = choose(np.empty((0, 1)), np.empty((0, len(X))), NOISE, SINGLE, lambda _: cost, 1, exact())[0]
    assert X[first.index] == 4.0


def test_a_run_that_another_has_paid_for_is_chosen_next() -> None:
    """Once 4 is observed, 3 lies on its trunk and costs next to nothing."""

    def costs(taken: tuple[int, ...]) -> Floats:
        cost = np.full(len(X), 10.0)
        cost[X == 4.0] = 1.0
        if 4 in taken:
            cost[X == 3.0] = 0.01
        return cost

    found = choose(np.empty((0, 1)), np.empty((0, len(X))), NOISE, SINGLE, costs, 2, exact())
    assert X[[chosen.index for chosen in found]].tolist() == [4.0, 3.0]
    assert found[1].cost == 0.01


def test_chance_correlations_of_cheap_runs_are_not_chosen() -> None:
    """Two hundred outcomes that have nothing to do with it, a thousand times cheaper than the one that has."""
    quantities, outcomes = samples(1000)
    noise = np.random.default_rng(1).standard_normal((1000, 200))
    joint = np.hstack([outcomes[:, -1:], noise])
    assert (covariance(quantities, joint)[0, 2:] != 0).mean() < 0.02
    groups, cost = [np.array([i]) for i in range(201)], np.array([1.0, *[1e-3] * 200])
    found = choose(quantities, joint, np.full(201, 2.0), groups, lambda _: cost, 1)
    assert [chosen.index for chosen in found] == [0]


def test_samples_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        choose(np.array([[np.nan]]), np.ones((1, 2)), np.ones(2), SINGLE[:2], lambda _: np.ones(2), 1)
