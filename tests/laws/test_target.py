"""What the laws say about a target beyond the grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
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
    """0.05·(ln 2)² when every sample says that the best rate is twice the one launched with."""
    losses = losses_of(STUDY.noisy(0.002, 0))
    choice = choice_of(losses)
    best = choice.horizons[-1].optimum
    lr = replace(lr_of(choice), value=best.peak_lr, samples=np.full(100, 2 * best.peak_lr))
    regret = target.regret_of(choice.horizons[-1], lr, best.peak_lr)
    assert regret is not None
    assert regret.measured
    np.testing.assert_allclose(regret.samples, best.curvature * np.log(2) ** 2)
    plain = loss_of(losses)
    dearer = target.loss(choice, losses, settings(), 1e6, tokens(TARGET), regret)
    assert plain is not None
    assert dearer is not None
    assert dearer.regret == pytest.approx(best.curvature * np.log(2) ** 2)
    assert dearer.value - plain.value == pytest.approx(dearer.regret)


STEEP = replace(STUDY, schedules={"wsd": Truth(curvature=0.3)}, lr_factors=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0))


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
    regret = target.regret_of(choice.horizons[-1], lr, factor * lr.value)
    found = target.loss(choice, losses, settings(), 1e6, tokens(TARGET), regret)
    assert found is not None
    x = np.log(factor)
    truth = STEEP.schedules["wsd"].val_loss(tokens(TARGET)) + 0.3 * x**2 + 0.1 * max(x, 0) ** 3
    assert found.value == pytest.approx(truth, abs=0.06)


def test_beyond_every_rate_that_was_trained_there_is_no_interval() -> None:
    losses = losses_of(STEEP.noisy(0.002, 0))
    choice = choice_of(losses)
    lr = lr_of(choice)
    regret = target.regret_of(choice.horizons[-1], lr, 100 * lr.value)
    assert regret is not None
    assert not regret.measured
    found = target.loss(choice, losses, settings(), 1e6, tokens(TARGET), regret)
    assert found is not None
    assert found.regret > 1.3
    assert not len(found.samples)
    assert "has no interval" in found.warnings[-1]


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


SIZES = replace(
    STUDY,
    models={f"m{i}": 10**6 * 2**i for i in range(4)},
    tokens_per_parameter=(5.0, 10.0, 20.0, 40.0),
    size_amplitude=0.5,
)


def test_an_unseen_size_off_the_line_of_all_runs_is_refused() -> None:
    """All at 20 tokens per parameter: the learning rate is carried, no loss is said; on the line both are."""
    study = replace(SIZES, tokens_per_parameter=(20.0,), lr_factors=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0))
    losses = losses_of(study.noisy(0.001, 0))
    choice = choice_of(losses, "big")
    n, truth = 32_000_000, study.schedules["wsd"]
    off = target.peak_lr(choice, n, tokens(100.0, n), settings())
    assert off.value == pytest.approx(choice.horizons[-1].optimum.peak_lr)
    assert "lie on one line in ln N and ln D" in off.warnings[-1]
    assert target.loss(choice, losses, settings(), n, tokens(100.0, n)) is None
    at = tokens(20.0, n)
    assert target.peak_lr(choice, n, at, settings()).value == pytest.approx(truth.peak_lr(at), rel=0.05)


def test_sweeps_that_repeat_their_text_are_left_out() -> None:
    """The same grid again over eight epochs, 0.15 nat/token worse."""
    runs, blocks = STUDY.tables()
    again, their_blocks = runs.copy(), blocks.copy()
    for frame in (again, their_blocks):
        frame["cell_id"] += "-again"
    again["epochs"] = 8.0
    again["val_loss"] += 0.15
    their_blocks["loss"] += 0.15
    both = final_losses(pd.concat([runs, again], ignore_index=True), pd.concat([blocks, their_blocks]))
    choice = choice_of(both)
    assert choice.warnings == (
        "5 of 10 sweeps of wsd repeat their text more than 4 times and are left out: the laws take every token for a "
        "fresh one.",
    )
    mixed, fresh = loss_of(both), loss_of(losses_of(STUDY))
    assert mixed is not None
    assert fresh is not None
    assert mixed.value == pytest.approx(fresh.value)
    alone = choice_of(final_losses(again, their_blocks))
    assert (len(alone.horizons), alone.warnings) == (5, ())


def test_laws_over_sizes_are_fitted_to_one_architecture() -> None:
    """Half of the models are of another architecture and 0.15 nat/token worse."""
    models = SIZES.models | {f"other{i}": round(1.3e6 * 2**i) for i in range(4)}
    runs, blocks = replace(SIZES, models=models).tables()
    other = runs["model"].str.startswith("other")
    runs["architecture"] = np.where(other, "Y", "X")
    runs.loc[other, "val_loss"] += 0.15
    losses = final_losses(runs, blocks)
    choice = target.choose(losses, settings(), "big", 8, architecture="X")
    assert (choice.model, choice.part) == ("m3", "architecture X")
    assert {sweep.group["model"] for sweep in choice.all_sizes} == set(SIZES.models)
    assert "other0, other1, other2, other3: of another architecture than m3" in choice.warnings[0]
    n = 16_000_000
    found = target.loss(choice, losses, settings(), n, tokens(40.0, n))
    assert found is not None
    truth = SIZES.schedules["wsd"].val_loss(tokens(40.0, n)) + SIZES.size_term(n)
    assert found.value == pytest.approx(truth, abs=0.01)


def test_runs_of_unknown_size_are_left_out_and_refused_where_all_are() -> None:
    runs, blocks = replace(STUDY, models={"tiny": 1_000_000, "odd": 2_000_000}).tables()
    runs["n_params_counted"] = runs["n_params_counted"].astype("Int64")
    runs.loc[runs["model"] == "odd", ["n_params_counted", "tokens_per_parameter"]] = np.nan
    choice = choice_of(final_losses(runs, blocks), "odd")
    assert (choice.model, len(choice.all_sizes)) == ("tiny", 5)
    only = runs["model"] == "odd"
    unknown = final_losses(runs[only], blocks[blocks["cell_id"].isin(runs.loc[only, "cell_id"])])
    with pytest.raises(ValueError, match=r"size of no run in question is known.* Give n_params_total"):
        choice_of(unknown)
