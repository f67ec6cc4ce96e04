"""Replicate noise is planted and found again; resampling reproduces what was planted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glidepath.science.replicates import ReplicateNoise, interval, replicate_noise, resampled_losses, single_run_noise

NAN = np.nan
OWN, POSITION, SHARED = 0.010, 0.020, 0.040


def planted(
    random: np.random.Generator, n_positions: int, n_schedules: int, n_replicates: int
) -> tuple[np.ndarray, np.ndarray]:
    """Losses [cells, replicates] of the model that replicates.py states, and positions."""
    positions = np.repeat(np.arange(n_positions), n_schedules)
    mu = 3.0 + random.random((len(positions), 1))
    shared = SHARED * random.standard_normal(n_replicates)
    position = POSITION * random.standard_normal((n_positions, n_replicates))[positions]
    own = OWN * random.standard_normal((len(positions), n_replicates))
    return mu + shared + position + own, positions


def test_by_hand() -> None:
    """Two positions of two schedules: own ±d within a position, the replicate's own effect ±0.5."""
    positions = np.array([0, 0, 1, 1])
    effects = np.array([[+0.75, -0.75], [+0.25, -0.25], [+0.75, -0.75], [+0.25, -0.25]])
    noise = replicate_noise(3.0 + effects, positions)
    # Within each position the cells deviate by ±0.25 in both replicates: 8 squares of 1/16 over 2 degrees.
    assert noise.own_sd == pytest.approx(0.5)
    assert noise.degrees_of_freedom == 2
    # Both positions agree: shared is ±0.5 with variance 1/2, nothing is left for the positions.
    assert noise.position_sd == 0.0
    assert noise.shared_sd == pytest.approx(0.5**0.5)
    np.testing.assert_allclose(noise.means, 3.0)
    assert noise.counts.tolist() == [2, 2, 2, 2]


def test_planted_deviations_are_found() -> None:
    """Large studies; shared is averaged over them, since the 30 replicates of one tell it to 13 % only."""
    random = np.random.default_rng(0)
    found = [replicate_noise(*planted(random, 60, 4, 30)) for _ in range(8)]
    for name, truth in (("own_sd", OWN), ("position_sd", POSITION), ("shared_sd", SHARED)):
        assert np.mean([getattr(noise, name) ** 2 for noise in found]) == pytest.approx(truth**2, rel=0.15), name
    assert found[0].own_sd == pytest.approx(OWN, rel=0.05)
    assert found[0].degrees_of_freedom == 60 * 3 * 29


def test_small_studies_are_right_on_average() -> None:
    """Three positions, two schedules, three replicates: unbiased variances over 2000 studies (before the floor at
    zero)."""
    random = np.random.default_rng(1)
    found = [replicate_noise(*planted(random, 3, 2, 3)) for _ in range(2000)]
    assert np.mean([noise.own_sd**2 for noise in found]) == pytest.approx(OWN**2, rel=0.05)
    assert np.mean([noise.position_sd**2 for noise in found]) == pytest.approx(POSITION**2, rel=0.1)
    assert np.mean([noise.shared_sd**2 for noise in found]) == pytest.approx(SHARED**2, rel=0.1)


def test_unequal_replicates() -> None:
    """Without noise other than `shared`, every cell's adjusted mean is its truth up to one constant."""
    shared = np.array([0.3, -0.1, 0.5])
    present = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=bool)
    mu = np.array([3.0, 3.1, 3.2, 3.3, 3.4, 3.5])
    noise = replicate_noise(np.where(present, mu[:, None] + shared, NAN), np.array([0, 0, 1, 1, 2, 2]))
    np.testing.assert_allclose(noise.means - mu, np.full(6, shared.mean()), atol=1e-12)
    assert (noise.own_sd, noise.position_sd) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12))
    assert noise.shared_sd == pytest.approx(shared.std(ddof=1))
    assert noise.counts.tolist() == [3, 3, 2, 2, 1, 1]


def test_no_replicates() -> None:
    noise = replicate_noise(np.array([[3.0], [3.5]]), np.array([0, 1]))
    assert noise.means.tolist() == [3.0, 3.5]
    assert np.isnan([noise.own_sd, noise.position_sd, noise.shared_sd]).all()
    assert noise.degrees_of_freedom == 0


def test_replicates_of_one_position_are_its_own() -> None:
    """Effects ±1: common to both schedules, hence of the position, since nothing says that others share it."""
    noise = replicate_noise(np.array([[4.0, 2.0], [5.0, 3.0], [7.0, NAN]]), np.array([0, 0, 1]))
    assert (noise.own_sd, noise.position_sd, noise.shared_sd) == (0.0, pytest.approx(2**0.5), 0.0)
    assert noise.means.tolist() == [3.0, 4.0, 7.0]


def test_one_schedule_has_all_noise_of_its_own() -> None:
    """Effects ±1 and ±3: shared ±2, what is left ±1 over one degree of freedom."""
    noise = replicate_noise(np.array([[4.0, 2.0], [6.0, 0.0]]), np.array([0, 1]))
    assert (noise.own_sd, noise.position_sd, noise.degrees_of_freedom) == (pytest.approx(2.0), 0.0, 1)
    assert noise.shared_sd == pytest.approx((8 - 4 / 2) ** 0.5)


