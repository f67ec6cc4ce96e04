"""Averages of two learning rates with two replicates each, all numbers by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from glidepath.laws.averaging import half_width, replicate_means


def averages(gains: list[list[float]]) -> pd.DataFrame:
    """One window average per learning rate and replicate; the gap to the cooldown is half the gain."""
    rows = [
        {
            "schedule": "constant",
            "peak_lr": 0.01 * (i + 1),
            "averaging_scheme": "window",
            "window_fraction": 0.2,
            "ema_timescale_fraction": 0.0,
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


def test_without_replicates_there_is_no_error() -> None:
    points = replicate_means(averages([[0.1], [0.2]]))
    assert points["gain_se"].isna().all()
    assert points["gain_degrees_of_freedom"].tolist() == [0, 0]
    assert np.isnan(half_width(0.1, 0, 0.9))


def test_half_width_is_students() -> None:
    assert half_width(0.1, 4, 0.9) == pytest.approx(0.1 * stats.t(4).ppf(0.95))
