"""Intervals of single runs hold what they promise, and there is none where nothing was hidden."""

from __future__ import annotations

import numpy as np
import pytest

from glidepath.laws.curve_groups import groups_of
from glidepath.laws.curve_law import fit_group
from glidepath.laws.curve_predictions import curve_scores
from glidepath.laws.curve_spread import Spread
from glidepath.laws.curves import curves_of
from glidepath.laws.law import Settings
from tests.laws.planted_curves import study

SETTINGS = Settings("linear", 0.9, 100, 0)


def test_intervals_of_hidden_runs_hold_what_they_promise() -> None:
    """Twelve studies: single runs of hidden schedules, whose curves are off as a whole."""
    covered = []
    for seed in range(12):
        (group,) = groups_of(curves_of(study(noise=0.004, seed=seed, replicates=1)).runs)
        scores = curve_scores([fit_group("annealing", group, SETTINGS)])
        covered.append(scores.loc[scores["holdout"] == "schedule", ["covered_50", "covered_90"]].mean())
    half, most = np.mean(covered, axis=0)
    assert 0.4 < half < 0.75
    assert 0.85 < most < 0.99


def test_an_unknown_spread_gives_no_interval() -> None:
    known = Spread(0.01, 4, np.nan, 0)
    widths = known.half_widths(0.9, np.zeros(2), np.array([0.0, 0.5]))
    assert widths[0] == pytest.approx(2.132 * 0.01, rel=1e-3)
    assert np.isnan(widths[1])
