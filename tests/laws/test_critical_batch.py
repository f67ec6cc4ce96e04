"""The critical batch of planted sweeps and of published numbers, and the noise scale beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import critical_batch
from glidepath.laws.critical_batch import critical_batches, size_law
from glidepath.laws.steps_to_loss import StepsToLoss, steps_to_losses
from glidepath.study import tables
from tests.laws.planted_sweeps import CONTEXT, RATIO, REFERENCE, Planted, noise_scale, updates_to

LEVEL = 0.9
KEMPNER = Path(__file__).parents[3] / "shared/reference/data/cbs_kempner/steps_to_target.csv"
NO_NOISE = tables.empty(tables.NOISE_SCALE)


def swept(study: Planted, *targets: float) -> list[StepsToLoss]:
    return steps_to_losses(*study.runs_and_losses(), REFERENCE, targets)


def found(study: Planted, *targets: float, noise: pd.DataFrame = NO_NOISE) -> pd.DataFrame:
    return critical_batch.frame(swept(study, *targets), noise, REFERENCE, LEVEL)


def one(frame: pd.DataFrame, **where: Any) -> pd.Series:
    for key, value in ({"weights": "raw", "lr_rule": "re_tuned", "definition": "step_data_tradeoff"} | where).items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_the_planted_critical_batch_is_found_at_every_loss() -> None:
    frame = found(Planted())
    assert frame["target"].nunique() == 3
    for weights in ("raw", "window"):
        for target in ("lowest", "half_tokens", "quarter_tokens"):
            row = one(frame, weights=weights, target=target)
            assert row["critical_batch_sequences"] == pytest.approx(RATIO, rel=0.01)
            assert row["critical_batch_tokens"] == pytest.approx(CONTEXT * RATIO, rel=0.01)
            other = one(frame, weights=weights, target=target, definition="fixed_overhead_20pct")
            assert other["critical_batch_sequences"] == pytest.approx(RATIO / 5 + 1.2 * REFERENCE, rel=0.01)
            fewest = updates_to(row["target_loss"], np.inf, 1.5 if weights == "window" else 1.0)
            assert row["steps_min"] == pytest.approx(fewest, rel=0.01)
            assert row["examples_min"] == pytest.approx(fewest * RATIO, rel=0.01)
            assert row["status"] == other["status"] == "converged"
            assert (row["n_batches"], row["batches_left_out"]) == (6, "")


def test_tables_are_complete_and_their_keys_unique() -> None:
    frame = found(Planted())
    assert set(frame.columns) == set(tables.CRITICAL_BATCH.names)
    assert not frame[tables.CRITICAL_BATCH.key].duplicated().any()
    assert not frame[tables.CRITICAL_BATCH.key].isna().any(axis=None)


def test_rates_that_do_not_follow_the_batch_make_it_look_smaller() -> None:
    """Held at the reference batch's rate, both ends of the sweep waste updates; the grid holds every other batch."""
    frame = found(replace(Planted(), factors=tuple(2.0**i for i in range(-4, 4))), 3.4)
    none, sqrt = one(frame, lr_rule="none"), one(frame, lr_rule="sqrt")
    assert none["n_batches"] == 3
    assert none["rms_residual"] > 10 * sqrt["rms_residual"]


def test_intervals_from_curves_cover_at_their_level() -> None:
    """Three seeds, noise of their own, of the seed and of single evaluations; one rate, so that no choice flatters."""
    hits, sources = [], []
    for seed in range(60):
        study = Planted(factors=(1.0,), replicates=3, own_sd=0.04, shared_sd=0.05, loss_sd=0.01, seed=seed)
        runs, evaluations, averages = study.runs_and_losses()
        steps = steps_to_losses(runs, evaluations, averages.iloc[:0], REFERENCE, (3.3,))
        row = one(critical_batch.frame(steps, NO_NOISE, REFERENCE, LEVEL))
        hits.append(row["critical_batch_sequences_ci_low"] <= RATIO <= row["critical_batch_sequences_ci_high"])
        sources.append(row["noise_from"])
    assert 0.9 - 3 * (0.09 / 60) ** 0.5 < np.mean(hits) <= 1.0
    assert sources.count("replicates") > 45


def test_batches_that_do_not_reach_the_loss_are_left_out_and_named() -> None:
    row = one(found(Planted(), 2.9))
    assert (row["n_batches"], row["batches_left_out"]) == (5, "64")
    assert row["critical_batch_sequences"] == pytest.approx(RATIO, rel=0.02)


