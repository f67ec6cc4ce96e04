"""The noise scale of gradients mu + sigma·z is known: d·sigma²/|mu|². Intervals must hold it as often as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from glidepath.science import noise_scale as module
from glidepath.science.autocorrelation import block_length
from glidepath.science.noise_scale import (
    NoiseScale,
    UntrustedNoiseScale,
    data_parallel_parts,
    noise_scale,
    resampled_noise_scales,
    unbiased_parts,
)
from glidepath.science.replicates import interval

D, BATCH, MU_SQUARED, SIGMA = 50, 8, 4.0, 0.6
TRACE = D * SIGMA**2
TRUTH = TRACE / MU_SQUARED
LEVEL = 0.9


def gradients(random: np.random.Generator, shape: tuple[int, ...], mu_squared: float = MU_SQUARED) -> np.ndarray:
    """Of single examples, [*shape, D]."""
    return np.sqrt(mu_squared / D) + SIGMA * random.standard_normal((*shape, D))


def probes(random: np.random.Generator, n: int, mu_squared: float = MU_SQUARED) -> tuple[np.ndarray, np.ndarray]:
    """Per-update |G|²_hat and trΣ_hat from gradients of BATCH examples each."""
    found = gradients(random, (n, BATCH), mu_squared)
    return unbiased_parts((found**2).sum(-1).mean(1), (found.mean(1) ** 2).sum(-1), 1.0, BATCH)


def growing_probes(random: np.random.Generator, batches: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The same with a batch of its own at every update."""
    norms = []
    for batch in batches:
        found = gradients(random, (batch,))
        norms.append(((found**2).sum(-1).mean(), (found.mean(0) ** 2).sum()))
    small, big = np.transpose(norms)
    return unbiased_parts(small, big, 1.0, batches)


