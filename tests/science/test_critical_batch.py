"""The hyperbola of steps and examples: planted ones, its limits, and how often its intervals hold the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glidepath.science.critical_batch import Front, StepNoise, definition_name, fit_front, fit_size_law
from glidepath.science.replicates import replicate_noise

BATCHES = np.array([2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
STEPS_MIN, RATIO = 1000.0, 16.0
LEVEL = 0.9


def steps(batches: NDArray[np.float64] = BATCHES, ratio: float = RATIO) -> NDArray[np.float64]:
    return STEPS_MIN * (1 + ratio / batches)


def test_a_hyperbola_is_recovered() -> None:
    front = fit_front(BATCHES, steps(), LEVEL)
    assert front.ratio == pytest.approx((RATIO,) * 3, rel=1e-6)
    assert front.steps_min == pytest.approx((STEPS_MIN,) * 3, rel=1e-6)
    assert front.examples_min == pytest.approx((STEPS_MIN * RATIO,) * 3, rel=1e-6)
    assert front.rms_residual < 1e-8
    assert front.judged(front.ratio) == ("converged", "")
    assert front.batches == tuple(BATCHES)
    np.testing.assert_allclose(front.steps(BATCHES), steps(), rtol=1e-6)


def test_definitions_mean_what_they_say() -> None:
    """Twice both minima at the one; 20 % more examples than in proportion from the reference batch on at the other."""
    front = fit_front(BATCHES, steps(), LEVEL)
    trade_off = front.critical_batch(2.0)[0]
    assert front.steps(trade_off) == pytest.approx(2 * STEPS_MIN)
    assert trade_off * front.steps(trade_off) == pytest.approx(2 * STEPS_MIN * RATIO)
    for overhead in (0.2, 0.5):
        batch = front.critical_batch(2.0, overhead)[0]
        assert batch * front.steps(batch) == pytest.approx((1 + overhead) * 2.0 * front.steps(2.0))
    assert definition_name(None) == "step_data_tradeoff"
    assert definition_name(0.2) == "fixed_overhead_20pct"


def test_units_are_those_of_the_batch() -> None:
    """In tokens, or with steps counted in thousands."""
    noisy = steps() * np.exp([0.05, -0.03, 0.02, 0.01, -0.04, 0.03])
    front, in_tokens = fit_front(BATCHES, noisy, LEVEL), fit_front(128 * BATCHES, noisy / 1000, LEVEL)
    np.testing.assert_allclose(in_tokens.ratio, 128 * np.array(front.ratio), rtol=1e-5)
    np.testing.assert_allclose(in_tokens.steps_min, np.array(front.steps_min) / 1000, rtol=1e-5)
    np.testing.assert_allclose(in_tokens.examples_min, 0.128 * np.array(front.examples_min), rtol=1e-5)


def test_it_is_least_squares_in_logarithms() -> None:
    """No neighbour of the fit has a smaller error."""
    noisy = steps() * np.exp([0.05, -0.03, 0.02, 0.01, -0.04, 0.03])
    front = fit_front(BATCHES, noisy, LEVEL)

    def error(steps_min: float, examples_min: float) -> float:
        return float((np.log(noisy / (steps_min + examples_min / BATCHES)) ** 2).sum())

    a, b = front.steps_min[0], front.examples_min[0]
    assert error(a, b) == pytest.approx(6 * front.rms_residual**2)
    for factor in (0.999, 1.001):
        assert error(a * factor, b) > error(a, b) < error(a, b * factor)


def test_counts_are_repetitions() -> None:
    noisy = steps() * np.exp([0.05, -0.03, 0.02, 0.01, -0.04, 0.03])
    counts = np.array([1, 2, 1, 3, 1, 1])
    front = fit_front(BATCHES, noisy, LEVEL, counts)
    repeated = fit_front(np.repeat(BATCHES, counts), np.repeat(noisy, counts), LEVEL)
    assert front.ratio[0] == pytest.approx(repeated.ratio[0], rel=1e-6)
    assert front.batches == repeated.batches == tuple(BATCHES)


def test_likelihood_interval_by_hand() -> None:
    """The squared error at each end exceeds its minimum by σ²t²; known noise with very many degrees of freedom."""
    noisy = steps() * np.exp([0.02, -0.01, 0.02, 0.01, -0.02, 0.01])
    front = fit_front(BATCHES, noisy, LEVEL, noise=StepNoise(0.02**2, 10**6))
    assert front.noise_from == "replicates"

    def error(ratio: float) -> float:
        distance = np.log(noisy / (1 + ratio / BATCHES))
        return float(((distance - distance.mean()) ** 2).sum())

    for end in front.ratio[1:]:
        assert error(end) - error(front.ratio[0]) == pytest.approx((0.02 * 1.644854) ** 2, rel=1e-4)


def test_what_replicates_share_widens_the_ends_but_not_the_ratio() -> None:
    noisy = steps() * np.exp([0.02, -0.01, 0.02, 0.01, -0.02, 0.01])
    alone = fit_front(BATCHES, noisy, LEVEL, noise=StepNoise(0.02**2, 10))
    shared = fit_front(BATCHES, noisy, LEVEL, noise=StepNoise(0.02**2, 10, 0.1**2, 10**6))
    assert shared.ratio == alone.ratio
    for name in ("steps_min", "examples_min"):
        value, low, _ = getattr(shared, name)
        own = np.log(value / getattr(alone, name)[1])
        assert np.log(value / low) == pytest.approx(np.hypot(own, 0.1 * 1.644854), rel=1e-4)


def test_a_sweep_that_misses_the_hyperbola_rests_on_its_residuals() -> None:
    """Replicates agree to 1 %, but the steps lie 20 % off in turn."""
    crooked = steps() * np.exp([0.2, -0.2, 0.2, -0.2, 0.2, -0.2])
    noise = StepNoise(0.01**2, 12)
    front = fit_front(BATCHES, crooked, LEVEL, noise=noise)
    assert front.noise_from == "residuals"
    assert front.ratio == fit_front(BATCHES, crooked, LEVEL).ratio


# -- what is not identified


def test_no_bend_before_the_largest_batch() -> None:
    front = fit_front(BATCHES, steps(ratio=150.0), LEVEL, noise=StepNoise(1e-4, 10))
    status, reason = front.judged(front.ratio)
    assert status == "not_identified"
    assert "beyond the largest batch, 64" in reason
    assert front.ratio[0] == pytest.approx(150.0)
    assert np.isfinite(front.ratio).all(), "steps as exact as this still bend"
    noisy = fit_front(BATCHES, steps(ratio=150.0), LEVEL, noise=StepNoise(0.3**2, 10))
    assert noisy.ratio[1] < 150.0
    assert np.isnan(noisy.ratio[2])
    assert np.isnan(noisy.steps_min[1])
    assert noisy.examples_min[1] < noisy.examples_min[0] < noisy.examples_min[2]


def test_no_bend_after_the_smallest_batch() -> None:
    front = fit_front(BATCHES, steps(ratio=0.5), LEVEL, noise=StepNoise(0.3**2, 10))
    status, reason = front.judged(front.ratio)
    assert status == "not_identified"
    assert "below the smallest batch, 2" in reason
    assert np.isnan(front.ratio[1])
    assert np.isnan(front.examples_min[1])
    assert front.steps_min[1] < front.steps_min[0] < front.steps_min[2]


def test_an_open_interval_is_not_identified() -> None:
    front = fit_front(BATCHES, steps(), LEVEL, noise=StepNoise(1.0, 10))
    assert pytest.approx(front.ratio[0]) == RATIO
    status, reason = front.judged(front.ratio)
    assert status == "not_identified"
    assert "open" in reason


def test_an_overhead_may_be_shown_where_the_trade_off_is_not() -> None:
    """The bend at 100 lies beyond batch 64; 20 % overhead over batch 2 needs 22 only."""
    front = fit_front(BATCHES, steps(ratio=100.0), LEVEL, noise=StepNoise(0.02**2, 10))
    assert front.judged(front.ratio)[0] == "not_identified"
    overhead = front.critical_batch(2.0, 0.2)
    assert overhead[0] == pytest.approx(22.4)
    assert front.judged(overhead) == ("converged", "")
    early = fit_front(BATCHES, steps(ratio=0.5), LEVEL, noise=StepNoise(0.3**2, 10))
    assert early.critical_batch(2.0, 0.2)[1] == pytest.approx(2.4), "a ratio is at least zero"


@pytest.mark.parametrize("exponent", [1.0, 1.1])
def test_steps_in_proportion_have_no_fewest(exponent: float) -> None:
    """Nor have those that fall faster, as noise can make them."""
    front = fit_front(BATCHES, 1e6 * BATCHES**-exponent, LEVEL)
    status, reason = front.judged(front.ratio)
    assert status == "bound_hit"
    assert front.ratio[0] == np.inf
    assert np.isnan(front.ratio[2])
    assert front.steps_min[0] == 0.0
    assert front.examples_min[0] == pytest.approx(1e6 * np.exp((1 - exponent) * np.log(BATCHES).mean()))
    assert front.critical_batch(2.0, 0.2)[0] == np.inf
    assert "Train larger batches" in reason


def test_steps_that_do_not_fall_have_no_fewest_examples() -> None:
    front = fit_front(BATCHES, 1000 * np.exp(0.02 * np.arange(6)), LEVEL)
    status, reason = front.judged(front.ratio)
    assert status == "bound_hit"
    assert front.ratio[0] == front.examples_min[0] == 0.0
    assert front.steps_min[0] == pytest.approx(1000 * np.exp(0.05))
    assert "Train smaller batches" in reason


@pytest.mark.parametrize(
    ("batches", "of_steps", "says"),
    [
        ([2, 4], [10, 7], "3 different batches at least"),
        ([2, 2, 4], [10, 11, 7], "3 different batches at least"),
        ([2, 4, 8], [10, 7, 0], "positive and finite"),
        ([2, 4, 8], [10, 7, np.inf], "positive and finite"),
        ([0, 4, 8], [10, 7, 5], "batches"),
        ([2, 4, 8], [10, 7], "one of each per batch"),
    ],
)
def test_what_cannot_be_fitted_is_refused(batches: list[float], of_steps: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit_front(batches, of_steps, LEVEL)


def test_a_level_is_a_probability_and_an_overhead_positive() -> None:
    with pytest.raises(ValueError, match="ci_level 90"):
        fit_front(BATCHES, steps(), 90)
    with pytest.raises(ValueError, match="overhead of 0"):
        fit_front(BATCHES, steps(), LEVEL).critical_batch(2.0, 0.0)


# -- coverage


def drawn(
    random: np.random.Generator, batches: NDArray[np.float64], ratio: float, sds: tuple[float, float], n: int
) -> Front:
    """A sweep with n replicates: noise of its own at every point, and what a replicate does to all batches alike."""
    own_sd, shared_sd = sds
    noise = own_sd * random.standard_normal((len(batches), n)) + shared_sd * random.standard_normal(n)
    ln_steps = np.log(steps(batches, ratio))[:, None] + noise
    if n == 1:
        return fit_front(batches, np.exp(ln_steps[:, 0]), LEVEL)
    found = replicate_noise(ln_steps, np.arange(len(batches)))
    return fit_front(batches, np.exp(found.means), LEVEL, found.counts, StepNoise.of(found))


def covers(estimate: tuple[float, float, float], truth: float) -> bool:
    """An open end holds everything beyond it."""
    return not estimate[1] > truth and not estimate[2] < truth


@pytest.mark.parametrize(
    ("batches", "ratio", "sds", "n"),
    [
        (BATCHES, RATIO, (0.03, 0.0), 3),
        (BATCHES, RATIO, (0.03, 0.1), 3),
        (BATCHES, RATIO, (0.2, 0.05), 2),
        (BATCHES, RATIO, (0.05, 0.0), 1),
        (BATCHES, 150.0, (0.05, 0.02), 3),
        (BATCHES, 150.0, (0.05, 0.0), 1),
        (BATCHES, 3.0, (0.05, 0.02), 3),
        (BATCHES[1:4], RATIO, (0.03, 0.0), 1),
    ],
    ids=[
        "replicates",
        "seeds in common",
        "two seeds",
        "no seeds",
        "bend beyond",
        "beyond, no seeds",
        "bend early",
        "3",
    ],
)
def test_intervals_cover_at_their_level(
    batches: NDArray[np.float64], ratio: float, sds: tuple[float, float], n: int
) -> None:
    """300 sweeps: three standard deviations of the nominal 90 % are 5 %."""
    random = np.random.default_rng(0)
    fronts = [drawn(random, batches, ratio, sds, n) for _ in range(300)]
    truths: dict[str, Any] = {"ratio": ratio, "steps_min": STEPS_MIN, "examples_min": STEPS_MIN * ratio}
    for name, truth in truths.items():
        share = np.mean([covers(getattr(front, name), truth) for front in fronts])
        assert 0.85 <= share <= 0.97, f"{name}: {share:.3f}"


# -- the law over sizes


def test_a_size_law_is_recovered_by_both_fits() -> None:
    n = np.array([85.0, 151.0, 302.0, 604.0, 1200.0])
    for residuals in ("ratios", "differences"):
        law = fit_size_law(n, 93.0 * n**0.47, LEVEL, residuals)
        assert (law.scale, law.exponent) == pytest.approx((93.0, 0.47), rel=1e-6)
        np.testing.assert_allclose(law.predict(n), 93.0 * n**0.47)


def test_the_two_fits_of_a_size_law_weigh_sizes_differently() -> None:
    """The largest size is 30 % high: differences follow it further than ratios do."""
    n = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    critical = 10 * n**0.5 * np.array([1, 1, 1, 1, 1.3])
    ratios, differences = (fit_size_law(n, critical, LEVEL, r) for r in ("ratios", "differences"))
    assert 0.5 < ratios.exponent < differences.exponent
    assert ratios.exponent_low < ratios.exponent < ratios.exponent_high

    def squares(scale: float, exponent: float) -> float:
        return float(((critical - scale * n**exponent) ** 2).sum())

    best = squares(differences.scale, differences.exponent)
    for factor in (0.999, 1.001):
        assert squares(differences.scale * factor, differences.exponent) > best
        assert squares(differences.scale, differences.exponent * factor) > best


def test_two_sizes_have_no_interval_and_one_no_law() -> None:
    law = fit_size_law([1.0, 2.0], [3.0, 5.0], LEVEL, "ratios")
    assert np.isnan([law.exponent_low, law.exponent_high]).all()
    with pytest.raises(ValueError, match="two different positive ones"):
        fit_size_law([1.0, 1.0], [3.0, 5.0], LEVEL, "ratios")
    with pytest.raises(ValueError, match="positive and finite"):
        fit_size_law([1.0, 2.0], [3.0, np.inf], LEVEL, "ratios")
