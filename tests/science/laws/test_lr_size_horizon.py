"""The joint law of the optimal learning rate on planted optima."""

from __future__ import annotations

import numpy as np
import pytest

from glidepath.science.laws.lr_size_horizon import (
    LrPoints,
    fit_lr_size_horizon_law,
    off_by_cost,
    scatter_of,
    scatter_samples,
)

N, D, B = (v.ravel() for v in np.meshgrid([1e7, 4e7, 2e8], [1e9, 4e9, 2e10], [1e5, 4e5], indexing="ij"))
TRUTH = {"alpha": 0.23, "beta": 0.32, "gamma": 0.5}
LRS = 5.0 * N ** -TRUTH["alpha"] * D ** -TRUTH["beta"] * B ** TRUTH["gamma"]


def test_planted_law_is_exact() -> None:
    law = fit_lr_size_horizon_law(LrPoints(N, D, batch_tokens=B), LRS)
    assert {name: float(getattr(law, name)) for name in TRUTH} == pytest.approx(TRUTH)
    assert float(law.C) == pytest.approx(5.0)
    assert law.predict(N, D, B) == pytest.approx(LRS)
    assert float(law.factor_per_doubling) == pytest.approx(0.801, abs=1e-3)  # the published rule of thumb
    assert law.scatter < 1e-5


def test_rows_are_fitted_side_by_side() -> None:
    random = np.random.default_rng(0)
    rows = LRS * np.exp(0.1 * random.standard_normal((5, len(LRS))))
    points = LrPoints(N, D, np.full(len(N), 0.1), B)
    together = fit_lr_size_horizon_law(points, rows, scatter=0.05)
    for i, row in enumerate(rows):
        alone = fit_lr_size_horizon_law(points, row, scatter=0.05)
        assert together.beta[i] == pytest.approx(float(alone.beta))
        assert together.predict(N, D, B)[i] == pytest.approx(alone.predict(N, D, B))


def test_units_move_the_scale_only() -> None:
    random = np.random.default_rng(1)
    lrs = LRS * np.exp(0.1 * random.standard_normal(len(LRS)))
    one = fit_lr_size_horizon_law(LrPoints(N, D, batch_tokens=B), lrs)
    other = fit_lr_size_horizon_law(LrPoints(N / 1e6, D / 1e9, batch_tokens=B / 2048), lrs)
    for name in TRUTH:
        assert float(getattr(one, name)) == pytest.approx(float(getattr(other, name)))
    assert other.predict(N / 1e6, D / 1e9, B / 2048) == pytest.approx(one.predict(N, D, B))


def test_a_sweep_that_knows_its_optimum_counts_for_more() -> None:
    wrong = LRS.copy()
    wrong[0] *= 3
    sd = np.full(len(N), 0.01)
    trusted = fit_lr_size_horizon_law(LrPoints(N, D, sd, B), wrong)
    sd[0] = 10.0
    doubted = fit_lr_size_horizon_law(LrPoints(N, D, sd, B), wrong)
    assert abs(float(doubted.beta) - 0.32) < 1e-3 < abs(float(trusted.beta) - 0.32)
    assert doubted.scatter < 0.01 < trusted.scatter


def test_one_size_or_one_batch_leaves_its_exponent_out() -> None:
    one = N[0] == N
    law = fit_lr_size_horizon_law(LrPoints(N[one], D[one]), LRS[one & (B[0] == B)].repeat(2))
    assert (float(law.alpha), float(law.gamma)) == (0, 0)
    assert float(law.beta) == pytest.approx(0.32)


def test_one_ratio_of_tokens_to_parameters_is_refused() -> None:
    n = np.array([1e6, 2e6, 4e6, 8e6])
    d = 20 * n * np.array([1.001, 0.999, 1.0, 1.001])  # whole updates
    with pytest.raises(ValueError, match="alpha, beta are not told apart"):
        fit_lr_size_horizon_law(LrPoints(n, d), n**-0.5)


def test_too_few_optima_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 parameters \(C, alpha, beta\) through 2 optima"):
        fit_lr_size_horizon_law(LrPoints(N[[0, -1]], D[[0, -1]]), LRS[[0, -1]])


def test_scatter_is_what_the_noise_of_sweeps_does_not_explain() -> None:
    """Over many worlds its square is right on average; a scatter of zero is found as one."""
    random = np.random.default_rng(2)
    sd = np.full(len(N), 0.1)
    points = LrPoints(N, D, sd, B)
    for tau in (0.0, 0.2):
        total = np.hypot(tau, 0.1)
        found = [
            fit_lr_size_horizon_law(points, LRS * np.exp(total * random.standard_normal(len(N)))).scatter
            for _ in range(100)
        ]
        assert np.mean(np.square(found)) == pytest.approx(tau**2, abs=0.006)


def test_samples_of_the_scatter_cover_it() -> None:
    random = np.random.default_rng(3)
    points = LrPoints(N, D, np.full(len(N), 0.1), B)
    hits = []
    for seed in range(150):
        lrs = LRS * np.exp(np.hypot(0.2, 0.1) * random.standard_normal(len(N)))
        low, high = np.quantile(scatter_samples(points, lrs, 200, seed), [0.05, 0.95])
        hits.append(low < 0.2 < high)
    assert np.mean(hits) > 0.9 - 3 * (0.09 / 150) ** 0.5


def test_less_is_left_the_more_scatter_is_granted() -> None:
    points = LrPoints(N, D, np.full(len(N), 0.1), B)
    random = np.random.default_rng(4)
    taus = scatter_of(points, np.log(LRS) + 0.3 * random.standard_normal(len(N)), np.array([30.0, 14.0, 5.0]))
    assert (np.diff(taus) > 0).all()


def test_cost_of_a_factor() -> None:
    assert off_by_cost(np.array([0.05]), 2.0) == pytest.approx([0.05 * np.log(2) ** 2])
    assert off_by_cost(np.array([0.05]), 0.5) == pytest.approx(off_by_cost(np.array([0.05]), 2.0))
