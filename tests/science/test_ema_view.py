"""AdamW as an average: published coefficients, the recursion itself, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from glidepath.science.ema_view import (
    shrinkage,
    timescale_fraction,
    timescale_updates,
    update_coefficients,
)

T, WARMUP, PEAK, DECAY = 1000, 100, 0.1, 0.1

AFTER_WARMUP: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": lambda p: np.ones_like(p),
    "linear to zero": lambda p: 1 - p,
    "linear to 10 %": lambda p: 1 - 0.9 * p,
    "cosine to zero": lambda p: (1 + np.cos(np.pi * p)) / 2,
    "cosine to 10 %": lambda p: 0.1 + 0.9 * (1 + np.cos(np.pi * p)) / 2,
    "step at 90 %": lambda p: np.where(p < 0.9 - 1e-12, 1.0, 1e-3),
}
# c_0, 1-based update of the largest coefficient, that coefficient, the last one, effective updates:
# the table of Bergsma et al.'s reading, computed independently of this code and printed to these digits.
PUBLISHED = {
    "constant": ("0.00007", 1000, "1.000e-2", "1.0e-2", "199.0"),
    "linear to zero": ("0.00663", 700, "2.024e-3", "0.0e+0", "667.4"),
    "linear to 10 %": ("0.00422", 784, "2.018e-3", "1.0e-3", "654.7"),
    "cosine to zero": ("0.00661", 599, "2.295e-3", "0.0e+0", "603.2"),
    "cosine to 10 %": ("0.00421", 660, "1.944e-3", "1.0e-3", "690.0"),
    "step at 90 %": ("0.00018", 909, "9.991e-3", "1.0e-5", "199.3"),
}


def learning_rates(name: str) -> np.ndarray:
    """The convention of the table: update t = 1 … T has t/w, then f((t - w)/(T - w))."""
    t = np.arange(1, T + 1)
    return PEAK * np.where(t <= WARMUP, t / WARMUP, AFTER_WARMUP[name]((t - WARMUP) / (T - WARMUP)))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_coefficients(name: str) -> None:
    c = update_coefficients(learning_rates(name), DECAY)
    initial, peak, largest, last, effective = PUBLISHED[name]
    assert f"{c.initial:.5f}" == initial
    assert c.peak + 1 == peak
    assert_allclose(c.updates.max(), float(largest), rtol=3e-4)
    assert_allclose(c.updates[-1], float(last), rtol=1e-9, atol=1e-15)
    assert f"{c.effective_updates:.1f}" == effective
    assert_allclose(c.initial + c.updates.sum(), 1.0, rtol=1e-12)


@given(
    st.lists(st.tuples(st.floats(0, 0.9), st.floats(0.01, 1.0)), min_size=1, max_size=60).filter(
        lambda pairs: any(lr > 1e-6 for lr, _ in pairs)
    ),
    st.integers(0, 2**32 - 1),
)
def test_the_coefficients_are_those_of_the_recursion(pairs: list[tuple[float, float]], seed: int) -> None:
    lr, decay = (np.array(column) for column in zip(*pairs, strict=True))
    c = update_coefficients(lr, decay)
    x = np.random.default_rng(seed).standard_normal(len(lr) + 1)
    weights = x[0]
    for eta, lam, scaled_update in zip(lr, decay, x[1:], strict=True):
        weights = weights - eta * lam * weights + eta * lam * scaled_update
    assert_allclose(c.initial * x[0] + c.updates @ x[1:], weights, rtol=1e-10, atol=1e-12)
    assert_allclose(c.initial + c.updates.sum(), 1.0, rtol=1e-12)
    assert 1 - 1e-9 <= c.effective_updates <= np.count_nonzero(lr) * (1 + 1e-9)


def test_the_rational_schedule_weighs_every_update_alike() -> None:
    """lr_{i+1} = lr_i/(1 + lr_i·λ) from 0.1: each coefficient is 9.09918107e-4, the last learning rate 0.00909918."""
    lr = 0.1 / (1 + np.arange(T) * 0.1 * 0.1)
    c = update_coefficients(lr, 0.1)
    assert_allclose(c.updates, 9.09918107e-4, rtol=1e-8)
    assert np.ptp(c.updates) < 1e-16
    assert_allclose(c.effective_updates, T, rtol=1e-12)
    assert_allclose(lr[-1], 0.00909918, rtol=1e-6)


def test_forgotten_updates_keep_their_logarithm() -> None:
    c = update_coefficients(np.full(20_000, 0.5), 0.5)
    assert c.updates[0] == 0.0
    assert_allclose(c.log_updates[0], np.log(0.25) + 19_999 * np.log(0.75), rtol=1e-12)
    assert_allclose(c.effective_updates, 2 / 0.25 - 1, rtol=1e-12)


def test_timescales_in_updates_and_as_a_share_of_the_run() -> None:
    """Hidden matrices of the 111M model of the group's zoo: 1920 updates, 0.345 of a run of 5563."""
    lr = np.array([0.015625 / 3, 0.0])
    assert_allclose(timescale_updates(lr, 0.1), [1920.0, np.inf])
    tokens = 192 * 2048
    assert_allclose(timescale_fraction(lr, 0.1, tokens, 5563 * tokens)[0], 0.345, rtol=1e-3)
    assert_allclose(timescale_fraction(lr[:1], 0.1, [4.0], 1920 * 4.0), 1.0)


@pytest.mark.parametrize(
    ("lr", "decay", "says"),
    [
        ([], 0.1, r"shape \(0,\)"),
        (0.1, 0.1, r"shape \(\)"),
        ([0.1, -0.1], 0.1, "lr = -0.1 at update 1"),
        ([0.1, np.nan], 0.1, "lr = nan at update 1"),
        ([0.1, 0.1], [0.1, np.inf], "weight_decay = inf at update 1"),
        ([0.0, 0.1], 0.0, "weight_decay = 0 at update 1.*show the learning rates"),
        ([0.1, 2.0], 0.5, "= 1 at update 1.*below 1"),
    ],
)
def test_what_is_no_average_is_refused(lr: object, decay: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        shrinkage(lr, decay)  # type: ignore[arg-type]


def test_a_run_that_never_learns_and_a_run_of_no_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="learning rate 0 at all 3 updates"):
        update_coefficients([0.0, 0.0, 0.0], 0.1)
    with pytest.raises(ValueError, match="token_horizon = 0"):
        timescale_fraction([0.1], 0.1, 64, 0)