def test_a_cell_without_replicates_is_refused() -> None:
    with pytest.raises(ValueError, match="without any replicate"):
        replicate_noise(np.array([[3.0, 3.0], [NAN, NAN]]), np.array([0, 1]))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-2, 2), scale=st.floats(0.1, 10))
def test_shift_and_scale(seed: int, shift: float, scale: float) -> None:
    losses, positions = planted(np.random.default_rng(seed), 3, 2, 3)
    one, other = replicate_noise(losses, positions), replicate_noise(shift + scale * losses, positions)
    np.testing.assert_allclose(other.means, shift + scale * one.means, rtol=1e-9, atol=1e-9)
    for name in ("own_sd", "position_sd", "shared_sd"):
        assert getattr(other, name) == pytest.approx(scale * getattr(one, name), rel=1e-6, abs=1e-9)


def test_resampled_covariance() -> None:
    """Of two schedules at one position and a third cell elsewhere, with a different number of replicates."""
    blocks = np.array([[3.0, 3.2, 3.1, 2.9], [2.0, 2.1, 2.3, 2.0], [4.0, 4.0, 4.4, 4.2]])
    counts = np.array([4, 4, 1])
    noise = ReplicateNoise(np.array([3.0, 2.0, 4.0]), counts, OWN, POSITION, SHARED, 1000, 1000)
    samples = resampled_losses(noise, np.array([7, 7, 9]), blocks, 200_000, seed=0)
    text = np.cov(blocks, ddof=0) / blocks.shape[1]
    same_position = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    replicate = (OWN**2 * np.eye(3) + POSITION**2 * same_position) / np.sqrt(np.outer(counts, counts)) + SHARED**2 / 4
    np.testing.assert_allclose(samples.mean(0), noise.means, atol=1e-3)
    np.testing.assert_allclose(np.cov(samples, rowvar=False), text + replicate, rtol=0.03, atol=2e-5)


def test_resampled_without_replicates_is_the_text_alone() -> None:
    noise = ReplicateNoise(np.array([3.0, 2.0]), np.array([1, 1]), NAN, NAN, NAN, 0, 0)
    samples = resampled_losses(noise, np.array([0, 1]), np.array([[3.0, 4.0], [2.0, 3.0]]), 1000, seed=0)
    assert set(np.unique(samples[:, 0])) == {2.5, 3.0, 3.5}
    np.testing.assert_allclose(samples[:, 0] - samples[:, 1], 1.0)


@pytest.mark.parametrize("sds", [(1.0, 0.0), (0.0, 1.0)])
def test_few_degrees_of_freedom_widen(sds: tuple[float, float]) -> None:
    """Student's 97.5 % quantiles, of own and of shared effects."""

    def spread(degrees: int) -> float:
        noise = ReplicateNoise(np.array([3.0]), np.array([1]), sds[0], 0.0, sds[1], degrees, degrees)
        low, high = interval(resampled_losses(noise, np.array([0]), np.full((1, 2), 3.0), 50_000, 0)[:, 0], 0.95)
        return (high - low) / 2

    assert spread(2) == pytest.approx(4.303, rel=0.05)
    assert spread(1000) == pytest.approx(1.96, rel=0.03)


def test_same_seed_same_samples() -> None:
    noise = ReplicateNoise(np.array([3.0, 2.0]), np.array([2, 2]), OWN, POSITION, SHARED, 3, 1)
    arguments = (noise, np.array([0, 0]), np.random.default_rng(0).random((2, 9)), 50)
    np.testing.assert_array_equal(resampled_losses(*arguments, seed=1), resampled_losses(*arguments, seed=1))
    assert (resampled_losses(*arguments, seed=1) != resampled_losses(*arguments, seed=2)).any()


def test_single_run() -> None:
    noise = ReplicateNoise(np.array([3.0]), np.array([4]), OWN, POSITION, SHARED, 1000, 1000)
    assert single_run_noise(noise, 100_000, 0).std() == pytest.approx(
        (OWN**2 + POSITION**2 + SHARED**2) ** 0.5, rel=0.02
    )
    unknown = ReplicateNoise(np.array([3.0]), np.array([1]), NAN, NAN, NAN, 0, 0)
    assert single_run_noise(unknown, 3, 0).tolist() == [0.0, 0.0, 0.0]


def test_interval() -> None:
    """Ends are samples; an infinite one lies beyond its end, and a NaN could lie beyond either."""
    ninety = np.arange(101.0)
    low, high = interval(ninety, 0.9)
    assert (low, high) == (pytest.approx(5.0, abs=1.0), pytest.approx(95.0, abs=1.0))
    assert high - low >= 90.0
    assert interval(np.append(ninety, [np.inf] * 3), 0.9)[1] > high
    low, high = interval(np.append(ninety, [np.inf] * 10), 0.9)
    assert (np.isfinite(low), np.isnan(high)) == (True, True)
    assert np.isnan(interval(np.append(ninety, [NAN] * 10), 0.9)).all()
    assert np.isnan(interval(np.empty(0), 0.9)).all()
