"""Loss spikes that were planted are found, and noise is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glidepath.science.spikes import GAUSSIAN_MAD, THRESHOLD, WINDOW, loss_spikes


def curve(n: int, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    """2 + 4·(t + 10)^(-0.3) with Gaussian noise [nat/token]."""
    return 2 + 4 * (np.arange(n) + 10.0) ** -0.3 + noise * np.random.default_rng(seed).standard_normal(n)


def brute_force(loss: np.ndarray) -> np.ndarray:
    """Updates that stand out, window by window."""
    n, half = len(loss), WINDOW // 2
    windows = [slice(max(0, min(t - half, n - WINDOW)), max(0, min(t - half, n - WINDOW)) + WINDOW) for t in range(n)]
    residual = np.array([loss[t] - np.median(loss[w]) for t, w in enumerate(windows)])
    spread = np.array([GAUSSIAN_MAD * np.median(np.abs(residual[w])) for w in windows])
    return np.flatnonzero((residual > THRESHOLD * spread) & (np.arange(n) >= half))


def test_planted_spikes_are_found_with_their_heights_and_updates() -> None:
    loss = curve(1000)
    loss[300] += 1.0
    loss[700:704] += [0.4, 2.0, 1.2, 0.6]
    loss[997:] += 3.0
    first, second, last = loss_spikes(loss)
    assert (first.begin, first.end, first.peak) == (300, 301, 300)
    assert (second.begin, second.end, second.peak) == (700, 704, 701)
    assert (last.begin, last.end) == (997, 1000)
    assert first.height == pytest.approx(1.0, abs=0.08)
    assert second.height == pytest.approx(2.0, abs=0.08)
    assert last.height == pytest.approx(3.0, abs=0.08)


def test_fewer_than_one_update_of_noise_in_100_000_is_a_spike() -> None:
    noise = np.random.default_rng(11).standard_normal(2_000_000)
    flagged = sum(spike.end - spike.begin for spike in loss_spikes(noise))
    assert flagged / len(noise) < 1e-5


def test_descent_and_change_of_level_are_no_spikes() -> None:
    assert loss_spikes(curve(2000, noise=0.0)) == ()
    assert loss_spikes(np.full(WINDOW, 5.0)) == ()
    assert loss_spikes(curve(1000) + 3.0 * (np.arange(1000) >= 500)) == ()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(WINDOW, 300))
def test_the_windows_are_those_of_the_definition(seed: int, n: int) -> None:
    # Heavy tails: some updates stand out in most draws.
    loss = np.random.default_rng(seed).standard_t(1.5, n)
    flagged = [t for spike in loss_spikes(loss) for t in range(spike.begin, spike.end)]
    assert flagged == brute_force(loss).tolist()
    for spike in loss_spikes(loss):
        assert spike.begin <= spike.peak < spike.end
        assert spike.height > 0


@pytest.mark.parametrize("loss", [np.zeros(WINDOW - 1), np.full(WINDOW, np.nan), np.zeros((WINDOW, WINDOW))])
def test_too_short_or_broken_curves_are_refused(loss: np.ndarray) -> None:
    with pytest.raises(ValueError, match="at least 65 finite losses"):
        loss_spikes(loss)