def test_a_sweep_that_ends_before_the_bend_says_so() -> None:
    row = one(found(replace(Planted(), batches=(2, 4, 8)), 3.4))
    assert row["status"] == "not_identified"
    assert "beyond the largest batch, 8" in row["reason"]


def test_too_few_batches_fail_with_the_reason() -> None:
    rows = found(Planted(), 7.5)
    assert set(rows["status"]) == {"failed"}
    assert rows["critical_batch_tokens"].isna().all()
    assert rows["reason"].str.contains("fewer than 3 batches").all()


# -- the noise scale beside it


def test_the_noise_scale_is_that_where_the_reference_batch_is_at_the_loss() -> None:
    """Windows around the crossing, at half and at twice its tokens: half way between in ln tokens."""
    study = Planted(replicates=2)
    crossing = updates_to(3.4, REFERENCE) * REFERENCE * CONTEXT
    names = [f"constant-b8-lr0.01-r{r}" for r in range(2)]
    windows = noise_scale(names, tokens=[round(crossing / 2), round(2 * crossing)], values=[800.0, 1600.0])
    moved = ["noise_scale_tokens", "ci_low", "ci_high"]
    windows.loc[windows["cell_id"] == names[1], moved] += 100.0
    row = one(found(study, 3.4, noise=windows))
    scale = row["noise_scale_total_tokens"]
    assert scale == pytest.approx(1250.0, rel=0.005)
    # Each cell: half of 80 and half of 160 in squares; the mean of two. Twice that upwards.
    below = np.hypot(40, 80) / 2**0.5
    assert row["noise_scale_total_tokens_ci_low"] == pytest.approx(scale - below, rel=0.002)
    assert row["noise_scale_total_tokens_ci_high"] == pytest.approx(scale + 2 * below, rel=0.002)
    value, low, high = (row[f"critical_batch_tokens{end}"] for end in ("", "_ci_low", "_ci_high"))
    for group in ("total", "body", "norm"):
        assert row[f"noise_scale_{group}_status"] == "ok"
        assert row[f"over_noise_scale_{group}"] == pytest.approx(value / scale)
    # The ratio is lowest where the noise scale is highest.
    ends = (
        np.hypot(np.log(value / low), np.log1p(2 * below / scale)),
        np.hypot(np.log(high / value), -np.log1p(-below / scale)),
    )
    assert row["over_noise_scale_total_ci_low"] == pytest.approx(value / scale * np.exp(-ends[0]), rel=0.005)
    assert row["over_noise_scale_total_ci_high"] == pytest.approx(value / scale * np.exp(ends[1]), rel=0.005)


def test_an_open_noise_scale_leaves_the_ratio_open_on_the_other_side() -> None:
    windows = noise_scale(["constant-b8-lr0.01-r0"], tokens=[10**6], values=[800.0], ci_high=np.nan)
    row = one(found(Planted(), 3.4, noise=windows))
    assert np.isnan(row["over_noise_scale_total_ci_low"])
    assert row["over_noise_scale_total"] < row["over_noise_scale_total_ci_high"]


def test_beyond_the_windows_it_is_that_of_the_nearest() -> None:
    for tokens, value in (([10**3, 2 * 10**3], 1600.0), ([10**8, 10**9], 800.0), ([10**6], 800.0)):
        windows = noise_scale(["constant-b8-lr0.01-r0"], tokens=tokens, values=[800.0, 1600.0][: len(tokens)])
        row = one(found(Planted(), 3.4, noise=windows))
        assert row["noise_scale_norm_tokens"] == pytest.approx(value)
        assert row["noise_scale_norm_tokens_ci_low"] == pytest.approx(0.9 * value)
        assert row["noise_scale_norm_tokens_ci_high"] == pytest.approx(1.2 * value)


@pytest.mark.parametrize("values", [[-500.0, -400.0], [500.0, 400.0]])
def test_an_untrusted_noise_scale_is_shown_without_a_ratio(values: list[float]) -> None:
    windows = noise_scale(["constant-b8-lr0.01-r0"], tokens=[10**5, 10**7], values=values, status="untrusted")
    row = one(found(Planted(), 3.4, noise=windows))
    assert row["noise_scale_total_status"] == "untrusted"
    assert np.sign(row["noise_scale_total_tokens"]) == np.sign(values[0])
    assert row.filter(like="over_noise_scale").isna().all()


def test_without_probes_there_is_none() -> None:
    row = one(found(Planted(), 3.4, noise=noise_scale(["constant-b16-lr0.01-r0"], tokens=[10**6], values=[1.0])))
    assert row["noise_scale_total_status"] == "none"
    assert row.filter(regex="^(noise_scale|over).*(tokens|scale_total)$").isna().all()


