"""The power law of optimal learning rates in the horizon."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glidepath.laws import lr_horizon
from glidepath.study.final_losses import final_losses
from tests.laws.planted import (
    assert_nominal,
    assert_same,
    covered,
    losses_of,
    noisy,
    one,
    parameters,
    scores,
    settings,
    tokens,
)
from tests.synthetic import Study, Truth

STUDY = Study(schedules={"cosine": Truth(), "wsd": Truth(lr_scale=4.0, lr_exponent=0.5)})


def test_planted_law_is_exact_without_noise() -> None:
    found = parameters(lr_horizon.fit(losses_of(STUDY), settings()))
    for schedule, truth in STUDY.schedules.items():
        for name, value in (("scale", truth.lr_scale), ("exponent", truth.lr_exponent)):
            row = one(found, schedule=schedule, parameter=name)
            assert row["value"] == pytest.approx(value, rel=1e-5)
            assert (row["status"], row["n_points"], row["tokens_per_parameter"]) == ("converged", 5, 0.0)


def test_prediction_beyond_the_longest_horizon_is_marked() -> None:
    predictions = lr_horizon.fit(losses_of(STUDY), settings()).predictions
    longest = tokens(80)
    assert {p["extrapolated"] for p in predictions if p["x"] < longest * 0.999} == {False}
    assert {p["extrapolated"] for p in predictions if p["x"] > longest * 1.001} == {True}
    last = predictions[24]
    assert last["x"] == pytest.approx(4 * longest)
    assert last["value"] == pytest.approx(Truth().peak_lr(4 * longest), rel=1e-5)


def test_intervals_cover() -> None:
    hits: dict[str, list[bool]] = {"scale": [], "exponent": []}
    for seed, losses in noisy(STUDY):
        found = parameters(lr_horizon.fit(losses, settings(seed)))
        for schedule, truth in STUDY.schedules.items():
            for name, value in (("scale", truth.lr_scale), ("exponent", truth.lr_exponent)):
                hits[name].append(covered(one(found, schedule=schedule, parameter=name), value))
    for name in hits:
        assert_nominal(hits[name], 50)


def test_optima_at_the_edge_are_left_out() -> None:
    """Centred at 3e-3 the grid ends at 7.5e-4: the optima of the two longest horizons, 9e-4 and 6.8e-4, are
    nearest to its end."""
    study = Study(lr_centre=3e-3)
    found = parameters(lr_horizon.fit(losses_of(study), settings()))
    row = one(found, schedule="wsd", parameter="exponent")
    assert (row["n_points"], row["status"]) == (3, "converged")
    assert row["value"] == pytest.approx(0.4, rel=1e-5)


def test_no_optimum_inside_is_no_law() -> None:
    law = lr_horizon.fit(losses_of(replace(STUDY, lr_centre=5e-5)), settings())
    assert set(parameters(law)["status"]) == {"edge_of_grid"}
    assert parameters(law)["value"].isna().all()
    assert law.predictions == []
    assert "0 of 5 horizons have their optimum inside the grid" in scores(law)["status"].iloc[0]


def test_one_horizon_fails() -> None:
    law = lr_horizon.fit(losses_of(replace(STUDY, tokens_per_parameter=(20.0,))), settings())
    assert set(parameters(law)["status"]) == {"failed"}


def test_two_horizons_make_a_law_but_no_score() -> None:
    law = lr_horizon.fit(losses_of(replace(STUDY, tokens_per_parameter=(10.0, 40.0))), settings())
    assert one(parameters(law), schedule="cosine", parameter="exponent")["value"] == pytest.approx(0.4, rel=1e-5)
    assert set(scores(law)["status"]) == {"2 optima inside their grids: three are needed to hide the longest"}


def test_score_of_the_longest_horizon() -> None:
    """Exact by the law; the optimum of the horizon before is 2^0.4 times too high."""
    score = one(scores(lr_horizon.fit(losses_of(STUDY), settings())), schedule="cosine", quantity="peak_lr")
    last, before = Truth().peak_lr(tokens(80)), Truth().peak_lr(tokens(40))
    assert (score["holdout"], score["quantity"], score["n_hidden"]) == ("longest_horizon", "peak_lr", 1)
    assert score["mean_relative_error"] < 1e-5
    assert score["baseline_mean_absolute_error"] == pytest.approx(before - last, rel=1e-4)


def test_the_rule_of_thumb_and_what_a_rate_off_costs() -> None:
    found = parameters(lr_horizon.fit(losses_of(STUDY.noisy(0.001, 0)), settings()))
    factor = one(found, schedule="wsd", parameter="factor_per_horizon_doubling")
    exponent = one(found, schedule="wsd", parameter="exponent")
    assert factor["value"] == pytest.approx(2 ** -exponent["value"])
    assert (factor["ci_low"], factor["ci_high"]) == pytest.approx((2 ** -exponent["ci_high"], 2 ** -exponent["ci_low"]))
    cost = one(found, schedule="wsd", parameter="factor_2_cost")
    assert cost["ci_low"] < Truth().curvature * np.log(2) ** 2 < cost["ci_high"]


def test_regret_is_read_off_the_hidden_sweep() -> None:
    """The law is exact, so that its rate is between two runs: the chord there, over the lower of them. The rate of the
    horizon before is 2^0.4 times too high."""
    score = one(scores(lr_horizon.fit(losses_of(STUDY), settings())), schedule="cosine", quantity="regret")
    longest = Truth().peak_lr(tokens(80))
    rates = np.sort(np.array(STUDY.lr_factors) * STUDY.lr_centre)
    valley = Truth().curvature * np.log(rates / longest) ** 2
    lost = [
        np.interp(np.log(lr), np.log(rates), valley) - valley.min() for lr in (longest, Truth().peak_lr(tokens(40)))
    ]
    assert score["mean_absolute_error"] == pytest.approx(lost[0], rel=1e-3)
    assert score["baseline_mean_absolute_error"] == pytest.approx(lost[1], rel=1e-3)


def test_without_replicates_the_residuals_are_the_noise() -> None:
    """One replicate: intervals come from what the parabolas leave, and cover."""
    hits = []
    for seed in range(40):
        study = replace(STUDY, n_replicates=1, own_sd=0.003, seed=seed)
        law = lr_horizon.fit(losses_of(study), settings(seed))
        found = parameters(law)
        assert set(found["resampling_unit"]) == {"residuals of the parabolas, pooled over sweeps"}
        hits.append(covered(one(found, schedule="cosine", parameter="exponent"), Truth().lr_exponent))
    assert_nominal(hits, 40)


def test_hidden_horizons_are_unseen_but_scored() -> None:
    """The two longest, with an optimum off the law."""
    bent = replace(STUDY, schedules={"cosine": Truth(lr_scale=1.3)})
    runs, blocks = replace(STUDY, schedules={"cosine": Truth()}).tables()
    other, _ = bent.tables()
    hidden = runs["tokens_per_parameter"] >= 40
    runs.loc[hidden, "val_loss"] = other.loc[hidden, "val_loss"]
    runs.loc[hidden, "holdout"] = True
    law = lr_horizon.fit(final_losses(runs, blocks), settings(), final_losses(runs, blocks, holdout=True))
    row = one(parameters(law), parameter="exponent")
    assert (row["value"], row["n_points"]) == (pytest.approx(0.4, rel=1e-5), 3)
    score = one(scores(law), holdout="declared", quantity="peak_lr")
    assert score["n_hidden"] == 2
    assert score["mean_relative_error"] == pytest.approx(0.3 / 1.3, rel=1e-4)
    observed = 1.3 * np.array([Truth().peak_lr(tokens(40)), Truth().peak_lr(tokens(80))])
    expected = np.abs(Truth().peak_lr(tokens(20)) - observed).mean()
    assert score["baseline_mean_absolute_error"] == pytest.approx(expected, rel=1e-4)


def test_same_seed_same_tables() -> None:
    losses = losses_of(STUDY.noisy(0.003, 0))
    assert_same(lr_horizon.fit(losses, settings(1)), lr_horizon.fit(losses, settings(1)))


def test_repeated_text_is_no_longer_horizon() -> None:
    """A horizon of eight epochs is left out, and said to be."""
    runs, blocks = STUDY.tables()
    longest = runs["tokens_per_parameter"] == runs["tokens_per_parameter"].max()
    without = lr_horizon.fit(final_losses(runs[~longest], blocks), settings(n_bootstrap=5))
    runs.loc[longest, "epochs"] = 8.0
    found = parameters(lr_horizon.fit(final_losses(runs, blocks), settings(n_bootstrap=5)))
    rows = found[found["parameter"] == "n_repeated_left_out"]
    assert set(rows["value"]) == {1}
    assert found.drop(rows.index)["value"].tolist() == pytest.approx(parameters(without)["value"].tolist())
