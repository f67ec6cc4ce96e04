"""The regression on features of the schedule, on tables of planted runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import schedule_features
from glidepath.laws.law import LawTables
from glidepath.science.schedules import FALLS
from glidepath.study import tables
from tests.figures.planted import filled
from tests.laws.planted import one, parameters, scores, settings, valid

KINDS = ("constant", "linear", "cosine", "wsd")
PEAKS = (0.005, 0.01, 0.02, 0.04)
STEPS = (200, 400, 800)
BATCH = 100


def lr_of(kind: str, peak_lr: float, steps: int) -> np.ndarray:
    u = np.arange(steps) / steps
    shape = {
        "constant": np.ones(steps),
        "linear": FALLS["linear"](u),
        "cosine": FALLS["cosine"](u),
        "wsd": np.where(u < 0.8, 1.0, (1 - u) / 0.2),
    }[kind]
    return peak_lr * shape * np.minimum(1.0, np.arange(1, steps + 1) / 10)


def loss(lr: np.ndarray, n_params: int, tokens: int) -> float:
    """With a minimum over the sum of the learning rate, and better the less noise the end leaves: the median sum of the
    runs is about four, and the memory of the end a tenth of that."""
    ahead = np.cumsum(lr[::-1])[::-1] - lr
    end = np.log((lr**2 * np.exp(-ahead / 0.4)).sum())
    logs = 1.4 - 0.08 * np.log(tokens / 2e4) - 0.05 * np.log(n_params / 1e6)
    return float(np.exp(logs + 0.02 * np.log(lr.sum() / 4) ** 2 + 0.01 * end))


def study(
    *,
    kinds: tuple[str, ...] = KINDS,
    sizes: tuple[int, ...] = (10**6,),
    replicates: int = 2,
    sd: float = 0.002,
    diverge_from: float = np.inf,
    hidden: str = "",
) -> dict[str, pd.DataFrame]:
    runs, updates = [], []
    generator = np.random.default_rng(0)
    for n in sizes:
        for kind in kinds:
            for peak_lr in PEAKS:
                for steps in STEPS:
                    lr = lr_of(kind, peak_lr, steps)
                    for replicate in range(replicates):
                        cell = f"{n}-{kind}-{peak_lr:g}-{steps}-{replicate}"
                        diverged = peak_lr >= diverge_from and kind in ("constant", "wsd")
                        value = loss(lr, n, steps * BATCH) * np.exp(sd * generator.standard_normal())
                        runs.append({
                            "cell_id": cell, "model": f"n{n}", "n_params_counted": n, "schedule": kind,
                            "schedule_kind": kind, "batch_sequences": 8, "peak_lr": peak_lr, "total_steps": steps,
                            "token_horizon": steps * BATCH, "tokens_per_parameter": steps / 10, "warmup_steps": 10,
                            "replicate": replicate, "trunk_id": cell, "holdout": kind == hidden,
                            "status": "diverged" if diverged else "completed",
                            "val_loss": np.nan if diverged else value,
                        })  # fmt: skip
                        applied = lr[:17] if diverged else lr
                        updates.append(pd.DataFrame(
                            {"cell_id": cell, "step": np.arange(len(applied)), "lr": applied, "batch_tokens": BATCH}
                        ))  # fmt: skip
    return {
        "runs": filled(tables.RUNS, runs),
        "updates": filled(tables.UPDATES, pd.concat(updates).to_dict("records")),
    }


def fit(found: dict[str, pd.DataFrame]) -> LawTables:
    return schedule_features.fit(found, settings())


@pytest.fixture(scope="module")
def planted() -> LawTables:
    return fit(study())


def test_a_hidden_family_is_predicted(planted: LawTables) -> None:
    found = scores(planted)
    row = one(found, holdout="schedule families", quantity="val_loss")
    assert row["n_hidden"] == 4 * 4 * 3 * 2
    assert row["mean_absolute_error"] < 0.5 * row["baseline_mean_absolute_error"]
    assert row["covered"] > 0.75
    plain = one(found, holdout="schedule families", quantity="val_loss_without_squares")
    assert row["mean_absolute_error"] < 0.7 * plain["mean_absolute_error"]


def test_predictions_are_of_points_whose_family_was_hidden(planted: LawTables) -> None:
    found = valid(planted)[tables.LAW_PREDICTIONS]
    assert len(found) == 4 * 4 * 3
    without = fit(study(kinds=("constant", "linear", "cosine")))
    rows = found[(found["schedule"] == "wsd")]
    assert set(valid(without)[tables.LAW_PREDICTIONS]["schedule"]) == {"constant", "linear", "cosine"}
    for _, row in rows.iterrows():
        steps = round(10 * row["tokens_per_parameter"])
        truth = loss(lr_of("wsd", row["x"], steps), 10**6, steps * BATCH)
        assert row["value"] == pytest.approx(truth, rel=0.05)


def test_ranking_is_beside_a_choice_by_lot(planted: LawTables) -> None:
    found = parameters(planted).set_index("parameter")["value"]
    assert found["rank_correlation"] > 0.8
    assert found["candidates_per_set"] == 16
    assert found["top_2_hit_rate_by_lot"] == pytest.approx(2 / 16)
    assert found["top_2_hit_rate"] >= found["top_2_hit_rate_by_lot"]


def test_features_that_do_not_vary_are_named(planted: LawTables) -> None:
    dropped = parameters(planted).query("status == 'not_identified'")["parameter"].tolist()
    assert dropped == ["ln_warmup_steps", "ln_parameters"]
    assert {"ln_lr_sum", "ln_lr_sum_squared", "ridge_strength"} <= set(parameters(planted)["parameter"])


def test_the_last_horizon_and_the_largest_size_are_hidden(planted: LawTables) -> None:
    assert one(scores(planted), holdout="longest_horizon")["n_hidden"] == 4 * 4 * 2
    assert "three are needed" in one(scores(planted), holdout="largest size")["status"]
    sizes = scores(fit(study(sizes=(10**6, 2 * 10**6, 4 * 10**6), replicates=1)))
    row = one(sizes, holdout="largest size", quantity="val_loss")
    assert row["mean_absolute_error"] < 0.5 * row["baseline_mean_absolute_error"]


def test_declared_runs_are_scored_and_not_fitted() -> None:
    found = scores(fit(study(hidden="wsd")))
    row = one(found, holdout="declared", quantity="val_loss")
    assert row["n_hidden"] == 4 * 3 * 2
    assert one(found, holdout="schedule families", quantity="val_loss")["n_hidden"] == 3 * 4 * 3 * 2
    assert row["mean_relative_error"] < 0.02


def test_divergence_is_told_from_schedules_as_planned() -> None:
    """Diverged cells logged 17 updates: a law that read those would know the answer."""
    found = parameters(fit(study(diverge_from=0.02))).set_index("parameter")["value"]
    assert found["diverged_share"] == pytest.approx(0.25)
    assert found["divergence_f1_if_always_expected"] == pytest.approx(0.4)
    assert 0 <= found["divergence_f1"] <= 1
    assert "not measured" in one(scores(fit(study())), quantity="divergence")["status"]


def test_a_diverged_cell_has_the_features_of_its_whole_schedule() -> None:
    all_there, some_lost = study(replicates=1), study(replicates=1, diverge_from=0.04)
    whole, planned = (schedule_features._features(one["runs"], one["updates"]) for one in (all_there, some_lost))
    assert (planned.frame["status"] == "diverged").sum() == 2 * 3
    np.testing.assert_allclose(planned.features, whole.features, rtol=1e-9)


def test_what_a_learning_rate_does_not_tell_is_left_out() -> None:
    found = study(replicates=1)
    kinds = found["runs"]["schedule_kind"].mask(found["runs"]["schedule"] == "wsd", "plateau")
    ramp = found["updates"]["cell_id"].str.contains("cosine") & (found["updates"]["step"] < 50)
    batch = found["updates"]["batch_tokens"].mask(ramp, BATCH // 2)
    kept = schedule_features._features(
        found["runs"].assign(schedule_kind=kinds), found["updates"].assign(batch_tokens=batch)
    )
    assert set(kept.frame["schedule"]) == {"constant", "linear"}


def test_two_families_are_too_few() -> None:
    found = fit(study(kinds=("constant", "linear")))
    assert "3 families" in one(scores(found), holdout="schedule families")["status"]
    assert set(parameters(found)["status"]) == {"failed"}


def test_runs_without_a_size_have_none_as_a_feature() -> None:
    found = study(replicates=1)
    runs = found["runs"].assign(n_params_counted=pd.array([pd.NA] * len(found["runs"]), dtype="Int64"))
    assert one(scores(fit({**found, "runs": runs})), holdout="schedule families", quantity="val_loss")["n_hidden"] == 48
