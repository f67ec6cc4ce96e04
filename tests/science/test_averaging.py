"""Weights of averages: arrays to check in the head, slow twins, and a trajectory whose updates are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glidepath.science import averaging
from glidepath.science.averaging import (
    cheapest_step,
    ema_weights,
    emulated_decay_weights,
    equal_weights,
    shape_of,
    uniform_weights,
)

Floats = averaging.Floats
ascending = st.lists(st.integers(0, 10_000), min_size=2, max_size=20, unique=True).map(sorted)


def running_ema(snapshot_updates: list[int], timescale_updates: float) -> list[float]:
    """Weights of the textbook EMA with memory exp(-1/τ) per update, the snapshot ahead standing for each update."""
    first = 2 * snapshot_updates[0] - snapshot_updates[1]
    weights = np.zeros(len(snapshot_updates))
    for update in range(first + 1, snapshot_updates[-1] + 1):
        stands_for_it = next(i for i, u in enumerate(snapshot_updates) if update <= u)
        weights *= np.exp(-1.0 / timescale_updates)
        weights[stands_for_it] += 1.0
    return list(weights / weights.sum())


# -- uniform


def test_a_window_of_equally_spaced_snapshots_weighs_them_equally() -> None:
    assert uniform_weights([10, 20, 30, 40, 50], 30).tolist() == [0, 0, 0, 0.5, 0.5]
    assert uniform_weights([10, 20, 30], 0).tolist() == pytest.approx([1 / 3] * 3)


def test_a_window_weighs_snapshots_by_the_training_they_stand_for() -> None:
    """(20, 40] and (40, 50], and of (10, 20] the half behind 15."""
    assert uniform_weights([10, 20, 40, 50], 20).tolist() == pytest.approx([0, 0, 2 / 3, 1 / 3])
    assert uniform_weights([10, 20, 40, 50], 15).tolist() == pytest.approx([0, 5 / 35, 20 / 35, 10 / 35])


def test_the_first_snapshot_stands_for_as_much_as_the_second() -> None:
    assert uniform_weights([100, 110, 120], 0).tolist() == pytest.approx([1 / 3] * 3)


def test_a_window_that_starts_behind_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="must start before the last one"):
        uniform_weights([10, 20], 20)


@pytest.mark.parametrize("positions", [[5], [10, 10], [20, 10]])
def test_snapshots_that_do_not_ascend_are_refused(positions: list[int]) -> None:
    for weights in (uniform_weights, ema_weights):
        with pytest.raises(ValueError, match="at least two, ascending"):
            weights(positions, 1.0)


def test_equal_weights_of_chosen_snapshots() -> None:
    assert equal_weights(5, [4, 2]).tolist() == [0, 0, 0.5, 0, 0.5]


@pytest.mark.parametrize("chosen", [[], [1, 1]])
def test_none_or_one_twice_is_refused(chosen: list[int]) -> None:
    with pytest.raises(ValueError, match="at least one, each once"):
        equal_weights(3, chosen)


# -- EMA


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


def test_a_memory_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="time-scale of 0"):
        ema_weights([1, 2], 0.0)


@given(positions=ascending, scale=st.floats(0.1, 1e6))
def test_weights_are_shares(positions: list[int], scale: float) -> None:
    for weights in (ema_weights(positions, scale), uniform_weights(positions, positions[-1] - scale)):
        assert weights.sum() == pytest.approx(1.0)
        assert (weights >= 0).all()


# -- emulated decay


def walk(lr: Floats, weight_decay: float, updates: Floats) -> Floats:
    """AdamW's weights after every update, whose directions are given: [updates + 1, parameters]."""
    found = [np.ones(updates.shape[1])]
    for step, direction in zip(lr, updates, strict=True):
        found.append((1.0 - step * weight_decay) * found[-1] - step * direction)
    return np.array(found)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("shape", ["linear", "square", "step"])
def test_snapshots_after_every_update_emulate_a_decay_exactly(weight_decay: float, shape: str) -> None:
    """If the updates stay what they are, the average of a warmed-up constant run is the decayed run."""
    n, start = 60, 35
    lr = 0.02 * np.minimum(1.0, np.arange(1, n + 1) / 10)
    u = np.arange(n - start) / (n - start)
    fall = {"linear": 1 - u, "square": 1 - u * u, "step": np.where(u < 0.5, 1.0, 0.1)}[shape]
    decayed = np.concatenate([lr[:start], lr[start:] * fall])
    directions = np.random.default_rng(0).standard_normal((n, 3))
    weights = emulated_decay_weights(lr, decayed, weight_decay, np.arange(1, n + 1))
    assert (weights[: start - 1] == 0).all()
    snapshots = walk(lr, weight_decay, directions)[1:]
    np.testing.assert_allclose(weights @ snapshots, walk(decayed, weight_decay, directions)[-1], rtol=1e-11)


