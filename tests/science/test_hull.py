"""Distance from a convex hull."""

from __future__ import annotations

import numpy as np
import pytest

from glidepath.science import hull

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 0.5], [0.5, 0.0]])


def test_inside_beside_and_beyond_a_corner() -> None:
    at = np.array([[0.3, 0.9], [1.0, 0.5], [0.5, 3.0], [2.0, 3.0], [-1.0, -1.0]])
    np.testing.assert_allclose(hull.distance(SQUARE, at), [0, 0, 2, 3, 2])
    assert len(hull.corners(SQUARE)) == 4


def test_a_slanting_side() -> None:
    triangle = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(hull.distance(triangle, np.array([[2.0, 2.0], [1.0, 1.0]])), [1, 0])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_points_on_a_line(n: int) -> None:
    line = np.linspace(0, 1, n)[:, None] * np.array([1.0, 2.0])
    end = line[-1]
    np.testing.assert_allclose(
        hull.distance(line, np.array([line[0], end, end + np.array([1.0, 2.0])])), [0, 0, 3], atol=1e-12
    )
    if n > 1:
        np.testing.assert_allclose(hull.distance(line, np.array([[0.5, 0.0]])), [0.5])


def test_against_a_fine_mesh() -> None:
    """No point of the hull, a mixture of the points, is nearer."""
    random = np.random.default_rng(0)
    points, at = random.standard_normal((7, 2)), 3 * random.standard_normal((20, 2))
    mixtures = random.dirichlet(np.full(7, 0.2), 20_000) @ points
    nearest = np.abs(at[:, None] - mixtures).sum(-1).min(1)
    found = hull.distance(points, at)
    assert (found <= nearest + 1e-9).all()
    np.testing.assert_allclose(found, nearest, atol=0.1)
