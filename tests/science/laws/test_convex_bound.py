"""The convex bound as a law: norms between knots, derivatives against differences, truth recovered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from glidepath.science.laws.convex_bound import ConvexBoundLaw, convex_bound_formula, fit_convex_bound
from glidepath.science.laws.curve import Curve
from glidepath.science.laws.last_iterate_bound import last_iterate_bound
from glidepath.science.schedule_search import best_schedule

STEPS = 600
POINTS = np.unique(np.geomspace(20, STEPS, 40).astype(np.int64))
TRUE = ConvexBoundLaw(
    irreducible_loss=np.array(2.0),
    scale=np.array(0.4),
    G1=np.array(6.0),
    A1=np.array(0.02),
    G2=np.array(4.0),
    A2=np.array(0.4),
    B=np.array(3.0),
)


def path(decay: float, peak: float = 0.01, floor: float = 0.0) -> np.ndarray:
    """Ten updates of warm-up, constant, then a linear decay over the last share."""
    t = np.arange(STEPS)
    fall = np.clip((STEPS - t) / (decay * STEPS), floor, 1.0) if decay else np.ones(STEPS)
    return peak * np.minimum((t + 1) / 10, 1.0) * fall


def at(lr: np.ndarray) -> Curve:
    return Curve(lr=lr, updates_done=POINTS, warmup_steps=10)


def curve(lr: np.ndarray, law: ConvexBoundLaw = TRUE, noise: float = 0.0, seed: int = 0) -> Curve:
    losses = law.predict(at(lr)) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(POINTS)))
    return Curve(lr=lr, updates_done=POINTS, losses=losses, warmup_steps=10)


def test_norms_between_knots_are_as_good_as_every_norm() -> None:
    lr = path(0.3)
    norms = TRUE.grad_norms(np.arange(1.0, STEPS + 1))
    slow = [last_iterate_bound(lr[:point], norms[:point]).at(1.0) for point in POINTS]
    assert_allclose(TRUE.predict(at(lr)), 2.0 + 0.4 * np.array(slow), rtol=2e-4)


@pytest.mark.parametrize("norms", ["constant", "fitted"])
def test_derivatives_are_differences(norms: str) -> None:
    formula = convex_bound_formula([curve(path(0.0)), curve(path(0.5))], norms)  # type: ignore[arg-type]
    theta = np.array([[1.5, -0.3, 0.2, 0.5, 4.0, -0.5, 0.4]])
    slopes = formula.jacobian(theta)[0]
    for j in range(7):
        step = np.zeros(7)
        step[j] = 1e-6
        change = (formula.predict(theta + step) - formula.predict(theta - step))[0] / 2e-6
        assert_allclose(slopes[:, j], change, rtol=1e-6, atol=1e-9)


def test_a_schedule_that_was_not_trained_is_predicted() -> None:
    """Planted noise 0.1 %, parameters are not identified, the loss of another schedule is."""
    found = fit_convex_bound([curve(path(0.0), noise=1e-3), curve(path(1.0), noise=1e-3, seed=1)])
    assert found.fit.objective < 1.1 * len(POINTS) * 2 * 1e-6
    hidden = path(0.2, peak=0.008, floor=0.1)
    assert_allclose(found.law.predict(at(hidden)), TRUE.predict(at(hidden)), rtol=2e-3)


def test_constant_norms_are_found() -> None:
    law = ConvexBoundLaw(*(np.array(value) for value in (2.0, 0.4, 0.0, 1.0, 0.0, 1.0, 8.0)))
    found = fit_convex_bound([curve(path(0.0), law), curve(path(0.5), law)], norms="constant")
    assert found.fit.status == "converged"
    assert_allclose([found.law.irreducible_loss, found.law.scale, found.law.B], [2.0, 0.4, 8.0], rtol=1e-3)


def test_a_bootstrap_is_one_law() -> None:
    found = fit_convex_bound([curve(path(0.0), noise=1e-3), curve(path(1.0), noise=1e-3)], norms="constant")
    samples = found.resampled_by_blocks(5, np.random.default_rng(0))
    assert samples.predict(at(path(0.2))).shape == (5, len(POINTS))


def test_slopes_of_the_final_loss_are_those_of_differences() -> None:
    L0, scale, G1, A1, G2, A2, B = (np.array(x) for x in (2.5, 2e-3, 3.0, 0.05, 2.0, 0.4, 0.5))
    law = ConvexBoundLaw(L0, scale, G1, A1, G2, A2, B)
    lr = 1e-2 * np.concatenate([np.arange(1, 11) / 10, np.linspace(1, 0.1, 190)])
    run = Curve(lr=lr, updates_done=np.array([200]), warmup_steps=10)
    loss, slopes = law.at_end(run)
    assert loss == pytest.approx(law.predict(run)[-1])
    for update in (10, 50, 150, 198, 199):
        ends = []
        for change in (1e-7, -1e-7):
            changed = lr.copy()
            changed[update] += change
            ends.append(law.predict(replace(run, lr=changed))[-1])
        assert slopes[update - 10] == pytest.approx((ends[0] - ends[1]) / 2e-7, rel=1e-5)


def test_the_schedule_that_is_best_with_constant_norms_is_close_to_linear_decay() -> None:
    """At the peak that is tuned to it, where the bound is close to 2/√T (Defazio et al. 2023)."""
    T = 1000
    one, none = np.array(1.0), np.array(0.0)
    law = ConvexBoundLaw(none, one, none, none, none, none, one)
    found = best_schedule(law, peak_lr=T**-0.5, total_steps=T, warmup_lr=np.empty(0), lowest_fraction=1e-3)
    linear = T**-0.5 * (1 - np.arange(T) / T)
    assert 2 * T**-0.5 < found.loss < law.at_end(Curve(lr=linear, updates_done=np.array([T])))[0]
    assert np.abs(found.lr - linear).mean() < 0.05 * T**-0.5
