"""Optimal learning rates of planted sweeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glidepath.laws import lr_optimum
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

STUDY = Study(schedules={"cosine": Truth(), "wsd": Truth(lr_scale=0.7, curvature=0.08)})


def test_planted_optima_are_exact_without_noise() -> None:
    found = parameters(lr_optimum.fit(losses_of(STUDY), settings()))
    for schedule, truth in STUDY.schedules.items():
        for horizon in STUDY.tokens_per_parameter:
            row = {"schedule": schedule, "tokens_per_parameter": horizon}
            D = tokens(horizon)
            expected = {
                "peak_lr": truth.peak_lr(D),
                "val_loss": truth.val_loss(D),
                "curvature": truth.curvature,
                "factor_2_cost": truth.curvature * np.log(2) ** 2,
            }
            for name, value in expected.items():
                estimate = one(found, **row, parameter=name)
                assert estimate["value"] == pytest.approx(value, rel=1e-6), name
                assert estimate["status"] == "converged"


def test_intervals_cover() -> None:
    hits: dict[str, list[bool]] = {"peak_lr": [], "curvature": [], "val_loss": []}
    for seed, losses in noisy(STUDY):
        found = parameters(lr_optimum.fit(losses, settings(seed)))
        for (schedule, horizon, name), rows in found.groupby(["schedule", "tokens_per_parameter", "parameter"]):
            if name not in hits:
                continue
            truth, D = STUDY.schedules[str(schedule)], tokens(float(horizon))
            value = {"peak_lr": truth.peak_lr(D), "curvature": truth.curvature, "val_loss": truth.val_loss(D)}[
                str(name)
            ]
            hits[str(name)].append(covered(rows.iloc[0], value))
    # Sweeps of one study are independent but for its estimate of the noise and, in val_loss, the text and `shared`.
    for name, effective in (("peak_lr", 100), ("curvature", 100), ("val_loss", 40)):
        assert_nominal(hits[name], effective)


def test_an_optimum_outside_the_grid_is_flagged() -> None:
    """The grid ends at 2e-4: the best rates are above."""
    law = lr_optimum.fit(losses_of(replace(STUDY, lr_centre=5e-5)), settings())
    found = parameters(law)
    assert set(found["status"]) == {"edge_of_grid"}
    assert set(found.loc[found["parameter"] == "peak_lr", "value"]) == {2e-4}
    assert found[["se", "ci_low", "ci_high"]].isna().all(axis=None)
    assert law.predictions == []


def test_two_learning_rates_fail() -> None:
    law = lr_optimum.fit(losses_of(replace(STUDY, lr_factors=(0.5, 1.0))), settings())
    assert set(parameters(law)["status"]) == {"failed"}
    assert set(scores(law)["status"]) == {"2 learning rates: hiding one needs at least 4"}


def test_band_contains_the_curve() -> None:
    predictions = valid(lr_optimum.fit(losses_of(STUDY.noisy(0.003, 0)), settings()))[tables.LAW_PREDICTIONS]
    inside = predictions[~predictions["extrapolated"]]
    assert (inside["ci_low"] < inside["value"]).all()
    assert (inside["value"] < inside["ci_high"]).all()


def test_inner_learning_rates_are_predicted() -> None:
    """A parabola is exact; interpolation over it is not. Three inner rates are hidden."""
    found = scores(lr_optimum.fit(losses_of(STUDY), settings()))
    assert len(found) == 10
    assert (found["n_hidden"] == 3).all()
    assert (found["mean_absolute_error"] < 1e-9).all()
    assert (found["baseline_mean_absolute_error"] > 0.01).all()


def test_hidden_cells_are_unseen_but_scored() -> None:
    """One learning rate, hidden and absurd: the optimum stays, the score says how absurd it is."""
    runs, blocks = STUDY.tables()
    hidden = (runs["tokens_per_parameter"] == 20) & np.isclose(runs["peak_lr"], 1e-3)
    runs.loc[hidden, "val_loss"] += 5.0
    runs.loc[hidden, "holdout"] = True
    law = lr_optimum.fit(final_losses(runs, blocks), settings(), final_losses(runs, blocks, holdout=True))
    row = one(parameters(law), schedule="cosine", tokens_per_parameter=20, parameter="peak_lr")
    assert row["value"] == pytest.approx(Truth().peak_lr(tokens(20)), rel=1e-6)
    score = one(scores(law), schedule="cosine", holdout="declared, 20 tokens per parameter")
    assert (score["n_hidden"], score["status"]) == (1, "scored")
    assert score["mean_absolute_error"] == pytest.approx(5.0)


def test_diverged_cells_are_excluded() -> None:
    runs, blocks = STUDY.tables()
    diverged = np.isclose(runs["peak_lr"], 4e-3)
    runs.loc[diverged, ["status", "val_loss"]] = ["diverged", np.nan]
    found = parameters(lr_optimum.fit(final_losses(runs, blocks), settings()))
    row = one(found, schedule="cosine", tokens_per_parameter=20, parameter="peak_lr")
    assert (row["n_points"], row["status"]) == (4, "converged")
    assert row["value"] == pytest.approx(Truth().peak_lr(tokens(20)), rel=1e-6)


def test_same_seed_same_tables() -> None:
    losses = losses_of(STUDY.noisy(0.003, 0))
    assert_same(lr_optimum.fit(losses, settings(1)), lr_optimum.fit(losses, settings(1)))
    one_seed, other = (parameters(lr_optimum.fit(losses, settings(s))) for s in (1, 2))
    assert (one_seed["value"] == other["value"]).all()
    assert (one_seed["ci_low"] != other["ci_low"]).any()


def test_what_is_resampled_is_said() -> None:
    for n, unit in ((1, "none: no replicates"), (2, "validation blocks and pooled replicates")):
        found = parameters(lr_optimum.fit(losses_of(replace(STUDY.noisy(0.003, 0), n_replicates=n)), settings()))
        assert set(found["resampling_unit"]) == {unit}
        assert found["ci_low"].notna().all() == (n > 1)
