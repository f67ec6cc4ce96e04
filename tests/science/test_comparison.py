"""Paired differences: arithmetic by hand, and what the interval promises over many synthetic studies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from glidepath.science.comparison import Difference, paired_difference
from glidepath.science.replicates import replicate_noise

N_STUDIES = 400
OWN, POSITION, SHARED, BLOCK, COMMON_BLOCK = 0.008, 0.012, 0.03, 0.02, 0.3


def test_by_hand() -> None:
    """SE² = 2·0.1²/2 of the replicates + (0.2² + 0.2²)/2 of the blocks."""
    result = paired_difference(np.array([0.1, 0.3]), np.array([0.0, 0.4]), 0.1, 10, 0.95)
    standard_error = (2 * 0.01 / 2 + 0.08 / 2) ** 0.5
    assert result.difference == pytest.approx(0.2)
    assert result.standard_error == pytest.approx(standard_error)
    assert result.ci_high - result.difference == pytest.approx(2.228139 * standard_error, rel=1e-6)
    assert result.difference - result.ci_low == pytest.approx(2.228139 * standard_error, rel=1e-6)
    assert result.minimum_detectable_difference == pytest.approx((2.228139 + 0.879058) * standard_error, rel=1e-5)
    assert (result.degrees_of_freedom, result.verdict) == (10, "not resolved")


@pytest.mark.parametrize(("shift", "verdict"), [(-1.0, "better"), (1.0, "worse"), (0.01, "not resolved")])
def test_verdict(shift: float, verdict: str) -> None:
    result = paired_difference(np.full(3, shift), np.array([-0.1, 0.1]) + shift, 0.01, 20, 0.95)
    assert result.verdict == verdict


def test_without_replicates_nothing_is_resolved() -> None:
    result = paired_difference(np.array([-5.0]), np.array([-5.0, -5.1]), np.nan, 0, 0.95)
    assert (result.difference, result.verdict) == (-5.0, "not resolved")
    assert np.isnan([result.standard_error, result.ci_low, result.ci_high, result.minimum_detectable_difference]).all()


@given(differences=st.lists(st.floats(-1, 1), min_size=1, max_size=5), sd=st.floats(0, 1), degrees=st.integers(1, 50))
def test_exchanging_the_two_changes_signs(differences: list[float], sd: float, degrees: int) -> None:
    d, blocks = np.array(differences), np.array([0.1, 0.2, 0.4])
    one, other = paired_difference(d, blocks, sd, degrees, 0.9), paired_difference(-d, -blocks, sd, degrees, 0.9)
    assert (one.difference, one.ci_low) == (-other.difference, -other.ci_high)
    assert one.standard_error == other.standard_error
    assert {one.verdict, other.verdict} in ({"not resolved"}, {"better", "worse"})


def test_refusals() -> None:
    with pytest.raises(ValueError, match="0 paired replicates and 2 blocks"):
        paired_difference(np.empty(0), np.zeros(2), 0.1, 3, 0.95)
    with pytest.raises(ValueError, match="1 paired replicates and 1 blocks"):
        paired_difference(np.zeros(1), np.zeros(1), 0.1, 3, 0.95)


def studies(truth: float, other_position: bool, n_positions: int = 6, n_replicates: int = 2) -> list[Difference]:
    """Schedule 0 against schedule 1, with fresh text, training noise and truth in every study."""
    random = np.random.default_rng(0)
    results = []
    n_blocks = 64
    for _ in range(N_STUDIES):
        positions = np.repeat(np.arange(n_positions), 2)
        mu = 3.0 + np.tile([truth, 0.0], n_positions)
        text = COMMON_BLOCK * random.standard_normal(n_blocks) + BLOCK * random.standard_normal((len(mu), n_blocks))
        losses = (
            (mu + text.mean(1))[:, None]
            + SHARED * random.standard_normal(n_replicates)
            + POSITION * random.standard_normal((n_positions, n_replicates))[positions]
            + OWN * random.standard_normal((len(mu), n_replicates))
        )
        noise = replicate_noise(losses, positions)
        mine, theirs = 0, 3 if other_position else 1
        sd = float(np.hypot(noise.own_sd, noise.position_sd)) if other_position else noise.own_sd
        results.append(
            paired_difference(
                losses[mine] - losses[theirs], text[mine] - text[theirs], sd, noise.degrees_of_freedom, 0.95
            )
        )
    return results


@pytest.mark.parametrize("other_position", [False, True])
def test_interval_covers_the_truth(other_position: bool) -> None:
    """95 % within three binomial standard deviations of 1.1 %; a little too wide is allowed, since Student's factor
    widens the part of the text as well."""
    truth = -0.01
    covered = np.mean([r.ci_low < truth < r.ci_high for r in studies(truth, other_position)])
    assert 0.95 - 3 * 0.011 < covered < 0.985


@pytest.mark.parametrize("other_position", [False, True])
def test_no_difference_is_rarely_called_one(other_position: bool) -> None:
    """Each of better and worse in at most 2.5 % of the studies, the 99.9 % quantile of the binomial allowed."""
    verdicts = [r.verdict for r in studies(0.0, other_position)]
    allowed = stats.binom.ppf(0.999, N_STUDIES, 0.025)
    assert verdicts.count("better") <= allowed
    assert verdicts.count("worse") <= allowed


def test_minimum_detectable_difference_is_detected_four_times_in_five() -> None:
    """A study of the promised size; the standard error is estimated, so the promise is an average."""
    promised = float(np.mean([r.minimum_detectable_difference for r in studies(0.0, False)]))
    power = np.mean([r.verdict == "better" for r in studies(-promised, False)])
    assert 0.74 < power < 0.88
