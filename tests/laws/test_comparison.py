"""Laws are compared on the same hidden points, and means are over points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import loss_horizon, loss_size_horizon
from glidepath.laws.comparison import compared
from glidepath.laws.law import LawTables, Settings
from glidepath.study import tables
from tests.laws.planted import losses_of, settings
from tests.synthetic import Study, Truth

SETTINGS = Settings("linear", 0.9, 100, 0)


def group(schedule: str) -> dict[str, Any]:
    return {"model": "m", "schedule": schedule, "batch_sequences": 8}


def scores(errors: dict[str, list[float]], *, holdout: str = "longest_horizon") -> pd.DataFrame:
    """A law that misses each schedule's hidden losses of 2 nat/token by these; the baseline misses by 0.1."""
    out = LawTables(SETTINGS, "replicates")
    for schedule, missed in errors.items():
        observed = np.full(len(missed), 2.0)
        predicted = observed + np.array(missed)
        out.score(
            group(schedule), holdout, "val_loss", predicted, observed, observed + 0.1,
            low=predicted - 0.03, high=predicted + 0.03,
        )  # fmt: skip
    return out.frames()[tables.LAW_SCORES]


def row(frame: pd.DataFrame, law: str) -> pd.Series[Any]:
    return frame[frame["law"] == law].iloc[0]


def test_means_are_over_points_and_laws_are_ranked_on_the_same_ones() -> None:
    good = scores({"linear": [0.01, -0.01, 0.04], "cosine": [0.02]})
    bad = scores({"linear": [0.05, 0.05, 0.05], "cosine": [0.05]})
    other = scores({"linear": [0.0]})
    found = compared({"bad": bad, "good": good, "other": other})
    best = row(found, "good")
    assert best["mean_absolute_error"] == pytest.approx(0.02)
    assert best["worst_relative_error"] == pytest.approx(0.02)
    assert best["skill"] == pytest.approx(0.8)
    assert best["covered"] == pytest.approx(0.75)
    assert (best["n_groups"], best["n_hidden"], best["n_laws"], best["rank"]) == (2, 4, 2, 1)
    assert (row(found, "bad")["n_laws"], row(found, "bad")["rank"]) == (2, 2)
    # Its error is the least, and says nothing: it was asked for less.
    assert (row(found, "other")["n_laws"], row(found, "other")["rank"]) == (1, 1)
    assert list(found["law"]) == ["good", "bad", "other"]


def test_kinds_of_what_is_hidden_are_kept_apart() -> None:
    found = compared(
        {
            "a": pd.concat([scores({"linear": [0.01]}), scores({"linear": [0.02]}, holdout="declared, 20 tokens")]),
            "b": scores({"linear": [0.03]}, holdout="one grid after another"),
            "c": scores({"linear": [0.03]}).assign(quantity="a_rate"),
        }
    )
    assert list(found["holdout_kind"]) == ["declared", "longest horizon", "other", "longest horizon"]
    assert list(found["quantity"]) == ["val_loss"] * 3 + ["a_rate"]


def test_a_law_that_could_hide_nothing_says_why_and_has_no_rank(tmp_path: Any) -> None:
    out = LawTables(SETTINGS, "replicates")
    out.not_scored(group("linear"), "largest size", "val_loss", "one size: two are needed")
    found = compared({"a": out.frames()[tables.LAW_SCORES]})
    assert found.iloc[0]["reason"] == "one size: two are needed"
    assert pd.isna(found.iloc[0]["rank"])
    tables.write(tables.LAW_COMPARISON, found, tmp_path / "law_comparison.parquet")


def test_without_laws_the_table_is_empty(tmp_path: Any) -> None:
    tables.write(tables.LAW_COMPARISON, compared({}), tmp_path / "law_comparison.parquet")


def test_laws_with_other_groups_are_ranked_on_the_same_hidden_runs() -> None:
    """A law per model and one over all sizes, asked for the longest horizon of every size."""
    study = Study(
        schedules={"cosine": Truth(curvature=0.0)}, models={f"m{n}": n * 1_000_000 for n in (1, 2, 4, 8)},
        size_amplitude=1.0, lr_factors=(1.0,), n_replicates=1,
    )  # fmt: skip
    losses = losses_of(study)
    found = compared(
        {
            name: law.fit(losses, settings(n_bootstrap=5)).frames()[tables.LAW_SCORES]
            for name, law in (("loss_horizon", loss_horizon), ("loss_size_horizon", loss_size_horizon))
        }
    )
    longest = found[found["holdout_kind"] == "longest horizon"]
    assert sorted(longest["n_groups"]) == [1, 4]
    assert set(longest["n_hidden"]) == {4}
    assert set(longest["n_laws"]) == {2}
    assert sorted(longest["rank"]) == [1, 2]


def test_laws_that_tell_their_hidden_points_and_laws_that_do_not_stand_in_one_table() -> None:
    told = scores({"linear": [0.01], "cosine": [0.02]}).assign(hidden=["0a", "0b"])
    found = compared(
        {
            "a": told,
            "b": scores({"linear": [0.03], "cosine": [0.03]}),
            "c": scores({"linear": [0.02], "cosine": [0.02]}),
        }
    )
    assert dict(zip(found["law"], found["n_laws"], strict=True)) == {"a": 1, "b": 2, "c": 2}
    assert row(found, "c")["rank"] == 1


def test_laws_are_ranked_on_the_points_that_all_of_them_predicted() -> None:
    """One law leaves a group open that another predicts badly: that is no reason to rank the other behind it."""
    whole = scores({"linear": [0.01], "cosine": [0.02], "wsd": [0.5]}).assign(hidden=["0a", "0b", "0c"])
    part = scores({"linear": [0.03], "cosine": [0.04]}).assign(hidden=["0a", "0b"])
    apart = scores({"linear": [0.0]}).assign(hidden=["0d"])
    found = compared({"part": part, "whole": whole, "apart": apart})
    columns = ["n_laws", "n_compared", "rank"]
    assert row(found, "whole")[columns].tolist() == [2, 2, 1]
    assert row(found, "part")[columns].tolist() == [2, 2, 2]
    assert row(found, "apart")[columns].tolist() == [1, 1, 1]
    assert row(found, "whole")["compared_error"] == pytest.approx(0.015)
    assert row(found, "whole")["mean_absolute_error"] == pytest.approx(0.53 / 3)
