"""The noise scale of gradients mu + sigma·z is known: d·sigma²/|mu|²."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glidepath.science.noise_scale import NoiseScale, noise_scale, unbiased_parts

D, BATCH, MU_SQUARED, SIGMA = 50, 8, 4.0, 0.6
TRACE = D * SIGMA**2
TRUTH = TRACE / MU_SQUARED


def probes(random: np.random.Generator, n: int, mu_squared: float = MU_SQUARED) -> tuple[np.ndarray, np.ndarray]:
    """Per-update |G|²_hat and trΣ_hat from gradients of BATCH examples each."""
    mu = np.full(D, np.sqrt(mu_squared / D))
    gradients = mu + SIGMA * random.standard_normal((n, BATCH, D))
    small = (gradients**2).sum(-1).mean(1)
    big = (gradients.mean(1) ** 2).sum(-1)
    return unbiased_parts(small, big, 1.0, BATCH)


def test_parts_by_hand() -> None:
    """|g_1|² = 1 + 8, |g_4|² = 1 + 2."""
    true, trace = unbiased_parts([9.0], [3.0], 1, 4)
    assert (true.tolist(), trace.tolist()) == ([1.0], [8.0])


@given(true=st.floats(-5, 5), trace=st.floats(0, 100), small=st.integers(1, 8), factor=st.integers(2, 9))
def test_parts_invert_what_a_batch_adds(true: float, trace: float, small: int, factor: int) -> None:
    big = small * factor
    found = unbiased_parts([true + trace / small], [true + trace / big], small, big)
    np.testing.assert_allclose(np.ravel(found), [true, trace], atol=1e-9 * (1 + trace))


def test_ratio_of_means_not_mean_of_ratios() -> None:
    """Means 2 and 4; leaving one out gives 1/1 and 7/3: SE² = 1/2·Σ(±2/3)² = 4/9."""
    estimate = noise_scale([3.0, 1.0], [7.0, 1.0])
    assert (estimate.grad_sq_norm_true, estimate.grad_noise_trace, estimate.noise_scale) == (2.0, 4.0, 2.0)
    assert estimate.standard_error == pytest.approx(2 / 3)
    assert estimate.n == 2


def test_blocks_of_neighbours() -> None:
    """Two blocks of two; the fifth update counts in the mean but not in the error."""
    estimate = noise_scale([1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 3.0, 3.0, 2.0], block=2)
    assert estimate.noise_scale == 2.0
    assert estimate.standard_error == pytest.approx(1.0)
    assert estimate.n == 5


def test_tends_to_the_truth() -> None:
    estimate = noise_scale(*probes(np.random.default_rng(0), 20_000))
    assert estimate.grad_noise_trace == pytest.approx(TRACE, rel=0.01)
    assert estimate.noise_scale == pytest.approx(TRUTH, rel=0.02)
    assert abs(estimate.noise_scale - TRUTH) < 3 * estimate.standard_error


def test_jackknife_interval_covers() -> None:
    """95 % of the intervals ± 1.96 SE contain the truth: 500 draws of 40 probes, binomial sd 1 %."""
    random = np.random.default_rng(1)
    covered = [
        abs(e.noise_scale - TRUTH) < 1.96 * e.standard_error
        for e in (noise_scale(*probes(random, 40)) for _ in range(500))
    ]
    assert 0.92 < np.mean(covered) < 0.98


def test_jackknife_of_blocks_covers_when_neighbours_are_correlated() -> None:
    """Every probe repeated 4 times: single updates promise half the error, blocks of 4 the right one."""
    true, trace = probes(np.random.default_rng(2), 40)
    once = noise_scale(true, trace)
    repeated = np.repeat(true, 4), np.repeat(trace, 4)
    assert noise_scale(*repeated, block=4).standard_error == pytest.approx(once.standard_error)
    assert noise_scale(*repeated).standard_error == pytest.approx(once.standard_error / 2, rel=0.02)


def test_negative_signal_is_kept_and_untrusted() -> None:
    """Far below the resolution |G|²_hat is negative half of the time: clipping would make the mean too high."""
    random = np.random.default_rng(3)
    estimates: list[NoiseScale] = [noise_scale(*probes(random, 10, mu_squared=1e-6)) for _ in range(200)]
    negative = [e for e in estimates if e.grad_sq_norm_true < 0]
    assert 60 < len(negative) < 140
    assert all(e.noise_scale < 0 and e.status == "untrusted" for e in negative)
    assert np.mean([e.status == "ok" for e in estimates]) < 0.1
    assert np.mean([e.grad_sq_norm_true for e in estimates]) == pytest.approx(0, abs=0.05 * TRACE / BATCH)


def test_no_signal_at_all_is_no_error() -> None:
    estimate = noise_scale([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    assert estimate.status == "untrusted"
    assert not np.isfinite(estimate.noise_scale)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="two different ones are needed, the smaller first"):
        unbiased_parts([1.0], [1.0], 4, 4)
    with pytest.raises(ValueError, match=r"at least two blocks\. Probe more often"):
        noise_scale([1.0], [1.0])
    with pytest.raises(ValueError, match="at least two blocks"):
        noise_scale([1.0] * 7, [1.0] * 7, block=4)
    with pytest.raises(ValueError, match="one of each per update"):
        noise_scale([1.0, 2.0], [1.0])