def test_without_weight_decay_the_weights_are_the_falls_of_the_learning_rate() -> None:
    """1, ¾, ½, ¼, then nothing: every snapshot a quarter, but for the first, which nothing has fallen before."""
    weights = emulated_decay_weights(np.ones(6), np.array([1, 1, 1, 0.75, 0.5, 0.25]), 0.0, np.arange(1, 7))
    assert weights.tolist() == pytest.approx([0, 0, 0.25, 0.25, 0.25, 0.25])


def test_sparse_snapshots_take_the_weight_of_the_updates_around_them() -> None:
    weights = emulated_decay_weights(np.ones(6), np.array([1, 1, 1, 0.75, 0.5, 0.25]), 0.0, [2, 4, 6])
    assert weights.tolist() == pytest.approx([0.25, 0.5, 0.25])


@pytest.mark.parametrize(
    ("lr", "decayed", "decay", "at", "message"),
    [
        ([1.0, 1.0], [1.0], 0.0, [2], "one of each per update"),
        ([1.0, 1.0], [1.0, 0.5], 0.0, [1], "a snapshot after the last"),
        ([0.0, 1.0], [0.0, 0.5], 0.0, [1, 2], "need lr > 0"),
        ([1.0, 1.0], [1.0, 0.5], 1.0, [1, 2], "lr·decay < 1"),
        ([1.0, 1.0], [0.5, 1.0], 0.0, [1, 2], "would be negative"),
    ],
)
def test_what_cannot_be_emulated_is_refused(lr: Any, decayed: Any, decay: float, at: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        emulated_decay_weights(lr, decayed, decay, at)


# -- steps from one average to the next


def taken(before: Floats, after: Floats) -> tuple[Floats, int]:
    """What a step makes of the weights before it, and what it reads."""
    step = cheapest_step(before, after)
    found = step.keep * np.asarray(before)
    for i, share in step.shares:
        found[i] += share
    return found, step.reads


@given(k=st.integers(2, 30), at=st.integers(40, 60))
def test_a_window_moves_by_reading_two_snapshots(k: int, at: int) -> None:
    positions = np.arange(1, 101)
    padded = [np.concatenate([uniform_weights(positions[:n], n - k), np.zeros(100 - n)]) for n in (at, at + 1)]
    found, reads = taken(*padded)
    np.testing.assert_allclose(found, padded[1], atol=1e-15)
    assert reads == 2


def test_a_window_that_grows_over_unequal_snapshots_reads_three_at_most() -> None:
    """A window of 40 % of the training so far moves its start by a part of what a snapshot stands for."""
    positions = np.concatenate([np.arange(32, 64, 2), np.arange(64, 128, 4), np.arange(128, 257, 8)])
    before = np.zeros(len(positions))
    for n in range(25, len(positions) + 1):
        after = np.zeros(len(positions))
        after[:n] = uniform_weights(positions[:n], 0.6 * positions[n - 1])
        found, reads = taken(before, after)
        np.testing.assert_allclose(found, after, atol=1e-14)
        first = n == 25
        assert reads <= (len(positions) if first else 3)
        before = found
    assert np.count_nonzero(after) > 12


def test_an_ema_of_fixed_memory_reads_the_new_snapshot_only() -> None:
    positions = np.arange(10, 210, 10)
    before = np.append(ema_weights(positions[:-1], 5.0), 0.0)
    found, reads = taken(before, ema_weights(positions, 5.0))
    np.testing.assert_allclose(found, ema_weights(positions, 5.0), atol=1e-14)
    assert reads == 1


def test_what_has_nothing_in_common_starts_afresh() -> None:
    step = cheapest_step([0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5])
    assert step.keep == 0.0
    assert step.shares == ((2, 0.5), (3, 0.5))


@given(
    weights=st.lists(
        st.lists(st.floats(0, 1), min_size=6, max_size=6).filter(lambda w: sum(w) > 0.1), min_size=2, max_size=2
    )
)
def test_every_step_arrives(weights: list[list[float]]) -> None:
    before, after = (np.array(w) / sum(w) for w in weights)
    found, reads = taken(before, after)
    np.testing.assert_allclose(found, after, atol=1e-11)
    assert reads <= np.count_nonzero(after)


def test_shape_of_an_average() -> None:
    """A quarter and three quarters, 30 and 10 before the end: mean age 15, 1/(1/16 + 9/16) = 1.6 snapshots."""
    shape = shape_of([0, 0.25, 0.75], [50, 70, 90], 100.0)
    assert (shape.checkpoints, shape.span, shape.lag) == (2, 20.0, 15.0)
    assert shape.effective_checkpoints == pytest.approx(1.6)
