from dataclasses import replace

import numpy as np
import pytest

from glidepath.science import fitting
from glidepath.science.laws.annealing import PUBLISHED_MOMENTA, AnnealingFormula, AnnealingLaw, fit_annealing
from glidepath.science.laws.curve import Curve, Floats, Warmup, observed
from glidepath.science.laws.pooled_curves import Weighting

PEAK, WARMUP = 2e-4, 500


def _law(L0: float, A: float, alpha: float, C: float, momentum: float) -> AnnealingLaw:
    return AnnealingLaw(np.array(L0), np.array(A), np.array(alpha), np.array(C), np.array(momentum))


PUBLISHED = _law(2.628, 0.429, 0.550, 0.411, 0.999)
"""Setup A of Tissue et al. (2024), figure 2."""
WITH_SIZE = replace(
    _law(1.504, 0.440, 0.546, 0.273, 0.999), B=np.array(3.067), beta=np.array(0.158), gamma=np.array(0.052)
)
"""Their equation 7."""


def _multiplier(shape: str, total_steps: int) -> Floats:
    after = np.arange(1, total_steps - WARMUP + 1) / (total_steps - WARMUP)
    tail = np.clip(1 - (1 - after) * (total_steps - WARMUP) / (0.2 * total_steps), 0, 1)
    return {
        "constant": np.ones_like(after),
        "cosine": (1 + np.cos(np.pi * after)) / 2,
        "cosine_to_tenth": 0.55 + 0.45 * np.cos(np.pi * after),
        "wsd": (1 + np.cos(np.pi * tail)) / 2,
        "step": np.where(after < 0.5, 1.0, 0.3),
        "linear": 1 - after,
    }[shape]


def _run(shape: str, total_steps: int, every: int | None = None, n_params: float | None = None) -> Curve:
    """Points every so many updates, or at the end only."""
    lr = PEAK * np.concatenate([np.arange(WARMUP) / WARMUP, _multiplier(shape, total_steps)])
    points = np.array([total_steps]) if every is None else np.arange(WARMUP + every, total_steps + 1, every)
    return Curve(lr=lr, updates_done=points, warmup_steps=WARMUP, n_params=n_params)


def _observed(law: AnnealingLaw, run: Curve, noise: float, random: np.random.Generator) -> Curve:
    return replace(run, losses=law.predict(run) * np.exp(noise * random.standard_normal(len(run.updates_done))))


@pytest.mark.parametrize(
    ("shape", "total_steps", "loss"),
    [
        ("constant", 20_000, 2.8281),
        ("cosine", 20_000, 2.8359),
        ("cosine_to_tenth", 20_000, 2.8299),
        ("wsd", 20_000, 2.7738),
        ("constant", 60_000, 2.7374),
        ("cosine", 60_000, 2.7053),
        ("cosine_to_tenth", 60_000, 2.7055),
        ("wsd", 60_000, 2.6643),
    ],
)
def test_published_constants_give_the_published_losses(shape: str, total_steps: int, loss: float) -> None:
    assert PUBLISHED.predict(_run(shape, total_steps))[0] == pytest.approx(loss, abs=1e-4)


def test_the_size_of_the_published_law_is_counted_in_millions() -> None:
    assert WITH_SIZE.predict(_run("cosine_to_tenth", 60_000, n_params=594.6e6))[0] == pytest.approx(2.7099, abs=1e-4)
    with pytest.raises(ValueError, match="give every curve its n_params"):
        WITH_SIZE.predict(_run("cosine", 60_000))


def test_the_sums_are_those_of_the_definition() -> None:
    lr = np.array([0.2, 1.0, 0.7, 0.9, 0.1])
    run = Curve(lr=lr, updates_done=np.array([2, 4, 5]), warmup_steps=1)
    held, m, S1, S2 = [1.0, 1.0, 0.7, 0.9, 0.1], 0.0, 0.0, 0.0
    expected = {}
    for i, rate in enumerate(held):
        m = 0.6 * m + (held[i - 1] - rate if i else 0.0)
        S1, S2 = S1 + rate, S2 + m
        expected[i + 1] = 1.0 + 2.0 * S1**-0.5 - 3.0 * S2
    law = _law(1.0, 2.0, 0.5, 3.0, 0.6)
    np.testing.assert_allclose(law.predict(run), [expected[done] for done in run.updates_done], rtol=1e-12)


def test_rewarming_raises_the_loss_and_cooling_again_takes_it_back() -> None:
    lr = PEAK * np.concatenate([np.full(5000, 0.1), np.full(5000, 1.0), np.full(20_000, 0.1)])
    flat = np.full_like(lr, PEAK * 0.1)
    points = np.array([5000, 10_000, 30_000])
    cycled, steady = (PUBLISHED.predict(Curve(lr=rates, updates_done=points)) for rates in (lr, flat))
    power = [0.429 * np.cumsum(rates)[points - 1] ** -0.55 for rates in (lr, flat)]
    excess = (cycled - power[0]) - (steady - power[1])
    assert excess == pytest.approx([0.0, 0.411 * 0.9 * PEAK / 0.001, 0.0], abs=1e-3)


