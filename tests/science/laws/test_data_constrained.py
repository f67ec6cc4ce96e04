"""The law for repeated text: its truth, its limits, and what 182 published runs say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glidepath.science import fitting
from glidepath.science.laws.data_constrained import (
    DataConstrainedFormula,
    DataConstrainedLaw,
    fit_data_constrained_law,
)
from glidepath.science.laws.size_horizon import SizeHorizonLaw
from tests.reference_data import reference_data

FRESH = SizeHorizonLaw(*(np.array(value) for value in (1.87, 520.0, 1490.0, 0.35, 0.36)))
TRUTH = DataConstrainedLaw(FRESH, np.array(12.0), np.array(4.0))


def runs() -> tuple[np.ndarray, ...]:
    """Sizes, horizons and unique tokens: one to 64 epochs, sizes below and far above what the text can use."""
    grid = np.meshgrid(np.geomspace(3e7, 8e9, 6), np.geomspace(5e8, 5e10, 5), [1.0, 2.0, 8.0, 24.0, 64.0])
    n, d, epochs = (axis.ravel() for axis in grid)
    return n, d, d / epochs


N, D, U = runs()


def test_fresh_text_and_small_models_are_the_plain_law() -> None:
    n, d = np.array([1e8, 2e8]), np.array([1e11, 1e11])
    np.testing.assert_allclose(TRUTH.predict(n, d, d), FRESH.predict(n, d), rtol=1e-12)
    np.testing.assert_allclose(TRUTH.predict(n, d, 2 * d), FRESH.predict(n, d), rtol=1e-12)


def test_repetition_by_hand() -> None:
    """13 epochs at R_D* = 12: 12 repetitions are worth 12·(1 - 1/e), and endless ones 12."""
    u = np.array([1e9])
    assert TRUTH.effective_tokens(13 * u, u)[0] == pytest.approx(1e9 * (1 + 12 * (1 - np.exp(-1))))
    assert TRUTH.effective_tokens(1e5 * u, u)[0] == pytest.approx(13e9)


def test_useful_size_is_the_compute_optimal_one() -> None:
    """Where U tokens are the optimal horizon of some compute, the optimal size is as good as all parameters."""
    size, horizon = FRESH.compute_optimal(np.array([1e20]))
    assert TRUTH.effective_params(size, horizon)[0] == pytest.approx(size[0])
    larger = TRUTH.effective_params(5 * size, horizon)[0]
    assert larger == pytest.approx(size[0] * (1 + 4 * (1 - np.exp(-4 / 4.0))))


def test_derivatives_against_differences() -> None:
    formula = DataConstrainedFormula.at(N, D, U)
    theta = np.array([[1.8, 0.3, 0.4, 0.35, 0.3, 2.0, 1.0]])
    for j in range(7):
        step = np.zeros((1, 7))
        step[0, j] = 1e-6
        slope = (formula.predict(theta + step) - formula.predict(theta - step)) / 2e-6
        np.testing.assert_allclose(formula.jacobian(theta)[..., j], slope, rtol=1e-6, atol=1e-8)


def test_formula_and_law_agree() -> None:
    formula = DataConstrainedFormula.at(N, D, U)
    theta = np.array([[1.8, 0.3, 0.4, 0.35, 0.3, 2.0, 1.0], [1.7, 0.5, 0.4, 0.3, 0.4, 3.0, 0.5]])
    np.testing.assert_allclose(formula.law(theta).predict(N, D, U), formula.predict(theta), rtol=1e-10)


def test_repetitions_are_recovered_at_known_parameters() -> None:
    found = fit_data_constrained_law(N, D, U, TRUTH.predict(N, D, U), known=FRESH)
    assert float(found.law.R_D) == pytest.approx(12.0, rel=1e-3)
    assert float(found.law.R_N) == pytest.approx(4.0, rel=1e-3)
    assert found.fit.status == "converged"


def test_all_parameters_are_recovered() -> None:
    losses = TRUTH.predict(N, D, U) * np.exp(0.001 * np.random.default_rng(0).standard_normal(len(N)))
    found = fit_data_constrained_law(N, D, U, losses)
    assert float(found.law.R_D) == pytest.approx(12.0, rel=0.1)
    assert float(found.law.R_N) == pytest.approx(4.0, rel=0.15)
    assert float(found.law.fresh.alpha) == pytest.approx(0.35, abs=0.01)
    assert float(found.law.fresh.beta) == pytest.approx(0.36, abs=0.01)
    assert all(found.profile(name, 0.9).identified for name in ("R_D", "R_N"))
    drawn = found.resampled(weights=np.random.default_rng(1).multinomial(150, np.full(150, 1 / 150), 50).astype(float))
    low, high = np.quantile(drawn.R_D, [0.01, 0.99])
    assert low < 12.0 < high


def test_few_repetitions_do_not_identify_their_end() -> None:
    """With at most two epochs, R_D* = 12 and repeats as good as fresh look alike."""
    few = D / U <= 2
    n, d, u = N[few], D[few], U[few]
    losses = TRUTH.predict(n, d, u) * np.exp(0.02 * np.random.default_rng(0).standard_normal(len(n)))
    profile = fit_data_constrained_law(n, d, u, losses, known=FRESH).profile("R_D", 0.9)
    assert not profile.identified
    assert np.isnan(profile.high)


def test_without_repetition_there_is_nothing_to_fit() -> None:
    with pytest.raises(ValueError, match="no run is longer than its unique tokens"):
        fit_data_constrained_law(N, D, D, TRUTH.predict(N, D, D), known=FRESH)


def test_published_runs() -> None:
    """The published pair is no minimum; the global one lies elsewhere, and R_D* has no upper end."""
    rows = pd.read_csv(reference_data("datablations/runs_fit.csv"))
    n, d, u, losses = (rows[name].to_numpy(np.float64) for name in ("N", "D", "U", "loss"))
    e, a, b = (np.exp(np.array(value)) for value in (0.6254804, 6.255414, 7.3049974))
    known = SizeHorizonLaw(e, a, b, np.array(0.3526596), np.array(0.3526596))

    def objective(rd: float, rn: float) -> float:
        predicted = DataConstrainedLaw(known, np.array(rd), np.array(rn)).predict(n, d, u)
        return float(fitting.huber(np.log(predicted) - np.log(losses)).sum())

    assert objective(15.39, 5.31) == pytest.approx(0.015825935, abs=1e-8)
    assert objective(1e9, 1e9) == pytest.approx(0.0331039, abs=1e-6)
    found = fit_data_constrained_law(n, d, u, losses, known=known)
    assert found.fit.objective <= 0.01580467
    assert objective(float(found.law.R_D), float(found.law.R_N)) == pytest.approx(found.fit.objective, abs=1e-10)
    profile = found.profile("R_D", 0.9)
    assert not profile.identified
    assert np.isnan(profile.high)
    within = np.exp(profile.grid[profile.objectives <= 1.005 * found.fit.objective])
    assert within.min() < 16
    assert within.max() > 600
