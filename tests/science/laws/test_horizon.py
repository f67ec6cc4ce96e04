"""Laws recover what they state; compute savings by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from glidepath.science.laws.horizon import (
    EXPONENTS,
    SIZE_EXPONENTS,
    compute_saving,
    fit_power_law,
    fit_saturating_law,
    fit_size_horizon_law,
)

X = np.array([10.0, 20.0, 40.0, 80.0, 160.0])
NAN = np.nan


@given(scale=st.floats(1e-4, 1e4), exponent=st.floats(-2, 2))
def test_power_law_is_recovered(scale: float, exponent: float) -> None:
    law = fit_power_law(X, scale * X**-exponent)
    assert float(law.scale) == pytest.approx(scale, rel=1e-10)
    assert float(law.exponent) == pytest.approx(exponent, abs=1e-10)
    np.testing.assert_allclose(law.predict(np.array([1000.0])), scale * 1000.0**-exponent, rtol=1e-9)


def test_power_law_of_large_x() -> None:
    """Horizons of 1e9 tokens and learning rates of 1e-3, as studies have them."""
    law = fit_power_law(X * 1e9, 0.7 * (X * 1e9) ** -0.32)
    assert (float(law.scale), float(law.exponent)) == (pytest.approx(0.7, rel=1e-10), pytest.approx(0.32, abs=1e-12))


def test_power_law_of_rows() -> None:
    rows = np.stack([2.0 * X**-0.5, np.where(X == 40, NAN, X), 3.0 * X**0.25])
    law = fit_power_law(X, rows)
    np.testing.assert_allclose(law.exponent, [0.5, NAN, -0.25], atol=1e-12)
    np.testing.assert_allclose(law.scale, [2.0, NAN, 3.0], rtol=1e-12)
    assert law.predict(np.array([1.0, 2.0])).shape == (3, 2)


def test_power_law_needs_two_points() -> None:
    with pytest.raises(ValueError, match="at least two different x"):
        fit_power_law(np.array([3.0, 3.0]), np.array([1.0, 2.0]))


@settings(max_examples=50, deadline=None)
@given(irreducible=st.floats(0.5, 4), amplitude=st.floats(0.3, 5), i=st.integers(20, len(EXPONENTS) - 40))
def test_saturating_law_is_recovered_on_its_grid(irreducible: float, amplitude: float, i: int) -> None:
    law = fit_saturating_law(X, irreducible + amplitude * X ** -EXPONENTS[i])
    assert float(law.exponent) == EXPONENTS[i]
    assert float(law.irreducible_loss) == pytest.approx(irreducible, abs=1e-7)
    assert float(law.K) == pytest.approx(amplitude, rel=1e-7)
    assert not law.bound_hit


def test_saturating_law_is_recovered_between_grid_points() -> None:
    """The exponent to the grid's 2 %, the asymptote to 0.02 nat, predictions at four times the horizon to 2 mnat."""
    truth = 2.5 + 2.0 * X**-0.4
    law = fit_saturating_law(X, truth)
    assert float(law.exponent) == pytest.approx(0.4, rel=0.02)
    assert float(law.irreducible_loss) == pytest.approx(2.5, abs=0.02)
    np.testing.assert_allclose(law.predict(np.array([640.0])), 2.5 + 2.0 * 640**-0.4, atol=2e-3)


def test_saturating_law_is_the_global_minimum() -> None:
    """A general optimizer from several starts finds nothing lower."""
    random = np.random.default_rng(0)
    x = np.geomspace(5, 200, 8)
    for _ in range(5):
        losses = 2.0 + 3.0 * x**-0.5 + 0.01 * random.standard_normal(8)
        law = fit_saturating_law(x, losses)
        mine = ((law.predict(x) - losses) ** 2).sum()
        theirs = min(
            float(
                optimize.least_squares(
                    lambda p, y=losses: p[0] + p[1] * x ** -p[2] - y, start, bounds=([0, 0, 0.02], [9, 99, 2])
                ).cost
            )
            * 2
            for start in ([1, 1, 0.1], [2, 3, 0.5], [2, 10, 1.5])
        )
        assert mine < theirs * (1 + 1e-6)


def test_a_pure_power_law_hits_the_bound() -> None:
    """No asymptote: it is floored at zero and said to be so."""
    law = fit_saturating_law(X, 5.0 * X**-0.1 - 1.0)
    assert float(law.irreducible_loss) == 0.0
    assert law.bound_hit


def test_losses_that_rise_have_no_law() -> None:
    law = fit_saturating_law(X, np.stack([3.0 + 0.001 * X, 2.5 + X**-0.5, np.full(5, NAN)]))
    assert np.isnan(law.irreducible_loss).tolist() == [True, False, True]
    assert law.bound_hit.tolist() == [True, False, True]