def test_the_law_keeps_falling_at_a_learning_rate_of_zero() -> None:
    """Nothing is learned there: its known failure, which the docstring names."""
    lr = np.concatenate([np.full(5000, PEAK), np.zeros(3000)])
    losses = PUBLISHED.predict(Curve(lr=lr, updates_done=np.array([5000, 5500, 8000])))
    assert losses[0] - losses[1] > 0.03
    assert losses[1] - losses[2] > 0.02


@pytest.mark.parametrize("with_size", [False, True])
def test_the_jacobian_is_that_of_differences(with_size: bool) -> None:
    runs = tuple(_run(shape, 3000, 200, n) for shape, n in (("cosine", 1e7), ("wsd", 4e7), ("step", 9e7)))
    formula = AnnealingFormula(runs, "linear", with_size)
    theta = np.array([2.0, -0.3, 0.5, -2.0, np.log(0.0031), -0.5, 0.3, 0.1])[None, : len(formula.names)]
    for j, slope in enumerate(np.moveaxis(formula.jacobian(theta), -1, 0)):
        step = np.zeros_like(theta)
        step[0, j] = 1e-5
        differences = (formula.predict(theta + step) - formula.predict(theta - step)) / 2e-5
        np.testing.assert_allclose(slope, differences, rtol=2e-4, atol=1e-8, err_msg=formula.names[j])
    np.testing.assert_allclose(
        formula.predict(theta)[0],
        np.concatenate([formula.law(theta[0]).predict(run) for run in runs]),
        rtol=1e-7,
    )


def test_parameters_are_found_again_and_an_unseen_schedule_predicted() -> None:
    random = np.random.default_rng(0)
    runs = [_observed(PUBLISHED, _run(shape, 20_000, 200), 3e-4, random) for shape in ("constant", "cosine")]
    found = fit_annealing(runs)
    assert (found.fit.status, found.not_identified) == ("converged", ())
    assert found.law.momentum == pytest.approx(0.999, abs=1e-4)
    assert found.law.alpha == pytest.approx(0.55, abs=0.01)
    unseen = _run("wsd", 60_000, 2000)
    np.testing.assert_allclose(found.law.predict(unseen), PUBLISHED.predict(unseen), rtol=3e-3)


def test_of_given_momenta_the_best_is_taken() -> None:
    runs = [_observed(PUBLISHED, _run(shape, 20_000, 500), 1e-4, np.random.default_rng(1)) for shape in ("wsd", "step")]
    found = fit_annealing(runs, momenta=PUBLISHED_MOMENTA)
    assert float(found.law.momentum) == pytest.approx(0.999)
    assert found.fit.status == "converged"


@pytest.mark.parametrize("warmup", ["as_at_peak", "linear"])
def test_the_count_of_the_warm_up_can_be_left_to_the_data(warmup: Warmup) -> None:
    law = replace(PUBLISHED, warmup=warmup)
    runs = [_observed(law, _run(shape, 6000, 100), 3e-4, np.random.default_rng(0)) for shape in ("constant", "wsd")]
    assert fit_annealing(runs, warmup=None).law.warmup == warmup


def test_the_size_is_fitted_from_three_and_predicts_a_fourth() -> None:
    random = np.random.default_rng(0)
    runs = [
        _observed(WITH_SIZE, _run(shape, 20_000, 500, millions * 1e6), 1e-4, random)
        for millions in (85, 162, 595)
        for shape in ("constant", "cosine")
    ]
    found = fit_annealing(runs, with_size=True)
    larger = _run("cosine", 20_000, 1000, 1214e6)
    np.testing.assert_allclose(found.law.predict(larger), WITH_SIZE.predict(larger), rtol=2e-3)
    with pytest.raises(ValueError, match="three sizes at least"):
        fit_annealing(runs[:4], with_size=True)


def test_without_annealing_its_parameters_are_not_identified() -> None:
    runs = [_observed(PUBLISHED, _run("constant", n, 100), 3e-4, np.random.default_rng(0)) for n in (8000, 16_000)]
    found = fit_annealing(runs)
    assert found.fit.status == "not_identified"
    assert {"ln C", "ln(1-lambda)"} <= set(found.not_identified)


