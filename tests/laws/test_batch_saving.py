"""Savings of a batch path: planted ones are found, with the right sign and at the nominal coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from glidepath.laws.batch_saving import COLUMNS, POINTS, LossCurve, Speed, fit_speed, savings

HORIZON = 2_000_000
SPEED = Speed(0.01, 1e-5)


def curve(
    saved: float = 0.0, shift: float = 0.0, batch: int = 2000, noise: NDArray[np.float64] | None = None
) -> LossCurve:
    """L(t) = 2 + 2·(t/(1 - saved)/HORIZON)^(-0.3) + shift, evaluated 12 times per doubling; the subset is 0.1
    easier."""
    tokens = np.unique([*np.geomspace(32 * batch, HORIZON, 60).astype(np.int64), HORIZON])
    losses = 2.0 + 2.0 * (tokens / (1.0 - saved) / HORIZON) ** -0.3 + shift
    easier = losses - 0.1 + (0.0 if noise is None else noise[: len(tokens)])
    return LossCurve(tokens, easier, float(losses[-1]), np.arange(batch, HORIZON + 1, batch))


def only(frame: pd.DataFrame, at: str) -> pd.DataFrame:
    return frame[frame["at"] == at]


@pytest.mark.parametrize(("saved", "status"), [(0.18, "saves tokens"), (-0.25, "costs tokens")])
def test_a_planted_saving_is_found_at_the_end_and_everywhere_along_the_curve(saved: float, status: str) -> None:
    """Replicates differ by what both cells of a pair have in common, and so by nothing that counts."""
    shifts = (0.0, 0.01, -0.02, 0.005)
    frame = savings([curve(saved, s) for s in shifts], [curve(0.0, s) for s in shifts], SPEED, 0.9)
    assert list(frame.columns) == list(COLUMNS)
    (end,) = only(frame, "end").to_dict("records")
    along = only(frame, "curve")
    assert len(along) == POINTS
    assert end["tokens_saved_fraction"] == pytest.approx(saved, abs=1e-3)
    # Losses of the common targets are close together where replicates lie apart.
    np.testing.assert_allclose(along["tokens_saved_fraction"], saved, atol=2e-3)
    np.testing.assert_allclose(along["tokens_fixed"] * (1 - saved), along["tokens_path"], rtol=2e-3)
    assert end["status"] == status
    assert end["n_replicates"] == 4
    assert end["tokens_saved_fraction_low"] < saved + 1e-3
    # The better one is there before its end, the worse one at it; the target is the higher of the final losses.
    worse = end["tokens_fixed"] if saved > 0 else end["tokens_path"]
    assert worse == HORIZON
    assert end["val_loss"] == pytest.approx(4.0 + np.mean(shifts) + max(0.0, 2 * (1 / (1 - saved)) ** -0.3 - 2))


def test_identical_curves_save_nothing() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, 99)
    alike = [curve(0.0, s, noise=noise) for s in (0.0, 0.1)]
    frame = savings(alike, alike, SPEED, 0.9)
    for unit in ("tokens", "updates", "seconds"):
        assert (frame[f"{unit}_saved_fraction"] == 0.0).all()
    assert (frame["status"] == "not resolved").all()


def test_twice_the_updates_are_counted_and_take_their_time() -> None:
    """Half the batch at equal losses: no token saved, as many updates again; of the time the updates' half once more:
    a fixed run takes 1000·0.01 s + 20 s, the other 2000·0.01 s + 20 s."""
    (end,) = only(savings([curve(batch=1000)], [curve(batch=2000)], SPEED, 0.9), "end").to_dict("records")
    assert end["tokens_saved_fraction"] == pytest.approx(0.0)
    assert end["updates_saved_fraction"] == pytest.approx(-1.0)
    assert end["seconds_saved_fraction"] == pytest.approx(1 - 40 / 30)
    assert (end["updates_path"], end["updates_fixed"]) == (2000, 1000)
    assert end["status"] == "one replicate"
    assert np.isnan(end["tokens_saved_fraction_low"])
    without = savings([curve()], [curve()], None, 0.9)
    assert without["seconds_saved_fraction"].isna().all()


def test_the_speed_of_updates_and_of_tokens_is_recovered() -> None:
    updates, tokens = np.array([100, 200, 400, 800]), np.array([1e6, 1e6, 2e6, 1e6])
    found = fit_speed(updates, tokens, 0.01 * updates + 2e-6 * tokens)
    assert found.seconds_per_update == pytest.approx(0.01)
    assert found.seconds_per_token == pytest.approx(2e-6)
    # A time that falls with the number of updates is noise: updates cost nothing then.
    assert fit_speed([100, 200], [1e6, 1e6], [2.0, 1.9]).seconds_per_update == 0.0
    with pytest.raises(ValueError, match="positive times"):
        fit_speed([100], [1e6], [0.0])


def test_intervals_cover_the_planted_saving() -> None:
    """Every cell has noise of its own, in its level and at each evaluation; 90 % intervals over four replicates."""
    random = np.random.default_rng(1)
    draws, covered, along = 300, 0, []
    for _ in range(draws):
        shared = random.normal(0, 0.05, 4)
        path, fixed = (
            [
                curve(saved, s + own, noise=random.normal(0, 0.005, 99))
                for s, own in zip(shared, random.normal(0, 0.01, 4), strict=True)
            ]
            for saved in (0.15, 0.0)
        )
        frame = savings(path, fixed, None, 0.9)
        inside = (frame["tokens_saved_fraction_low"] <= 0.15) & (frame["tokens_saved_fraction_high"] >= 0.15)
        covered += int(inside[frame["at"] == "end"].iloc[0])
        along.append(inside[frame["at"] == "curve"].mean())
    assert 0.86 < covered / draws < 0.95
    assert 0.86 < np.mean(along) < 0.95


def test_a_bump_at_the_end_does_not_hide_that_the_end_was_reached() -> None:
    """The last but one evaluation is luckier than the end: the run is at its final loss there already."""
    lucky = curve()
    lucky.losses[-2] = lucky.losses[-1] - 0.05
    assert lucky.tokens_to_the_end(lucky.final_loss) == HORIZON
    assert lucky.tokens_to_the_end(lucky.final_loss + 1e-9) == pytest.approx(lucky.tokens_seen[-2])
    assert lucky.tokens_to_the_end(9e9) == pytest.approx(lucky.tokens_seen[0])


def test_curves_without_a_common_loss_have_an_end_only() -> None:
    frame = savings([curve(shift=-9.0)], [curve()], None, 0.9)
    assert frame["at"].tolist() == ["end"]
    with pytest.raises(ValueError, match="1 and 2 cells"):
        savings([curve()], [curve(), curve()], None, 0.9)