def test_saturating_law_needs_three_points() -> None:
    with pytest.raises(ValueError, match="at least three different x"):
        fit_saturating_law(X[:2], np.array([3.0, 2.9]))


N, H = (a.ravel() for a in np.meshgrid([1e6, 4e6, 1.6e7, 6.4e7], [2e7, 8e7, 3.2e8, 1.3e9]))


def chinchilla(n: np.ndarray, d: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """E 1.7; each of the other terms is 1.5 at the smallest size and horizon."""
    return 1.7 + 1.5 * (n / 1e6) ** -alpha + 1.5 * (d / 2e7) ** -beta


def test_size_horizon_law_is_recovered_on_its_grid() -> None:
    alpha, beta = float(SIZE_EXPONENTS[20]), float(SIZE_EXPONENTS[16])
    law = fit_size_horizon_law(N, H, chinchilla(N, H, alpha, beta))
    assert (float(law.alpha), float(law.beta)) == (alpha, beta)
    assert float(law.E) == pytest.approx(1.7, rel=1e-8)
    assert float(law.A) == pytest.approx(1.5 * 1e6**alpha, rel=1e-8)
    assert float(law.B) == pytest.approx(1.5 * 2e7**beta, rel=1e-8)
    assert not law.bound_hit


def test_size_horizon_law_between_grid_points() -> None:
    """Exponents to 2 %, at four times size and horizon to 3 mnat."""
    law = fit_size_horizon_law(N, H, chinchilla(N, H, 0.34, 0.28))
    assert float(law.alpha) == pytest.approx(0.34, rel=0.02)
    assert float(law.beta) == pytest.approx(0.28, rel=0.02)
    assert float(law.E) == pytest.approx(1.7, abs=0.02)
    far_n, far_d = np.array([2.56e8]), np.array([5.2e9])
    np.testing.assert_allclose(law.predict(far_n, far_d), chinchilla(far_n, far_d, 0.34, 0.28), atol=3e-3)


def test_size_horizon_law_of_rows() -> None:
    rows = np.stack([chinchilla(N, H, 0.34, 0.28), np.full(len(N), NAN)])
    law = fit_size_horizon_law(N, H, rows)
    assert np.isfinite(law.E).tolist() == [True, False]
    assert law.bound_hit.tolist() == [False, True]
    assert law.predict(N, H).shape == rows.shape


def test_size_horizon_law_needs_three_of_each() -> None:
    for keep, words in ((N < 1e7, "2 sizes and 4 horizons"), (H < 1e8, "4 sizes and 2 horizons")):
        with pytest.raises(ValueError, match=words):
            fit_size_horizon_law(N[keep], H[keep], N[keep])


def test_saving_by_hand() -> None:
    """Mine reaches at x what the reference needs 2x for: half is saved, and more than can be said where the answer lies
    below the shortest horizon; beyond the longest one more is lost than can be said."""
    x = np.array([10.0, 20.0, 40.0])
    saving = compute_saving(x, 3 - np.log(2 * x), 3 - np.log(x))
    np.testing.assert_allclose(saving, [np.inf, 0.5, 0.5], rtol=1e-12)
    np.testing.assert_allclose(compute_saving(x, 3 - np.log(x / 2), 3 - np.log(x)), [-1.0, -1.0, -np.inf], rtol=1e-12)


def test_saving_between_horizons_is_interpolated_in_the_logarithm() -> None:
    saving = compute_saving(np.array([10.0, 40.0]), np.array([3.0, 2.0]), np.array([2.5, 2.0]))
    np.testing.assert_allclose(saving, [1 - 20 / 10, 0.0])


def test_saving_with_a_horizon_that_looks_worse() -> None:
    """3.1 at 20 is noise: 3.0 was reached with 10."""
    x = np.array([10.0, 20.0, 40.0])
    saving = compute_saving(x, np.array([3.0, 3.1, 2.8]), np.array([3.2, 2.9, 2.8]))
    np.testing.assert_allclose(saving, [np.inf, 1 - np.sqrt(800) / 20, 0.0])


@given(losses=st.lists(st.floats(1, 5), min_size=2, max_size=6, unique=True), seed=st.integers(0, 99))
def test_saving_against_itself_is_nothing_in_any_order(losses: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(losses))
    x, y = np.geomspace(10, 100, len(losses))[order], np.sort(losses)[::-1][order]
    np.testing.assert_allclose(compute_saving(x, y, y), 0.0, atol=1e-9)


def test_saving_of_rows_with_gaps() -> None:
    x = np.array([10.0, 20.0])
    rows = np.array([[3.0, 2.0], [NAN, 2.0], [3.0, 2.0]])
    references = np.array([[3.0, 2.0], [3.0, 2.0], [NAN, 2.0]])
    saving = compute_saving(x, rows, references)
    np.testing.assert_allclose(saving[0], 0.0, atol=1e-12)
    assert np.isnan(saving[1]).all()
    assert np.isnan(saving[2, 0])
