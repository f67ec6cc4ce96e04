"""Sweeps of constant learning rates with planted regimes, thresholds and optima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from glidepath.laws.large_lr import constant_cells, large_lr, regimes
from glidepath.study import tables
from tests.figures.planted import filled
from tests.laws.planted import assert_nominal, one
from tests.synthetic import run

Floats = NDArray[np.float64]
LEVEL = 0.9
STEPS, BATCH = 800, 512
LRS = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
STATES = dict(zip(LRS, ("falls", "falls", "falls", "falls", "stands", "excluded"), strict=True))
OPTIMA = {"raw": 0.003, "averaged": 0.006, "cooldown": 0.008}
BASE = {"raw": 3.3, "averaged": 3.25, "cooldown": 3.2}
CURVATURE = 0.03
CHAINS = {
    "constant": ("a b c", "641 721 800"),
    "wsd_10": ("a b d", "641 721 800"),
    "wsd_20": ("a e", "641 800"),
    # Leaves the constant's training at update 641, its own decay begins at update 680.
    "wsd_15": ("a f", "641 800"),
}
"""Segments of every schedule and updates done at their ends."""


def final_loss(weights: str, lr: float) -> float:
    return float(BASE[weights] + CURVATURE * np.log(lr / OPTIMA[weights]) ** 2)


def study(
    seed: int = 0,
    *,
    sd: float = 0.002,
    optima: dict[str, float] | None = None,
    replicates: int = 2,
    window: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """runs, updates and averages: constants with cooldowns of two lengths, of which the longer one is better, and a
    better one yet of a training that is only alike for a while."""
    random = np.random.default_rng(seed)
    at = OPTIMA | (optima or {})
    runs, updates, averages = [], [], []
    step = np.arange(STEPS)
    for replicate in range(replicates):
        batches, shared = 0.15 * random.standard_normal(STEPS), sd * random.standard_normal()
        for lr in LRS:
            trunk, position = f"trunk-{lr}-{replicate}", sd * random.standard_normal()
            state = STATES[lr]

            def loss(weights: str, lr: float = lr, noise: float = shared + position) -> float:
                own = sd * random.standard_normal()
                return float(BASE[weights] + CURVATURE * np.log(lr / at[weights]) ** 2 + noise + own)

            cells = {"constant": loss("raw"), "wsd_10": loss("cooldown") + 0.02, "wsd_20": loss("cooldown")}
            cells["wsd_15"] = cells["wsd_20"] - 0.1
            for schedule, val_loss in cells.items():
                chain, ends = CHAINS[schedule]
                excluded = state == "excluded" and schedule == "constant"
                runs.append(
                    run(
                        cell_id=f"{schedule}-{lr}-{replicate}", model="tiny", schedule=schedule, peak_lr=lr,
                        schedule_kind=schedule.split("_")[0], tokens_per_parameter=10.0, replicate=replicate,
                        token_horizon=STEPS * BATCH, batch_sequences=8,
                        segments=" ".join(f"{segment}-{trunk}" for segment in chain.split()), segment_ends=ends,
                        decay_steps=0 if schedule == "constant" else STEPS * int(schedule.split("_")[1]) // 100,
                        status="excluded" if excluded else "completed", val_loss=val_loss + 2.0 * excluded,
                    )
                )  # fmt: skip
            pace = -0.3 if state == "falls" else 0.0
            curve = 3.5 + pace * np.log((step + 1) / STEPS) + batches + 0.05 * random.standard_normal(STEPS)
            # The best is the one that is lowest.
            curve += final_loss("raw", lr) - BASE["raw"]
            rows = {"cell_id": f"constant-{lr}-{replicate}", "step": step, "tokens_seen": (step + 1) * BATCH}
            updates.append(filled(tables.UPDATES, pd.DataFrame(rows | {"train_loss": curve}).to_dict("records")))
            named = {"window_10": loss("averaged") + 0.01, "window_20": loss("averaged")}
            if window:
                named["best_window"] = loss("averaged")
            averages += [
                {
                    "cell_id": f"constant-{lr}-{replicate}", "updates_done": STEPS, "at_end": True, "average": name,
                    "domain": "python", "val_loss_averaged": value, "cooldown_cell_id": None,
                }
                for name, value in named.items()
            ]  # fmt: skip
    return (
        pd.DataFrame(runs, columns=tables.RUNS.names),
        pd.concat(updates, ignore_index=True),
        filled(tables.AVERAGES, averages),
    )


def results(*args: Any, n_samples: int = 200, **options: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    found = regimes(*study(*args, **options), LEVEL)
    return found, large_lr(found, LEVEL, n_samples, seed=0)


def test_regimes_are_found_and_rows_are_whole() -> None:
    found, _ = results()
    by_lr = found.groupby("peak_lr")["regime"].agg(set)
    assert [by_lr[lr] for lr in LRS] == [{"converging"}] * 4 + [{"chaotic_equilibrium"}, {"divergent"}]
    row = one(found, cell_id="constant-0.008-0")
    assert row["lr_weight_decay"] == pytest.approx(0.0008)
    assert row["cooldown_cell_id"] == "wsd_20-0.008-0"
    assert row["average"] == "best_window"
    assert abs(row["slope"] + 0.3) < 5 * row["slope_se"]
    assert abs(row["pace"] + 0.15) < 5 * row["pace_se"]
    assert found["best_cell_id"].str.endswith(("0.002-0", "0.004-0", "0.002-1", "0.004-1")).all()


def test_the_threshold_and_the_optima_are_those_planted() -> None:
    _, found = results(sd=0.0005)
    for weights, truth in OPTIMA.items():
        row = one(found, weights=weights)
        assert (row["threshold_low"], row["threshold_high"]) == (0.016, 0.032)
        assert row["peak_lr"] == pytest.approx(truth, rel=0.1)
        assert row["ci_low"] < truth < row["ci_high"]
        assert row["verdict"] == "below"
        assert row["ratio_to_threshold"] == pytest.approx(row["peak_lr"] / np.sqrt(0.016 * 0.032))
        assert row["ratio_low"] == pytest.approx(row["ci_low"] / 0.032)


@pytest.mark.parametrize("power", [1.0, 0.0])
def test_weight_decay_at_the_optimum_follows_that_of_the_cells(power: float) -> None:
    """lr × weight_decay in proportion to the peak, as coupled weight decay has it, or the same for all peaks."""
    found, _ = results()
    found["lr_weight_decay"] = 0.1 * found["peak_lr"] ** power
    for _, row in large_lr(found, LEVEL, 100, 0).iterrows():
        assert row["status"] == "converged"
        assert row["lr_weight_decay"] == pytest.approx(0.1 * row["peak_lr"] ** power)


def test_without_weight_decay_there_is_none_at_the_optimum() -> None:
    runs, updates, averages = study()
    found = regimes(runs.assign(weight_decay=0.0), updates, averages, LEVEL)
    assert (large_lr(found, LEVEL, 100, 0)["lr_weight_decay"] == 0.0).all()


def test_an_optimum_above_the_threshold_and_one_at_it() -> None:
    _, found = results(sd=0.0005, optima={"averaged": 0.02, "cooldown": 0.042})
    assert one(found, weights="averaged")["verdict"] == "not resolved"
    assert one(found, weights="cooldown")["verdict"] == "above"


def test_intervals_of_the_optimum_cover_as_often_as_stated() -> None:
    """Losses with shared, position and own noise in the table of one study."""
    found, _ = results()
    found = found[found["peak_lr"] < 0.05].reset_index(drop=True)
    columns = {"raw": "val_loss_raw", "averaged": "val_loss_averaged", "cooldown": "val_loss_cooldown"}
    optima = {"raw": 0.005, "averaged": 0.006, "cooldown": 0.008}
    lrs, replicate = found["peak_lr"].to_numpy(), found["replicate"].to_numpy()
    hits: dict[str, list[bool]] = {weights: [] for weights in columns}
    for seed in range(100):
        random = np.random.default_rng(seed)
        common = 0.01 * random.standard_normal(2)[replicate] + 0.004 * random.standard_normal(len(found))
        for weights, column in columns.items():
            valley = BASE[weights] + CURVATURE * np.log(lrs / optima[weights]) ** 2
            found[column] = valley + common + 0.004 * random.standard_normal(len(found))
        for _, row in large_lr(found, LEVEL, 200, seed).iterrows():
            truth = optima[row["weights"]]
            hits[row["weights"]].append(bool(row["ci_low"] <= truth <= row["ci_high"]))
    for covered in hits.values():
        assert_nominal(covered, len(covered))


def test_without_windows_one_average_serves_the_whole_sweep() -> None:
    found, table = results(window=False)
    assert set(found["average"]) == {"window_20"}
    assert one(table, weights="averaged")["average"] == "window_20"


def test_without_averages_and_cooldowns_the_rest_is_there() -> None:
    runs, updates, averages = study()
    alone = runs[runs["schedule_kind"] == "constant"]
    found = regimes(alone, updates, averages.iloc[:0], LEVEL)
    assert len(found) == len(alone)
    assert found["val_loss_averaged"].isna().all()
    assert (found["average"] == "").all()
    assert found["val_loss_cooldown"].isna().all()
    assert large_lr(found, LEVEL, 100, 0)["weights"].tolist() == ["raw"]


def test_without_constant_schedules_both_tables_are_empty() -> None:
    runs, updates, averages = study()
    found = regimes(runs[runs["schedule_kind"] != "constant"], updates, averages, LEVEL)
    assert found.empty
    assert found.columns.tolist() == tables.REGIMES.names
    assert large_lr(found, LEVEL, 100, 0).columns.tolist() == tables.LARGE_LR.names


def test_too_short_a_log_leaves_regimes_undecided() -> None:
    runs, updates, averages = study()
    found = regimes(runs, updates[updates["step"] < 40], averages, LEVEL)
    assert set(found["regime"]) == {"undecided", "divergent"}
    assert np.isnan(large_lr(found, LEVEL, 100, 0)["threshold_low"]).all()


def test_a_replicate_that_diverged_takes_its_learning_rate_out_of_the_optimum() -> None:
    runs, updates, averages = study()
    gone = runs["cell_id"] == "constant-0.004-1"
    runs.loc[gone, ["status", "val_loss"]] = "diverged", np.nan
    found = regimes(runs, updates, averages, LEVEL)
    assert one(found, cell_id="constant-0.004-1")["regime"] == "divergent"
    # Raw loses that learning rate and the excluded one; of the averages nothing is missing.
    table = large_lr(found, LEVEL, 100, 0)
    assert one(table, weights="raw")["n_points"] == len(LRS) - 2
    assert one(table, weights="averaged")["n_points"] == len(LRS)
    # It does not converge, so the threshold of that replicate lies below it.
    assert one(table, weights="raw")["threshold_low"] == 0.002


def test_one_replicate_has_no_interval() -> None:
    _, found = results(replicates=1)
    assert found["ci_low"].isna().all()
    assert set(found["verdict"]) == {"not resolved"}


def test_only_the_longest_horizon_is_judged() -> None:
    runs, _, _ = study()
    shorter = runs.assign(tokens_per_parameter=5.0, cell_id=runs["cell_id"] + "-short")
    both = pd.concat([runs, shorter], ignore_index=True)
    assert not constant_cells(both)["cell_id"].str.endswith("short").any()
