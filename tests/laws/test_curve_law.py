"""Bands of laws of curves on planted runs."""

from __future__ import annotations

import numpy as np

from glidepath.laws.curve_groups import groups_of
from glidepath.laws.curve_law import bands, fit_group
from glidepath.laws.curves import curves_of
from glidepath.laws.law import Settings
from glidepath.science.laws.curve import Curve
from tests.laws.planted_curves import TRUE, WARMUP, lr_of, study

SETTINGS = Settings("linear", 0.9, 100, 0)


def test_a_run_that_was_not_made_is_predicted_with_wider_bands_further_out() -> None:
    (group,) = groups_of(curves_of(study(steps=(200, 400))).runs)
    fit = fit_group("annealing", group, SETTINGS)
    run = group.open[0]
    widths = []
    for steps in (400, 1600):
        lr = lr_of("wsd_50", steps, 0.01)
        curve = Curve(lr=lr, updates_done=np.array([steps]), warmup_steps=WARMUP)
        said = bands(fit, type(run)(**{**vars(run), "curve": curve, "keys": (f"asked {steps}",)}))
        assert said["low"][1] < TRUE.predict(curve) < said["high"][1]
        assert bool(said["extrapolated"][0]) == (steps > 400)
        widths.append(float(said["high"][1][0] - said["low"][1][0]))
    assert widths[1] > widths[0]
