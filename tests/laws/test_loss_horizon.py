"""The saturating law of the loss in the horizon, and the compute that a schedule saves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glidepath.laws import loss_horizon
from glidepath.study import tables
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
    valid,
)
from tests.synthetic import Study, Truth

STUDY = Study(schedules={"cosine": Truth(), "wsd": Truth(irreducible_loss=1.9, K=2.5, exponent=0.3)})


def test_planted_law_is_recovered_without_noise() -> None:
    """Exponents to the grid's 0.3 %."""
    found = parameters(loss_horizon.fit(losses_of(STUDY), settings()))
    for schedule, truth in STUDY.schedules.items():
        for name, tolerance in (("irreducible_loss", 0.01), ("K", 0.01), ("exponent", 0.003)):
            row = one(found, schedule=schedule, parameter=name)
            assert row["value"] == pytest.approx(getattr(truth, name), rel=tolerance)
            assert (row["status"], row["n_points"]) == ("converged", 5)


def test_intervals_cover() -> None:
    hits: dict[str, list[bool]] = {"irreducible_loss": [], "K": [], "exponent": []}
    for seed, losses in noisy(STUDY):
        found = parameters(loss_horizon.fit(losses, settings(seed)))
        for schedule, truth in STUDY.schedules.items():
            for name in hits:
                row = one(found, schedule=schedule, parameter=name)
                if row["status"] == "converged":
                    hits[name].append(covered(row, getattr(truth, name)))
    for name in hits:
        assert len(hits[name]) > 70
        assert_nominal(hits[name], 40)


@pytest.mark.parametrize(("horizons", "status"), [(2, "failed"), (3, "not_identified"), (4, "converged")])
def test_status_by_number_of_horizons(horizons: int, status: str) -> None:
    study = replace(STUDY, tokens_per_parameter=STUDY.tokens_per_parameter[:horizons])
    law = loss_horizon.fit(losses_of(study), settings())
    found = parameters(law)
    found = found[found["parameter"].isin(loss_horizon.PARAMETERS)]
    assert set(found["status"]) == {status}
    assert found["ci_low"].notna().all() == (status == "converged")
    if horizons < 4:
        words = f"{horizons} horizons: four are needed to hide the longest and fit three parameters"
        assert set(scores(law)["status"]) == {words}
    curve = [p for p in law.predictions if p["quantity"] == "val_loss"]
    assert bool(curve) == (horizons > 2)


def test_rising_losses_fail() -> None:
    """Nothing but NaN to say, hence nothing to draw."""
    rising = replace(STUDY, schedules={"cosine": Truth(K=-3.0, irreducible_loss=6.0)})
    law = loss_horizon.fit(losses_of(rising), settings())
    assert set(parameters(law)["status"]) == {"failed"}
    assert parameters(law)["value"].isna().all()
    assert law.predictions == []


def test_no_asymptote_hits_the_bound() -> None:
    law = loss_horizon.fit(
        losses_of(replace(STUDY, schedules={"cosine": Truth(irreducible_loss=-1.0, K=5.0, exponent=0.1)})), settings()
    )
    for name in loss_horizon.PARAMETERS:
        assert one(parameters(law), parameter=name)["status"] == "bound_hit"
    assert one(parameters(law), parameter="irreducible_loss")["value"] == 0.0


def test_score_of_the_longest_horizon() -> None:
    score = one(scores(loss_horizon.fit(losses_of(STUDY), settings())), schedule="cosine", holdout="longest_horizon")
    assert score["n_hidden"] == 1
    assert score["mean_absolute_error"] < 1e-3
    last, before = Truth().val_loss(tokens(80)), Truth().val_loss(tokens(40))
    assert score["baseline_mean_absolute_error"] == pytest.approx(before - last, rel=1e-6)
    assert score["mean_relative_error"] == pytest.approx(score["mean_absolute_error"] / last)


