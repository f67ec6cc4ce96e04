"""Runs whose noise scales are planted: y = slope·x along training, with the noise that probes have."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.__main__ import main
from glidepath.laws.noise_scale_regression import ESTIMATES, Settings, noise_scale_regression
from glidepath.study import tables
from tests.figures.planted import filled

CONTEXT, BATCH, EVERY = 64, 16, 4
SLOPE = 2.0
SETTINGS = Settings(windows=8, smoothing_decays=(0.9,), ci_level=0.9, n_bootstrap=100, seed=0)
LAYERS = ("norm", "attention", "feed_forward", "embedding", "head")


def statistics(
    cell_id: str,
    random: np.random.Generator,
    *,
    n: int = 200,
    slope: float = SLOPE,
    noise: float = 0.3,
    power: float = 0.5,
    wiggle: float = 0.0,
    shared: float = 0.0,
    layers: tuple[str, ...] = ("norm", "attention"),
) -> pd.DataFrame:
    """One cell's rows: n probes; norm layers of noise scale 40·(share of training)^power, others `slope` times that.

    |G|² of a probe errs by `noise` relatively, trΣ by half of it. `wiggle`: of the true noise scale, in waves of the
    layer's own; `shared`: the same waves in both.
    """
    share = (np.arange(n) + 1) / n
    waves = np.sin(2 * np.pi * np.outer(7 + random.random(3), share) + 6 * random.random((3, 1)))
    rows = []
    for layer in layers:
        own = waves[0] if layer == "norm" else waves[1]
        scale = 40 * share**power * np.exp(wiggle * own + shared * waves[2]) * (1.0 if layer == "norm" else slope)
        size = 1e-3 if layer == "norm" else 1e-1
        true = size * share**-0.2 * (1 + noise * random.standard_normal(n))
        trace = size * share**-0.2 * scale * (1 + noise / 2 * random.standard_normal(n))
        step = EVERY * np.arange(n)
        rows.append(
            pd.DataFrame(
                {
                    "cell_id": cell_id,
                    "step": step,
                    "tokens_seen": (step + 1) * CONTEXT * BATCH,
                    "group": layer,
                    "grad_sq_norm_small": true + trace,
                    "grad_sq_norm_big": true + trace / BATCH,
                    "small_batch_tokens": CONTEXT,
                    "big_batch_tokens": CONTEXT * BATCH,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)[tables.GRADIENT_STATISTICS.names]


def run(cell_id: str, n: int = 200, **changes: Any) -> dict[str, Any]:
    steps = EVERY * n
    return {
        "cell_id": cell_id, "model": "small", "schedule": "constant", "peak_lr": 0.01, "trunk_id": cell_id,
        "total_steps": steps, "token_horizon": steps * CONTEXT * BATCH, "status": "completed", "probed": True,
        "holdout": False, **changes,
    }  # fmt: skip


def runs(*rows: dict[str, Any]) -> pd.DataFrame:
    return filled(tables.RUNS, list(rows))


def regression(frame: pd.DataFrame, *rows: dict[str, Any], settings: Settings = SETTINGS) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return noise_scale_regression(frame, runs(*rows), settings)


def total(found: pd.DataFrame, cell_id: str = "", smoothing: str = "windows", group: str = "total") -> Any:
    return found[
        (found["cell_id"] == cell_id) & (found["smoothing"] == smoothing) & (found["group"] == group)
    ].squeeze()


@cache
def many(n_cells: int, **planted: Any) -> pd.DataFrame:
    """Rows of single cells of independent runs."""
    random = np.random.default_rng(0)
    ids = [f"cell{i:03}" for i in range(n_cells)]
    frame = pd.concat([statistics(cell_id, random, **planted) for cell_id in ids])
    found = regression(frame, *(run(cell_id) for cell_id in ids))
    return found[found["cell_id"] != ""]


def covered(found: pd.DataFrame, name: str, truth: float) -> float:
    return float(((found[f"{name}_ci_low"] <= truth) & (truth <= found[f"{name}_ci_high"])).mean())


def test_without_noise_all_is_exact() -> None:
    found = regression(statistics("a", np.random.default_rng(0), noise=0.0, layers=LAYERS), run("a"))
    assert set(found["group"]) == {*LAYERS[1:], "matrix", "body", "total"}
    assert set(found["smoothing"]) == {"windows", "ema_0.9"}
    assert set(found["cell_id"]) == {"a", ""}
    row = total(found, group="matrix")
    assert (row["n_cells"], row["n_points"], row["n_left_out"], row["status"]) == (1, 8, 0, "ok")
    assert total(found, smoothing="ema_0.9")["n_points"] == 96
    for group, truth in (("attention", SLOPE), ("total", (1e-3 + 4e-1 * SLOPE) / (1e-3 + 4e-1))):
        for smoothing in ("windows", "ema_0.9"):
            row = total(found, smoothing=smoothing, group=group)
            assert row["slope"] == pytest.approx(truth)
            assert row["log_log_slope"] == pytest.approx(1.0)
            for name in ESTIMATES[2:]:
                assert row[name] == pytest.approx(1.0), name


def test_body_is_without_embedding_and_head() -> None:
    """The noise of embedding and head is four times as large: in `total` only."""
    frame = statistics("a", np.random.default_rng(0), noise=0.0, layers=LAYERS)
    trace = (frame["grad_sq_norm_small"] - frame["grad_sq_norm_big"]) / (1 - 1 / BATCH)
    more = 3 * trace.where(frame["group"].isin(["embedding", "head"]), 0.0)
    frame["grad_sq_norm_small"] += more
    frame["grad_sq_norm_big"] += more / BATCH
    found = regression(frame, run("a"))
    assert total(found, group="matrix")["slope"] == pytest.approx(SLOPE)
    assert total(found, group="body")["slope"] == pytest.approx((1e-3 + 2e-1 * SLOPE) / (1e-3 + 2e-1))
    assert total(found)["slope"] == pytest.approx((1e-3 + 2e-1 * SLOPE * (1 + 4)) / (1e-3 + 4e-1))


@pytest.mark.parametrize(("smoothing", "low"), [("windows", 0.85), ("ema_0.9", 0.82)])
def test_slope_of_one_cell_is_covered(smoothing: str, low: float) -> None:
    """120 runs: at least nearly nominal, for each of two slopes."""
    found = many(120)
    rows = found[(found["smoothing"] == smoothing) & (found["group"] == "attention")]
    assert rows["slope"].mean() == pytest.approx(SLOPE, rel=0.03)
    assert low < covered(rows, "slope", SLOPE) < 0.99
    assert low - 0.02 < covered(rows, "log_log_slope", 1.0) < 0.99


def test_noise_lowers_a_slope_and_its_interval_knows() -> None:
    """With nearly as much noise as signal in a probe, averages of ten probes find slopes that are too small, and lower
    r than windows of 25. Intervals are about the slope without noise, estimates are not corrected."""
    found = many(40, noise=0.7)
    rows = found[(found["smoothing"] == "ema_0.9") & (found["group"] == "attention")]
    middle = np.sqrt(rows["slope_ci_low"] * rows["slope_ci_high"])
    assert (middle > rows["slope"]).mean() > 0.9
    assert rows["log_log_slope"].mean() < 0.97
    assert covered(rows, "slope", SLOPE) > 0.75
    assert rows["correlation"].mean() < found.loc[found["smoothing"] == "windows", "correlation"].mean()


def test_slope_of_several_cells_is_covered() -> None:
    """Cells differ by 15 % in their slope: an interval of all together must be about the mean of such cells."""
    random = np.random.default_rng(1)
    hits, widths = [], []
    for _ in range(25):
        ids = [f"cell{i}" for i in range(5)]
        frame = pd.concat(
            [statistics(one, random, n=100, slope=SLOPE * np.exp(0.15 * random.standard_normal())) for one in ids]
        )
        found = regression(frame, *(run(one, 100) for one in ids), settings=Settings(8, (), 0.9, 100, 0))
        row = total(found, group="attention")
        assert row["n_cells"] == 5
        hits.append(row["slope_ci_low"] <= SLOPE <= row["slope_ci_high"])
        single = total(found, "cell0", group="attention")
        widths.append((row["slope_ci_high"] - row["slope_ci_low"]) / (single["slope_ci_high"] - single["slope_ci_low"]))
    assert 0.78 < np.mean(hits) < 0.98
    assert np.mean(widths) > 1


def test_planted_correlation_beyond_the_trend() -> None:
    """Without a trend, r of logarithms is s²/(s² + w²) with shared waves s and own waves w: 0.8."""
    found = many(30, power=0.0, shared=0.4, wiggle=0.2, noise=0.05)
    rows = found[(found["smoothing"] == "ema_0.9") & (found["group"] == "attention")]
    assert rows["log_correlation"].mean() == pytest.approx(0.8, abs=0.05)
    assert rows["detrended_correlation"].mean() == pytest.approx(0.8, abs=0.06)


def test_a_common_trend_alone_is_no_correlation_once_removed() -> None:
    """Both grow along training, their noise is their own: r is high, and near zero without the trend."""
    found = many(120)
    for smoothing in ("windows", "ema_0.9"):
        rows = found[(found["smoothing"] == smoothing) & (found["group"] == "attention")]
        assert rows["correlation"].mean() > 0.85
        assert abs(rows["detrended_correlation"].mean()) < 0.12
        assert covered(rows, "detrended_correlation", 0.0) > 0.75


def test_r_is_that_of_a_repeated_measurement() -> None:
    """r is that of curves with this much noise: intervals hold its mean over runs about as often as they say."""
    found = many(120)
    rows = found[(found["smoothing"] == "ema_0.9") & (found["group"] == "attention")]
    assert 0.8 < covered(rows, "correlation", rows["correlation"].median()) < 0.99


def test_points_without_signal_are_left_out() -> None:
    """In the second half |G|² of the norm layers is nothing but noise: those windows are left out, and counted."""
    random = np.random.default_rng(2)
    frame = statistics("a", random)
    late = (frame["group"] == "norm") & (frame["step"] >= EVERY * 100)
    trace = (frame["grad_sq_norm_small"] - frame["grad_sq_norm_big"]) / (1 - 1 / BATCH)
    true = 1e-5 * random.standard_normal(len(frame))
    frame.loc[late, "grad_sq_norm_small"] = (true + trace)[late]
    frame.loc[late, "grad_sq_norm_big"] = (true + trace / BATCH)[late]
    row = total(regression(frame, run("a")), group="attention")
    assert (row["n_points"], row["n_left_out"], row["status"]) == (4, 4, "untrusted")
    assert row["slope"] == pytest.approx(SLOPE, rel=0.2)


@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_an_interval_holds_its_estimate_or_there_is_none(noise: float) -> None:
    """However skewed the noise makes it; from a quarter of the points on that are not told from zero there is none."""
    random = np.random.default_rng(11)
    names = [f"c{i}" for i in range(4)]
    frame = pd.concat([statistics(name, random, n=60, noise=noise, power=0.1) for name in names])
    found = regression(frame, *(run(name, n=60) for name in names))
    for name in ESTIMATES:
        low, high = found[f"{name}_ci_low"], found[f"{name}_ci_high"]
        resolved = (found["status"] == "ok") & found[name].notna()
        assert low[found["status"] == "untrusted"].isna().all()
        assert (low[resolved] <= found.loc[resolved, name]).all()
        assert (found.loc[resolved, name] <= high[resolved]).all()
    assert (found["status"] == "ok").any() == (noise < 2.0)


def test_too_few_points() -> None:
    """Twelve probes make three windows, and a moving average of ten only three points."""
    found = regression(statistics("a", np.random.default_rng(0), n=12), run("a", 12))
    assert set(found["status"]) == {"too_few"}
    assert found[[*ESTIMATES, *(f"{name}_ci_low" for name in ESTIMATES)]].isna().all(axis=None)
    assert set(total(found)[["n_points", "n_cells"]]) == {3, 0}


def test_which_cells_count() -> None:
    """Not the diverged one, the one that is not probed itself, or the held-out one; pooled, of two on one trunk the
    longer."""
    random = np.random.default_rng(3)
    frame = pd.concat([statistics(one, random) for one in ("a", "b", "diverged", "branch", "held_out")])
    short = frame[(frame["cell_id"] == "a") & (frame["step"] < EVERY * 100)].assign(cell_id="short")
    found = regression(
        pd.concat([frame, short]),
        run("a"),
        run("b"),
        run("short", 100, trunk_id="a"),
        run("diverged", status="diverged"),
        run("branch", probed=False),
        run("held_out", holdout=True),
    )
    assert set(found["cell_id"]) == {"a", "b", "short", ""}
    assert total(found)["n_cells"] == 2
    assert total(found)["n_points"] == 16


def test_only_updates_at_which_all_layers_were_probed() -> None:
    """Norm layers probed alone in between, with a noise scale three times as large there, change nothing."""
    frame = statistics("a", np.random.default_rng(4))
    alone = frame[frame["group"] == "norm"].assign(step=frame["step"] + 1, tokens_seen=frame["tokens_seen"] + 1)
    alone["grad_sq_norm_small"] *= 3
    expected = regression(frame, run("a"))
    pd.testing.assert_frame_equal(regression(pd.concat([frame, alone]), run("a")), expected)


def test_norm_layers_alone_are_no_pair() -> None:
    assert regression(statistics("a", np.random.default_rng(4), layers=("norm",)), run("a")).empty


def test_stage(tmp_path: Path) -> None:
    """Through files: the table has its schema, with and without anything probed."""
    frame = statistics("a", np.random.default_rng(0), n=60, layers=LAYERS)
    settings = {"windows": 8, "smoothing-decays": [0.9, 0.5], "ci-level": 0.9, "bootstrap-samples": 100, "seed": 0}
    tables.write(tables.RUNS, runs(run("a", 60)), tmp_path / "runs.parquet")
    for probed, n_rows in ((frame, 2 * 3 * 7), (tables.empty(tables.GRADIENT_STATISTICS), 0)):
        tables.write(tables.GRADIENT_STATISTICS, probed, tmp_path / "in.parquet")
        files = {"statistics": "in.parquet", "runs": "runs.parquet", "output": "out.parquet"}
        given = settings | {name: tmp_path / file for name, file in files.items()}
        arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
        assert main(["noise-scale-regression", *arguments]) == 0
        found = tables.read(tables.NOISE_SCALE_REGRESSION, tmp_path / "out.parquet")
        assert len(found) == n_rows
