"""What half and twice the best peak learning rate cost, in loss and in tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glidepath.advice.lr_mistake import mistake, tokens_fraction
from glidepath.study.final_losses import final_losses
from tests.advice.planted_target import STUDY, TARGET, choice_of, loss_of
from tests.laws.planted import losses_of, tokens
from tests.synthetic import Truth


def test_half_and_twice_the_best_rate_cost_what_the_valley_says() -> None:
    """A valley c·x² + s·x³ in x = ln(peak_lr/best), seven rates: the cubic tells the sides apart exactly."""
    c, s = 0.05, 0.02
    best = Truth().peak_lr(tokens(TARGET))
    study = replace(STUDY, schedules={"wsd": Truth()}, tokens_per_parameter=(TARGET,), lr_centre=best)
    runs, blocks = replace(study, lr_factors=(0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)).tables()
    runs["val_loss"] += s * np.log(runs["peak_lr"] / best) ** 3
    found = mistake(choice_of(final_losses(runs, blocks)))
    assert found is not None
    assert found.shape == "cubic"
    x = np.log(2.0)
    assert found.half == pytest.approx(c * x**2 - s * x**3, rel=1e-6)
    assert found.double == pytest.approx(c * x**2 + s * x**3, rel=1e-6)
    three = replace(study, lr_factors=(0.5, 1.0, 2.0))
    parabola = mistake(choice_of(losses_of(three)))
    assert parabola is not None
    assert (parabola.shape, parabola.half) == ("parabola", parabola.double)


def test_a_loss_is_worth_tokens() -> None:
    """2 + 3·x^-0.5 at 160: the loss of 80 tokens per parameter is half the tokens away."""
    losses = losses_of(replace(STUDY, schedules={"wsd": Truth()}))
    loss = loss_of(losses)
    assert loss is not None
    cost = Truth().val_loss(tokens(TARGET / 2)) - Truth().val_loss(tokens(TARGET))
    shares = tokens_fraction(loss, np.array([cost, *[10.0] * 100]), 1e6, tokens(TARGET))
    assert shares is not None
    assert shares[0] == pytest.approx(0.5, abs=1e-3)
    assert np.isnan(shares[1:]).all()