def test_samples_spread_as_repeated_studies_do() -> None:
    """The standard deviation of a prediction over studies, against that of the bootstrap of one of them."""
    random = np.random.default_rng(3)
    plain = [_run(shape, 8000, 100) for shape in ("constant", "cosine")]
    unseen = _run("wsd", 16_000)
    studies = [fit_annealing([_observed(PUBLISHED, run, 1e-3, random) for run in plain]) for _ in range(20)]
    predicted = np.array([study.law.predict(unseen)[0] for study in studies])
    spreads = [study.resampled_by_blocks(60, random).predict(unseen)[:, 0].std() for study in studies[:6]]
    assert float(np.median(spreads)) == pytest.approx(predicted.std(), rel=0.5)


def test_runs_are_drawn_in_their_groups() -> None:
    random = np.random.default_rng(0)
    runs = [_observed(PUBLISHED, _run(shape, 8000, 400), 1e-3, random) for shape in ("constant", "cosine", "wsd")]
    found = fit_annealing(runs)
    law = found.resampled_by_run(["trunk", "cosine", "trunk"], 30, random)
    assert law.predict(runs[0]).shape == (30, len(runs[0].updates_done))
    # Both groups once is half of all draws: the fit itself.
    assert np.isclose(law.alpha, found.law.alpha, rtol=1e-3).sum() >= 8
    with pytest.raises(ValueError, match="at least two groups"):
        found.resampled_by_run(["one"] * 3, 10, random)


def test_many_samples_are_predicted_by_a_table_of_momenta() -> None:
    momenta = 1 - np.geomspace(1e-4, 2e-2, 200)
    L0, A, alpha, C = (np.full(200, value) for value in (2.6, 0.4, 0.5, 0.4))
    law = AnnealingLaw(L0, A, alpha, C, momenta)
    run = _run("wsd", 6000, 500)
    singly = [_law(2.6, 0.4, 0.5, 0.4, x).predict(run) for x in momenta]
    np.testing.assert_allclose(law.predict(run), singly, rtol=1e-6)


def test_curves_may_count_alike() -> None:
    """A short curve that disagrees weighs as much as a long one."""
    random = np.random.default_rng(0)
    long, short = _run("cosine", 20_000, 50), _run("cosine", 8000, 1000)
    shifted = _law(2.728, 0.429, 0.550, 0.411, 0.999)
    runs = [_observed(PUBLISHED, long, 1e-4, random), _observed(shifted, short, 1e-4, random)]
    errors = []
    weightings: tuple[Weighting, ...] = ("points", "curves")
    for weighting in weightings:
        found = fit_annealing(runs, weighting=weighting)
        errors.append(fitting.huber(np.log(found.law.predict(runs[1]) / observed(runs[1]))).sum())
    assert errors[1] < errors[0]


@pytest.mark.parametrize("law", [PUBLISHED, WITH_SIZE, replace(PUBLISHED, warmup="linear")])
def test_slopes_of_the_final_loss_are_those_of_differences(law: AnnealingLaw) -> None:
    run = _run("cosine_to_tenth", 2000, n_params=3e7)
    loss, slopes = law.at_end(run)
    assert loss == law.predict(run)[-1]
    for update in (WARMUP + 10, 1400, 1800, 1998, 1999):
        ends = []
        for change in (1e-8, -1e-8):
            lr = run.lr.copy()
            lr[update] += change
            ends.append(law.predict(replace(run, lr=lr))[-1])
        assert slopes[update - WARMUP] == pytest.approx((ends[0] - ends[1]) / 2e-8, rel=1e-5, abs=1e-3)


def test_a_draw_without_annealing_keeps_the_fits_value_for_it() -> None:
    random = np.random.default_rng(0)
    runs = [_observed(PUBLISHED, _run(shape, 8000, 400), 1e-3, random) for shape in ("constant", "cosine")]
    found = fit_annealing(runs)
    drawn = found.resampled_by_run(["constant", "cosine"], 40, random)
    kept = np.isclose(drawn.C, found.law.C, rtol=1e-9) & np.isclose(drawn.momentum, found.law.momentum, rtol=1e-12)
    only_constant = ~np.isclose(drawn.alpha, found.law.alpha, rtol=1e-3) & kept
    assert only_constant.any()


def test_a_profile_closes_where_the_data_say_something() -> None:
    random = np.random.default_rng(0)
    runs = [_observed(PUBLISHED, _run(shape, 8000, 200), 1e-3, random) for shape in ("constant", "cosine")]
    profile = fit_annealing(runs).profile("alpha", np.linspace(0.3, 0.9, 25))
    assert profile.identified
    assert profile.low < 0.55 < profile.high
    # Without a drop, its size may be anything.
    flat = [_observed(PUBLISHED, _run("constant", total, 200), 1e-3, random) for total in (6000, 8000)]
    assert not fit_annealing(flat).profile("ln C", np.linspace(-6.0, 2.0, 9)).identified
