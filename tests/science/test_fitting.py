"""The fitter, on laws whose answer is known: a line in the logarithm, a sum of powers, and what other programs find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from glidepath.science import fitting
from glidepath.science.fitting import DELTA, Floats
from glidepath.science.laws.data_constrained import fit_data_constrained_law
from glidepath.science.laws.size_horizon import fit_size_horizon_law

X = np.linspace(-1.0, 1.0, 21)
WIDE = 1e9
"""A δ beyond all residuals: least squares of ln loss."""


@dataclass(frozen=True)
class Line:
    """ln loss = offset + slope·x: linear, so that statistics of least squares are exact."""

    x: Floats
    low: Floats
    high: Floats
    names = ("offset", "slope")

    def predict(self, theta: Floats) -> Floats:
        return np.exp(theta[:, :1] + theta[:, 1:] * self.x)

    def jacobian(self, theta: Floats) -> Floats:
        predicted = self.predict(theta)
        return np.stack([predicted, predicted * self.x], axis=-1)


@dataclass(frozen=True)
class Decay:
    """loss = floor + exp(ln_scale - rate·x)."""

    x: Floats
    names = ("floor", "ln_scale", "rate")
    low = np.array([0.0, -10.0, 0.01])
    high = np.array([np.inf, 10.0, 5.0])

    def predict(self, theta: Floats) -> Floats:
        return theta[:, :1] + np.exp(theta[:, 1:2] - theta[:, 2:] * self.x)

    def jacobian(self, theta: Floats) -> Floats:
        power = np.exp(theta[:, 1:2] - theta[:, 2:] * self.x)
        return np.stack([np.ones_like(power), power, -self.x * power], axis=-1)


def line(x: Floats = X, low: float = -np.inf, high: float = np.inf) -> Line:
    """Bounds are of the slope."""
    return Line(x, np.array([-np.inf, low]), np.array([np.inf, high]))


def noisy_line(seed: int = 0, sd: float = 0.01, slope: float = -0.3, x: Floats = X) -> Floats:
    return np.exp(1.0 + slope * x + sd * np.random.default_rng(seed).standard_normal(len(x)))


DECAY = Decay(np.linspace(0.0, 3.0, 30))
STARTS = np.array([[1.0, 0.0, 0.1], [0.5, 1.0, 1.0], [2.0, -1.0, 3.0]])


@settings(max_examples=30, deadline=None)
@given(floor=st.floats(0.5, 3), ln_scale=st.floats(-0.5, 1.5), rate=st.floats(0.3, 3))
def test_truth_is_recovered(floor: float, ln_scale: float, rate: float) -> None:
    truth = np.array([[floor, ln_scale, rate]])
    found = fitting.fit(DECAY, DECAY.predict(truth)[0], STARTS)
    np.testing.assert_allclose(found.theta, truth[0], atol=1e-3)
    assert found.status == "converged"


def test_huber_by_hand() -> None:
    residuals = np.array([0.0, 5e-4, -1e-3, 3e-3])
    np.testing.assert_allclose(fitting.huber(residuals), [0, 1.25e-7, 5e-7, 1e-3 * (3e-3 - 5e-4)])


@pytest.mark.parametrize("delta", [DELTA, 1e-2, WIDE])
def test_minimum_against_another_optimizer(delta: float) -> None:
    losses = DECAY.predict(np.array([[2.0, 0.5, 1.0]]))[0]
    losses *= np.exp(0.005 * np.random.default_rng(0).standard_normal(30))
    losses[4] *= 1.2
    mine = fitting.fit(DECAY, losses, STARTS, delta=delta)

    def objective(theta: Floats) -> float:
        return float(fitting.huber(np.log(DECAY.predict(theta[None])[0] / losses), delta).sum())

    options = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 20_000, "maxfev": 20_000}
    theirs = optimize.minimize(objective, [2.0, 0.5, 1.0], method="Nelder-Mead", options=options)
    assert mine.objective == pytest.approx(objective(mine.theta), rel=1e-12)
    assert mine.objective <= theirs.fun * (1 + 1e-6)
    np.testing.assert_allclose(mine.theta, theirs.x, atol=2e-3)


def test_small_delta_is_least_absolute_deviations() -> None:
    """Half of the runs 30 % too high on one side of a line would bend least squares; a fifth does not bend this."""
    losses = noisy_line(sd=0.0)
    losses[::5] *= 1.3
    found = fitting.fit(line(), losses, np.zeros((1, 2)))
    np.testing.assert_allclose(found.theta, [1.0, -0.3], atol=1e-3)


def test_best_of_several_starts() -> None:
    """A start far away takes thousands of steps; the fit is that of the others, and says how many agree."""
    losses = DECAY.predict(np.array([[2.0, 0.5, 1.0]]))[0] * np.exp(0.01 * np.sin(np.arange(30)))
    alone = fitting.fit(DECAY, losses, STARTS[2:])
    assert (alone.status, alone.n_starts_agreeing) == ("max_iter", 1)
    three = fitting.fit(DECAY, losses, STARTS)
    assert (three.status, three.n_starts_agreeing) == ("converged", 2)
    assert three.objective < 0.1 * alone.objective
    patient = fitting.fit(DECAY, losses, STARTS, max_iterations=5000)
    assert patient.n_starts_agreeing == 3


def test_rows_are_problems_of_their_own() -> None:
    """Many samples at once end where each would alone."""
    rows = np.stack([noisy_line(seed) for seed in range(5)])
    together = fitting.minimise(line(), rows, np.zeros((5, 2)))
    for i, row in enumerate(rows):
        alone = fitting.minimise(line(), row, np.zeros((1, 2)))
        assert together.objective[i] == pytest.approx(alone.objective[0], rel=1e-6)
    assert together.converged.all()


def test_a_bound_is_kept_and_told() -> None:
    found = fitting.fit(line(low=-0.1), noisy_line(), np.zeros((1, 2)))
    assert (found.status, found.at_bound) == ("bound_hit", ("slope",))
    assert found.theta[1] == -0.1
    # With the slope given, the best offset under least absolute deviations is a median.
    wide = fitting.fit(line(low=-0.1), noisy_line(), np.zeros((1, 2)), delta=WIDE)
    assert wide.theta[0] == pytest.approx(float((np.log(noisy_line()) + 0.1 * X).mean()), abs=1e-6)


def test_fixed_coordinates() -> None:
    """Equal bounds fix a coordinate; that is no bound hit, and leaves the other's answer as by hand."""
    fixed = line(low=-0.25, high=-0.25)
    found = fitting.fit(fixed, noisy_line(), np.array([[0.0, 7.0]]), delta=WIDE)
    assert found.status == "converged"
    assert found.theta[1] == -0.25
    assert found.theta[0] == pytest.approx(float((np.log(noisy_line()) + 0.25 * X).mean()), abs=1e-6)
    assert found.condition_number == pytest.approx(1.0)
    assert fitting.fit(fixed, noisy_line()[:1], np.zeros((1, 2)), delta=WIDE).n_points == 1


