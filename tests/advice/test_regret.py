"""What a run loses by being launched off the best peak learning rate, as part of its loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glidepath.advice.loss import loss_at_target
from glidepath.advice.regret import regret_of
from glidepath.study.final_losses import final_losses
from tests.advice.planted_target import STUDY, TARGET, choice_of, loss_of, lr_of
from tests.laws.planted import losses_of, settings, tokens
from tests.synthetic import Truth

STEEP = replace(STUDY, schedules={"wsd": Truth(curvature=0.3)}, lr_factors=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0))


def test_the_price_of_a_wrong_peak_lr_is_in_the_interval() -> None:
    """0.05·(ln 2)² when every sample says that the best rate is twice the one launched with."""
    losses = losses_of(STUDY.noisy(0.002, 0))
    choice = choice_of(losses)
    best = choice.horizons[-1].optimum
    lr = replace(lr_of(choice), value=best.peak_lr, samples=np.full(100, 2 * best.peak_lr))
    regret = regret_of(choice.horizons[-1], lr, best.peak_lr)
    assert regret is not None
    assert regret.measured
    np.testing.assert_allclose(regret.samples, best.curvature * np.log(2) ** 2)
    plain = loss_of(losses)
    dearer = loss_at_target(choice, losses, settings(), 1e6, tokens(TARGET), regret)
    assert plain is not None
    assert dearer is not None
    assert dearer.regret == pytest.approx(best.curvature * np.log(2) ** 2)
    assert dearer.value - plain.value == pytest.approx(dearer.regret)


@pytest.mark.parametrize("factor", [0.2, 1.0, 4.0, 8.0])
def test_far_off_the_best_rate_the_measured_losses_say_what_it_costs(factor: float) -> None:
    """The parabola is fitted within 0.25 nat/token; at 8 times the best rate a run loses 1.3. A cubic term, which no
    parabola knows of, is carried from the longest horizon."""
    runs, blocks = STEEP.tables()
    best = runs["token_horizon"].map(STEEP.schedules["wsd"].peak_lr)
    runs["val_loss"] += 0.1 * np.clip(np.log(runs["peak_lr"] / best), 0, None) ** 3
    losses = final_losses(runs, blocks)
    choice = choice_of(losses)
    lr = lr_of(choice)
    regret = regret_of(choice.horizons[-1], lr, factor * lr.value)
    found = loss_at_target(choice, losses, settings(), 1e6, tokens(TARGET), regret)
    assert found is not None
    x = np.log(factor)
    truth = STEEP.schedules["wsd"].val_loss(tokens(TARGET)) + 0.3 * x**2 + 0.1 * max(x, 0) ** 3
    assert found.value == pytest.approx(truth, abs=0.06)


def test_beyond_every_rate_that_was_trained_there_is_no_interval() -> None:
    losses = losses_of(STEEP.noisy(0.002, 0))
    choice = choice_of(losses)
    lr = lr_of(choice)
    regret = regret_of(choice.horizons[-1], lr, 100 * lr.value)
    assert regret is not None
    assert not regret.measured
    found = loss_at_target(choice, losses, settings(), 1e6, tokens(TARGET), regret)
    assert found is not None
    assert found.regret > 1.3
    assert not len(found.samples)
    assert "has no interval" in found.warnings[-1]
