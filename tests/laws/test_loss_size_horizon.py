"""The law in size and horizon."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glidepath.laws import loss_size_horizon
from glidepath.study.final_losses import final_losses
from tests.laws.planted import assert_nominal, assert_same, covered, losses_of, noisy, one, parameters, scores, settings
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


def test_score_of_the_largest_size() -> None:
    score = one(scores(loss_size_horizon.fit(losses_of(STUDY), settings(n_bootstrap=2))))
    assert (score["holdout"], score["n_hidden"], score["status"]) == ("largest size", 3, "scored")
    assert score["mean_absolute_error"] < 0.01
    assert score["baseline_mean_absolute_error"] > 0.05


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
    assert f"there are {len(models)} sizes" in one(scores(law))["status"]


def test_three_sizes_are_fitted_but_not_scored() -> None:
    three = dict(list(SIZES.items())[:3])
    law = loss_size_horizon.fit(losses_of(replace(STUDY, models=three)), settings(n_bootstrap=2))
    assert set(parameters(law)["status"]) == {"converged"}
    assert one(scores(law))["status"] == "3 sizes: four are needed to hide the largest and fit the rest"


def test_same_seed_same_tables() -> None:
    losses = losses_of(STUDY.noisy(0.003, 0))
    assert_same(*(loss_size_horizon.fit(losses, settings(1, n_bootstrap=5)) for _ in range(2)))
