"""Growth of the noise scale as a power of the tokens, and the batches that grow alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from glidepath.science.batch_path import fit_growth, growing_stages
from glidepath.science.noise_scale import noise_scale, unbiased_parts
from glidepath.study.batch_ramp import Stages, batch_of_every_update

EDGES = np.linspace(1e4, 2e6, 13)
BEGIN, END = EDGES[:-1], EDGES[1:]


def inverse(exponent: float) -> np.ndarray:
    """Means over the windows of 1/(50 sequences·(tokens/1e6)^exponent), exponent < 1."""
    power = 1 - exponent
    return np.asarray((END**power - BEGIN**power) / (power * (END - BEGIN)) * 1e6**exponent / 50.0)


def test_a_planted_power_law_is_recovered() -> None:
    found = fit_growth(BEGIN, END, inverse(0.6), np.linspace(0.001, 0.009, 12), 0.9)
    assert found.exponent == pytest.approx(0.6, abs=1e-4)
    assert found.at(1e6) == pytest.approx(50.0, rel=1e-4)
    assert found.at(4e6) == pytest.approx(50.0 * 4**0.6, rel=1e-3)
    assert found.exponent_low < 0.6 < found.exponent_high
    assert found.degrees_of_freedom == 10
    nearly_sure = fit_growth(BEGIN, END, inverse(0.6), np.full(12, 1e-6), 0.9)
    assert nearly_sure.resolved
    assert nearly_sure.exponent_high - nearly_sure.exponent_low < 1e-3


def test_an_exponent_of_one_has_no_division_by_zero() -> None:
    windows = np.log(END / BEGIN) / (END - BEGIN)
    assert fit_growth(BEGIN, END, windows, windows / 10, 0.9).exponent == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("at_end", "batch", "probes"), [(100, 8, 16), (400, 16, 32), (200, 8, 16)])
def test_windows_without_a_trusted_noise_scale_leave_no_bias(at_end: float, batch: int, probes: int) -> None:
    """Of 12 windows of two cells most are untrusted, the late ones; norms of Gaussian gradients in 32 dimensions. Fits
    to the trusted windows find exponents of 0.1 to 0.2 of the planted 0.4."""
    random = np.random.default_rng(0)
    times = np.arange(1, 12 * probes + 1) / (12 * probes)
    edges = np.append(times[::probes], times[-1] + times[0]) - times[0] / 2
    found, covered, untrusted = [], 0, 0
    draws = 100
    for _ in range(draws):
        rows = []
        for _ in range(2):
            gradients = random.standard_normal((len(times), batch, 32)) / np.sqrt(32)
            gradients[:, :, 0] += np.sqrt(1 / (at_end * times**0.4))[:, None]
            parts = unbiased_parts((gradients**2).sum(2).mean(1), (gradients.mean(1) ** 2).sum(1), 1.0, float(batch))
            for window in range(12):
                here = slice(window * probes, (window + 1) * probes)
                rows.append(noise_scale(parts[0][here], parts[1][here], 0.9))
        untrusted += sum(row.status != "ok" for row in rows)
        windows = np.array([row.grad_sq_norm_true / row.grad_noise_trace for row in rows])
        errors = (1 / np.array([row.ci_low for row in rows]) - windows) / stats.t.ppf(0.95, probes - 1)
        growth = fit_growth(np.tile(edges[:-1], 2), np.tile(edges[1:], 2), windows, errors, 0.9)
        found.append(growth.exponent)
        covered += growth.exponent_low <= 0.4 <= growth.exponent_high
    assert untrusted > 0.6 * draws * 24
    assert np.mean(found) == pytest.approx(0.4, abs=0.03)
    assert covered / draws > 0.83


def test_the_interval_of_the_exponent_covers_and_a_scatter_beyond_the_errors_widens_it() -> None:
    """500 draws: errors as told (too wide rather than too narrow: they are never shrunk), and twice those."""
    random = np.random.default_rng(0)
    for true, factor, lowest in ((0.6, 1.0, 0.87), (0.0, 1.0, 0.87), (0.6, 2.0, 0.83)):
        covered = resolved = 0
        for _ in range(500):
            windows = inverse(true) + 0.004 * factor * random.standard_normal(12)
            found = fit_growth(BEGIN, END, windows, np.full(12, 0.004), 0.9)
            covered += found.exponent_low <= true <= found.exponent_high
            resolved += found.resolved
        assert covered / 500 > lowest
        assert covered / 500 < 0.98
        if true == 0.0:
            assert resolved / 500 < 0.075


def test_a_window_counts_by_the_course_of_the_errors() -> None:
    """The first windows are known a hundred times better than the last; one error is not known."""
    windows = inverse(0.6)
    errors = np.geomspace(1e-4, 1e-2, 12)
    windows[-2:] *= 3
    off = fit_growth(BEGIN, END, windows, np.full(12, 1e-3), 0.9).exponent
    errors[3] = np.nan
    assert abs(off - 0.6) > 0.05
    assert fit_growth(BEGIN, END, windows, errors, 0.9).exponent == pytest.approx(0.6, abs=0.005)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"n": 2}, "2 windows"),
        ({"inverse": [1, np.nan, 3]}, "inverse noise scales"),
        ({"inverse": [-1, -2, -3]}, "no noise scale above zero"),
        ({"inverse": [1e-9, 1e-6, 1.0]}, "a power of tokens between -2 and 3"),
        ({"se": [1, np.nan, 1]}, "2 windows of known error"),
        ({"begin": [0, 2, 3]}, "begins above 0"),
        ({"begin": [2, 2, 2], "end": [8, 8, 8]}, "all windows are at 5 tokens"),
        ({"level": 1.5}, r"level 1\.5: the level of an interval lies between 0 and 1"),
    ],
)
def test_what_has_no_growth_is_refused(given: dict[str, Any], says: str) -> None:
    x: dict[str, Any] = {
        "begin": [1, 2, 4], "end": [2, 4, 8], "inverse": [4, 2, 1], "se": [1, 1, 1], "level": 0.9, "n": 3, **given
    }  # fmt: skip
    with pytest.raises(ValueError, match=says):
        fit_growth(*(x[name][: x["n"]] for name in ("begin", "end", "inverse", "se")), x["level"])


def test_a_root_reaches_each_batch_where_it_should() -> None:
    """B = 8·√u: above 2 from u = 1/16, above 4 from 1/4, above 6 from 9/16."""
    stages = growing_stages(0.5, 8.0, 8, 2, 2)
    assert stages.batch_sequences == (2, 4, 6, 8)
    np.testing.assert_allclose(stages.begins, [1 / 16, 1 / 4, 9 / 16])
    assert growing_stages(0.5, 8.0, 8, 3, 2).batch_sequences == (4, 6, 8)
    np.testing.assert_allclose(growing_stages(0.5, 16.0, 8, 4, 4).begins, [1 / 16])


@given(exponent=st.floats(0.1, 3), end=st.integers(2, 40), multiple_of=st.integers(1, 3), smallest=st.integers(1, 40))
def test_what_holds_for_every_path(exponent: float, end: int, multiple_of: int, smallest: int) -> None:
    """Rounded up, never falling, never below the smallest, and written as the stages of a study the same batches."""
    end *= multiple_of
    first = multiple_of * -(-smallest // multiple_of)
    if first >= end:
        with pytest.raises(ValueError, match="no multiple"):
            growing_stages(exponent, float(end), end, smallest, multiple_of)
        return
    stages = growing_stages(exponent, float(end), end, smallest, multiple_of)
    assert (np.diff(stages.begins) > 0).all()
    assert stages.batch_sequences[0] == first
    assert stages.batch_sequences[-1] == end
    for u in (0.013, 0.37, 0.993):
        batch = stages.batch_sequences[sum(begin <= u for begin in stages.begins)]
        wanted = max(end * u**exponent, smallest)
        assert 0 <= batch - wanted < multiple_of + 1e-9 * wanted or batch == pytest.approx(wanted, rel=1e-9)
    config = Stages(
        kind="stages", milestones=stages.begins, batch_fractions=tuple(b / end for b in stages.batch_sequences[:-1])
    )
    assert set(batch_of_every_update(config, end, 400 * end)[:-1]) <= set(stages.batch_sequences)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"exponent": 0.0}, "would not grow"),
        ({"multiple_of": 3}, "no multiple of 3"),
        ({"wanted_at_end": 5.0}, "ends at 5 and never gets to 8"),
        ({"min_batch_sequences": 8}, "no multiple of 1 to grow through"),
    ],
)
def test_a_path_that_is_none_is_refused(keys: dict[str, float], says: str) -> None:
    default = {"exponent": 0.5, "wanted_at_end": 8.0, "batch_sequences": 8, "min_batch_sequences": 1, "multiple_of": 1}
    with pytest.raises(ValueError, match=says):
        growing_stages(**{**default, **keys})  # type: ignore[arg-type]
