"""Growth of the noise scale as a power of the tokens, and the batches that grow alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glidepath.science.batch_path import fit_growth, growing_stages
from glidepath.study.batch_ramp import Stages, batch_of_every_update

TOKENS = np.geomspace(3e4, 2e6, 12)


def test_a_planted_power_law_is_recovered() -> None:
    found = fit_growth(TOKENS, 50.0 * (TOKENS / 1e6) ** 0.6, np.linspace(1, 9, 12), 0.9)
    assert found.exponent == pytest.approx(0.6, abs=1e-12)
    assert found.at(1e6) == pytest.approx(50.0)
    assert found.at(4e6) == pytest.approx(50.0 * 4**0.6)
    assert found.resolved
    assert found.degrees_of_freedom == 10


def test_the_interval_of_the_exponent_covers_and_a_scatter_beyond_the_errors_widens_it() -> None:
    """2000 draws: errors of 20 % as told (too wide rather than too narrow: they are never shrunk), and twice those."""
    random = np.random.default_rng(0)
    for true, scatter, lowest in ((0.6, 0.2, 0.88), (0.0, 0.2, 0.88), (0.6, 0.4, 0.86)):
        covered = resolved = 0
        for _ in range(2000):
            scale = 50.0 * (TOKENS / 1e6) ** true * np.exp(scatter * random.standard_normal(12))
            found = fit_growth(TOKENS, scale, 0.2 * scale, 0.9)
            covered += found.exponent_low <= true <= found.exponent_high
            resolved += found.resolved
        assert covered / 2000 > lowest
        assert covered / 2000 < 0.97
        if true == 0.0:
            assert resolved / 2000 < 0.06


def test_a_window_counts_by_its_error() -> None:
    scale = np.array([1.0, 2.0, 4.0, 1000.0])
    found = fit_growth([1, 2, 4, 8], scale, scale * [0.01, 0.01, 0.01, 10.0], 0.9)
    assert found.exponent == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("tokens", "scale", "se", "says"),
    [
        ([1, 2], [1, 2], [1, 1], "2 windows"),
        ([1, 2, 3], [1, -2, 3], [1, 1, 1], "noise scales"),
        ([1, 2, 3], [1, 2, 3], [1, np.nan, 1], "standard errors"),
        ([5, 5, 5], [1, 2, 3], [1, 1, 1], "all windows are at 5 tokens"),
    ],
)
def test_what_has_no_growth_is_refused(tokens: list[float], scale: list[float], se: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit_growth(tokens, scale, se, 0.9)


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
