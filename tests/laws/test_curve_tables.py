"""Laws of curves on planted runs, in their tables: what was hidden is predicted, and what was not says why."""

from __future__ import annotations

import pandas as pd
import pytest

from glidepath.laws import annealing
from glidepath.laws.curve_law import LONGEST_HORIZON
from glidepath.laws.curve_tables import CURVE, END, CurveLawTables
from glidepath.laws.law import Settings
from glidepath.study import tables
from tests.laws.planted_curves import TRUE, study

SETTINGS = Settings("linear", 0.9, 100, 0)


@pytest.fixture(scope="module")
def fitted() -> CurveLawTables:
    return annealing.fit(study(steps=(200, 400, 1600)), SETTINGS)


def test_tables_are_complete_and_their_keys_unique(fitted: CurveLawTables) -> None:
    frames = fitted.frames()
    assert set(frames) == {*tables.LAW_TABLES, *tables.CURVE_TABLES}
    for table, frame in frames.items():
        assert frame.columns.tolist() == table.names
        assert len(frame)
        assert not frame[table.key].duplicated().any()
        assert not frame[table.key].isna().any(axis=None)


def test_the_planted_law_is_found(fitted: CurveLawTables) -> None:
    found = pd.DataFrame(fitted.parameters).set_index("parameter")
    assert set(found["schedule"]) == {"all at peak_lr 0.01"}
    assert found.loc["irreducible_loss", "value"] == pytest.approx(float(TRUE.irreducible_loss), rel=0.03)
    assert found.loc["momentum", "value"] == pytest.approx(float(TRUE.momentum), abs=0.01)


def test_every_schedule_and_the_longest_horizon_are_hidden_and_predicted(fitted: CurveLawTables) -> None:
    scores = pd.DataFrame(fitted.scores)
    assert (scores["status"] == "scored").all()
    assert scores["holdout"].nunique() == 6
    curves = scores[scores["quantity"] == CURVE].set_index("holdout")
    assert (curves["mean_relative_error"] < 0.004).all()
    ends = scores[scores["quantity"] == END].set_index("holdout")
    assert (
        ends.loc["schedule linear", "mean_absolute_error"]
        < 0.3 * ends.loc["schedule linear", "baseline_mean_absolute_error"]
    )
    hidden = fitted.curve_predictions
    assert set(hidden["holdout"]) == {"none", "schedule", LONGEST_HORIZON}
    assert hidden.loc[hidden["holdout"] == LONGEST_HORIZON, "extrapolated"].any()


def test_declared_runs_are_predicted_and_never_fitted() -> None:
    found = annealing.fit(study(holdout=("wsd_80",)), SETTINGS)
    scores = found.curve_scores
    declared = scores[scores["holdout"] == "declared"]
    assert set(declared["schedule"]) == {"wsd_80"}
    assert (declared["mean_relative_error"] < 0.006).all()
    fitted_runs = found.curve_predictions[~found.curve_predictions["hidden"]]
    assert "wsd_80" not in set(fitted_runs["schedule"])


def test_one_schedule_has_no_interval_and_says_so() -> None:
    found = annealing.fit(study(schedules=("linear",)), SETTINGS)
    scores = pd.DataFrame(found.scores)
    assert scores.loc[scores["holdout"] == "schedule", "status"].str.contains("fewer than two schedules").all()
    assert found.curve_predictions["low_90"].isna().all()
