"""What a law misses on points that are hidden from it, and how far a run lies beyond points."""

from __future__ import annotations

import numpy as np
import pytest

from glidepath.laws.back_tests import back_tests, reach_of
from glidepath.laws.predictors import LOSS_PREDICTORS, Points
from tests.laws.planted import points

HORIZON = LOSS_PREDICTORS[0]


def test_a_law_that_is_true_misses_nothing() -> None:
    given = points(lambda x: 2 + 3 * x**-0.5, 5 * 2.0 ** np.arange(5))
    found = back_tests(HORIZON, given, given.compute, np.inf)
    assert len(found.errors) == 3
    np.testing.assert_allclose(found.errors, 0, atol=1e-3)
    np.testing.assert_allclose(sorted(found.reaches), np.log([2, 2, 4]))


def test_the_largest_size_at_the_longest_horizon_lies_beyond_a_cross() -> None:
    """Both were trained, never together: compute says so."""
    n, d = np.array([1e6, 1e6, 4e6]), np.array([1e7, 4e7, 1e7])
    cross = Points(n, d, np.ones(3), None)
    assert reach_of(np.array([4e6]), np.array([4e7]), cross)[0] == pytest.approx(np.log(4))
    assert reach_of(np.array([2e6]), np.array([1.5e7]), cross)[0] == 0.0
    assert reach_of(np.array([8e6]), np.array([8e7]), cross)[0] == pytest.approx(np.log(16))
