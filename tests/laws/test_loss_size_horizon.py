"""The law in size and horizon."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import loss_size_horizon
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

SIZES = {"xs": 1_000_000, "s": 3_000_000, "m": 10_000_000, "l": 30_000_000}
STUDY = Study(
    schedules={"cosine": Truth()}, models=SIZES, size_amplitude=1.0, tokens_per_parameter=(5.0, 20.0, 80.0),
    lr_factors=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0), lr_centre=6e-4,
)  # fmt: skip
TRUTH = {"E": 2.0, "A": 1e6**0.3, "B": 3.0 * 1e6**0.5, "alpha": 0.3, "beta": 0.5}
"""Every optimum lies inside its grid: at an edge the best loss is that of a learning rate off the optimum."""


def test_planted_law_is_recovered_without_noise() -> None:
    found = parameters(loss_size_horizon.fit(losses_of(STUDY), settings(n_bootstrap=10)))
    assert set(found["model"]) == {"all"}
    for name, value in TRUTH.items():
        row = one(found, parameter=name)
        assert row["value"] == pytest.approx(value, rel=1e-2 if name in "AB" else 1e-3), name
        assert (row["status"], row["n_points"]) == ("converged", 12)


def test_intervals_cover() -> None:
    hits: dict[str, list[bool]] = {"E": [], "alpha": [], "beta": []}
    for seed, losses in noisy(STUDY, n=18):
        found = parameters(loss_size_horizon.fit(losses, settings(seed, n_bootstrap=40)))
        for name in hits:
            row = one(found, parameter=name)
            if row["status"] == "converged":
                hits[name].append(covered(row, TRUTH[name]))
    for name in hits:
        assert len(hits[name]) > 15
        assert_nominal(hits[name], len(hits[name]))


@pytest.mark.parametrize(("holdout", "hidden"), [("largest_size", 3), ("longest_horizon", 4)])
def test_score_of_what_is_hidden(holdout: str, hidden: int) -> None:
    """A size is a quarter of the points, a horizon in tokens per parameter a third."""
    score = one(scores(loss_size_horizon.fit(losses_of(STUDY), settings(n_bootstrap=2))), holdout=holdout)
    assert (score["n_hidden"], score["status"]) == (hidden, "scored")
    assert score["mean_absolute_error"] < 0.01
    assert score["baseline_mean_absolute_error"] > 0.05


def test_a_new_run_lies_in_its_interval() -> None:
    """Of single runs beyond the largest size and the longest horizon nine in ten."""
    shares = []
    for seed, losses in noisy(replace(STUDY, n_replicates=3), n=6):
        found = scores(loss_size_horizon.fit(losses, settings(seed, n_bootstrap=40)))
        shares += found["covered"].tolist()
    assert np.mean(shares) > 0.75


def test_other_architectures_have_a_law_of_their_own() -> None:
    """Two families of models, one half a nat below the other: a law through both would be neither's."""
    runs, blocks = STUDY.tables()
    more, more_blocks = STUDY.tables()
    more = more.assign(
        model="wide " + more["model"], cell_id="w" + more["cell_id"], architecture="0f", val_loss=more["val_loss"] - 0.5
    )
    blocks = pd.concat([blocks, more_blocks.assign(cell_id="w" + more_blocks["cell_id"])], ignore_index=True)
    losses = final_losses(pd.concat([runs.assign(architecture="1a"), more], ignore_index=True), blocks)
    found = parameters(loss_size_horizon.fit(losses, settings(n_bootstrap=2)))
    for model, irreducible in (("architecture 1a", 2.0), ("architecture 0f", 1.5)):
        assert one(found, model=model, parameter="E")["value"] == pytest.approx(irreducible, rel=1e-3)


def test_a_family_that_changes_with_its_size_is_one_law_and_said_to_be() -> None:
    """Every size another architecture, as where heads grow with it."""
    runs, blocks = STUDY.tables()
    law = loss_size_horizon.fit(final_losses(runs.assign(architecture=runs["model"]), blocks), settings(n_bootstrap=2))
    assert one(parameters(law), parameter="alpha")["value"] == pytest.approx(0.3, rel=1e-3)
    assert one(parameters(law), parameter="n_architectures")["value"] == 4
    same = parameters(loss_size_horizon.fit(losses_of(STUDY), settings(n_bootstrap=2)))
    assert "n_architectures" not in set(same["parameter"])


def test_an_outlying_point_is_reported_and_kept() -> None:
    runs, blocks = STUDY.tables()
    off = (runs["model"] == "m") & (runs["tokens_per_parameter"] == 20)
    runs.loc[off, "val_loss"] += 0.2
    law = loss_size_horizon.fit(final_losses(runs, blocks), settings(n_bootstrap=2))
    assert one(parameters(law), parameter="n_outliers")["value"] == 1
    assert one(parameters(law), parameter="E")["n_points"] == 12
    row = one(valid(law)[tables.LAW_PREDICTIONS], quantity="outlying_residual")
    assert (row["model"], row["x"]) == ("m", tokens(20, 10_000_000))
    assert row["value"] == pytest.approx(np.log1p(0.2 / 2.713), rel=0.01)


