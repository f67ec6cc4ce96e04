"""Laws of curves with the size in them, on planted runs of several sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import annealing_over_sizes, multi_power_over_sizes
from glidepath.laws.curve_groups import LARGEST_SIZE, REST_OF_LARGEST_SIZE, groups_over_sizes, horizon_ranks
from glidepath.laws.curve_law import CURVE, END, SCHEDULE, CurveLawTables
from glidepath.laws.curves import Curves, curves_of
from glidepath.laws.law import Settings
from tests.laws.planted_curves import OVER_SIZES, SIZES, study

SETTINGS = Settings("linear", 0.9, 100, 0)
SCHEDULES = ("constant", "linear", "wsd_50")
REST = f"{REST_OF_LARGEST_SIZE} but constant"


def of_sizes(*models: str, **planted: object) -> dict[str, pd.DataFrame]:
    """A study of these sizes with one replicate."""
    sizes = {model: SIZES[model] for model in models}
    given = {"schedules": SCHEDULES, "replicates": 1, "law": OVER_SIZES, "models": sizes} | planted
    return study(**given)  # type: ignore[arg-type]


def together(*studies: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {name: pd.concat([one[name] for one in studies], ignore_index=True) for name in studies[0]}


def curves(found: dict[str, pd.DataFrame]) -> Curves:
    return curves_of(found["runs"], found["updates"], found["evaluations"])


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
    assert set(curve.index) == {*(f"{SCHEDULE} {name}" for name in SCHEDULES), "longest_horizon", LARGEST_SIZE, REST}
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
    assert set(hidden.loc[LARGEST_SIZE, "schedule"]) == set(SCHEDULES)
    assert set(hidden.loc[REST_OF_LARGEST_SIZE, "schedule"]) == set(SCHEDULES) - {"constant"}


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


def refusals(found: dict[str, pd.DataFrame]) -> list[str]:
    return [group.refusal for group in groups_over_sizes(curves(found).runs)]


def test_two_sizes_are_refused() -> None:
    found = annealing_over_sizes.fit(of_sizes("1M", "4M"), SETTINGS)
    assert not found.parameters
    assert found.curve_predictions.empty
    assert {row["n_hidden"] for row in found.scores} == {0}
    assert all(row["status"].startswith("2 sizes, and a power of the size") for row in found.scores)


def test_a_peak_of_its_own_for_every_size_is_refused() -> None:
    parts = [of_sizes(model, peak_lrs=(peak,)) for model, peak in (("1M", 0.02), ("4M", 0.01), ("16M", 0.005))]
    (refusal,) = refusals(together(*parts))
    assert "no peak_lr has 3 sizes (1e+06 parameters at 0.02; 4e+06 parameters at 0.01" in refusal


def test_peaks_that_sizes_share_are_groups_and_others_are_refused() -> None:
    found = together(of_sizes("1M", "4M", "16M"), of_sizes("1M", peak_lrs=(0.02,)))
    shared, alone = groups_over_sizes(curves(found).runs)
    assert (shared.peak_lr, shared.refusal, len(shared.runs)) == (0.01, "", 18)
    assert alone.peak_lr == 0.02
    assert alone.refusal.startswith("1 size")


def test_a_size_that_is_not_known_is_refused() -> None:
    found = of_sizes("1M", "4M", "16M")
    found["runs"] = found["runs"].assign(n_params_counted=pd.NA)
    assert refusals(found) == ["the size of 16M, 1M, 4M is not known: give n_params"]


def test_architectures_are_laws_of_their_own() -> None:
    wide, deep = of_sizes("1M", "4M", "16M"), of_sizes("64M")
    found = together(
        wide | {"runs": wide["runs"].assign(architecture="wide")},
        deep | {"runs": deep["runs"].assign(architecture="deep")},
    )
    first, second = groups_over_sizes(curves(found).runs)
    assert (first.model, second.model) == ("architecture deep", "architecture wide")
    assert first.refusal
    assert {run.model for run in second.runs} == {"1M", "4M", "16M"}


def test_horizons_are_counted_per_size_and_a_log_that_ends_early_is_no_other() -> None:
    found = together(of_sizes("1M", steps=(200, 400, 404)), of_sizes("4M", steps=(800, 1600)))
    ranks = horizon_ranks(curves(found).runs)
    of = {cell.split("-")[0] + cell.split("-")[3]: rank for cell, rank in ranks.items()}
    assert of == {"1M200": 0, "1M400": 1, "1M404": 1, "4M800": 0, "4M1600": 1}
