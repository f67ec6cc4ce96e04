"""Regimes of a constant learning rate on losses whose truth is known, and error rates that are as stated."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from glidepath.science.regimes import (
    BLOCKS,
    Regime,
    Threshold,
    last_part,
    over_replicates,
    pace_statistic,
    threshold,
    trend,
)

Floats = NDArray[np.float64]
UPDATES = 1000
TOKENS = np.arange(UPDATES + 1, 2 * UPDATES + 1) * 1024.0
PACE = -0.3
"""Of the best run [nat/token per factor e of tokens], as measured on a tiny model at 80 tokens per parameter."""
LEVEL = 0.9


def noise(random: np.random.Generator, sd: float, memory: float) -> Floats:
    """Stationary AR(1) noise that forgets within `memory` updates; 0: white."""
    white = random.standard_normal(UPDATES)
    if not memory:
        return sd * white
    kept = np.exp(-1.0 / memory)
    values = np.empty(UPDATES)
    values[0] = white[0]
    for i in range(1, UPDATES):
        values[i] = kept * values[i - 1] + np.sqrt(1 - kept**2) * white[i]
    return sd * values


def verdicts(share: float, memory: float, draws: int = 400) -> Counter[str]:
    """What is said of a run that falls at `share` of the best's pace: batches alike, noise of its own beside."""
    random, found = np.random.default_rng(round(200 + 100 * share + memory)), Counter[str]()
    fall = PACE * np.log(TOKENS / TOKENS[0])
    for _ in range(draws):
        batches = noise(random, 0.15, 0)
        best = 3.4 + fall + batches + noise(random, 0.05, memory)
        run = 3.8 + share * fall + batches + noise(random, 0.05, memory)
        found[pace_statistic(TOKENS, run, best).regime(LEVEL)] += 1
    return found


def test_a_line_is_found_exactly() -> None:
    found = trend(TOKENS, 3.0 - 0.25 * np.log(TOKENS))
    # Block means of ln tokens and of the loss are means over the same updates.
    assert found.slope == pytest.approx(-0.25)
    assert found.standard_error == pytest.approx(0, abs=1e-9)
    assert found.degrees_of_freedom == BLOCKS - 2


@pytest.mark.parametrize("memory", [0, 3])
def test_at_the_boundary_it_decides_as_rarely_as_it_says(memory: float) -> None:
    """At half the pace each verdict falls in (1 - level)/2 = 5 % of draws; three binomial errors are 3.3 %."""
    found = verdicts(0.5, memory)
    assert 0.017 * 400 < found["converging"] < 0.083 * 400
    assert 0.017 * 400 < found["chaotic_equilibrium"] < 0.083 * 400


@pytest.mark.parametrize(
    ("share", "expected"), [(1.0, "converging"), (0.0, "chaotic_equilibrium"), (-1.0, "chaotic_equilibrium")]
)
def test_the_pace_of_the_best_and_standing_still_are_told_apart(share: float, expected: str) -> None:
    """Decided in nine of ten draws, and never the wrong way."""
    found = verdicts(share, memory=3, draws=100)
    assert found[expected] > 90
    assert found[expected] + found["undecided"] == 100


def test_pairing_cancels_half_of_the_batches() -> None:
    random = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        batches = noise(random, 0.15, 0)
        errors.append([trend(TOKENS, batches).slope, pace_statistic(TOKENS, batches, batches).slope])
    alone, paired = np.std(errors, axis=0)
    assert paired == pytest.approx(alone / 2)


def test_the_best_itself_does_not_converge_if_it_does_not_fall() -> None:
    loss = 3.0 + noise(np.random.default_rng(1), 0.1, 0)
    assert pace_statistic(TOKENS, loss, loss).regime(LEVEL) == "undecided"


def test_the_last_part_is_the_last_doubling_of_tokens() -> None:
    tokens = np.arange(1, 101) * 512
    assert tokens[last_part(tokens)].tolist() == (np.arange(51, 101) * 512).tolist()


def test_too_few_updates_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"31 updates in the last doubling.*Raise tokens_per_parameter"):
        last_part(np.arange(1, 63))
    with pytest.raises(ValueError, match="finite"):
        trend(TOKENS, np.full(UPDATES, np.nan))


@pytest.mark.parametrize(
    ("regimes", "low", "high"),
    [
        (["converging", "converging", "chaotic_equilibrium", "divergent"], 2.0, 4.0),
        (["converging", "undecided", "chaotic_equilibrium", "divergent"], 1.0, 4.0),
        (["converging", "chaotic_equilibrium", "converging", "divergent"], 1.0, 2.0),
        (["undecided", "converging", "divergent", "divergent"], 2.0, 4.0),
        (["converging", "converging", "converging", "undecided"], 4.0, np.nan),
        (["divergent", "divergent", "divergent", "divergent"], np.nan, 1.0),
    ],
)
def test_the_threshold_lies_between_two_learning_rates(regimes: list[Regime], low: float, high: float) -> None:
    found = threshold([8.0, 4.0, 2.0, 1.0], regimes[::-1])
    assert (found.low, found.high) == pytest.approx((low, high), nan_ok=True)


def test_replicates_widen_the_threshold() -> None:
    found = over_replicates([Threshold(2.0, 4.0), Threshold(1.0, 2.0)])
    assert (found.low, found.high) == (1.0, 4.0)
    assert np.isnan(over_replicates([Threshold(2.0, 4.0), Threshold(2.0, np.nan)]).high)
    with pytest.raises(ValueError, match="at least one sweep"):
        over_replicates([])