def test_hidden_horizons_are_unseen_but_scored() -> None:
    """The longest one, half a nat above the law, at one learning rate only; the law is that of the open horizons."""
    study = replace(STUDY, schedules={"cosine": Truth()}, tokens_per_parameter=(5.0, 10.0, 20.0, 40.0, 80.0, 160.0))
    runs, blocks = study.tables()
    hidden = runs["tokens_per_parameter"] == 160
    runs.loc[hidden, "holdout"] = True
    runs.loc[hidden, "val_loss"] += 0.5
    law = loss_horizon.fit(final_losses(runs, blocks), settings(), final_losses(runs, blocks, holdout=True))
    visible = loss_horizon.fit(
        losses_of(replace(study, tokens_per_parameter=study.tokens_per_parameter[:5])), settings()
    )
    assert parameters(law)["value"].tolist() == parameters(visible)["value"].tolist()
    score = one(scores(law), holdout="declared")
    assert (score["n_hidden"], score["status"]) == (1, "scored")
    assert score["mean_absolute_error"] == pytest.approx(0.5, abs=2e-3)
    carried_over = abs(Truth().val_loss(tokens(80)) - Truth().val_loss(tokens(160)) - 0.5)
    assert score["baseline_mean_absolute_error"] == pytest.approx(carried_over, rel=1e-6)


def test_hidden_horizons_need_a_law() -> None:
    runs, blocks = replace(STUDY, tokens_per_parameter=(5.0, 10.0, 20.0)).tables()
    runs["holdout"] = runs["tokens_per_parameter"] == 20
    law = loss_horizon.fit(final_losses(runs, blocks), settings(), final_losses(runs, blocks, holdout=True))
    declared = scores(law).query("holdout == 'declared'")
    assert set(declared["status"]) == {"2 horizons are open to the fit: three are needed"}
    assert set(declared["n_hidden"]) == {0}


def test_savings() -> None:
    """wsd is cosine with half the tokens: K·(2D)^-b. Half is saved where the halved horizon was trained as well."""
    study = Study(schedules={"cosine": Truth(), "wsd": Truth(K=3.0 * 2**-0.5, lr_scale=2.0**-0.4)})
    law = loss_horizon.fit(losses_of(study), settings())
    savings = [p for p in law.predictions if p["quantity"] == "compute_saving"]
    assert {p["schedule"] for p in savings} == {"wsd"}
    # At 10 the answer is 5, the shortest horizon: inside or outside by rounding to whole batches.
    assert [p["x"] for p in savings][-3:] == [20.0, 40.0, 80.0]
    np.testing.assert_allclose([p["value"] for p in savings], 0.5, atol=1e-4)
    assert not any(p["extrapolated"] for p in savings)


def test_savings_by_the_law() -> None:
    """The same half, at every horizon up to four times the longest, with an interval that noise makes."""
    study = Study(schedules={"cosine": Truth(), "wsd": Truth(K=3.0 * 2**-0.5, lr_scale=2.0**-0.4)})
    law = loss_horizon.fit(losses_of(study), settings())
    savings = [p for p in law.predictions if p["quantity"] == "compute_saving_by_law"]
    np.testing.assert_allclose([p["value"] for p in savings], 0.5, atol=0.02)
    assert (savings[0]["x"], savings[-1]["x"]) == (5.0, pytest.approx(320.0))
    assert [p["extrapolated"] for p in savings] == [p["x"] > 80.1 for p in savings]
    hits = []
    for seed, losses in noisy(study, n=8):
        found = valid(loss_horizon.fit(losses, settings(seed)))[tables.LAW_PREDICTIONS]
        rows = found[found["quantity"] == "compute_saving_by_law"]
        hits += [covered(row, 0.5) for _, row in rows.iloc[[8, -1]].iterrows()]
    assert_nominal(hits, 8)


def test_new_runs_lie_in_their_interval() -> None:
    """Of the longest horizon, hidden: nine in ten single runs, here means of two."""
    shares = []
    for seed, losses in noisy(STUDY, n=10):
        found = scores(loss_horizon.fit(losses, settings(seed)))
        shares += found["covered"].tolist()
    assert np.mean(shares) > 0.8


