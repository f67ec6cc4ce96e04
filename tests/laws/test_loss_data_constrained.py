"""The law for repeated text, from tables."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import loss_data_constrained
from glidepath.laws.law import LawTables
from glidepath.science.laws.data_constrained import DataConstrainedLaw
from glidepath.science.laws.size_horizon import SizeHorizonLaw
from glidepath.study import tables
from glidepath.study.final_losses import FinalLosses, final_losses
from tests.laws.planted import one, parameters, scores, settings, valid
from tests.synthetic import run

FRESH = SizeHorizonLaw(*(np.array(value) for value in (1.87, 520.0, 1490.0, 0.35, 0.36)))
TRUTH = DataConstrainedLaw(FRESH, np.array(12.0), np.array(4.0))


def losses(repeats: tuple[float, ...] = (1, 4, 16, 64), noise: float = 0.002, **fields: Any) -> FinalLosses:
    """Five sizes, five horizons."""
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for n, d, repeated in product(np.geomspace(3e7, 8e9, 5), np.geomspace(5e8, 5e10, 5), repeats):
        at = (np.array([value]) for value in (n, d, d / repeated))
        rows.append(
            run(
                cell_id=f"{n:.3g}-{d:.3g}-{repeated}", model=f"{n:.3g}", n_params_counted=round(n),
                schedule="cosine", peak_lr=np.nan, tokens_per_parameter=d / n, token_horizon=round(d),
                batch_sequences=0, replicate=0, epochs=repeated,
                val_loss=float(TRUTH.predict(*at)[0]) * float(np.exp(noise * random.standard_normal())),
            ) | fields
        )  # fmt: skip
    return final_losses(pd.DataFrame(rows, columns=tables.RUNS.names), tables.empty(tables.BLOCK_LOSSES))


@pytest.fixture(scope="module")
def law() -> LawTables:
    return loss_data_constrained.fit(losses(), settings(n_bootstrap=40))


def test_planted_repetitions(law: LawTables) -> None:
    for name, truth in (("R_D", 12.0), ("R_N", 4.0), ("alpha", 0.35), ("beta", 0.36)):
        row = one(parameters(law), parameter=name)
        assert row["value"] == pytest.approx(truth, rel=0.2)
        assert (row["status"], row["n_points"]) == ("converged", 100)
        assert row["ci_low"] < row["ci_high"]
    worth = valid(law)[tables.LAW_PREDICTIONS].query("quantity == 'worth_of_tokens'").set_index("x")["value"]
    assert worth[1.0] == 1.0
    assert worth[256.0] == pytest.approx(13 / 256, rel=0.2)


@pytest.mark.parametrize("holdout", ["largest_size", "longest_horizon", "most_epochs"])
def test_what_is_hidden_is_predicted(law: LawTables, holdout: str) -> None:
    score = one(scores(law), holdout=holdout)
    assert score["status"] == "scored"
    assert score["n_hidden"] == {"largest_size": 20, "longest_horizon": 12, "most_epochs": 25}[holdout]
    assert score["mean_absolute_error"] < 0.5 * score["baseline_mean_absolute_error"]
    assert score["covered"] > 0.6


def test_repeats_nearly_as_good_as_fresh_are_not_identified() -> None:
    """At most two epochs, 2 % noise."""
    found = parameters(loss_data_constrained.fit(losses((1, 2), noise=0.02), settings(n_bootstrap=10)))
    row = one(found, parameter="R_D")
    assert row["status"] == "not_identified"
    assert np.isnan(row["ci_high"])


@pytest.mark.parametrize(
    ("repeats", "fields", "words"),
    [((1,), {}, "no run is longer than its unique tokens"), ((1,), {"epochs": np.nan}, "of 25 of 25 runs are not")],
)
def test_nothing_to_fit_is_said(repeats: tuple[float, ...], fields: dict[str, Any], words: str) -> None:
    law = loss_data_constrained.fit(losses(repeats, **fields), settings(n_bootstrap=5))
    assert set(parameters(law)["status"]) == {"not_identified"}
    assert all(words in status for status in scores(law)["status"])
