"""The bound at the points of a curve against its definition, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from glidepath.science.laws.last_iterate_bound import bound_kernel, last_iterate_bound
from tests.science.laws.test_convex_bound import POINTS, STEPS, path


@pytest.mark.parametrize("lr", [path(0.0), path(0.3), path(1.0), np.where(np.arange(STEPS) < 300, 1e-2, 0.0)])
def test_points_of_a_curve_are_bounds_of_the_runs_that_end_there(lr: np.ndarray) -> None:
    kernel = bound_kernel(lr, POINTS)
    norms = 1 + 2 * np.exp(-0.01 * kernel.knots)
    found = kernel.distance + kernel.noise @ norms**2
    g = np.sqrt(np.interp(np.arange(1, STEPS + 1), kernel.knots, norms**2))
    slow = [last_iterate_bound(lr[:point], g[:point]).at(1.0) for point in POINTS]
    assert_allclose(found, slow, rtol=1e-9)


def test_points_that_the_bound_does_not_reach_are_refused() -> None:
    with pytest.raises(ValueError, match="first update at a positive learning rate"):
        bound_kernel(np.array([0.0, 0.0, 1.0]), np.array([2]))
    with pytest.raises(ValueError, match="up to the last"):
        bound_kernel(np.ones(3), np.array([4]))
    with pytest.raises(ValueError, match="positive learning rate"):
        last_iterate_bound([0.0, 0.0])
