"""The loss of one run at a target beyond the grid, and whether its interval holds it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glidepath.advice.loss import loss_at_target
from glidepath.advice.peak_lr import lr_at_target
from glidepath.science.replicates import interval
from glidepath.study.final_losses import final_losses
from tests.advice.planted_target import SIZES, STUDY, TARGET, choice_of, loss_of, lr_of
from tests.laws.planted import LEVEL, N_STUDIES, assert_nominal, losses_of, noisy, settings, tokens
from tests.synthetic import Truth


def test_peak_lr_and_loss_are_exact_without_noise() -> None:
    losses = losses_of(STUDY)
    choice, truth, D = choice_of(losses), STUDY.schedules["wsd"], tokens(TARGET)
    lr = lr_of(choice)
    assert (lr.value, lr.carried_from) == (pytest.approx(truth.peak_lr(D), rel=1e-5), 0.0)
    loss = loss_of(losses)
    assert loss is not None
    assert loss.said[0].predictor.name == "loss_horizon"
    assert loss.value == pytest.approx(truth.val_loss(D), abs=1e-4)


def test_intervals_cover_the_optimum_and_a_single_run() -> None:
    lr_hits, loss_hits = [], []
    D, sd = tokens(TARGET), 0.003
    for seed, losses in noisy(STUDY, sd):
        choice = choice_of(losses)
        truth = STUDY.schedules[choice.schedule]
        low, high = interval(lr_of(choice, seed=seed).samples, LEVEL)
        lr_hits.append(bool(low <= truth.peak_lr(D) <= high))
        loss = loss_of(losses, seed=seed)
        assert loss is not None
        low, high = interval(loss.samples, LEVEL)
        # own, position and shared of one run, in the proportions of Study.noisy.
        run = truth.val_loss(D) + (1 + 1 + 4) ** 0.5 * sd * np.random.default_rng(1000 + seed).standard_normal()
        loss_hits.append(bool(low <= run <= high))
    assert_nominal(lr_hits, N_STUDIES)
    assert_nominal(loss_hits, N_STUDIES)


def test_no_loss_below_three_horizons_or_when_losses_rise() -> None:
    assert loss_of(losses_of(replace(STUDY, tokens_per_parameter=(10.0, 40.0)))) is None
    assert loss_of(losses_of(replace(STUDY, schedules={"wsd": Truth(K=-3.0, irreducible_loss=6.0)}))) is None


def test_three_horizons_are_doubtful_and_the_spread_of_laws_stands_in() -> None:
    loss = loss_of(losses_of(replace(STUDY, tokens_per_parameter=(10.0, 20.0, 40.0))))
    assert loss is not None
    assert "three parameters through three horizons" in loss.warnings[0]
    believed, other = loss.said
    assert (believed.predictor.name, other.predictor.name) == ("loss_horizon", "power_law_in_horizon")
    assert loss.error.origin == "spread of laws"
    assert loss.error.sd == pytest.approx(abs(believed.value - other.value))


def test_a_law_that_only_the_longest_horizon_makes_possible() -> None:
    """Losses rise until the last horizon: hidden from the saturating law, it leaves none, hence no back-test of it."""
    runs, blocks = replace(STUDY, schedules={"wsd": Truth()}, tokens_per_parameter=(10.0, 20.0, 40.0, 80.0)).tables()
    bent = {10.0: 2.0, 20.0: 2.1, 40.0: 2.2, 80.0: 1.0}
    lowest = runs.groupby("tokens_per_parameter")["val_loss"].transform("min")
    runs["val_loss"] += runs["tokens_per_parameter"].map(bent) - lowest
    loss = loss_of(final_losses(runs, blocks))
    assert loss is not None
    assert np.isfinite(loss.value)
    assert loss.error.sd > 0.1
    assert not any("nan" in warning for warning in loss.warnings)


def test_without_replicates_residuals_make_the_interval() -> None:
    """Six horizons with an error of 5 mnat each, known to no replicate."""
    runs, blocks = replace(STUDY, n_replicates=1, tokens_per_parameter=(5.0, 10.0, 20.0, 40.0, 80.0, 160.0)).tables()
    at = runs["tokens_per_parameter"].rank(method="dense").astype(int)
    runs["val_loss"] += 0.005 * np.array([0, 1, -1, 1, -1, 1, -1])[at]
    loss = loss_of(final_losses(runs, blocks), at=320.0)
    assert loss is not None
    assert loss.run_sd == pytest.approx(0.005, rel=0.6)
    low, high = interval(loss.samples, LEVEL)
    assert low < STUDY.schedules["wsd"].val_loss(tokens(320.0)) < high
    assert any("taken from the law's residuals" in warning for warning in loss.warnings)


def test_an_unseen_size_off_the_line_of_all_runs_is_refused() -> None:
    """All at 20 tokens per parameter: the learning rate is carried, no loss is said; on the line both are."""
    study = replace(SIZES, tokens_per_parameter=(20.0,), lr_factors=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0))
    losses = losses_of(study.noisy(0.001, 0))
    choice = choice_of(losses, "big")
    n, truth = 32_000_000, study.schedules["wsd"]
    off = lr_at_target(choice, n, tokens(100.0, n), settings())
    assert off.value == pytest.approx(choice.horizons[-1].optimum.peak_lr)
    assert "lie on one line in ln N and ln D" in off.warnings[-1]
    assert loss_at_target(choice, losses, settings(), n, tokens(100.0, n)) is None
    at = tokens(20.0, n)
    assert lr_at_target(choice, n, at, settings()).value == pytest.approx(truth.peak_lr(at), rel=0.05)
