"""Laws of curves with the size in them, on planted runs of several sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import annealing_over_sizes, multi_power_over_sizes
from glidepath.laws.curve_groups import LARGEST_SIZE, REST_OF_LARGEST_SIZE
from glidepath.laws.curve_law import SCHEDULE
from glidepath.laws.curve_tables import CURVE, END, CurveLawTables
from glidepath.laws.law import Settings
from tests.laws.planted_curves import OVER_SIZES, SIZES, SOME_SCHEDULES, of_sizes, together

SETTINGS = Settings("linear", 0.9, 100, 0)
REST = f"{REST_OF_LARGEST_SIZE} but constant"


def worth_of_a_drop(law: Any) -> float:
    """Of 8 million parameters, in the end: better known than C, λ and γ are."""
    return float(law["C"] / (1 - law["momentum"]) * 8 ** law["gamma"])


@pytest.fixture(scope="module")
def fitted() -> CurveLawTables:
    return annealing_over_sizes.fit(of_sizes(*SIZES, steps=(200, 400, 1600)), SETTINGS)


def test_tables_are_complete_and_their_keys_unique(fitted: CurveLawTables) -> None:
    for table, frame in fitted.frames().items():
        assert frame.columns.tolist() == table.names
        assert len(frame)
        assert not frame[table.key].duplicated().any()
        assert not frame[table.key].isna().any(axis=None)
    assert {row["model"] for row in fitted.parameters} == {"all"}
    assert {row["model"] for row in fitted.predictions} == set(SIZES)


def test_the_planted_law_is_found(fitted: CurveLawTables) -> None:
    found = pd.DataFrame(fitted.parameters).set_index("parameter")
    assert set(found["status"]) == {"converged"}
    for name in ("irreducible_loss", "A", "alpha", "B", "beta"):
        assert found.loc[name, "value"] == pytest.approx(float(getattr(OVER_SIZES, name)), rel=0.1), name
    assert worth_of_a_drop(found["value"]) == pytest.approx(worth_of_a_drop(vars(OVER_SIZES)), rel=0.05)


def test_the_largest_size_is_hidden_and_predicted(fitted: CurveLawTables) -> None:
    scores = pd.DataFrame(fitted.scores)
    assert (scores["status"] == "scored").all()
    curve = scores[scores["quantity"] == CURVE].set_index("holdout")
    assert set(curve.index) == {
        *(f"{SCHEDULE} {name}" for name in SOME_SCHEDULES),
        "longest_horizon",
        LARGEST_SIZE,
        REST,
    }
    assert (curve["mean_relative_error"] < 0.004).all()
    # Of the size nobody has seen, a law knows more than the next smaller one, and no interval.
    unseen = curve.loc[LARGEST_SIZE]
    assert unseen["mean_absolute_error"] < 0.1 * unseen["baseline_mean_absolute_error"]
    assert np.isnan(unseen["covered"])
    ends = scores[scores["quantity"] == END].set_index("holdout")
    assert ends.loc[REST, "mean_absolute_error"] < 0.2 * ends.loc[REST, "baseline_mean_absolute_error"]
    assert curve.loc[REST, "covered"] > 0.8


def test_what_is_hidden_is_only_the_largest_size(fitted: CurveLawTables) -> None:
    hidden = fitted.curve_scores.set_index("holdout")
    assert set(hidden.loc[LARGEST_SIZE, "model"]) == {"64M"}
    assert set(hidden.loc[LARGEST_SIZE, "schedule"]) == set(SOME_SCHEDULES)
    assert set(hidden.loc[REST_OF_LARGEST_SIZE, "schedule"]) == set(SOME_SCHEDULES) - {"constant"}


def test_three_sizes_hide_the_rest_of_the_largest_alone() -> None:
    scores = pd.DataFrame(annealing_over_sizes.fit(of_sizes("1M", "4M", "16M"), SETTINGS).scores)
    status = scores[scores["quantity"] == CURVE].set_index("holdout")["status"]
    assert status[LARGEST_SIZE] == "fewer than 3 sizes are left without it"
    assert status[REST] == "scored"


def test_a_declared_size_is_predicted_from_smaller_ones() -> None:
    hidden = of_sizes("64M")
    hidden["runs"] = hidden["runs"].assign(holdout=True)
    found = annealing_over_sizes.fit(together(of_sizes("1M", "4M", "16M"), hidden), SETTINGS)
    declared = found.curve_scores[found.curve_scores["holdout"] == "declared"]
    assert set(declared["model"]) == {"64M"}
    assert (declared["mean_relative_error"] < 0.006).all()
    assert declared["covered_90"].isna().all()


def test_the_multi_power_law_predicts_them_too() -> None:
    scores = pd.DataFrame(multi_power_over_sizes.fit(of_sizes("1M", "4M", "16M", steps=(400,)), SETTINGS).scores)
    rest = scores[scores["holdout"] == REST].set_index("quantity")
    assert rest.loc[CURVE, "mean_relative_error"] < 0.006
    assert rest.loc[CURVE, "mean_absolute_error"] < 0.5 * rest.loc[CURVE, "baseline_mean_absolute_error"]


def test_two_sizes_are_refused() -> None:
    found = annealing_over_sizes.fit(of_sizes("1M", "4M"), SETTINGS)
    assert not found.parameters
    assert found.curve_predictions.empty
    assert {row["n_hidden"] for row in found.scores} == {0}
    assert all(row["status"].startswith("2 sizes, and a power of the size") for row in found.scores)
