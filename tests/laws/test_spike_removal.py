"""Planted spikes: known height, known share that an average removes, and what may and may not be said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from glidepath.laws.spike_removal import mean_over_replicates, removed_share, spike_removal
from glidepath.study import tables
from glidepath.study.spikes_config import SpikesConfig
from tests.figures.planted import filled
from tests.laws.planted import one
from tests.synthetic import run

Floats = NDArray[np.float64]
BATCH = 512
STEPS, BEGIN, END = 200, 100, 104
POINTS = np.arange(80, STEPS + 1, 4)
SPIKES = SpikesConfig(clean="constant", spiked=("jump",), window_fraction=0.2)
LEVEL = 0.9
WINDOW = 16
"""Length of the planted window average [updates]."""


def falling(t: Floats) -> Floats:
    return 3.0 - 0.2 * np.log(t / 80.0)


def spike(t: Floats) -> Floats:
    """One nat at the end of the spike, gone 20 updates later."""
    return np.where(t > BEGIN, np.clip(1.0 - (t - END) / 20.0, 0.0, 1.0), 0.0)


def study(
    share: float, *, noise: float = 0.0, replicates: int = 4, damage: float = 0.0, height: float = 1.0, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """runs, updates and averages; the average `window` takes `share` of the spike off and leaves `damage`."""
    random = np.random.default_rng(seed)
    runs, updates, averages = [], [], []
    for replicate in range(replicates):
        level, size = 0.05 * random.standard_normal(), height * (1.0 + 0.1 * random.standard_normal())
        for schedule in ("constant", "jump"):
            cell_id = f"{schedule}-r{replicate}"
            runs.append(
                run(
                    cell_id=cell_id, model="tiny", schedule=schedule, peak_lr=0.01, tokens_per_parameter=10.0,
                    token_horizon=STEPS * BATCH, replicate=replicate, batch_sequences=8,
                )
            )  # fmt: skip
            step = np.arange(STEPS)
            lr = np.where((step >= BEGIN) & (step < END) & (schedule == "jump"), 0.08, 0.01)
            rows = [{"cell_id": cell_id, "step": s, "tokens_seen": (s + 1) * BATCH, "lr": lr[s]} for s in step]
            updates.append(filled(tables.UPDATES, rows))
            spiked = schedule == "jump"
            after = POINTS > BEGIN
            raw = falling(POINTS) + level + spiked * size * spike(POINTS)
            window = falling(POINTS) + level - 0.05 + spiked * ((1 - share) * size * spike(POINTS) + damage * after)
            jitter = noise * random.standard_normal((2, len(POINTS))) * (after | ~spiked)
            averages.append(
                filled(
                    tables.AVERAGES,
                    [
                        {
                            "cell_id": cell_id, "updates_done": int(t), "tokens_seen": int(t) * BATCH,
                            "average": "window", "averaging_scheme": "window", "window_tokens": WINDOW * BATCH,
                            "domain": "python", "val_loss_raw": raw[i] + jitter[0, i],
                            "val_loss_averaged": window[i] + jitter[1, i], "cooldown_cell_id": None,
                        }
                        for i, t in enumerate(POINTS)
                    ],
                )
            )  # fmt: skip
    frame = pd.DataFrame(runs, columns=tables.RUNS.names)
    return frame, pd.concat(updates, ignore_index=True), pd.concat(averages, ignore_index=True)


def judged(*args: Any, **options: Any) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Rows of raw and of the average."""
    _, removal = spike_removal(*study(*args, **options), SPIKES, LEVEL)
    return one(removal, average="raw"), one(removal, average="window")


def test_height_share_and_damage_are_what_was_planted() -> None:
    raw, window = judged(0.75, damage=0.02)
    assert window["share_removed"] == pytest.approx(0.75 - 0.02 / raw["height"], abs=1e-9)
    assert window["height"] == pytest.approx(0.25 * raw["height"] + 0.02)
    assert window["final_excess"] == pytest.approx(0.02)
    assert raw["final_excess"] == pytest.approx(0.0)
    assert raw["height"] == pytest.approx(1.0, abs=0.15)
    assert (raw["spike_begin"], raw["spike_end"], raw["lr_multiple"]) == (BEGIN, END, 8.0)
    assert np.isnan(raw["share_removed"])