# -- numbers from elsewhere


def frame_of(*ratios: float, replicates: int = 1) -> pd.DataFrame:
    """Steps of models of 1, 2, … parameters with these critical batches."""
    random = np.random.default_rng(0)
    rows = [
        {"model": f"m{i}", "n_params": i, "batch": batch, "replicate": r,
         "steps": 100.0 * i * (1 + ratio / batch) * np.exp(0.02 * random.standard_normal() if replicates > 1 else 0)}
        for i, ratio in enumerate(ratios, start=1)
        for batch in (64, 128, 256, 512, 1024)
        for r in range(replicates)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_plain_frame_is_enough() -> None:
    critical = critical_batches(frame_of(100.0, 200.0, 300.0).drop(columns="replicate"), 64, LEVEL)
    trade_off = critical[critical["definition"] == "step_data_tradeoff"]
    np.testing.assert_allclose(trade_off["critical_batch"], [100, 200, 300], rtol=1e-6)
    np.testing.assert_allclose(trade_off["steps_min"], [100, 200, 300], rtol=1e-6)
    overhead = critical[critical["definition"] == "fixed_overhead_20pct"]
    np.testing.assert_allclose(overhead["critical_batch"], np.array([100, 200, 300]) / 5 + 1.2 * 64, rtol=1e-6)
    law = size_law(critical, "step_data_tradeoff", LEVEL)
    assert (law.scale, law.exponent) == pytest.approx((100.0, 1.0), rel=1e-5)


def test_replicates_of_a_plain_frame_give_the_noise() -> None:
    critical = critical_batches(frame_of(300.0, replicates=3), 64, LEVEL, overhead=0.5)
    assert set(critical["noise_from"]) == {"replicates"}
    assert critical["definition"].tolist() == ["step_data_tradeoff", "fixed_overhead_50pct"]
    assert (critical["critical_batch_ci_low"] < critical["critical_batch"]).all()
    assert (critical["critical_batch"] < critical["critical_batch_ci_high"]).all()


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (frame_of(100.0).drop(columns=["n_params", "steps"]), "without n_params, steps: add the column"),
        (frame_of(100.0, 200.0).query("model == 'm1' or batch > 256"), "model m2: .*3 different batches"),
    ],
)
def test_frames_that_do_not_do_are_refused(frame: pd.DataFrame, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        critical_batches(frame, 64, LEVEL)


def test_a_law_needs_two_sizes_of_its_definition() -> None:
    critical = critical_batches(frame_of(100.0), 64, LEVEL)
    with pytest.raises(ValueError, match="1 sizes with a critical batch of definition step_data_tradeoff"):
        size_law(critical, "step_data_tradeoff", LEVEL)


@pytest.mark.skipif(not KEMPNER.exists(), reason="published steps to a loss: ../shared/reference/data is not there")
def test_the_published_law_of_zhang_et_al() -> None:
    """arXiv 2410.21676: a 1293.83, b 2834258 at 85M; critical batches by size; 93.20 N^0.47, N in millions."""
    data = pd.read_csv(KEMPNER).rename(
        columns={"params_M": "n_params", "batch_size_seq": "batch", "steps_to_goal": "steps"}
    )
    critical = critical_batches(data, 256, LEVEL)
    assert set(critical["status"]) == {"converged"}
    smallest = critical.iloc[0]
    assert smallest["steps_min"] == pytest.approx(1293.83, rel=1e-5)
    assert smallest["examples_min"] == pytest.approx(2_834_258, rel=1e-5)
    overhead = critical[critical["definition"] == "fixed_overhead_20pct"]
    published = [745.320, 955.158, 1393.727, 1888.522, 2533.411]
    np.testing.assert_allclose(overhead["critical_batch"], published, rtol=1e-5)
    assert (overhead["critical_batch_ci_low"] < published).all()
    assert (overhead["critical_batch_ci_high"] > published).all()
    expected = {
        ("fixed_overhead_20pct", "ratios"): (93.1968, 0.468278),
        ("fixed_overhead_20pct", "differences"): (99.506, 0.45764),
        ("step_data_tradeoff", "ratios"): (146.1, 0.619),
    }
    for (definition, residuals), (scale, exponent) in expected.items():
        law = size_law(critical, definition, LEVEL, residuals)  # type: ignore[arg-type]
        assert law.scale == pytest.approx(scale, rel=1e-3)
        assert law.exponent == pytest.approx(exponent, abs=5e-4)
        assert law.exponent_low < exponent < law.exponent_high