def test_without_replicates_horizons_are_drawn() -> None:
    """Twelve horizons, each run once, as imported logs have them."""
    study = replace(
        STUDY, schedules={"cosine": Truth(curvature=0.0)}, n_replicates=1, lr_factors=(1.0,), own_sd=0.003,
        tokens_per_parameter=tuple(np.geomspace(5, 160, 12)),
    )  # fmt: skip
    law = loss_horizon.fit(losses_of(study), settings())
    row = one(parameters(law), parameter="exponent")
    assert (row["status"], row["resampling_unit"]) == ("converged", "runs")
    assert row["ci_low"] < 0.5 < row["ci_high"]
    assert one(scores(law))["covered"] == 1.0


def test_savings_need_the_reference() -> None:
    law = loss_horizon.fit(losses_of(replace(STUDY, schedules={"wsd": Truth()})), settings())
    assert {p["quantity"] for p in law.predictions} == {"val_loss"}


def test_same_seed_same_tables() -> None:
    losses = losses_of(STUDY.noisy(0.003, 0))
    assert_same(loss_horizon.fit(losses, settings(1)), loss_horizon.fit(losses, settings(1)))


@pytest.mark.parametrize("n_replicates", [1, 2])
def test_the_law_without_an_asymptote_stands_beside(n_replicates: int) -> None:
    """Planted without one, at a million parameters: both of its own parameters, with intervals."""
    truth = Truth(irreducible_loss=0.0, K=20.0, exponent=0.12)
    study = replace(STUDY, schedules={"wsd": truth}, n_replicates=n_replicates).noisy(0.001, 0)
    found = parameters(loss_horizon.fit(losses_of(study), settings()))
    for name, planted in (("scale", 20.0), ("exponent", 0.12)):
        row = one(found, schedule="wsd", parameter=f"{name}_without_asymptote")
        assert row["value"] == pytest.approx(planted, rel=0.01)
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert row["status"] == "converged"


BENDING = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)


def test_the_interval_carries_what_the_law_missed_nearer_by() -> None:
    """Losses that fall faster and faster, which the law cannot follow: seen with little noise, always missed."""
    runs, blocks = replace(
        STUDY, schedules={"cosine": Truth()}, tokens_per_parameter=BENDING, own_sd=1e-3, n_replicates=3
    ).tables()
    runs["val_loss"] -= 0.012 * np.log2(runs["tokens_per_parameter"] / 5) ** 2
    law = loss_horizon.fit(final_losses(runs, blocks), settings())
    row = one(scores(law), holdout="longest_horizon")
    assert row["mean_absolute_error"] > 0.03
    assert row["covered"] == 1.0


def test_an_interval_is_not_known_where_no_horizon_can_be_hidden_inside() -> None:
    four = replace(STUDY.noisy(0.003, 0), tokens_per_parameter=BENDING[:4])
    assert scores(loss_horizon.fit(losses_of(four), settings()))["covered"].isna().all()


def test_repeated_text_is_no_longer_horizon() -> None:
    """Runs of eight epochs, worse by 0.3: the law is that of the fresh ones, and says how many it left out."""
    runs, blocks = replace(STUDY, schedules={"cosine": Truth()}, tokens_per_parameter=BENDING).tables()
    repeated = runs["tokens_per_parameter"] == 160
    runs.loc[repeated, "epochs"], runs.loc[repeated, "val_loss"] = 8.0, runs.loc[repeated, "val_loss"] + 0.3
    found = parameters(loss_horizon.fit(final_losses(runs, blocks), settings()))
    assert one(found, parameter="irreducible_loss")["value"] == pytest.approx(2.0, rel=0.01)
    assert one(found, parameter="n_repeated_left_out")["value"] == 1


def test_checkpoints_of_one_run_are_drawn_as_one() -> None:
    """Runs of one trunk tell nothing of another trunk, and the table says so."""
    study = replace(
        STUDY, schedules={"cosine": Truth()}, tokens_per_parameter=BENDING, lr_factors=(1.0,), n_replicates=1
    )
    runs, blocks = study.tables()
    for trunks, unit in (
        (["a"] * 6, "runs of one trunk"), (["a", "a", "b", "b", "c", "c"], "trunks"), ([None] * 6, "runs")
    ):  # fmt: skip
        found = parameters(loss_horizon.fit(final_losses(runs.assign(trunk_id=trunks), blocks), settings()))
        assert set(found["resampling_unit"]) == {unit}
