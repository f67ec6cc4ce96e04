"""Trajectories whose crossing is known: the raw loss falls as a line in ln tokens, the average is lower by a gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from glidepath.laws.steps_saved import Trajectory, checkpoint_variance, steps_saved

BATCH_TOKENS = 100
UPDATES = np.round(64 * 2.0 ** (np.arange(13) / 2)).astype(np.int64)
TOKENS = UPDATES * BATCH_TOKENS
SLOPE = 0.1
"""Nat/token per unit of ln tokens."""
DELAY = 2.3
"""The raw weights need so many times the tokens: a gain of SLOPE·ln(DELAY)."""
N_BLOCKS = 8


def line(tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    return 5.0 - SLOPE * np.log(tokens)


def exact(n_replicates: int = 2, delay: float = DELAY) -> Trajectory:
    """Without noise; the blocks differ, by as much under all weights."""
    text = np.linspace(-0.5, 0.5, N_BLOCKS)
    raw = np.broadcast_to(line(TOKENS)[:, None] + text, (n_replicates, len(TOKENS), N_BLOCKS)).copy()
    return Trajectory(UPDATES, TOKENS, raw, {"window": raw - SLOPE * np.log(delay)})


def noisy(random: np.random.Generator, sd: float, block_sd: float = 0.0, n_replicates: int = 3) -> Trajectory:
    """Noise of every checkpoint, and what a seed does to all of them alike; of the text what does not cancel."""
    known = exact(n_replicates)
    shape = (n_replicates, len(TOKENS), 1)
    seeds = 0.05 * random.standard_normal((n_replicates, 1, 1))
    passages = block_sd * random.standard_normal((2, len(TOKENS), N_BLOCKS))
    raw = known.raw + seeds + sd * random.standard_normal(shape) + passages[0]
    averaged = known.averaged["window"] + seeds + 0.3 * sd * random.standard_normal(shape) + passages[1]
    return replace(known, raw=raw, averaged={"window": averaged})


def test_the_crossing_is_where_it_was_planted() -> None:
    (found,) = steps_saved([exact()], 0.9)
    reachable = found["tokens_seen"] * DELAY <= TOKENS[-1]
    reached = found[reachable]
    assert len(reached) == 10
    assert (reached["status"] == "reached").all()
    np.testing.assert_allclose(reached["reached_tokens"], DELAY * reached["tokens_seen"])
    np.testing.assert_allclose(reached["tokens_saved"], (DELAY - 1) * reached["tokens_seen"])
    np.testing.assert_allclose(reached["updates_saved"] * BATCH_TOKENS, reached["tokens_saved"])
    np.testing.assert_allclose(reached["val_loss_raw"] - reached["val_loss_averaged"], SLOPE * np.log(DELAY))
    # Without noise the interval is the crossing.
    for end in ("low", "high"):
        np.testing.assert_allclose(reached[f"tokens_saved_{end}"], reached["tokens_saved"])


def test_what_is_not_reached_within_the_trajectory_is_at_least_its_rest() -> None:
    (found,) = steps_saved([exact()], 0.9)
    beyond = found[found["tokens_seen"] * DELAY > TOKENS[-1]]
    assert len(beyond) == 3
    assert (beyond["status"] == "beyond").all()
    assert beyond["reached_tokens"].isna().all()
    for column in ("tokens_saved", "tokens_saved_low"):
        np.testing.assert_allclose(beyond[column], TOKENS[-1] - beyond["tokens_seen"], atol=1e-6)
    assert beyond["tokens_saved_high"].isna().all()


def test_an_average_that_is_no_better_saves_nothing() -> None:
    (found,) = steps_saved([exact(delay=0.9)], 0.9)
    assert (found["status"] == "none").all()
    assert found[["reached_tokens", "tokens_saved", "tokens_saved_low", "tokens_saved_high"]].isna().all(axis=None)


def test_updates_follow_a_batch_that_grows() -> None:
    """Twice the batch from the fifth point on: half the updates for the same tokens."""
    known = exact()
    updates = np.minimum(UPDATES, UPDATES[4]) + np.maximum(UPDATES - UPDATES[4], 0) // 2
    (found,) = steps_saved([replace(known, updates_done=updates)], 0.9)
    late = found[(found["updates_done"] > updates[4]) & (found["status"] == "reached")]
    np.testing.assert_allclose(late["updates_saved"] * 2 * BATCH_TOKENS, late["tokens_saved"], rtol=0.01)


def test_points_without_the_average_have_no_row() -> None:
    known = exact()
    averaged = known.averaged["window"].copy()
    averaged[1, :3] = np.nan
    (found,) = steps_saved([replace(known, averaged={"window": averaged})], 0.9)
    assert found["updates_done"].tolist() == UPDATES[3:].tolist()


def test_the_interval_by_hand() -> None:
    """Replicates that are ±e off in raw at the crossing, 0 in the average: SE² = 2e²/2, one degree per crossing."""
    e = 0.01
    known = exact()
    raw = known.raw + np.array([e, -e])[:, None, None]
    (found,) = steps_saved([replace(known, raw=raw)], 0.9)
    degrees = (found["status"] != "none").sum()
    half = stats.t(degrees).ppf(0.95) * e
    row = found.iloc[4]
    assert row["reached_tokens_low"] == pytest.approx(row["reached_tokens"] * np.exp(-half / SLOPE))
    assert row["reached_tokens_high"] == pytest.approx(row["reached_tokens"] * np.exp(half / SLOPE))


def test_without_replicates_the_interval_is_of_checkpoints_about_their_neighbours() -> None:
    """Every other checkpoint 2e above the line: a distance of 2e from its neighbours, which are on it, and they -2e."""
    e, known = 0.01, exact(n_replicates=1)
    raw = known.raw + 2 * e * (np.arange(len(TOKENS)) % 2)[None, :, None]
    variance, degrees = checkpoint_variance(TOKENS, raw.mean((0, 2)))
    # Equally spaced in ln tokens but for rounding: w = 1/2, so that σ² = (2e)²/1.5.
    assert variance == pytest.approx(4 * e**2 / 1.5, rel=0.05)
    assert degrees == 2 * (len(TOKENS) - 2) // 3
    (found,) = steps_saved([replace(known, raw=raw, averaged=known.averaged)], 0.9)
    assert (found["noise_from"] == "neighbours").all()
    half = stats.t(degrees).ppf(0.95) * np.sqrt(variance)
    row = found.iloc[4]
    assert row["reached_tokens_low"] < row["reached_tokens"] < row["reached_tokens_high"]
    width = np.log(row["reached_tokens_high"] / row["reached_tokens_low"])
    assert width == pytest.approx(2 * half / SLOPE, abs=4 * e / SLOPE)
    assert row["updates_saved_low"] * BATCH_TOKENS == pytest.approx(row["tokens_saved_low"])


def test_three_checkpoints_say_nothing_of_their_noise() -> None:
    assert checkpoint_variance(TOKENS[:3], np.array([3.0, 2.0, 1.0]))[1] == 0
    known = exact(n_replicates=1)
    few = Trajectory(UPDATES[:3], TOKENS[:3], known.raw[:, :3], {"window": known.averaged["window"][:, :3]})
    (found,) = steps_saved([few], 0.9)
    assert found["tokens_saved"].notna().all()
    assert found[["tokens_saved_low", "tokens_saved_high"]].isna().all(axis=None)


def test_the_interval_of_one_training_covers_the_planted_saving() -> None:
    """Noise of checkpoints and of the text; no replicate."""
    random = np.random.default_rng(2)
    inside = [i for i in range(2, len(TOKENS)) if TOKENS[i] * DELAY < TOKENS[-2]]
    hits: list[bool] = []
    for _ in range(400):
        (found,) = steps_saved([noisy(random, 0.012, 0.01, n_replicates=1)], 0.9)
        rows = found.iloc[inside]
        truth = rows["tokens_seen"] * DELAY
        low, high = rows["reached_tokens_low"], rows["reached_tokens_high"].fillna(np.inf)
        hits.extend(((low <= truth) & (truth <= high)).tolist())
    # Made for noise that neighbours share: too wide for this.
    assert 0.9 < np.mean(hits) < 0.997


@pytest.mark.parametrize(("sd", "block_sd"), [(0.012, 0.0), (0.012, 0.02)])
def test_the_interval_covers_the_planted_saving(sd: float, block_sd: float) -> None:
    """Four trajectories a draw, points at which the planted crossing is inside; all statuses count."""
    random = np.random.default_rng(0)
    inside = [i for i in range(2, len(TOKENS)) if TOKENS[i] * DELAY < TOKENS[-2]]
    hits: list[bool] = []
    for _ in range(250):
        for found in steps_saved([noisy(random, sd, block_sd) for _ in range(4)], 0.9):
            rows = found.iloc[inside]
            truth = rows["tokens_seen"] * DELAY
            low, high = rows["reached_tokens_low"], rows["reached_tokens_high"].fillna(np.inf)
            hits.extend(((low <= truth) & (truth <= high)).tolist())
    assert 0.85 < np.mean(hits) < 0.95


def test_the_interval_narrows_with_the_number_of_replicates() -> None:
    """Four times as many halve it."""
    random = np.random.default_rng(1)
    widths = []
    for n in (3, 12):
        drawn = pd.concat(steps_saved([noisy(random, 0.003, n_replicates=n) for _ in range(10)], 0.9))
        widths.append(np.log(drawn["reached_tokens_high"] / drawn["reached_tokens_low"]).mean())
    assert widths[0] / widths[1] == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tokens_seen": TOKENS[::-1]}, "must ascend"),
        ({"raw": np.zeros((2, 3, N_BLOCKS))}, r"need \[replicates, points, blocks\]"),
        ({"averaged": {"ema": np.zeros((1, len(TOKENS), N_BLOCKS))}}, "average ema"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        steps_saved([replace(exact(), **change)], 0.9)  # type: ignore[arg-type]


def test_a_level_is_a_probability() -> None:
    with pytest.raises(ValueError, match="ci_level 90"):
        steps_saved([exact()], 90)


def test_trajectories_keep_their_order() -> None:
    one, other = steps_saved([exact(), exact(delay=3.0)], 0.9)
    assert isinstance(one, pd.DataFrame)
    assert one["tokens_saved"].iloc[0] < other["tokens_saved"].iloc[0]
