"""Laws of curves on planted runs: what was hidden is predicted, and the intervals hold what they promise."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import annealing, multi_power
from glidepath.laws.best_curve_law import best_law, mean_errors
from glidepath.laws.curve_law import (
    CURVE,
    END,
    LONGEST_HORIZON,
    CurveLawTables,
    Spread,
    bands,
    curve_scores,
    curves_and_groups,
    fit_group,
)
from glidepath.laws.law import Settings
from glidepath.science.laws.curve import Curve
from glidepath.study import tables
from tests.laws.planted_curves import TRUE, WARMUP, lr_of, study

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


def test_intervals_of_hidden_runs_hold_what_they_promise() -> None:
    """Twelve studies: single runs of hidden schedules, whose curves are off as a whole."""
    covered = []
    for seed in range(12):
        (group,) = curves_and_groups(study(noise=0.004, seed=seed, replicates=1))[1]
        scores = curve_scores([fit_group("annealing", group, SETTINGS)])
        covered.append(scores.loc[scores["holdout"] == "schedule", ["covered_50", "covered_90"]].mean())
    half, most = np.mean(covered, axis=0)
    assert 0.4 < half < 0.75
    assert 0.85 < most < 0.99


def test_declared_runs_are_predicted_and_never_fitted() -> None:
    found = annealing.fit(study(holdout=("wsd_80",)), SETTINGS)
    scores = found.curve_scores
    declared = scores[scores["holdout"] == "declared"]
    assert set(declared["schedule"]) == {"wsd_80"}
    assert (declared["mean_relative_error"] < 0.006).all()
    fitted_runs = found.curve_predictions[~found.curve_predictions["hidden"]]
    assert "wsd_80" not in set(fitted_runs["schedule"])


def test_peaks_are_groups_of_their_own() -> None:
    _, groups = curves_and_groups(study(peak_lrs=(0.005, 0.01)))
    assert [group.peak_lr for group in groups] == [0.005, 0.01]


def test_a_run_that_was_not_made_is_predicted_with_wider_bands_further_out() -> None:
    (group,) = curves_and_groups(study(steps=(200, 400)))[1]
    fit = fit_group("annealing", group, SETTINGS)
    run = group.open[0]
    widths = []
    for steps in (400, 1600):
        lr = lr_of("wsd_50", steps, 0.01)
        curve = Curve(lr=lr, updates_done=np.array([steps]), warmup_steps=WARMUP)
        said = bands(fit, type(run)(**{**vars(run), "curve": curve, "keys": (f"asked {steps}",)}))
        assert said["low"][1] < TRUE.predict(curve) < said["high"][1]
        assert bool(said["extrapolated"][0]) == (steps > 400)
        widths.append(float(said["high"][1][0] - said["low"][1][0]))
    assert widths[1] > widths[0]


def test_one_schedule_has_no_interval_and_says_so() -> None:
    found = annealing.fit(study(schedules=("linear",)), SETTINGS)
    scores = pd.DataFrame(found.scores)
    assert scores.loc[scores["holdout"] == "schedule", "status"].str.contains("fewer than two schedules").all()
    assert found.curve_predictions["low_90"].isna().all()


def test_an_unknown_spread_gives_no_interval() -> None:
    known = Spread(0.01, 4, np.nan, 0)
    widths = known.half_widths(0.9, np.zeros(2), np.array([0.0, 0.5]))
    assert widths[0] == pytest.approx(2.132 * 0.01, rel=1e-3)
    assert np.isnan(widths[1])


def test_laws_are_compared_where_all_were_scored(fitted: CurveLawTables) -> None:
    scores = fitted.frames()[tables.LAW_SCORES]
    worse = scores.assign(mean_absolute_error=2 * scores["mean_absolute_error"]).iloc[:4]
    errors = mean_errors({"worse": worse, "better": scores})
    assert list(errors) == ["better", "worse"]
    assert errors["worse"] == pytest.approx(2 * errors["better"])
    assert best_law({"worse": worse, "better": scores}) == "better"
    with pytest.raises(ValueError, match="has predicted a hidden curve"):
        best_law({"none": scores.iloc[:0]})


def test_what_was_hidden_is_not_remembered() -> None:
    """Constant runs alone say nothing of what a drop is worth, which the fit of all runs knows."""
    found = annealing.fit(study(schedules=("constant", "wsd_50")), SETTINGS)
    status = {row["holdout"]: row["status"] for row in found.scores}
    assert "leave open what the law says of it" in status["schedule wsd_50"]
    assert "wsd_50" not in set(found.curve_scores.loc[found.curve_scores["holdout"] == "schedule", "schedule"])


@pytest.mark.parametrize("law", [annealing, multi_power])
def test_what_was_hidden_changes_no_prediction_of_it(law: ModuleType) -> None:
    """They may be anything."""
    there = study(steps=(400, 800), schedules=("constant", "linear", "wsd_50"), replicates=1)
    evaluations = there["evaluations"]
    hidden = evaluations["cell_id"].str.contains("wsd_50")
    # The median, which is the unit, stays.
    high = hidden & (evaluations["val_loss"] > evaluations["val_loss"].median())
    other = evaluations.assign(val_loss=evaluations["val_loss"].where(~high, evaluations["val_loss"] * 1.1))
    said = []
    for tables_of in (there, {**there, "evaluations": other}):
        (group,) = curves_and_groups(tables_of)[1]
        fit = fit_group(law.__name__.rsplit(".", 1)[1], group, SETTINGS)
        said.append(np.concatenate([one.predicted for one in fit.schedules["wsd_50"]]))
    np.testing.assert_allclose(said[0], said[1], rtol=1e-6)