def test_verdicts() -> None:
    assert judged(0.0, height=0.0, noise=0.001)[0]["verdict"] == "no spike"
    raw, removed = judged(1.0, noise=0.001)
    assert (raw["verdict"], removed["verdict"]) == ("spike", "removed")
    assert removed["largest_rise_ci_low"] < 0
    assert judged(0.5, noise=0.001)[1]["verdict"] == "reduced"
    assert judged(-0.5, noise=0.001)[1]["verdict"] == "raised"
    assert judged(0.0, noise=0.001)[1]["verdict"] == "not resolved"


def test_one_replicate_resolves_nothing() -> None:
    raw, window = judged(1.0, replicates=1)
    assert raw["largest_rise"] > 0.9
    assert raw["verdict"] == window["verdict"] == "not resolved"
    assert window["share_removed"] == pytest.approx(1.0)
    assert np.isnan(window["share_removed_ci_low"])


def test_points_whose_average_reaches_back_are_marked() -> None:
    excess, _ = spike_removal(*study(0.5), SPIKES, LEVEL)
    window = excess[excess["average"] == "window"]
    assert window["updates_done"].iloc[0] == BEGIN
    # The first snapshot of the average is `WINDOW` updates back.
    assert window.loc[window["reaches_spike"], "updates_done"].tolist() == [104, 108, 112, 116, 120]
    # A fifth of 200 updates.
    assert window.loc[window["in_window"], "updates_done"].tolist() == list(range(104, 141, 4))


def test_a_pair_with_a_diverged_cell_is_left_out() -> None:
    runs, updates, averages = study(0.5)
    runs.loc[runs["cell_id"] == "jump-r3", "status"] = "diverged"
    _, removal = spike_removal(runs, updates, averages, SPIKES, LEVEL)
    assert set(removal["n_replicates"]) == {3}
    # Of the last pair alone nothing is resolved, whatever it shows.
    last = runs["replicate"] == 0
    _, removal = spike_removal(
        runs.assign(status=np.where(last, "completed", "diverged")), updates, averages, SPIKES, LEVEL
    )
    assert set(removal["verdict"]) == {"not resolved"}
    assert set(removal["n_replicates"]) == {1}
    _, removal = spike_removal(runs.assign(status="diverged"), updates, averages, SPIKES, LEVEL)
    assert removal.empty


def test_schedules_that_do_not_differ_are_refused() -> None:
    runs, updates, averages = study(0.5)
    with pytest.raises(ValueError, match=r"same learning rates.*Give the spiked schedule other ones"):
        spike_removal(runs, updates.assign(lr=0.01), averages, SPIKES, LEVEL)


def test_a_window_without_points_is_refused() -> None:
    runs, updates, averages = study(0.5)
    early = averages[averages["updates_done"] <= BEGIN]
    with pytest.raises(ValueError, match=r"nothing is evaluated.*Raise averaging.points_per_octave"):
        spike_removal(runs, updates, early, SPIKES, LEVEL)


def test_shares_are_covered_as_often_as_stated() -> None:
    """Heights that vary by a fifth over four replicates, of which the average takes six tenths off."""
    random, hits = np.random.default_rng(0), []
    for _ in range(2000):
        raw = 1.0 + 0.2 * random.standard_normal(4)
        averaged = 0.4 * raw + 0.02 * random.standard_normal(4)
        found = removed_share(averaged, raw, LEVEL)
        hits.append(found.ci_low <= 0.6 <= found.ci_high)
    assert np.mean(hits) == pytest.approx(LEVEL, abs=0.025)


def test_the_mean_has_students_interval() -> None:
    found = mean_over_replicates(np.array([1.0, 2.0, 3.0, 4.0]), LEVEL)
    # t(3) at 95 % is 2.353; the standard error is the root of 5/3 over 2.
    assert found.ci_high - found.value == pytest.approx(2.353 * np.sqrt(5 / 3) / 2, abs=1e-3)


def test_tables_have_their_schemas() -> None:
    for frame, table in zip(
        spike_removal(*study(0.5), SPIKES, LEVEL), (tables.SPIKE_EXCESS, tables.SPIKE_REMOVAL), strict=True
    ):
        assert frame.columns.tolist() == table.names
        assert not frame[table.key].duplicated().any()
