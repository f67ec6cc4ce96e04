"""Laws of loss curves fit losses in any unit: nat/token, bit/byte, or a sum over a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from glidepath.science.laws.annealing import fit_annealing
from glidepath.science.laws.convex_bound import fit_convex_bound
from glidepath.science.laws.curve import Curve, observed
from glidepath.science.laws.curve_fit import CurveFit
from glidepath.science.laws.multi_power import fit_multi_power

STEPS = 800


def _curves() -> list[Curve]:
    """Constant, and falling to a tenth over the last third."""
    random = np.random.default_rng(0)
    done = np.arange(STEPS) / STEPS
    curves = []
    for drop in (0.0, 0.9):
        fall = np.clip((done - 2 / 3) * 3, 0, 1)
        lr = 1e-3 * np.minimum((np.arange(STEPS) + 1) / 20, 1.0) * (1 - drop * fall)
        at = np.arange(40, STEPS + 1, 40)
        losses = 2.5 + 0.6 * np.cumsum(lr)[at - 1] ** -0.4 - 0.15 * drop * fall[at - 1]
        noise = np.exp(1e-3 * random.standard_normal(len(at)))
        curves.append(Curve(lr=lr, updates_done=at, losses=losses * noise, warmup_steps=20))
    return curves


@pytest.mark.parametrize("fit", [partial(fit_annealing, warmup="linear"), fit_multi_power, fit_convex_bound])
def test_the_unit_of_the_loss_changes_no_fit(fit: Callable[[Sequence[Curve]], CurveFit[Any]]) -> None:
    said = []
    for unit in (1.0, 1e-3, 100.0):
        curves = [replace(curve, losses=unit * observed(curve)) for curve in _curves()]
        found = fit(curves)
        assert "L0" not in found.fit.at_bound
        said.append(np.concatenate([found.law.predict(curve) for curve in curves]) / unit)
    np.testing.assert_allclose(said[1], said[0], rtol=1e-6)
    np.testing.assert_allclose(said[2], said[0], rtol=1e-6)
