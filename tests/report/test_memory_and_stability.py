"""Sentences on what weights average and where training becomes unstable, against the planted tables."""

from __future__ import annotations

import pandas as pd

from glidepath.report.memory import memory
from glidepath.report.stability import stability
from glidepath.study.exclusion import with_exclusions
from tests.figures import planted

Tables = dict[str, pd.DataFrame]


def test_effective_updates_are_those_of_the_table(whole: Tables) -> None:
    (evidence,) = memory(whole)
    (rows,) = evidence.rows
    found = whole["ema_view"].query(rows.filter).merge(whole["runs"], on="cell_id")
    assert set(found["schedule"]) == set(planted.SCHEDULES)
    for _, row in found.iterrows():
        share = 100 * row["effective_updates"] / row["total_steps"]
        assert f"{row['schedule']} {round(row['effective_updates'])} updates ({share:.0f} %)" in evidence.text


def test_without_weight_decay_nothing_is_said(whole: Tables) -> None:
    view = whole["ema_view"].assign(status="no weight decay")
    assert list(memory({**whole, "ema_view": view})) == []


def test_divergence_exclusion_and_spikes_are_counted() -> None:
    runs = planted.runs(schedules=("constant", "linear_zero"))
    high = (runs["schedule"] == "linear_zero") & (runs["peak_lr"] == 16e-3) & (runs["tokens_per_parameter"] == 5.0)
    runs.loc[high, "val_loss"] += 2.0
    runs = with_exclusions(runs)
    (constant,) = stability(runs, ("small", planted.BATCH), "constant")
    assert "6 of 30 cells diverged, from peak 1.6e-2 on; no cell ended more than 1 nat/token" in constant.text
    # One spike in each of 6 cells at 8e-3, two in each that diverged.
    assert "18 loss spikes in 12 of 30 cells, from peak 8e-3 on, the largest 1.5 nat/token" in constant.text
    (linear,) = stability(runs, ("small", planted.BATCH), "linear_zero")
    assert "no cell diverged; 2 of 30 cells ended more than 1 nat/token above the best of their sweep" in linear.text
    assert len(runs.query(linear.rows[0].filter)) == 30


def test_cells_without_spikes_and_cells_not_judged() -> None:
    runs = planted.runs(schedules=("linear_zero",))
    (none,) = stability(runs.assign(n_loss_spikes=0), ("small", planted.BATCH), "linear_zero")
    assert "no loss spike in 30 cells" in none.text
    (unknown,) = stability(runs.assign(n_loss_spikes=None), ("small", planted.BATCH), "linear_zero")
    assert "too few updates" in unknown.text
    assert list(stability(runs, ("large", planted.BATCH), "linear_zero")) == []
