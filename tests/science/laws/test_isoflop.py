"""Minima at equal compute, and the law through them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glidepath.science.laws.isoflop import (
    IsoflopFit,
    akima_minimum,
    asymmetry,
    budgets,
    fit_isoflop,
    parabola_vertex,
    scattered,
)
from glidepath.science.laws.size_horizon import SizeHorizonLaw
from tests.reference_data import reference_data

LAW = SizeHorizonLaw(*(np.array(value) for value in (1.7, 400.0, 900.0, 0.34, 0.30)))
BUDGETS = np.geomspace(1e18, 1e21, 6)
NOISE = 0.005
"""[nat/token], of Porian et al.'s runs at low loss."""


STEEP = SizeHorizonLaw(*(np.array(value) for value in (1.0, 10_000.0, 100.0, 0.6, 0.2)))
"""Loss rises faster towards small models than towards large ones."""


def profiles(low: float = 1 / 8, high: float = 8.0, n: int = 9, law: SizeHorizonLaw = LAW) -> tuple[np.ndarray, ...]:
    """Six budgets, sizes from `low` to `high` times the best: FLOPs, sizes, tokens, losses."""
    best = law.compute_optimal(BUDGETS)[0]
    sizes = (best[:, None] * np.geomspace(low, high, n)).ravel()
    flops = np.repeat(BUDGETS, n)
    return flops, sizes, flops / 6 / sizes, law.predict(sizes, flops / 6 / sizes)


def fitted(points: tuple[np.ndarray, ...], *, weighted: bool = True, noise: float = NOISE) -> IsoflopFit:
    return fit_isoflop(*points, scattered(points[3], noise, 100, 0), weighted=weighted)


def test_exponents_of_a_planted_law() -> None:
    found = fitted(profiles())
    assert float(found.law.a) == pytest.approx(0.30 / 0.64, abs=2e-3)
    assert float(found.law.b) == pytest.approx(0.34 / 0.64, abs=2e-3)
    assert found.status == "converged"
    size, tokens = found.law.predict(BUDGETS)
    np.testing.assert_allclose(size, LAW.compute_optimal(BUDGETS)[0], rtol=0.03)
    np.testing.assert_allclose(6 * size * tokens, BUDGETS, rtol=0.01)


def test_the_parabola_is_biased_on_steep_sides() -> None:
    """Without noise the interpolation finds the minima to 10 %, the parabola is off by more than a factor 1.3."""
    found = fitted(profiles(1 / 30, 30.0, law=STEEP), noise=1e-4)
    best = STEEP.compute_optimal(BUDGETS)[0]
    np.testing.assert_allclose([profile.n_params for profile in found.used], best, rtol=0.1)
    assert abs(found.parabola_shift) > np.log(1.3)
    assert found.parabola_biased
    assert min(profile.asymmetry for profile in found.used) > 0.1


def test_budget_without_a_minimum_is_left_out() -> None:
    flops, sizes, tokens, losses = profiles()
    keep = (flops < 9e20) | (sizes > 1.5 * LAW.compute_optimal(BUDGETS[-1:])[0])
    found = fitted((flops[keep], sizes[keep], tokens[keep], losses[keep]))
    statuses = [profile.status for profile in found.profiles]
    assert statuses[:5] == ["converged"] * 5
    assert statuses[5] in ("edge_of_grid", "failed")
    assert float(found.law.a) == pytest.approx(0.30 / 0.64, abs=3e-3)


def test_too_few_sizes_are_refused() -> None:
    points = tuple(column.reshape(6, 9)[:, ::3].ravel() for column in profiles())
    with pytest.raises(ValueError, match="none of 6 budgets has 5 sizes"):
        fitted(points)


def test_two_budgets_do_not_identify_the_exponent() -> None:
    flops, *others = profiles()
    keep = flops < 6e18
    assert fitted((flops[keep], *(column[keep] for column in others))).status == "not_identified"


def test_of_two_runs_of_one_size_the_best_counts() -> None:
    points = profiles()
    worse = (*points[:3], points[3] + 0.3)
    twice = tuple(np.concatenate([a, b]) for a, b in zip(points, worse, strict=True))
    assert float(fitted(twice, weighted=False).law.a) == pytest.approx(float(fitted(points, weighted=False).law.a))


def test_noise_weighs_budgets() -> None:
    """A profile that is nearly flat says little, and its minimum moves most when measured anew."""
    found = fitted(profiles(0.5, 2.0))
    sharp = fitted(profiles(1 / 64, 64.0, n=33))
    assert np.mean([p.ln_sd for p in found.profiles]) > np.mean([p.ln_sd for p in sharp.profiles])


def test_interval_of_the_exponent_covers() -> None:
    points, hits = profiles(), []
    for seed in range(30):
        noisy = points[3] + NOISE * np.random.default_rng(seed).standard_normal(len(points[3]))
        found = fit_isoflop(*points[:3], noisy, scattered(noisy, NOISE, 100, seed))
        low, high = np.nanquantile(found.samples.a, [0.05, 0.95])
        hits.append(low <= 0.30 / 0.64 <= high)
    assert np.mean(hits) > 0.73


def test_minimum_by_hand() -> None:
    """A parabola is its own interpolation: both methods find its vertex, and it is symmetric about it."""
    x = np.linspace(-2.0, 3.0, 11)
    loss = np.exp(1.0 + 0.1 * (x - 0.52) ** 2)
    at, lowest, edge = akima_minimum(x, loss)
    assert (float(at), float(lowest)) == (pytest.approx(0.52, abs=0.02), pytest.approx(np.e, rel=1e-3))
    assert not edge
    assert parabola_vertex(x, loss) == pytest.approx(0.52, abs=1e-9)
    assert asymmetry(x, loss) == pytest.approx(0, abs=0.05)
    assert asymmetry(x, np.exp(np.where(x < 0.5, -3, 1) * (x - 0.5))) > 0.3
    assert akima_minimum(x, np.exp(x))[2]


def test_budgets_by_nearness() -> None:
    flops = np.array([1e18, 3e18, 1.01e18, 3.02e18, 9e18])
    assert budgets(flops).tolist() == [0, 1, 0, 1, 2]


def test_a_continuum_of_compute_is_no_budget() -> None:
    """Neighbours within 1 % all along: no budget is wider than 2 %."""
    flops = 1e18 * 1.01 ** np.arange(100)
    labels = budgets(flops)
    widths = [flops[labels == label].max() / flops[labels == label].min() for label in np.unique(labels)]
    assert max(widths) <= 1.02
    assert len(widths) == 50


@pytest.mark.parametrize("weighted", [False, True])
def test_fifteen_published_exponents(weighted: bool) -> None:
    """All within 0.010 of the published value and inside its interval; the parabola leaves five outside."""
    points = pd.read_parquet(reference_data("porian/isoflop_points.parquet"))
    published = pd.read_csv(reference_data("porian/published_exponents.csv")).set_index("experiment")
    parabolas = 0
    for name, rows in points.groupby("experiment"):
        columns = tuple(rows[column].to_numpy() for column in ("flops", "N", "D", "loss"))
        found, truth = fitted(columns, weighted=weighted), published.loc[name]
        assert float(found.law.a) == pytest.approx(truth["a_published"], abs=0.010), name
        assert truth["a_lo95"] <= float(found.law.a) <= truth["a_hi95"], name
        parabolas += bool(truth["a_lo95"] <= float(found.parabola.a) <= truth["a_hi95"])
    assert len(published) == 15
    assert parabolas == 10
