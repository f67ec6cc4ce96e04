"""Slopes in logarithms: exact powers, known errors, and a verdict that is right as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from glidepath.science.slopes import Slope, log_log_slope

WIDTHS = np.array([16.0, 32.0, 64.0, 128.0])


@given(exponent=st.floats(-2, 2), scale=st.floats(1e-3, 1e3))
def test_a_power_is_found_exactly(exponent: float, scale: float) -> None:
    found = log_log_slope(WIDTHS, scale * WIDTHS**exponent)
    assert found.slope == pytest.approx(exponent, abs=1e-9)
    assert found.standard_error == pytest.approx(0, abs=1e-7)
    assert found.degrees_of_freedom == 2


def test_the_error_is_that_of_a_regression() -> None:
    random = np.random.default_rng(0)
    x = np.repeat(WIDTHS, 3)
    y = x**0.3 * np.exp(0.1 * random.standard_normal(len(x)))
    found, known = log_log_slope(x, y), stats.linregress(np.log2(x), np.log2(y))
    assert found.slope == pytest.approx(known.slope)
    assert found.standard_error == pytest.approx(known.stderr)
    half = stats.t.ppf(0.95, 10) * known.stderr
    assert found.interval(0.9) == pytest.approx((known.slope - half, known.slope + half))


@pytest.mark.parametrize(
    ("slope", "error", "verdict"),
    [
        (0.0, 0.1, "stable"),
        (0.2, 0.1, "not resolved"),
        (0.5, 0.1, "grows"),
        (-0.5, 0.1, "shrinks"),
        (0.0, 0.2, "not resolved"),
        (np.nan, np.nan, "not resolved"),
    ],
)
def test_verdicts_by_hand(slope: float, error: float, verdict: str) -> None:
    """With 10 degrees of freedom the 90 % interval is ±1.81 standard errors; the tolerance is 0.25."""
    assert Slope(slope, error, 10).verdict(0.25, 0.9) == verdict


def test_two_points_have_a_slope_but_no_verdict() -> None:
    found = log_log_slope(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    assert (found.slope, found.degrees_of_freedom) == (pytest.approx(1.0), 0)
    assert found.verdict(0.25, 0.9) == "not resolved"


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_vanished_or_exploded_size_leaves_no_slope(bad: float) -> None:
    found = log_log_slope(WIDTHS, np.array([1.0, 1.0, 1.0, bad]))
    assert np.isnan(found.slope)
    assert found.verdict(0.25, 0.9) == "not resolved"


def test_one_size_is_refused() -> None:
    with pytest.raises(ValueError, match="two different positive ones"):
        log_log_slope(np.array([16.0, 16.0]), np.array([1.0, 2.0]))


def test_a_true_slope_at_the_tolerance_is_rarely_called_stable() -> None:
    """Two one-sided tests at 5 % each: at the boundary a false `stable` comes in at most 5 % of worlds."""
    random, n = np.random.default_rng(1), 2000
    x = np.repeat(WIDTHS, 3)
    noise = np.exp2(0.1 * random.standard_normal((n, len(x))))
    verdicts = [log_log_slope(x, x**0.25 * row).verdict(0.25, 0.9) for row in noise]
    assert np.mean([verdict == "stable" for verdict in verdicts]) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)
    stable = [log_log_slope(x, row).verdict(0.25, 0.9) for row in noise]
    assert np.mean([verdict == "stable" for verdict in stable]) > 0.9
