"""Blocks of AR(1) series, whose best length is known, and resampling by blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from glidepath.science.autocorrelation import autocovariances, block_length, moving_blocks


def ar1(n: int, rho: float, random: np.random.Generator) -> np.ndarray:
    """x_t = rho·x_{t-1} + e_t of variance 1, its beginning forgotten."""
    found: np.ndarray = lfilter([np.sqrt(1 - rho**2)], [1, -rho], random.standard_normal(n + 500))[500:]
    return found


def test_autocovariances_by_hand() -> None:
    """1, 3, 2 less their mean: -1, 1, 0."""
    np.testing.assert_allclose(autocovariances(np.array([1.0, 3.0, 2.0]), 2), [2 / 3, -1 / 3, 0.0])


@pytest.mark.parametrize("rho", [0.5, 0.8, -0.5])
def test_length_of_ar1(rho: float) -> None:
    """g/s = 2·rho/(1 - rho²), so the length is 2·(3/2·(g/s)²·n)^(1/3); the median of 25 series is near it."""
    random, n = np.random.default_rng(0), 4000
    expected = 2 * (1.5 * (2 * rho / (1 - rho**2)) ** 2 * n) ** (1 / 3)
    found = np.median([block_length(ar1(n, rho, random)) for _ in range(25)])
    assert found == pytest.approx(expected, rel=0.15)


def test_white_noise_needs_no_blocks() -> None:
    random = np.random.default_rng(1)
    lengths = [block_length(random.standard_normal(200)) for _ in range(200)]
    assert np.mean([length == 1 for length in lengths]) > 0.85


def test_a_short_mean_has_short_blocks() -> None:
    """The autocorrelation is that of the long series; of 40 neighbours at least four blocks are left."""
    series = ar1(4000, 0.9, np.random.default_rng(2))
    assert block_length(series) > 60
    assert block_length(series, 40) == 10
    assert block_length(series, 3) == 1


def test_a_constant_has_blocks_of_one() -> None:
    assert block_length([3.0, 3.0, 3.0, 3.0, 3.0]) == 1


def test_resampled_blocks_are_neighbours() -> None:
    positions = moving_blocks(10, 4, 5000, np.random.default_rng(3))
    assert positions.shape == (5000, 10)
    steps = np.diff(positions, axis=1)
    assert (np.delete(steps, [3, 7], axis=1) == 1).all()
    assert set(positions[:, 0]) == set(range(7))
    assert positions.max() == 9


def test_error_of_the_mean_of_ar1() -> None:
    """Var mean = (1 + rho)/(1 - rho)/n: resampled blocks find nine tenths of it, single values a third."""
    random, n, rho = np.random.default_rng(4), 2000, 0.5
    ratios = []
    for _ in range(40):
        series = ar1(n, rho, random)
        sds = [series[moving_blocks(n, b, 200, random)].mean(1).std() for b in (block_length(series), 1)]
        ratios.append(np.array(sds) ** 2 * n * (1 - rho) / (1 + rho))
    assert np.mean(ratios, axis=0) == pytest.approx([0.93, 1 / 3], abs=0.07)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least two finite values"):
        block_length([1.0])
    with pytest.raises(ValueError, match="at least two finite values"):
        block_length([1.0, np.nan])
    with pytest.raises(ValueError, match="at least one value and at most all"):
        moving_blocks(3, 4, 1, np.random.default_rng(0))