def test_least_loss_at_equal_compute() -> None:
    """At the largest compute no other size does better than the one that the law names."""
    law = loss_size_horizon.fit(losses_of(STUDY), settings(n_bootstrap=2))
    rows = valid(law)[tables.LAW_PREDICTIONS].query("x_name == 'train_flops_6nd'")
    largest = rows[rows["x"] == rows["x"].max()].set_index("quantity")["value"]
    assert 6 * largest["n_params_counted"] * largest["token_horizon"] == pytest.approx(rows["x"].max())

    def loss(n: float) -> float:
        d = rows["x"].max() / 6 / n
        return float(TRUTH["E"] + TRUTH["A"] * n ** -TRUTH["alpha"] + TRUTH["B"] * d ** -TRUTH["beta"])

    best = largest["n_params_counted"]
    assert loss(best) < min(loss(best * 1.1), loss(best / 1.1))
    assert largest["val_loss"] == pytest.approx(loss(best), abs=1e-3)


def test_runs_are_drawn_where_there_are_no_replicates() -> None:
    """Every run once, as in imported tables: 40 points, and intervals from drawing them anew."""
    study = replace(
        STUDY, schedules={"cosine": Truth(curvature=0.0)}, n_replicates=1, lr_factors=(1.0,),
        tokens_per_parameter=tuple(np.geomspace(5, 160, 10)),
    )  # fmt: skip
    law = loss_size_horizon.fit(losses_of(replace(study, own_sd=0.003)), settings(n_bootstrap=40))
    assert set(parameters(law)["resampling_unit"]) == {"runs"}
    row = one(parameters(law), parameter="beta")
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert one(scores(law), holdout="longest_horizon")["covered"] >= 0.5


def test_hidden_sizes_are_unseen_but_scored() -> None:
    runs, blocks = STUDY.tables()
    hidden = runs["model"] == "l"
    runs.loc[hidden, "val_loss"] += 0.5
    runs.loc[hidden, "holdout"] = True
    law = loss_size_horizon.fit(
        final_losses(runs, blocks), settings(n_bootstrap=2), final_losses(runs, blocks, holdout=True)
    )
    assert one(parameters(law), parameter="alpha")["value"] == pytest.approx(0.3, rel=0.05)
    score = one(scores(law), holdout="declared")
    assert (score["n_hidden"], score["status"]) == (3, "scored")
    assert score["mean_absolute_error"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("models", [{"xs": 1_000_000}, {"xs": 1_000_000, "s": 3_000_000}])
def test_too_few_sizes_are_not_identified(models: dict[str, int]) -> None:
    law = loss_size_horizon.fit(losses_of(replace(STUDY, models=models)), settings())
    assert set(parameters(law)["status"]) == {"not_identified"}
    assert parameters(law)["value"].isna().all()
    assert f"there are {len(models)} sizes" in one(scores(law), holdout="longest_horizon")["status"]


def test_three_sizes_are_fitted_but_not_scored() -> None:
    three = dict(list(SIZES.items())[:3])
    law = loss_size_horizon.fit(losses_of(replace(STUDY, models=three)), settings(n_bootstrap=2))
    assert set(parameters(law)["status"]) == {"converged"}
    status = one(scores(law), holdout="largest_size")["status"]
    assert status.startswith("without the largest sizes: ")
    assert "there are 2 sizes" in status


def test_same_seed_same_tables() -> None:
    losses = losses_of(STUDY.noisy(0.003, 0))
    assert_same(*(loss_size_horizon.fit(losses, settings(1, n_bootstrap=5)) for _ in range(2)))


def test_checkpoints_of_one_run_share_what_its_seed_did() -> None:
    """Seven runs, fifteen checkpoints of each, a common offset of every run: intervals of checkpoints drawn one by one
    miss the truth, those of whole runs hold it."""
    study = replace(
        STUDY, schedules={"cosine": Truth(curvature=0.0)}, n_replicates=1, lr_factors=(1.0,), n_blocks=1,
        models={f"m{n}": int(n) for n in np.geomspace(1e6, 64e6, 7)},
        tokens_per_parameter=tuple(np.geomspace(5, 160, 15)),
    )  # fmt: skip
    runs, blocks = study.tables()
    hits: dict[str, list[bool]] = {"runs": [], "trunks": []}
    for seed in range(4):
        offset = dict(zip(study.models, 0.01 * np.random.default_rng(seed).standard_normal(7), strict=True))
        of_seed = runs.assign(val_loss=runs["val_loss"] + runs["model"].map(offset))
        for unit, trunks in (("runs", None), ("trunks", runs["model"])):
            found = loss_size_horizon.fit(
                final_losses(of_seed.assign(trunk_id=trunks), blocks), settings(seed, n_bootstrap=40)
            )
            row = one(parameters(found), parameter="alpha")
            assert row["resampling_unit"] == unit
            if row["status"] == "converged":
                hits[unit].append(covered(row, 0.3))
    assert np.mean(hits["trunks"]) > np.mean(hits["runs"])
