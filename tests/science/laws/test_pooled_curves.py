"""Units of several curves are medians over what they have."""

from __future__ import annotations

import numpy as np
import pytest

from glidepath.science.laws.curve import Curve
from glidepath.science.laws.pooled_curves import PooledCurves, by_curve, point_weights, pooled_losses


def curve(peak: float, updates_done: list[int], losses: list[float] | None, n_params: float | None = None) -> Curve:
    at = np.array(updates_done)
    known = None if losses is None else np.array(losses)
    return Curve(lr=np.full(4, peak), updates_done=at, losses=known, n_params=n_params)


def test_points_are_counted_in_units_of_their_curves() -> None:
    both = (curve(1.0, [1, 2], [5.0, 3.0], 1e6), curve(2.0, [2], [4.0], 4e6))
    pooled = PooledCurves(both, "linear")
    assert (pooled.loss_unit, pooled.peak_lr, pooled.n_params) == (4.0, 2.0, 2.5e6)
    np.testing.assert_allclose(np.exp(pooled.ln_lr_sums), [0.5, 1.0, 2.0])
    assert np.exp(pooled.ln_lr_sum) == pytest.approx(2.0)
    np.testing.assert_allclose(np.exp(pooled.ln_sizes), [0.4, 0.4, 1.6])


def test_curves_weigh_alike_whatever_their_points() -> None:
    both = (curve(1.0, [1, 2, 3], [5.0, 3.0, 2.0]), curve(2.0, [2], [4.0]))
    first, second = by_curve(point_weights(both, "curves"), both)
    assert first.sum() == pytest.approx(second.sum())
    assert point_weights(both, "points").tolist() == [1.0] * 4


def test_losses_are_needed_for_a_fit_and_not_for_a_unit() -> None:
    asked = (curve(1.0, [1], None),)
    assert PooledCurves(asked, "linear").loss_unit == 1.0
    with pytest.raises(ValueError, match="without losses"):
        pooled_losses(asked)
