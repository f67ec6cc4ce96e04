"""The joint law of optimal learning rates, from runs to tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import lr_size_horizon
from glidepath.study import tables
from glidepath.study.final_losses import final_losses
from tests.laws.planted import assert_nominal, assert_same, covered, one, parameters, scores, settings
from tests.laws.planted_grids import ALPHA, BETA, CURVATURE, GAMMA, Grids, peak_lr

AT_ONE = {"model": "all", "batch_sequences": 128}
OVER_BATCHES = {"model": "all", "batch_sequences": 0}
LRS = tuple(1e-4 * 2.0**i for i in range(8))
STUDY = Grids(batches=(64, 128, 256), lrs=LRS)
ONE_BATCH = replace(STUDY, batches=(128,))


def test_planted_law_is_exact_at_one_batch_and_over_them() -> None:
    found = parameters(lr_size_horizon.fit(STUDY.losses(), settings()))
    for where in (AT_ONE, OVER_BATCHES):
        assert one(found, parameter="alpha", **where)["value"] == pytest.approx(ALPHA, abs=1e-6)
        assert one(found, parameter="beta", **where)["value"] == pytest.approx(BETA, abs=1e-6)
        assert one(found, parameter="scatter", **where)["value"] < 1e-5
    assert one(found, parameter="gamma", **OVER_BATCHES)["value"] == pytest.approx(GAMMA, abs=1e-6)
    factor = one(found, parameter="factor_per_horizon_doubling", **AT_ONE)
    assert factor["value"] == pytest.approx(2**-BETA)
    cost = one(found, parameter="factor_2_cost", **AT_ONE)
    assert cost["value"] == pytest.approx(CURVATURE * np.log(2) ** 2)


@pytest.mark.parametrize("replicates", [1, 2])
def test_intervals_cover(replicates: int) -> None:
    """With replicates their noise is drawn anew, without them what the parabolas leave."""
    hits = []
    for seed in range(25):
        study = replace(ONE_BATCH, sd=0.004, replicates=replicates, seed=seed)
        found = parameters(lr_size_horizon.fit(study.losses(), settings(seed)))
        hits += [
            covered(one(found, parameter=name, **AT_ONE), value) for name, value in (("alpha", ALPHA), ("beta", BETA))
        ]
    assert_nominal(hits, 40)


def test_hidden_sweeps_are_inside_their_intervals() -> None:
    found = [
        scores(lr_size_horizon.fit(replace(ONE_BATCH, sd=0.004, seed=seed).losses(), settings(seed)))
        for seed in range(15)
    ]
    rows = [one(f, holdout=h, quantity="ln_peak_lr") for f in found for h in ("longest horizon", "largest size")]
    assert {row["n_hidden"] for row in rows} == {3}
    assert_nominal([row["covered"] for row in rows], 45)


def test_regret_is_small_where_the_law_is_true_and_large_for_the_rate_carried_over() -> None:
    study = replace(ONE_BATCH, horizons=(1e9, 8e9, 6.4e10))
    row = one(scores(lr_size_horizon.fit(study.losses(), settings())), holdout="largest size", quantity="regret")
    # Between two runs half an octave away the chord is at most this far above the lower of them.
    assert row["mean_absolute_error"] < CURVATURE * np.log(2) ** 2 / 4 + 1e-9
    assert row["mean_absolute_error"] < row["baseline_mean_absolute_error"]


def test_one_size_leaves_alpha_not_identified() -> None:
    law = lr_size_horizon.fit(replace(ONE_BATCH, sizes=(4e7,)).losses(), settings())
    found = parameters(law)
    assert one(found, parameter="alpha", **AT_ONE)["status"] == "not_identified"
    assert np.isnan(one(found, parameter="alpha", **AT_ONE)["value"])
    assert one(found, parameter="beta", **AT_ONE)["value"] == pytest.approx(BETA, abs=1e-6)
    assert one(scores(law), holdout="largest size")["n_hidden"] == 0


def test_one_ratio_of_tokens_to_parameters_tells_neither_exponent() -> None:
    runs = pd.concat([replace(ONE_BATCH, sizes=(n,), horizons=(20 * n,)).runs() for n in (1e8, 4e8, 2e9)])
    law = lr_size_horizon.fit(final_losses(runs, tables.empty(tables.BLOCK_LOSSES)), settings())
    found = parameters(law)
    for name in ("alpha", "beta"):
        assert one(found, parameter=name, **AT_ONE)["status"] == "not_identified"


def test_declared_hidden_horizons_are_scored() -> None:
    study = replace(ONE_BATCH, horizons=(1e9, 4e9, 1e10, 4e10), hidden_from=4e10)
    row = one(
        scores(lr_size_horizon.fit(study.losses(), settings(), study.hidden())),
        holdout="declared",
        quantity="ln_peak_lr",
    )
    assert row["n_hidden"] == 3
    assert row["mean_absolute_error"] < 1e-6
    assert row["baseline_mean_absolute_error"] == pytest.approx(BETA * np.log(4), rel=1e-4)


def test_predictions_go_beyond_the_longest_horizon_and_say_so() -> None:
    law = lr_size_horizon.fit(ONE_BATCH.losses(), settings())
    of_model = [p for p in law.predictions if p["model"] == "n4e+07"]
    assert of_model[-1]["x"] == pytest.approx(8e10)
    assert of_model[-1]["extrapolated"]
    assert of_model[-1]["value"] == pytest.approx(peak_lr(4e7, 8e10, 128 * 2048), rel=1e-4)


def test_same_seed_same_tables() -> None:
    losses = replace(ONE_BATCH, sd=0.002).losses()
    assert_same(lr_size_horizon.fit(losses, settings(1)), lr_size_horizon.fit(losses, settings(1)))
