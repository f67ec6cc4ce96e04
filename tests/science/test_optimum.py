"""The vertex of a parabola in ln LR."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glidepath.science.optimum import WINDOW_NATS, optimum, used_points, vertices

GRID = np.geomspace(1e-4, 1.6e-3, 5)


def parabola(peak_lrs: np.ndarray, best: float = 3e-4, curvature: float = 0.02, lowest: float = 3.0) -> np.ndarray:
    return curvature * (np.log(peak_lrs) - np.log(best)) ** 2 + lowest


def test_exact_on_a_parabola() -> None:
    found = optimum(GRID, parabola(GRID))
    assert found.peak_lr == pytest.approx(3e-4, rel=1e-10)
    assert found.val_loss == pytest.approx(3.0, rel=1e-12)
    assert found.curvature == pytest.approx(0.02, rel=1e-10)
    assert found.factor_2_cost == pytest.approx(0.02 * np.log(2) ** 2)
    assert found.r_squared == pytest.approx(1.0)
    assert found.used.tolist() == [0, 1, 2, 3, 4]
    assert found.status == "converged"


@given(best=st.floats(1.5e-4, 1e-3), curvature=st.floats(1e-3, 0.5), lowest=st.floats(0.5, 10), seed=st.integers(0, 99))
def test_exact_on_every_parabola_in_any_order(best: float, curvature: float, lowest: float, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(GRID))
    found = optimum(GRID[order], parabola(GRID, best, curvature, lowest)[order])
    assert found.peak_lr == pytest.approx(best, rel=1e-6)
    assert found.val_loss == pytest.approx(lowest, rel=1e-9)
    assert found.status == "converged"


def test_agrees_with_polyfit() -> None:
    losses = parabola(GRID) + np.array([0.01, -0.02, 0.005, 0.0, 0.01])
    found = optimum(GRID, losses)
    a, b, c = np.polyfit(np.log(GRID), losses, 2)
    assert found.peak_lr == pytest.approx(np.exp(-b / (2 * a)), rel=1e-6)
    assert found.val_loss == pytest.approx(c - b**2 / (4 * a), rel=1e-9)
    residual = losses - np.polyval([a, b, c], np.log(GRID))
    assert found.r_squared == pytest.approx(1 - (residual**2).sum() / ((losses - losses.mean()) ** 2).sum())


def test_a_cliff_is_not_fitted() -> None:
    """One diverging learning rate, two nats up, leaves the optimum of the others as it is."""
    grid = np.append(GRID, 3.2e-3)
    found = optimum(grid, np.append(parabola(GRID), 5.0))
    assert found.used.tolist() == [0, 1, 2, 3, 4]
    assert found.peak_lr == pytest.approx(3e-4, rel=1e-10)


def test_three_nearest_where_the_valley_is_steep() -> None:
    losses = np.array([6.0, 4.0, 3.0, 4.0, 6.0])
    assert used_points(GRID, losses).tolist() == [1, 2, 3]
    assert used_points(GRID, np.array([3.0, 4.0, 5.0, 6.0, 7.0])).tolist() == [0, 1, 2]
    assert used_points(GRID, 3.0 + np.array([0.0, 0.5, 1.0, 1.01, 1.5]) * WINDOW_NATS).tolist() == [0, 1, 2]


@pytest.mark.parametrize("best", [2e-5, 1e-2])
def test_an_optimum_outside_is_flagged(best: float) -> None:
    losses = parabola(GRID, best)
    found = optimum(GRID, losses)
    assert found.status == "edge_of_grid"
    assert found.peak_lr == GRID[np.argmin(losses)]
    assert found.val_loss == losses.min()


def test_a_vertex_outside_is_flagged_although_the_lowest_loss_is_inside() -> None:
    losses = np.array([3.20, 3.15, 3.10, 3.0499, 3.05])
    assert optimum(GRID, losses).status == "edge_of_grid"


@pytest.mark.parametrize("losses", [[3.0] * 5, [3.2, 3.1, 2.95, 3.3, 2.9], [3.0, 3.1, 2.99, 3.1, 3.0]])
def test_no_valley_is_no_optimum(losses: list[float]) -> None:
    assert optimum(GRID, np.array(losses)).status == "edge_of_grid"


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_points(n: int) -> None:
    found = optimum(GRID[:n], np.array([3.0, 2.9])[:n])
    assert (found.status, found.peak_lr) == ("failed", GRID[n - 1])
    assert np.isnan(found.curvature)


def test_refusals() -> None:
    for peak_lrs, losses in (
        (GRID[:3], [3.0, 2.0]),
        (GRID[:3], [3.0, np.nan, 2.0]),
        (GRID[[0, 1, 1]], [3.0, 2.0, 2.5]),
    ):
        with pytest.raises(ValueError, match="one finite loss each is needed"):
            optimum(peak_lrs, np.array(losses))


def test_vertices_of_many_rows_at_once() -> None:
    rows = np.stack([parabola(GRID, best) for best in (2e-4, 3e-4, 5e-3)])
    vertex, lowest, curvature = vertices(GRID, rows)
    np.testing.assert_allclose(vertex, [2e-4, 3e-4, 5e-3], rtol=1e-9)
    np.testing.assert_allclose(lowest, 3.0, rtol=1e-9)
    np.testing.assert_allclose(curvature, 0.02, rtol=1e-9)
    vertex, lowest, curvature = vertices(GRID, -rows)
    assert np.isnan(vertex).all()
    assert np.isnan(lowest).all()
    np.testing.assert_allclose(curvature, -0.02, rtol=1e-9)
    assert vertices(GRID, rows[None])[0].shape == (1, 3)
