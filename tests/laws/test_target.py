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


def lr_of(choice: target.Choice, tokens_per_parameter: float = TARGET, seed: int = 0) -> target.LrAtTarget:
    return target.peak_lr(choice, choice.n_params, tokens(tokens_per_parameter), settings(seed))


def loss_of(
    losses: FinalLosses, n_params: float = 1e6, seed: int = 0, at: float = TARGET
) -> target.LossAtTarget | None:
    return target.loss(choice_of(losses), losses, settings(seed), n_params, tokens(at))


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


def test_the_price_of_a_wrong_peak_lr_is_in_the_interval() -> None:
    """0.05·(ln 2)² when every sample says that the best rate is twice the one launched with, capped far off."""
    losses = losses_of(STUDY.noisy(0.002, 0))
    lr = replace(lr_of(choice_of(losses)), value=1e-3, samples=np.full(100, 2e-3))
    regret = target.regret_of(0.05, lr, 1e-3)
    assert regret is not None
    np.testing.assert_allclose(regret, 0.05 * np.log(2) ** 2)
    plain = loss_of(losses)
    dearer = target.loss(choice_of(losses), losses, settings(), 1e6, tokens(TARGET), regret)
    assert plain is not None
    assert dearer is not None
    assert dearer.value - plain.value == pytest.approx(0.05 * np.log(2) ** 2)
    capped = target.regret_of(0.05, replace(lr, samples=np.array([0.0, np.inf, np.nan])), 1e-3)
    np.testing.assert_array_equal(capped, 0.25)


def test_half_and_twice_the_best_rate_cost_what_the_valley_says() -> None:
    """A valley c·x² + s·x³ in x = ln(peak_lr/best), seven rates: the cubic tells the sides apart exactly."""
    c, s = 0.05, 0.02
    best = Truth().peak_lr(tokens(TARGET))
    study = replace(STUDY, schedules={"wsd": Truth()}, tokens_per_parameter=(TARGET,), lr_centre=best)
    runs, blocks = replace(study, lr_factors=(0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)).tables()
    runs["val_loss"] += s * np.log(runs["peak_lr"] / best) ** 3
    found = target.mistake(choice_of(final_losses(runs, blocks)))
    assert found is not None
    assert found.shape == "cubic"
    x = np.log(2.0)
    assert found.half == pytest.approx(c * x**2 - s * x**3, rel=1e-6)
    assert found.double == pytest.approx(c * x**2 + s * x**3, rel=1e-6)
    three = replace(study, lr_factors=(0.5, 1.0, 2.0))
    parabola = target.mistake(choice_of(losses_of(three)))
    assert parabola is not None
    assert (parabola.shape, parabola.half) == ("parabola", parabola.double)


def test_a_loss_is_worth_tokens() -> None:
    """2 + 3·x^-0.5 at 160: the loss of 80 tokens per parameter is half the tokens away."""
    losses = losses_of(replace(STUDY, schedules={"wsd": Truth()}))
    loss = loss_of(losses)
    assert loss is not None
    cost = Truth().val_loss(tokens(TARGET / 2)) - Truth().val_loss(tokens(TARGET))
    shares = target.tokens_fraction(loss, np.array([cost, *[10.0] * 100]), 1e6, tokens(TARGET))
    assert shares is not None
    assert shares[0] == pytest.approx(0.5, abs=1e-3)
    assert np.isnan(shares[1:]).all()


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
    lr = target.peak_lr(choice, 4e6, tokens(TARGET), settings())
    assert lr.said[0].predictor.name == ("lr_horizon" if carried else "power_law_in_size_and_horizon")
    assert lr.value == pytest.approx(STUDY.schedules["wsd"].peak_lr(tokens(TARGET)), rel=1e-3)


def test_a_schedule_that_is_wanted() -> None:
    losses = losses_of(STUDY)
    assert target.choose(losses, settings(), "tiny", 8, "cosine").schedule == "cosine"
    with pytest.raises(ValueError, match=r"target.schedule 'rex': no run .* there are 'cosine', 'wsd'. Name one"):
        target.choose(losses, settings(), "tiny", 8, "rex")


def test_equivalents_are_those_not_resolved() -> None:
    """linear is wsd again; cosine is 50 mnat worse with noise of 1 mnat."""
    study = replace(STUDY, schedules={**STUDY.schedules, "linear": Truth(lr_scale=0.7)}).noisy(0.001, 0)
    losses = losses_of(study)
    choice = choice_of(losses)
    table = comparisons(losses, choice.schedule, LEVEL)
    assert {choice.schedule, *target.equivalent(table, choice, 8)} == {"wsd", "linear"}


def test_same_seed_same_samples() -> None:
    losses = losses_of(STUDY.noisy(0.003, 0))
    a, b = (lr_of(choice_of(losses)).samples for _ in range(2))
    np.testing.assert_array_equal(a, b)
