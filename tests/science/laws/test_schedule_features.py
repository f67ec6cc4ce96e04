"""Features of learning rates against sums written out, and the regression on planted runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from glidepath.science.laws.schedule_features import (
    LR_FEATURES,
    divergence_probability,
    f1,
    fit_divergence,
    fit_feature_law,
    lr_features,
)

Floats = NDArray[np.float64]
NAMES = ("a", "b", "still")
GROUPS = np.repeat(np.arange(6), 10)


def slow(lr: Floats, warmup_steps: int, memories: list[float]) -> list[float]:
    tails = []
    for m in memories:
        total = 0.0
        for t in range(len(lr)):
            total += lr[t] ** 2 * math.exp(-sum(lr[t + 1 :]) / m)
        tails.append(math.log(total))
    squares = math.log(sum(x**2 for x in lr))
    return [math.log(sum(lr)), squares, *tails, math.log(max(lr)), math.log(max(warmup_steps, 1))]


@pytest.mark.parametrize(
    "lr", [np.full(7, 0.01), np.linspace(0.02, 0.0, 40), 0.01 * (1 + np.cos(np.linspace(0, 3, 31)))]
)
def test_features_are_the_sums_of_their_definition(lr: Floats) -> None:
    memories = [0.01, 0.1, 1.0]
    found = lr_features(lr, 5, memories)
    assert len(found) == len(LR_FEATURES)
    np.testing.assert_allclose(found, slow(lr, 5, memories), rtol=1e-12)


def test_a_tail_sees_the_end() -> None:
    """Two halves in either order: only what is still to come tells them apart."""
    fall, rise = np.repeat([0.02, 0.01], 50), np.repeat([0.01, 0.02], 50)
    one, other = (lr_features(lr, 0, [0.05, 0.1, 10.0]) for lr in (fall, rise))
    np.testing.assert_allclose(one[[0, 1, 5, 6]], other[[0, 1, 5, 6]])
    assert (one[2:4] < other[2:4] - 0.2).all()


def test_no_learning_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="none above zero"):
        lr_features(np.zeros(5), 0, [1.0])


def features(seed: int = 0) -> Floats:
    x = np.random.default_rng(seed).uniform(-1, 1, (60, 3))
    x[:, 2] = 4.0
    return x


def losses(x: Floats, *, square: float = 0.0, sd: float = 0.0, seed: int = 1) -> Floats:
    noise = sd * np.random.default_rng(seed).standard_normal(len(x))
    return np.exp(1.0 - 0.2 * x[:, 0] + 0.1 * x[:, 1] + square * x[:, 0] ** 2 + noise)


@pytest.mark.parametrize("square", [0.0, 0.3])
def test_truth_is_recovered(square: float) -> None:
    x, new = features(), features(9)
    law = fit_feature_law(x, losses(x, square=square, sd=1e-4), NAMES, GROUPS)
    np.testing.assert_allclose(law.predict(new), losses(new, square=square), rtol=1e-3)
    assert law.dropped == ("still",)
    assert law.names[:2] == ("a", "b")


def test_squares_join_where_a_loss_has_a_minimum() -> None:
    x = features()
    bent = losses(x, square=0.3, sd=0.01)
    law = fit_feature_law(x, bent, NAMES, GROUPS)
    assert law.squares
    assert law.names == ("a", "b", "a_squared", "b_squared")
    plain = fit_feature_law(x, bent, NAMES, GROUPS, squares=False)
    assert not plain.squares
    assert np.abs(plain.residuals).mean() > 5 * np.abs(law.residuals).mean()


def test_noise_asks_for_a_strong_ridge() -> None:
    x = features()
    noise = np.exp(np.random.default_rng(5).standard_normal(60))
    assert fit_feature_law(x, noise, NAMES, GROUPS).strength > fit_feature_law(x, losses(x), NAMES, GROUPS).strength


def test_residuals_are_of_groups_that_were_hidden() -> None:
    x = features()
    y = losses(x, sd=0.05)
    law = fit_feature_law(x, y, NAMES, GROUPS, squares=False)
    away = GROUPS == 2
    rest = fit_feature_law(x[~away], y[~away], NAMES, GROUPS[~away], squares=False, strengths=(law.strength,))
    np.testing.assert_allclose(law.residuals[away], np.log(rest.predict(x[away]) / y[away]), atol=1e-12)


def test_intervals_hold_new_runs() -> None:
    hits = []
    for seed in range(60):
        x, new = features(seed), features(seed + 500)
        law = fit_feature_law(x, losses(x, sd=0.05, seed=seed), NAMES, GROUPS)
        low, high = law.interval(new, 0.9)
        true = losses(new, sd=0.05, seed=seed + 1000)
        hits.append(((low <= true) & (true <= high)).mean())
    assert 0.87 < np.mean(hits) < 0.95


def test_too_few_runs_for_a_level_leave_the_interval_open() -> None:
    x = features()[::10]
    law = fit_feature_law(x, losses(x), NAMES, GROUPS[::10])
    low, high = law.interval(x, 0.9)
    assert np.isinf(high).all()
    assert (low == 0).all()


def test_samples_are_fits_of_what_was_drawn() -> None:
    x = features()
    y = losses(x, sd=0.05)
    law = fit_feature_law(x, y, NAMES, GROUPS, squares=False, strengths=(1e-3,))
    drawn = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=3).astype(np.float64)
    samples = law.resampled(x, y, np.concatenate([np.ones((1, 60)), drawn]))
    np.testing.assert_allclose(samples.predict(x)[0], law.predict(x), rtol=1e-12)
    assert samples.coefficients.shape == (4, 2)
    rows = np.repeat(np.arange(60), drawn[0].astype(int))
    z = (x[:, :2] - x[:, :2].mean(0)) / x[:, :2].std(0)
    centred, r = z[rows] - z[rows].mean(0), np.log(y[rows]) - np.log(y[rows]).mean()
    by_hand = np.linalg.solve(centred.T @ centred + 1e-3 * 60 * np.eye(2), centred.T @ r)
    np.testing.assert_allclose(samples.coefficients[1], by_hand, rtol=1e-9)


def test_what_cannot_be_fitted_is_refused() -> None:
    x = features()
    with pytest.raises(ValueError, match="one group"):
        fit_feature_law(x, losses(x), NAMES, np.zeros(60, dtype=np.int64))
    with pytest.raises(ValueError, match="positive"):
        fit_feature_law(x, -losses(x), NAMES, GROUPS)


def test_divergence_is_learnt_from_a_threshold() -> None:
    x, new = features(), features(9)
    found = fit_divergence(x, x[:, 0] > 0.5, strength=1e-4)
    expected = divergence_probability(found, new) > 0.5
    assert f1(expected, new[:, 0] > 0.5) > 0.85
    with pytest.raises(ValueError, match="both kinds"):
        fit_divergence(x, np.zeros(60, dtype=np.bool_))


def test_f1_counts_misses_and_false_alarms() -> None:
    true = np.array([True, True, False, False])
    assert f1(true, true) == 1.0
    assert f1(~true, true) == 0.0
    assert f1(np.array([True, False, True, False]), true) == pytest.approx(0.5)
    # Always expecting it: 2b/(1 + b) with b the share that diverges.
    assert f1(np.ones(4, dtype=np.bool_), true) == pytest.approx(2 * 0.5 / 1.5)
