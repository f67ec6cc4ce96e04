"""Averages of two learning rates with two replicates each, all numbers by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from glidepath.laws.averaging import at_cell_ends, half_width, replicate_means
from glidepath.study import tables


def averages(gains: list[list[float]]) -> pd.DataFrame:
    """One window average per learning rate and replicate; the gap to the cooldown is half the gain."""
    rows = [
        {
            "schedule": "constant",
            "peak_lr": 0.01 * (i + 1),
            "average": "window_20",
            "averaging_scheme": "window",
            "window_checkpoints": 7,
            "window_fraction": 0.2,
            "tokens_per_parameter": 20.0,
            "val_loss_averaged": 3.0 - gain,
            "gain": gain,
            "gain_sem": 0.003,
            "gap_to_cooldown": gain / 2,
            "gap_to_cooldown_sem": 0.004,
            "closed_fraction": 0.9,
        }
        for i, replicates in enumerate(gains)
        for gain in replicates
    ]
    return pd.DataFrame(rows)


def test_means_and_pooled_errors() -> None:
    """Within learning rates the gains differ by 0.02 and 0.04: variance (2·0.01² + 2·0.02²)/2 = 0.0005, two degrees."""
    points = replicate_means(averages([[0.10, 0.12], [0.20, 0.24]]))
    np.testing.assert_allclose(points["gain"], [0.11, 0.22])
    np.testing.assert_allclose(points["gain_se"], np.sqrt(0.0005 / 2 + 0.003**2))
    np.testing.assert_allclose(points["gap_se"], np.sqrt(0.0005 / 4 / 2 + 0.004**2))
    assert points["gain_degrees_of_freedom"].tolist() == [2, 2]
    assert points["n"].tolist() == [2, 2]


def test_every_average_has_its_own_noise() -> None:
    """The EMA varies twice as much; averages of the same trunks add no degrees of freedom."""
    window = averages([[0.10, 0.12], [0.20, 0.24]])
    ema = averages([[0.10, 0.14], [0.20, 0.28]]).assign(average="ema_5")
    points = replicate_means(pd.concat([window, ema])).set_index("average")
    assert points["gain_degrees_of_freedom"].tolist() == [2, 2, 2, 2]
    np.testing.assert_allclose(points.loc["window_20", "gain_se"], np.sqrt(0.0005 / 2 + 0.003**2))
    np.testing.assert_allclose(points.loc["ema_5", "gain_se"], np.sqrt(0.002 / 2 + 0.003**2))


def test_a_setting_may_be_a_point_of_training() -> None:
    early, late = averages([[0.10, 0.12]]), averages([[0.20, 0.24]])
    both = pd.concat([early.assign(tokens_seen=1000), late.assign(tokens_seen=2000)])
    points = replicate_means(both, ["peak_lr", "average", "tokens_seen"])
    np.testing.assert_allclose(points["gain"], [0.11, 0.22])
    assert points["gain_degrees_of_freedom"].tolist() == [2, 2]


def test_ends_of_cells_on_the_domain_that_selects() -> None:
    rows = averages([[0.1, 0.2]]).drop(columns=["schedule", "peak_lr", "tokens_per_parameter"])
    rows = rows.assign(cell_id=["a", "b"], at_end=True, domain="text")
    other = rows.assign(domain="code", gain=9.0)
    early = rows.assign(at_end=False, gain=8.0)
    runs = pd.DataFrame(
        {
            "cell_id": ["a", "b", "never averaged"], "model": "m", "batch_sequences": 8, "schedule": "constant",
            "peak_lr": 0.01, "tokens_per_parameter": 20.0, "replicate": [0, 1, 2],
        }
    )  # fmt: skip
    found = at_cell_ends(pd.concat([rows, other, early]), runs)
    assert found["gain"].tolist() == [0.1, 0.2]
    assert found["batch_sequences"].tolist() == [8, 8]
    assert at_cell_ends(tables.empty(tables.AVERAGES), runs).empty


def test_without_replicates_there_is_no_error() -> None:
    points = replicate_means(averages([[0.1], [0.2]]))
    assert points["gain_se"].isna().all()
    assert points["gain_degrees_of_freedom"].tolist() == [0, 0]
    assert np.isnan(half_width(0.1, 0, 0.9))


def test_half_width_is_students() -> None:
    assert half_width(0.1, 4, 0.9) == pytest.approx(0.1 * stats.t(4).ppf(0.95))
