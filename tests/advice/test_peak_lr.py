"""The peak learning rate at a target beyond the grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glidepath.advice.peak_lr import lr_at_target
from glidepath.study.final_losses import final_losses
from tests.advice.planted_target import STUDY, TARGET, choice_of, lr_of
from tests.laws.planted import losses_of, settings, tokens
from tests.synthetic import Truth


def test_one_horizon_is_carried_over() -> None:
    one = losses_of(replace(STUDY, tokens_per_parameter=(20.0,)))
    lr = lr_of(choice_of(one))
    assert (lr.value, lr.carried_from) == (pytest.approx(0.7 * Truth().peak_lr(tokens(20)), rel=1e-6), 20.0)
    assert "fewer than two optima inside the grid" in lr.warnings[0]


def test_an_edge_has_no_interval() -> None:
    edge = losses_of(replace(STUDY, lr_centre=5e-5))
    lr = lr_of(choice_of(edge))
    assert (lr.value, lr.carried_from) == (pytest.approx(2e-4), 80.0)
    assert len(lr.samples) == 0
    assert "5 of 5 horizons have the optimum of wsd at the edge of the grid" in lr.warnings[0]


@pytest.mark.parametrize(("parametrization", "carried"), [("mup", True), ("sp", False)])
def test_an_unseen_size_takes_the_law_in_size_and_horizon_unless_muP_carries(
    parametrization: str, carried: bool
) -> None:
    """The planted optimum depends on tokens only: at equal tokens per parameter the law in both finds that."""
    models = {"xs": 500_000, "s": 1_000_000, "m": 2_000_000}
    runs, blocks = replace(STUDY, models=models, lr_factors=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)).tables()
    runs["parametrization"] = parametrization
    choice = choice_of(final_losses(runs, blocks), "l")
    lr = lr_at_target(choice, 4e6, tokens(TARGET), settings())
    assert lr.said[0].predictor.name == ("lr_horizon" if carried else "power_law_in_size_and_horizon")
    assert lr.value == pytest.approx(STUDY.schedules["wsd"].peak_lr(tokens(TARGET)), rel=1e-3)


def test_same_seed_same_samples() -> None:
    losses = losses_of(STUDY.noisy(0.003, 0))
    a, b = (lr_of(choice_of(losses)).samples for _ in range(2))
    np.testing.assert_array_equal(a, b)
