"""Schedules: arrays to check in the head, sums in closed form, and laws that hold for every composition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glidepath.science import schedules
from glidepath.science.schedules import (
    HORIZON_FREE,
    Floats,
    Piece,
    Stage,
    batch_path,
    batches,
    clip,
    clip_batches,
    constant,
    decay,
    horizon_free,
    join,
    length,
    positions,
    sampled_decay,
    scaled,
    warmup,
)

SHAPES: tuple[schedules.DecayShape, ...] = (
    "linear", "cosine", "one_minus_sqrt", "mirror_cosine", "square", "power", "exponential", "rex"
)  # fmt: skip


def values(path: schedules.Path, batch: int = 1) -> Floats:
    """Applied values with a fixed batch; with one sequence per update the clock counts updates."""
    return schedules.values(path, batch * np.arange(length(path) // batch + 1))


def wsd(shape: schedules.DecayShape, peak: float, final: float, W: int, stable: int, D: int) -> schedules.Path:
    return join(warmup(peak, W), constant(peak, stable), decay(shape, peak, final, D, parameter=1.5))


def test_warmup_2_constant_4_linear_decay_4_to_zero() -> None:
    """The row of torchtitan and nanochat among the seven codebases that were compared."""
    path = wsd("linear", 1.0, 0.0, 2, 4, 4)
    assert values(path).tolist() == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("mirror_cosine", [1.0, 1.5 - (2 + 2**0.5) / 4, 0.5, 0.5 - (2 - 2**0.5) / 4]),
        ("square", [1.0, 15 / 16, 3 / 4, 7 / 16]),
        ("power", [1.0, 0.75**1.5, 0.5**1.5, 0.25**1.5]),
        ("rex", [1.0, 0.75 / 0.875, 0.5 / 0.75, 0.25 / 0.625]),
        ("linear", [1.0, 0.75, 0.5, 0.25]),
        ("cosine", [1.0, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]),
        ("one_minus_sqrt", [1.0, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5]),
    ],
)
def test_decay_over_4_to_zero(shape: schedules.DecayShape, expected: list[float]) -> None:
    np.testing.assert_allclose(values(decay(shape, 1.0, 0.0, 4, parameter=1.5)), expected, rtol=1e-15)


def test_rex_has_the_values_of_its_paper() -> None:
    """Chen et al. 2022 at q = 0, .2, .4, .6, .8; the popular z/(0.1 + 0.9z) is another curve."""
    lr = values(decay("rex", 1.0, 0.0, 5))
    np.testing.assert_allclose(lr, [1.0, 0.8889, 0.75, 0.5714, 0.3333], atol=5e-5)


def test_an_exponential_falls_by_the_same_factor_at_every_update() -> None:
    lr = values(decay("exponential", 1.0, 0.01, 4))
    np.testing.assert_allclose(lr, 0.01 ** (np.arange(4) / 4), rtol=1e-14)
    for start, final in ((1.0, 0.0), (0.0, 1.0)):
        with pytest.raises(ValueError, match="exponential from"):
            decay("exponential", start, final, 4)


def test_an_inverse_square_root_has_fallen_to_half_at_four_times_the_warm_up() -> None:
    lr = values(join(warmup(1.0, 10), horizon_free("inverse_sqrt", 1.0, 0.0, 10, 91)))
    assert lr[9] == lr[10] == 1.0
    assert lr[40] == 0.5
    np.testing.assert_allclose(lr[10:], np.sqrt(10 / np.arange(10, 101)), rtol=1e-14)
    assert values(horizon_free("inverse_sqrt", 1.0, 0.6, 10, 91)).min() == 0.6


def test_a_rational_path_is_its_recursion() -> None:
    """Bergsma et al. 2025: η ← η/(1 + η·λ)."""
    peak, weight_decay = 0.1, 0.1
    lr = values(horizon_free("rational", peak, 0.0, 1 / (peak * weight_decay), 1000))
    expected = [peak]
    while len(expected) < 1000:
        expected.append(expected[-1] / (1 + expected[-1] * weight_decay))
    np.testing.assert_allclose(lr, expected, rtol=1e-12)
    assert lr[-1] == pytest.approx(0.00909918, abs=5e-9)  # as the paper's example ends


def test_a_sampled_profile_is_held_between_its_refreshes() -> None:
    assert values(sampled_decay("linear", 1.0, 0.0, [0, 5], 10)).tolist() == [1.0] * 5 + [0.5] * 5
    assert len(sampled_decay("linear", 1.0, 0.0, [0, 5], 10)) == 2
    every = values(sampled_decay("rex", 1.0, 0.1, list(range(10)), 10))
    np.testing.assert_allclose(every, values(decay("rex", 1.0, 0.1, 10)), rtol=1e-9)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "exponential"])
def test_decay_to_a_fraction_is_the_decay_to_zero_shrunk_towards_it(shape: schedules.DecayShape) -> None:
    to_zero = values(decay(shape, 1.0, 0.0, 10, parameter=1.5))
    to_a_tenth = values(decay(shape, 0.003, 0.0003, 10, parameter=1.5))
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


# -- the batch beside it


def test_runs_of_equal_batches() -> None:
    path = batch_path([2, 2, 3, 3, 3, 2])
    assert path == (Stage(2, 2), Stage(3, 3), Stage(2, 1))
    assert batches(path).tolist() == [2, 2, 3, 3, 3, 2]
    assert positions(batches(path)).tolist() == [0, 2, 4, 7, 10, 13, 15]
    assert clip_batches(path, 3) == (Stage(2, 2), Stage(3, 1))
    with pytest.raises(ValueError, match="no prefix of 7"):
        clip_batches(path, 7)
    with pytest.raises(ValueError, match="batch of 0"):
        batch_path([1, 0])


def test_the_learning_rate_follows_the_tokens_whatever_the_batch() -> None:
    """A linear decay over 12 sequences, walked in updates of 1, 2, 3 and 6: what each begins at."""
    path = decay("linear", 1.0, 0.0, 12)
    applied = schedules.values(path, positions(np.array([1, 2, 3, 6])))
    np.testing.assert_allclose(applied, [1.0, 11 / 12, 9 / 12, 6 / 12])
    risen = schedules.values(warmup(1.0, 12), positions(np.array([1, 2, 3, 6])))
    np.testing.assert_allclose(risen, [1 / 12, 3 / 12, 6 / 12, 1.0])


@given(batch=st.integers(1, 600), D=st.integers(2, 300), W=st.integers(2, 50), shape=st.sampled_from(SHAPES))
def test_a_fixed_batch_does_not_move_a_bit(batch: int, D: int, W: int, shape: schedules.DecayShape) -> None:
    def path(size: int) -> schedules.Path:
        return join(warmup(0.3, W * size, size), decay(shape, 0.3, 0.03, D * size, size, 1.5))

    np.testing.assert_array_equal(values(path(batch), batch), values(path(1)))


def test_a_factor_cuts_pieces_and_multiplies_them() -> None:
    path = scaled(wsd("linear", 1.0, 0.0, 2, 4, 4), [(0.5, 1), (1.0, 7), (2.0, 2)])
    assert values(path).tolist() == [0.25, 1, 1, 1, 1, 1, 1, 0.75, 1.0, 0.5]
    # Constants whose products are equal become one, so that neighbours of a path always differ.
    assert scaled(join(constant(1.0, 3), constant(0.5, 2)), [(0.5, 3), (1.0, 2)]) == constant(0.5, 5)
    for wrong in ([(1.0, 9)], [(1.0, 11)], [(0.0, 10)], [(-1.0, 5), (1.0, 5)]):
        with pytest.raises(ValueError, match="factors"):
            scaled(constant(1.0, 10), wrong)


def test_a_path_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="5 sequences for updates of 4"):
        schedules.values(constant(1.0, 5), positions(np.array([2, 2])))


# -- what holds for every composition

PEAKS = st.floats(1e-6, 10.0)
LENGTHS = st.integers(0, 40)


@st.composite
def paths(draw: st.DrawFn) -> schedules.Path:
    """Warm-up, constant, decay and a descent without horizon, any of them absent."""
    peak = draw(PEAKS)
    final = peak * draw(st.sampled_from([0.01, 0.1, 0.5, 1.0]))
    lengths = draw(st.tuples(LENGTHS, LENGTHS, LENGTHS).filter(any))
    tail = horizon_free(draw(st.sampled_from(["inverse_sqrt", "rational"])), peak, final, 7.0, draw(LENGTHS))
    return join(wsd(draw(st.sampled_from(SHAPES)), peak, final, *lengths), tail)


@given(path=paths(), data=st.data())
def test_clip_is_a_prefix_and_clips_like_a_prefix(path: schedules.Path, data: st.DataObject) -> None:
    stop = data.draw(st.integers(0, length(path)))
    earlier = data.draw(st.integers(0, stop))
    clipped = clip(path, stop)
    np.testing.assert_array_equal(values(clipped), values(path)[:stop])
    assert clip(clipped, earlier) == clip(path, earlier)
    assert clip(path, length(path)) == path


def as_long_as(stretches: list[tuple[float, int]], total: int) -> list[tuple[float, int]]:
    """The stretches up to a length, the last one stretched to it."""
    found: list[tuple[float, int]] = []
    for factor, stretch in stretches:
        if (left := total - sum(n for _, n in found)) > 0:
            found.append((factor, min(stretch, left)))
    factor, stretch = found[-1]
    return [*found[:-1], (factor, total - sum(n for _, n in found[:-1]))]


STRETCHES = st.lists(
    st.tuples(st.sampled_from([0.125, 1.0, 0.3535533906, 2 / 3]), st.integers(1, 30)), min_size=1, max_size=6
)


@given(a=paths(), b=paths(), stretches=STRETCHES, data=st.data())
def test_a_scaled_path_is_the_product_and_clips_like_the_path(
    a: schedules.Path, b: schedules.Path, stretches: list[tuple[float, int]], data: st.DataObject
) -> None:
    of_a = as_long_as(stretches, length(a))
    product = scaled(a, of_a)
    factors = np.repeat([factor for factor, _ in of_a], [n for _, n in of_a])
    np.testing.assert_allclose(values(product), values(a) * factors, rtol=1e-9, atol=0)
    assert join(product) == product
    stop = data.draw(st.integers(1, length(a)))
    assert clip(product, stop) == scaled(clip(a, stop), as_long_as(of_a, stop))
    # What two paths share they still share: the planner trains it once.
    other = join(clip(a, stop), b)
    long = as_long_as(stretches, max(length(a), length(other)))
    scaled_a, scaled_other = (scaled(path, as_long_as(long, length(path))) for path in (a, other))
    alike = schedules.common(a, other)
    if alike:
        assert clip(scaled_a, alike) == clip(scaled_other, alike)
    assert schedules.common(scaled_a, scaled_other) >= alike


@given(path=paths())
def test_a_factor_of_one_moves_no_bit(path: schedules.Path) -> None:
    assert scaled(path, [(1.0, length(path))]) == path


@given(a=paths(), b=paths(), c=paths())
def test_join_is_associative_and_appends(a: schedules.Path, b: schedules.Path, c: schedules.Path) -> None:
    assert join(a, join(b, c)) == join(join(a, b), c) == join(a, b, c)
    np.testing.assert_array_equal(values(join(a, b)), np.concatenate([values(a), values(b)]))
    assert length(join(a, b)) == length(a) + length(b)


@given(peak=PEAKS, W=LENGTHS, stable=LENGTHS, D=LENGTHS, shape=st.sampled_from(SHAPES), final=st.floats(1e-3, 0.99))
def test_no_update_is_wasted_and_the_peak_is_reached_exactly(
    peak: float, W: int, stable: int, D: int, shape: schedules.DecayShape, final: float
) -> None:
    lr = values(wsd(shape, peak, peak * final, W, stable, D))
    assert len(lr) == W + stable + D
    assert (lr > 0).all()
    if len(lr):
        assert lr.max() == peak
    assert (np.diff(lr[: max(W, 1)]) > 0).all()
    assert (np.diff(lr[W:]) <= 0).all()


@given(peak=PEAKS, D=st.integers(2, 200), shape=st.sampled_from(SHAPES), final=st.floats(1e-3, 0.9))
def test_the_floor_is_what_the_update_after_the_last_would_run_at(
    peak: float, D: int, shape: schedules.DecayShape, final: float
) -> None:
    lr = values(decay(shape, peak, peak * final, D, parameter=1.5))
    assert (lr > peak * final).all()
    at_the_end = Piece(shape, peak, peak * final, D, 0, D, 1.5).values(np.array([D]), np.array([D + 1]))
    assert at_the_end[0] == pytest.approx(peak * final)
    # Stretched to twice the horizon, every other update is the same.
    stretched = values(decay(shape, peak, peak * final, 2 * D, parameter=1.5))
    np.testing.assert_allclose(stretched[::2], lr, rtol=1e-12)


@given(peak=PEAKS, D=st.integers(2, 300), a=st.floats(0.2, 4))
def test_the_sum_of_a_decay_is_its_integral_and_half_its_first_step(peak: float, D: int, a: float) -> None:
    """Trapezoidal rule: Σ g(j/D) over j < D is D·∫g + ½ up to its second-order error."""
    integrals = {"linear": 1 / 2, "cosine": 1 / 2, "mirror_cosine": 1 / 2, "square": 2 / 3, "rex": 2 - 2 * np.log(2)}
    for shape, integral in integrals.items():
        total = values(decay(shape, peak, 0.0, D)).sum() / peak  # type: ignore[arg-type]
        assert total == pytest.approx(D * integral + 0.5, abs=0.2 / D + 1e-9)
    powers = values(decay("power", 1.0, 0.0, D, parameter=a)).sum()
    assert D / (a + 1) < powers < D / (a + 1) + 1


@given(peak=PEAKS, W=LENGTHS, stable=st.integers(1, 40), more=LENGTHS, D=st.integers(1, 40))
@settings(max_examples=50)
def test_a_trunk_and_the_decay_that_leaves_it_spell_what_they_share_alike(
    peak: float, W: int, stable: int, more: int, D: int
) -> None:
    """So that a segment's identity does not depend on which of its cells it is taken from."""
    trunk = wsd("linear", peak, 0.0, W, stable + 1 + more, 0)
    for shape in SHAPES:
        assert clip(wsd(shape, peak, 0.01 * peak, W, stable, D), W + stable + 1) == clip(trunk, W + stable + 1)


@given(peak=PEAKS, n=st.integers(3, 100), more=st.integers(0, 100), shape=st.sampled_from(HORIZON_FREE[1:]))
def test_a_descent_without_horizon_spells_its_prefix_alike(peak: float, n: int, more: int, shape: str) -> None:
    longer = horizon_free(shape, peak, 0.0, 10.0, n + more)  # type: ignore[arg-type]
    assert clip(longer, n) == horizon_free(shape, peak, 0.0, 10.0, n)  # type: ignore[arg-type]


@given(peak=PEAKS, n=st.integers(1, 40), m=st.integers(1, 40))
def test_neighbours_of_equal_constants_become_one(peak: float, n: int, m: int) -> None:
    assert join(constant(peak, n), constant(peak, m)) == constant(peak, n + m)
    assert len(join(constant(peak, n), constant(2 * peak, m))) == 2