def persistent(random: np.random.Generator, n: int, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """Both parts wander about their means as AR(1), half of the variance, beside noise of single probes."""
    wander = lfilter([np.sqrt(1 - rho**2)], [1, -rho], random.standard_normal((2, n + 200)), axis=-1)[:, 200:]
    noise = np.sqrt(0.5) * (wander + random.standard_normal((2, n)))
    return MU_SQUARED * (1 + 0.4 * noise[0]), TRACE * (1 + 0.2 * noise[1])


def holds(estimate: NoiseScale, truth: float = TRUTH) -> bool:
    """An end that is not there is no bound."""
    return not (estimate.ci_low > truth or estimate.ci_high < truth)


def test_parts_by_hand() -> None:
    """|g_1|² = 1 + 8, |g_4|² = 1 + 2."""
    true, trace = unbiased_parts([9.0], [3.0], 1, 4)
    assert (true.tolist(), trace.tolist()) == ([1.0], [8.0])


@given(true=st.floats(-5, 5), trace=st.floats(0, 100), small=st.integers(1, 8), factor=st.integers(2, 9))
def test_parts_invert_what_a_batch_adds(true: float, trace: float, small: int, factor: int) -> None:
    big = small * factor
    found = unbiased_parts([true + trace / small], [true + trace / big], small, big)
    np.testing.assert_allclose(np.ravel(found), [true, trace], atol=1e-9 * (1 + trace))


def test_parts_of_processes_are_those_of_their_batches() -> None:
    """Four processes with two examples each: unbiased as the parts of single examples are, with more noise."""
    found = gradients(np.random.default_rng(0), (20_000, 4, 2))
    process_norms = (found.mean(2) ** 2).sum(-1)
    true, trace = data_parallel_parts(process_norms, (found.mean((1, 2)) ** 2).sum(-1), 8)
    assert (true.mean(), trace.mean()) == (pytest.approx(MU_SQUARED, rel=0.02), pytest.approx(TRACE, rel=0.01))
    expected = unbiased_parts(process_norms.mean(-1), (found.mean((1, 2)) ** 2).sum(-1), 2, 8)
    np.testing.assert_allclose((true, trace), expected)
    of_examples = unbiased_parts((found**2).sum(-1).mean((1, 2)), (found.mean((1, 2)) ** 2).sum(-1), 1, 8)
    assert trace.std() > 1.3 * of_examples[1].std()


def test_ratio_of_means_not_mean_of_ratios() -> None:
    """Means 2 and 4; leaving one out gives 1/1 and 7/3: SE² = 1/2·Σ(±2/3)² = 4/9."""
    estimate = noise_scale([3.0, 1.0], [7.0, 1.0], LEVEL)
    assert (estimate.grad_sq_norm_true, estimate.grad_noise_trace, estimate.noise_scale) == (2.0, 4.0, 2.0)
    assert estimate.standard_error == pytest.approx(2 / 3)
    assert (estimate.n, estimate.n_blocks) == (2, 2)


def test_blocks_of_neighbours() -> None:
    """Two blocks of two; the fifth update counts in the mean but not in the error."""
    estimate = noise_scale([1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 3.0, 3.0, 2.0], LEVEL, block=2)
    assert estimate.noise_scale == 2.0
    assert estimate.standard_error == pytest.approx(1.0)
    assert (estimate.n, estimate.n_blocks) == (5, 2)


def test_interval_by_hand() -> None:
    """|G|² is 1 without error, so the ratio is trΣ: 3 ± t·1 with t = 2.92 for two degrees of freedom at 90 %."""
    estimate = noise_scale([1.0, 1.0, 1.0], [3.0 - 3**0.5, 3.0, 3.0 + 3**0.5], 0.9)
    assert (estimate.ci_low, estimate.ci_high) == (pytest.approx(3 - 2.9199856), pytest.approx(3 + 2.9199856))


def test_ends_are_where_the_difference_is_just_not_resolved() -> None:
    """The definition: at an end R, |mean(trΣ - R·|G|²)| is t of its standard errors."""
    true, trace = probes(np.random.default_rng(6), 12)
    estimate = noise_scale(true, trace, 0.9)
    for end in (estimate.ci_low, estimate.ci_high):
        difference = trace - end * true
        t = abs(difference.mean()) / (difference.std(ddof=1) / np.sqrt(12))
        assert t == pytest.approx(1.795885)


def test_units() -> None:
    sequences = noise_scale(*probes(np.random.default_rng(7), 12), LEVEL)
    tokens = sequences.times(64)
    for name in ("noise_scale", "standard_error", "ci_low", "ci_high"):
        assert getattr(tokens, name) == 64 * getattr(sequences, name)
    assert replace(tokens, noise_scale=0, standard_error=0, ci_low=0, ci_high=0) == replace(
        sequences, noise_scale=0, standard_error=0, ci_low=0, ci_high=0
    )


def test_tends_to_the_truth() -> None:
    estimate = noise_scale(*probes(np.random.default_rng(0), 20_000), LEVEL)
    assert estimate.grad_noise_trace == pytest.approx(TRACE, rel=0.01)
    assert estimate.noise_scale == pytest.approx(TRUTH, rel=0.02)
    assert abs(estimate.noise_scale - TRUTH) < 3 * estimate.standard_error


@pytest.mark.parametrize("n", [4, 10, 40])
def test_interval_covers(n: int) -> None:
    """2000 draws, binomial sd 0.7 %: nominal from four probes on, and either end errs about as often."""
    random = np.random.default_rng(n)
    true, trace = (part.reshape(2000, n) for part in probes(random, 2000 * n))
    estimates = [noise_scale(*one, LEVEL) for one in zip(true, trace, strict=True)]
    assert 0.88 < np.mean([holds(e) for e in estimates]) < 0.925
    for missed in ([e.ci_low > TRUTH for e in estimates], [e.ci_high < TRUTH for e in estimates]):
        assert 0.02 < np.mean(missed) < 0.08


def test_two_probes_have_an_interval_that_covers_and_says_little() -> None:
    """One degree of freedom: often there is no upper bound, and most are not trusted."""
    true, trace = (part.reshape(1000, 2) for part in probes(np.random.default_rng(8), 2000))
    estimates = [noise_scale(*one, LEVEL) for one in zip(true, trace, strict=True)]
    assert np.mean([holds(e) for e in estimates]) > 0.86
    assert np.mean([e.status == "ok" for e in estimates]) < 0.45


def test_jackknife_covers() -> None:
    """± 1.96 SE: nominal with 40 probes, and too narrow with four, where the table's interval is not."""
    random = np.random.default_rng(1)
    for n, low, high in ((40, 0.92, 0.97), (4, 0.75, 0.9)):
        true, trace = (part.reshape(1000, n) for part in probes(random, 1000 * n))
        estimates = [noise_scale(*one, LEVEL) for one in zip(true, trace, strict=True)]
        assert low < np.mean([abs(e.noise_scale - TRUTH) < 1.96 * e.standard_error for e in estimates]) < high


def test_interval_covers_while_the_batch_grows() -> None:
    random = np.random.default_rng(9)
    batches = [2 + i // 2 for i in range(24)]
    estimates = [noise_scale(*growing_probes(random, batches), LEVEL) for _ in range(500)]
    assert 0.86 < np.mean([holds(e) for e in estimates]) < 0.94
    assert np.mean([e.noise_scale for e in estimates]) == pytest.approx(TRUTH, rel=0.02)


@pytest.mark.parametrize(("n", "rho", "single"), [(200, 0.5, 0.75), (400, 0.8, 0.55)])
def test_interval_covers_when_neighbours_are_correlated(n: int, rho: float, single: float) -> None:
    """Blocks of the length that the series asks for: nearly nominal; single probes miss far more often."""
    random = np.random.default_rng(2)
    blocks, singles = [], []
    for _ in range(600):
        true, trace = persistent(random, n, rho)
        residuals = trace * true.mean() - true * trace.mean()
        blocks.append(holds(noise_scale(true, trace, LEVEL, block_length(residuals))))
        singles.append(holds(noise_scale(true, trace, LEVEL)))
    assert 0.83 < np.mean(blocks) < 0.93
    assert np.mean(singles) == pytest.approx(single, abs=0.05)


def test_short_correlated_windows_fail() -> None:
    """Stated limit: 16 probes cannot show a correlation of 0.8, and their interval is too narrow."""
    random = np.random.default_rng(3)
    covered = []
    for _ in range(400):
        true, trace = persistent(random, 16, 0.8)
        residuals = trace * true.mean() - true * trace.mean()
        covered.append(holds(noise_scale(true, trace, LEVEL, block_length(residuals))))
    assert 0.5 < np.mean(covered) < 0.85


def test_resampled_blocks_cover() -> None:
    """Percentiles of the block bootstrap agree with the interval where probes are many."""
    random = np.random.default_rng(4)
    covered = []
    for seed in range(300):
        samples = resampled_noise_scales(*persistent(random, 200, 0.5), block=16, n_samples=400, seed=seed)
        low, high = interval(samples, LEVEL)
        covered.append(low <= TRUTH <= high)
    assert 0.81 < np.mean(covered) < 0.94


def test_resampling_nothing_resolved_has_no_upper_end() -> None:
    true, trace = probes(np.random.default_rng(11), 10, mu_squared=1e-6)
    samples = resampled_noise_scales(true, trace, block=1, n_samples=500, seed=0)
    assert np.isinf(samples).mean() > 0.05
    assert np.isnan(interval(samples, LEVEL)[1])


def test_jackknife_of_blocks_when_every_probe_is_repeated() -> None:
    """Every probe 4 times: single updates promise half the error, blocks of 4 the right one."""
    true, trace = probes(np.random.default_rng(2), 40)
    once = noise_scale(true, trace, LEVEL)
    repeated = np.repeat(true, 4), np.repeat(trace, 4)
    in_blocks = noise_scale(*repeated, LEVEL, block=4)
    assert in_blocks.standard_error == pytest.approx(once.standard_error)
    assert (in_blocks.ci_low, in_blocks.ci_high) == (pytest.approx(once.ci_low), pytest.approx(once.ci_high))
    assert noise_scale(*repeated, LEVEL).standard_error == pytest.approx(once.standard_error / 2, rel=0.02)


def test_negative_signal_is_kept_and_untrusted() -> None:
    """Far below the resolution |G|²_hat is negative half of the time: clipping would make the mean too high."""
    random = np.random.default_rng(3)
    estimates = [noise_scale(*probes(random, 10, mu_squared=1e-6), LEVEL) for _ in range(400)]
    negative = [e for e in estimates if e.grad_sq_norm_true < 0]
    assert 120 < len(negative) < 280
    assert all(e.noise_scale < 0 and e.status == "untrusted" for e in negative)
    assert np.mean([e.status == "ok" for e in estimates]) < 0.06
    assert np.mean([e.grad_sq_norm_true for e in estimates]) == pytest.approx(0, abs=0.05 * TRACE / BATCH)


def test_what_is_not_resolved_has_a_lower_bound_only() -> None:
    """The truth is 18 million: nine of ten intervals reach that far, because they have no upper end."""
    random = np.random.default_rng(10)
    estimates = [noise_scale(*probes(random, 10, mu_squared=1e-6), LEVEL) for _ in range(400)]
    assert np.mean([holds(e, TRACE / 1e-6) for e in estimates]) > 0.86
    unbounded = [e for e in estimates if np.isnan(e.ci_high)]
    assert len(unbounded) > 330
    assert all(e.ci_low > 0 for e in unbounded)


def test_an_untrusted_estimate_is_carried_by_its_error() -> None:
    trusted = noise_scale(*probes(np.random.default_rng(0), 40), LEVEL)
    assert trusted.trusted() is trusted
    estimate = noise_scale([1.0, -2.0, 3.0], [4.0, 5.0, 6.0], LEVEL)
    with pytest.raises(UntrustedNoiseScale, match="do not tell from zero") as raised:
        estimate.trusted()
    assert raised.value.estimate is estimate
    assert isinstance(raised.value, ValueError)


def test_no_signal_at_all_is_no_error() -> None:
    estimate = noise_scale([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], LEVEL)
    assert estimate.status == "untrusted"
    assert not np.isfinite(estimate.noise_scale)
    assert np.isnan(estimate.ci_high)


def test_example_of_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines that are shown run, and tell the planted noise scale in tokens."""
    example = "".join(f"{line[4:]}\n" for line in str(module.__doc__).splitlines() if line.startswith("    "))
    example = example[example.index("parts = ") :]
    found = gradients(np.random.default_rng(0), (200, 32))
    names = {"norms_of_examples": (found**2).sum(-1).mean(1), "norms_of_batches": (found.mean(1) ** 2).sum(-1)}
    given = {**vars(module), **names, "context_length": 64}
    exec(example, given)
    assert given["estimate"].noise_scale == pytest.approx(TRUTH, rel=0.1)
    assert len(given["samples"]) == 1000
    assert capsys.readouterr().out == f"{given['estimate'].times(64)}\n"


def test_refusals() -> None:
    with pytest.raises(ValueError, match="two different ones are needed, the smaller first"):
        unbiased_parts([1.0], [1.0], 4, 4)
    with pytest.raises(ValueError, match="two processes with equally many examples"):
        data_parallel_parts([[1.0, 2.0, 3.0]], [1.0], 8)
    with pytest.raises(ValueError, match="two processes with equally many examples"):
        data_parallel_parts([[1.0]], [1.0], 8)
    with pytest.raises(ValueError, match=r"at least two blocks\. Probe more often"):
        noise_scale([1.0], [1.0], LEVEL)
    with pytest.raises(ValueError, match="at least two blocks"):
        noise_scale([1.0] * 7, [1.0] * 7, LEVEL, block=4)
    with pytest.raises(ValueError, match="one of each per update"):
        noise_scale([1.0, 2.0], [1.0], LEVEL)
    with pytest.raises(ValueError, match="between 0 and 1"):
        noise_scale([1.0, 2.0], [1.0, 2.0], 95.0)
