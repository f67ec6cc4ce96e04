"""Weights of averages: arrays to check in the head, and a running EMA, update by update, as the slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glidepath.science.averaging import ema_weights, window_weights


def running_ema(snapshot_updates: list[int], timescale_updates: float) -> list[float]:
    """Weights of the textbook EMA with memory exp(-1/τ) per update, the snapshot ahead standing for each update."""
    first = 2 * snapshot_updates[0] - snapshot_updates[1]
    weights = np.zeros(len(snapshot_updates))
    for update in range(first + 1, snapshot_updates[-1] + 1):
        stands_for_it = next(i for i, u in enumerate(snapshot_updates) if update <= u)
        weights *= np.exp(-1.0 / timescale_updates)
        weights[stands_for_it] += 1.0
    return list(weights / weights.sum())


def test_window_takes_the_latest() -> None:
    assert window_weights(5, 2).tolist() == [0, 0, 0, 0.5, 0.5]
    assert window_weights(3, 1).tolist() == [0, 0, 1]
    assert window_weights(4, 4).tolist() == [0.25] * 4


@pytest.mark.parametrize("k", [0, 6])
def test_window_larger_than_the_snapshots(k: int) -> None:
    with pytest.raises(ValueError, match=rf"window of {k} of 5 snapshots"):
        window_weights(5, k)


def test_ema_halving_every_snapshot() -> None:
    """1 : 2 : 4 when the time between snapshots is ln 2 time-scales."""
    np.testing.assert_allclose(ema_weights([10, 20, 30], 10 / np.log(2)), np.array([1, 2, 4]) / 7, rtol=1e-14)


@pytest.mark.parametrize("updates", [[10, 20, 30, 40], [3, 5, 11, 12, 40], [1, 2]])
@pytest.mark.parametrize("timescale", [0.5, 7.0, 1000.0])
def test_ema_is_the_running_average(updates: list[int], timescale: float) -> None:
    np.testing.assert_allclose(ema_weights(updates, timescale), running_ema(updates, timescale), rtol=1e-9)


def test_ema_forgets_nothing_or_everything() -> None:
    """A long memory weighs snapshots by the updates they stand for; a short one keeps the last."""
    np.testing.assert_allclose(ema_weights([10, 20, 50], 1e9), [0.2, 0.2, 0.6], rtol=1e-6)
    np.testing.assert_allclose(ema_weights([10, 20, 50], 1e-2), [0, 0, 1], atol=1e-12)


@given(
    updates=st.lists(st.integers(0, 10_000), min_size=2, max_size=20, unique=True).map(sorted),
    timescale=st.floats(0.1, 1e6),
)
def test_ema_weights_are_shares(updates: list[int], timescale: float) -> None:
    weights = ema_weights(updates, timescale)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()


@given(k=st.integers(1, 30), extra=st.integers(0, 30))
def test_window_weights_are_shares(k: int, extra: int) -> None:
    weights = window_weights(k + extra, k)
    assert weights.sum() == pytest.approx(1.0)
    assert np.count_nonzero(weights) == k


def test_refusals() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ema_weights([1, 2], 0.0)
    with pytest.raises(ValueError, match="at least two, ascending"):
        ema_weights([1], 1.0)
    with pytest.raises(ValueError, match="at least two, ascending"):
        ema_weights([1, 3, 2], 1.0)