def test_bounds_by_row() -> None:
    ends = np.array([[-np.inf, -0.2], [-np.inf, -0.3]])
    found = fitting.minimise(line(), noisy_line(), np.zeros((2, 2)), low=ends, high=np.array([[np.inf, -0.2]] * 2))
    np.testing.assert_allclose(found.theta[:, 1], [-0.2, -0.3], atol=0.02)


def test_weights_are_repetitions() -> None:
    """A run drawn three times counts three times; one drawn never does not count."""
    losses = noisy_line(sd=0.05)
    weights = np.random.default_rng(0).integers(0, 4, len(X)).astype(float)
    repeated = np.repeat(np.arange(len(X)), weights.astype(int))
    weighted = fitting.fit(line(), losses, np.zeros((1, 2)), weights=weights)
    copied = fitting.fit(line(X[repeated]), losses[repeated], np.zeros((1, 2)))
    assert weighted.objective == pytest.approx(copied.objective, rel=1e-8)
    assert weighted.n_points == int((weights > 0).sum())


def test_bootstrap_of_a_line_has_the_error_of_least_squares() -> None:
    losses = noisy_line(sd=0.02)
    found = fitting.fit(line(), losses, np.zeros((1, 2)), delta=WIDE)
    rows = losses * np.exp(0.02 * np.random.default_rng(1).standard_normal((400, len(X))))
    slopes = fitting.resampled_fits(line(), found, rows, delta=WIDE).theta[:, 1]
    assert slopes.std() == pytest.approx(0.02 / np.sqrt((X**2).sum()), rel=0.1)
    assert slopes.mean() == pytest.approx(found.theta[1], abs=0.003)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_profile_interval_of_a_line(level: float) -> None:
    """For normal noise of unknown size the interval is that of F, which χ² approaches: here 19 degrees of freedom."""
    losses = noisy_line(sd=0.02)
    found = fitting.fit(line(), losses, np.zeros((1, 2)), delta=WIDE)
    grid = np.sort(np.append(np.linspace(-0.4, -0.2, 81), found.theta[1]))
    profile = fitting.profile(line(), losses, found, "slope", grid, level, delta=WIDE)
    slope = stats.linregress(X, np.log(losses))
    half = slope.stderr * np.sqrt(stats.chi2.ppf(level, 1))
    assert profile.low == pytest.approx(slope.slope - half, abs=2e-4)
    assert profile.high == pytest.approx(slope.slope + half, abs=2e-4)
    exact = slope.stderr * float(stats.t.ppf((1 + level) / 2, 19))
    assert half == pytest.approx(exact, rel=0.06)
    assert profile.identified


