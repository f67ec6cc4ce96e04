"""What the laws say about a target beyond the grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glidepath.laws import target
from glidepath.science.replicates import interval
from glidepath.stages.compare import comparisons
from glidepath.study.final_losses import FinalLosses, final_losses
from tests.laws.planted import LEVEL, N_STUDIES, assert_nominal, losses_of, noisy, settings, tokens
from tests.synthetic import Study, Truth

STUDY = Study(schedules={"cosine": Truth(irreducible_loss=2.05), "wsd": Truth(lr_scale=0.7)})
TARGET = 160.0


def choice_of(losses: FinalLosses, model: str = "tiny") -> target.Choice:
    return target.choose(losses, settings(), model, 8)


def test_the_schedule_of_lowest_loss_at_the_longest_horizon() -> None:
    choice = choice_of(losses_of(STUDY))
    assert (choice.model, choice.schedule, choice.tokens_per_parameter, choice.n_schedules) == ("tiny", "wsd", 80.0, 2)
    assert [sweep.tokens_per_parameter for sweep in choice.horizons] == [5.0, 10.0, 20.0, 40.0, 80.0]


def test_a_horizon_with_one_schedule_decides_nothing() -> None:
    """Only cosine was trained at 80: the choice is made at 40."""
    runs, blocks = STUDY.tables()
    runs.loc[(runs["tokens_per_parameter"] == 80) & (runs["schedule"] == "wsd"), "status"] = "excluded"
    choice = choice_of(final_losses(runs, blocks))
    assert (choice.schedule, choice.tokens_per_parameter) == ("wsd", 40.0)
    assert [sweep.tokens_per_parameter for sweep in choice.horizons] == [5.0, 10.0, 20.0, 40.0]


def test_the_largest_model_stands_in_for_one_never_trained() -> None:
    losses = losses_of(replace(STUDY, models={"tiny": 1_000_000, "small": 3_000_000}))
    assert choice_of(losses, "huge").model == "small"


def test_the_largest_studied_model_stands_in_for_one_hardly_trained() -> None:
    """The target's model was trained at one learning rate only."""
    runs, blocks = replace(STUDY, models={"tiny": 1_000_000, "small": 3_000_000}).tables()
    runs = runs[(runs["model"] == "tiny") | np.isclose(runs["peak_lr"], 1e-3)]
    assert choice_of(final_losses(runs, blocks), "small").model == "tiny"


def test_a_batch_never_trained_is_refused() -> None:
    with pytest.raises(ValueError, match=r"target.batch_sequences 32: no cell with that batch is completed"):
        target.choose(losses_of(STUDY), settings(), "tiny", 32)


def test_peak_lr_and_loss_are_exact_without_noise() -> None:
    losses = losses_of(STUDY)
    choice, truth, D = choice_of(losses), STUDY.schedules["wsd"], tokens(TARGET)
    lr = target.peak_lr(choice, D, 0)
    assert (lr.value, lr.carried_from) == (pytest.approx(truth.peak_lr(D), rel=1e-5), 0.0)
    loss = target.loss(choice, losses, TARGET, 0)
    assert loss is not None
    assert loss.value == pytest.approx(truth.val_loss(D), abs=1e-4)


def test_intervals_cover_the_optimum_and_a_single_run() -> None:
    lr_hits, loss_hits = [], []
    D, sd = tokens(TARGET), 0.003
    for seed, losses in noisy(STUDY, sd):
        choice = choice_of(losses)
        truth = STUDY.schedules[choice.schedule]
        low, high = interval(target.peak_lr(choice, D, seed).samples, LEVEL)
        lr_hits.append(bool(low <= truth.peak_lr(D) <= high))
        loss = target.loss(choice, losses, TARGET, seed)
        assert loss is not None
        low, high = interval(loss.samples, LEVEL)
        # own, position and shared of one run, in the proportions of Study.noisy.
        run = truth.val_loss(D) + (1 + 1 + 4) ** 0.5 * sd * np.random.default_rng(1000 + seed).standard_normal()
        loss_hits.append(bool(low <= run <= high))
    assert_nominal(lr_hits, N_STUDIES)
    assert_nominal(loss_hits, N_STUDIES)


def test_no_loss_below_three_horizons_or_when_losses_rise() -> None:
    two = losses_of(replace(STUDY, tokens_per_parameter=(10.0, 40.0)))
    assert target.loss(choice_of(two), two, TARGET, 0) is None
    rising = losses_of(replace(STUDY, schedules={"wsd": Truth(K=-3.0, irreducible_loss=6.0)}))
    assert target.loss(choice_of(rising), rising, TARGET, 0) is None


def test_three_horizons_are_doubtful() -> None:
    three = losses_of(replace(STUDY, tokens_per_parameter=(10.0, 20.0, 40.0)))
    loss = target.loss(choice_of(three), three, TARGET, 0)
    assert loss is not None
    assert "three parameters through three horizons" in loss.warnings[0]


def test_a_law_that_only_the_longest_horizon_makes_possible() -> None:
    """Losses rise until the last horizon: hidden from the law, it leaves none, hence no miss to carry."""
    runs, blocks = replace(STUDY, schedules={"wsd": Truth()}, tokens_per_parameter=(10.0, 20.0, 40.0, 80.0)).tables()
    bent = {10.0: 2.0, 20.0: 2.1, 40.0: 2.2, 80.0: 1.0}
    lowest = runs.groupby("tokens_per_parameter")["val_loss"].transform("min")
    runs["val_loss"] += runs["tokens_per_parameter"].map(bent) - lowest
    losses = final_losses(runs, blocks)
    loss = target.loss(choice_of(losses), losses, TARGET, 0)
    assert loss is not None
    assert np.isfinite(loss.value)
    assert not any("nan" in warning for warning in loss.warnings)


def test_one_horizon_is_carried_over() -> None:
    one = losses_of(replace(STUDY, tokens_per_parameter=(20.0,)))
    lr = target.peak_lr(choice_of(one), tokens(TARGET), 0)
    assert (lr.value, lr.carried_from) == (pytest.approx(0.7 * Truth().peak_lr(tokens(20)), rel=1e-6), 20.0)
    assert "fewer than two optima inside the grid" in lr.warnings[0]


def test_an_edge_has_no_interval() -> None:
    edge = losses_of(replace(STUDY, lr_centre=5e-5))
    lr = target.peak_lr(choice_of(edge), tokens(TARGET), 0)
    assert (lr.value, lr.carried_from) == (pytest.approx(2e-4), 80.0)
    assert len(lr.samples) == 0
    assert "5 of 5 horizons have the optimum of wsd at the edge of the grid" in lr.warnings[0]


def test_equivalents_are_those_not_resolved() -> None:
    """linear is wsd again; cosine is 50 mnat worse with noise of 1 mnat."""
    study = replace(STUDY, schedules={**STUDY.schedules, "linear": Truth(lr_scale=0.7)}).noisy(0.001, 0)
    losses = losses_of(study)
    choice = choice_of(losses)
    table = comparisons(losses, choice.schedule, LEVEL)
    assert {choice.schedule, *target.equivalent(table, choice, 8)} == {"wsd", "linear"}


def test_same_seed_same_samples() -> None:
    losses = losses_of(STUDY.noisy(0.003, 0))
    a, b = (target.peak_lr(choice_of(losses), tokens(TARGET), 0).samples for _ in range(2))
    np.testing.assert_array_equal(a, b)
