"""Schedules: arrays to check in the head, sums in closed form, and laws that hold for every composition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glidepath.science import schedules
from glidepath.science.schedules import clip, constant, decay, join, length, values, warmup

SHAPES: tuple[schedules.Shape, ...] = ("linear", "cosine", "one_minus_sqrt")


def wsd(shape: schedules.Shape, peak: float, final: float, W: int, stable: int, D: int) -> schedules.Path:
    return join(warmup(peak, W), constant(peak, stable), decay(shape, peak, final, D))


def test_warmup_2_constant_4_linear_decay_4_to_zero() -> None:
    """The row of torchtitan and nanochat among the seven codebases that were compared."""
    path = wsd("linear", 1.0, 0.0, 2, 4, 4)
    assert values(path).tolist() == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [1.0, 0.75, 0.5, 0.25]),
        ("cosine", [1.0, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]),
        ("one_minus_sqrt", [1.0, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5]),
    ],
)
def test_decay_over_4_to_zero(shape: schedules.Shape, expected: list[float]) -> None:
    np.testing.assert_allclose(values(decay(shape, 1.0, 0.0, 4)), expected, rtol=1e-15)


@pytest.mark.parametrize("shape", SHAPES)
def test_decay_to_a_fraction_is_the_decay_to_zero_shrunk_towards_it(shape: schedules.Shape) -> None:
    to_zero, to_a_tenth = values(decay(shape, 1.0, 0.0, 10)), values(decay(shape, 0.003, 0.0003, 10))
    np.testing.assert_allclose(to_a_tenth, 0.0003 + 0.0027 * to_zero, rtol=1e-14)


@pytest.mark.parametrize(("T", "W", "D", "expected"), [(10, 2, 4, 8.0), (1000, 100, 200, 851.0)])
def test_sum_of_a_linear_wsd(T: int, W: int, D: int, expected: float) -> None:
    """(W+1)/2 + (T-W-D) + (D+1)/2; the sums of the same words in other codebases differ by up to 25 %."""
    total = values(wsd("linear", 1.0, 0.0, W, T - W - D, D)).sum()
    assert total == pytest.approx((W + 1) / 2 + (T - W - D) + (D + 1) / 2)
    assert total == pytest.approx(expected)


@given(D=st.integers(1, 300), final=st.floats(0, 1))
def test_sum_of_a_cosine_decay(D: int, final: float) -> None:
    """Σ (1 + cos πj/D)/2 over j = 0 … D-1 is (D+1)/2, as that of the linear decay."""
    total = values(decay("cosine", 1.0, final, D)).sum()
    assert total == pytest.approx(final * D + (1 - final) * (D + 1) / 2)


def test_nothing_is_left_out_of_a_path_of_no_updates() -> None:
    assert values(join(warmup(1.0, 0), constant(1.0, 0), decay("linear", 1.0, 0.0, 0))).tolist() == []


@pytest.mark.parametrize(
    "request_",
    [
        lambda: constant(1.0, -1),
        lambda: warmup(1.0, -1),
        lambda: decay("linear", 1.0, 0.0, -1),
        lambda: clip(constant(1.0, 3), 4),
        lambda: clip(constant(1.0, 3), -1),
        lambda: schedules.Piece("linear", 1.0, 0.0, 4, 2, 2),
    ],
)
def test_impossible_lengths_are_refused(request_: object) -> None:
    assert callable(request_)
    with pytest.raises(ValueError, match=r"of -1|of 4|prefix"):
        request_()


# -- what holds for every composition

PEAKS = st.floats(1e-6, 10.0)
LENGTHS = st.integers(0, 40)


@st.composite
def paths(draw: st.DrawFn) -> schedules.Path:
    """What a study can ask for: warm-up, constant and decay, any of them absent."""
    peak = draw(PEAKS)
    final = peak * draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    lengths = draw(st.tuples(LENGTHS, LENGTHS, LENGTHS).filter(any))
    return wsd(draw(st.sampled_from(SHAPES)), peak, final, *lengths)


@given(path=paths(), data=st.data())
def test_clip_is_a_prefix_and_clips_like_a_prefix(path: schedules.Path, data: st.DataObject) -> None:
    stop = data.draw(st.integers(0, length(path)))
    earlier = data.draw(st.integers(0, stop))
    clipped = clip(path, stop)
    np.testing.assert_array_equal(values(clipped), values(path)[:stop])
    assert clip(clipped, earlier) == clip(path, earlier)
    assert clip(path, length(path)) == path


@given(a=paths(), b=paths(), c=paths())
def test_join_is_associative_and_appends(a: schedules.Path, b: schedules.Path, c: schedules.Path) -> None:
    assert join(a, join(b, c)) == join(join(a, b), c) == join(a, b, c)
    np.testing.assert_array_equal(values(join(a, b)), np.concatenate([values(a), values(b)]))
    assert length(join(a, b)) == length(a) + length(b)


@given(peak=PEAKS, W=LENGTHS, stable=LENGTHS, D=LENGTHS, shape=st.sampled_from(SHAPES), final=st.floats(0, 0.99))
def test_no_update_is_wasted_and_the_peak_is_reached_exactly(
    peak: float, W: int, stable: int, D: int, shape: schedules.Shape, final: float
) -> None:
    lr = values(wsd(shape, peak, peak * final, W, stable, D))
    assert len(lr) == W + stable + D
    assert (lr > 0).all()
    if len(lr):
        assert lr.max() == peak
    assert (np.diff(lr[: max(W, 1)]) > 0).all()
    assert (np.diff(lr[W:]) <= 0).all()


@given(peak=PEAKS, D=st.integers(2, 200), shape=st.sampled_from(SHAPES), final=st.floats(0, 0.9))
def test_the_floor_is_what_the_update_after_the_last_would_run_at(
    peak: float, D: int, shape: schedules.Shape, final: float
) -> None:
    lr = values(decay(shape, peak, peak * final, D))
    assert (lr > peak * final).all()
    g = schedules.DECAY_SHAPES[shape](np.array([1.0]))[0]
    assert g == pytest.approx(0.0, abs=1e-15)
    np.testing.assert_allclose(values(decay(shape, peak, peak * final, 2 * D))[::2], lr, rtol=1e-12)


@given(peak=PEAKS, W=LENGTHS, stable=st.integers(1, 40), more=LENGTHS, D=st.integers(1, 40))
@settings(max_examples=50)
def test_a_trunk_and_the_decay_that_leaves_it_spell_what_they_share_alike(
    peak: float, W: int, stable: int, more: int, D: int
) -> None:
    """So that a segment's identity does not depend on which of its cells it is taken from."""
    trunk = wsd("linear", peak, 0.0, W, stable + 1 + more, 0)
    for shape in SHAPES:
        assert clip(wsd(shape, peak, 0.0, W, stable, D), W + stable + 1) == clip(trunk, W + stable + 1)


@given(peak=PEAKS, n=st.integers(1, 40), m=st.integers(1, 40))
def test_neighbours_of_equal_constants_become_one(peak: float, n: int, m: int) -> None:
    assert join(constant(peak, n), constant(peak, m)) == constant(peak, n + m)
    assert len(join(constant(peak, n), constant(2 * peak, m))) == 2