def test_profile_that_does_not_close() -> None:
    """Points at x = 0 say nothing of the slope."""
    formula = line(np.zeros(8), low=-2.0, high=2.0)
    losses = noisy_line(x=np.zeros(8))
    found = fitting.fit(formula, losses, np.zeros((1, 2)))
    profile = fitting.profile(formula, losses, found, "slope", np.linspace(-2, 2, 9), 0.9)
    assert not profile.identified
    assert np.isnan([profile.low, profile.high]).all()
    np.testing.assert_allclose(profile.objectives, found.objective, rtol=1e-6)


def test_profile_needs_degrees_of_freedom() -> None:
    found = fitting.fit(line(X[:2]), noisy_line()[:2], np.zeros((1, 2)))
    with pytest.raises(ValueError, match="a profile of slope needs more than 2 points, there are 2"):
        fitting.profile(line(X[:2]), noisy_line()[:2], found, "slope", X, 0.9)


def test_condition_number() -> None:
    """1 where x is centred; where it is not, what the correlation of the two columns says."""
    assert fitting.fit(line(), noisy_line(), np.zeros((1, 2)), delta=WIDE).condition_number == pytest.approx(1.0)
    x = X + 10
    cosine = float(np.abs(x.sum()) / np.sqrt(len(x) * (x**2).sum()))
    found = fitting.fit(line(x), noisy_line(x=x), np.array([[1.0, -0.3]]), delta=WIDE)
    assert found.condition_number == pytest.approx(np.sqrt((1 + cosine) / (1 - cosine)), rel=1e-6)
    assert fitting.fit(line(0 * X), noisy_line(), np.zeros((1, 2))).condition_number == np.inf


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="losses must be positive and finite"):
        fitting.fit(line(), np.where(X > 0.9, np.nan, 1.0), np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"2 parameters \(offset, slope\) through 1 points"):
        fitting.fit(line(X[:1]), np.ones(1), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="starts have 3 columns"):
        fitting.minimise(line(), noisy_line(), np.zeros((1, 3)))


def test_starts_without_a_finite_objective_fail() -> None:
    found = fitting.fit(line(), noisy_line(), np.array([[2000.0, 0.0]]))
    assert found.status == "failed"
    assert np.isnan(found.theta).all()


def test_a_fit_that_was_stopped_says_so() -> None:
    losses = DECAY.predict(np.array([[2.0, 0.5, 1.0]]))[0] * np.exp(0.01 * np.sin(np.arange(30)))
    assert fitting.fit(DECAY, losses, STARTS, max_iterations=1).status == "max_iter"


def test_losses_without_a_logarithm_are_refused_before_starting_points() -> None:
    n, d = np.repeat([1e6, 2e6, 4e6], 3), np.tile([1e8, 2e8, 4e8], 3)
    losses = 2 + 30 * n**-0.3 + 300 * d**-0.3
    losses[4] = np.nan
    for fitted in (
        lambda: fit_size_horizon_law(n, d, losses),
        lambda: fit_data_constrained_law(n, d, d / 2, losses),
    ):
        with pytest.raises(ValueError, match="losses must be positive and finite"):
            fitted()
