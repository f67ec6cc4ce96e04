"""Refined schedules and the last-iterate bound: published values, a slow twin, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from glidepath.science.laws.last_iterate_bound import last_iterate_bound
from glidepath.science.refinement import Norm, refine, refined_schedule

FALLING = np.linspace(2, 1, 11)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_flat_norms_give_linear_decay(norm: Norm) -> None:
    assert_allclose(refine(np.full(11, 3.0), norm), np.linspace(1, 0, 11), atol=1e-12)


@pytest.mark.parametrize(
    ("norm", "published"),
    [
        ("l2", [0.8368, 0.8796, 0.9208, 0.958, 0.9867, 1, 0.9863, 0.9264, 0.7877, 0.5133, 0]),
        ("l1", [1, 0.9756, 0.9439, 0.9031, 0.8509, 0.7839, 0.6979, 0.587, 0.4427, 0.253, 0]),
    ],
)
def test_norms_that_fall_from_2_to_1(norm: Norm, published: list[float]) -> None:
    """Squares make an automatic warm-up, first powers do not."""
    assert_allclose(refine(FALLING, norm), published, atol=5e-5)


def test_one_wild_norm_does_not_move_the_schedule() -> None:
    norms = np.full(1000, 0.7)
    norms[400] = 1e6
    assert_allclose(refine(norms, "l2"), np.linspace(1, 0, 1000), atol=1e-12)


def test_the_weights_minimise_their_bound() -> None:
    """Brute force over all positive weights of 8 updates; the schedule follows from them by its definition."""
    norms = np.array([3.0, 2.5, 1.5, 1.0, 1.1, 0.9, 1.2, 1.0])

    def bound(log_weights: np.ndarray) -> float:
        w = np.exp(log_weights)
        return float((1 + (w**2 * norms**2).sum()) / (2 * w.sum()))

    best = minimize(bound, np.zeros(8), method="BFGS", options={"gtol": 1e-9})
    weights = np.exp(best.x)
    rates = np.array([weights[t] * weights[t + 1 :].sum() for t in range(8)])
    assert_allclose(refine(norms, "l2"), rates / rates.max(), atol=1e-6)


def test_a_refined_schedule_has_a_lower_bound_than_the_one_it_came_from() -> None:
    t = np.linspace(0, 1, 400)
    norms = 1 + 3 * np.exp(-20 * t) + 2 * t**8
    refined = last_iterate_bound(refine(norms, "l2"), norms).lowest
    assert refined < 0.97 * last_iterate_bound(np.linspace(1, 0, 401)[:-1], norms).lowest
    assert refined < 0.7 * last_iterate_bound(np.ones(400), norms).lowest


@pytest.mark.parametrize(("steps", "every"), [(2_000, 1), (2_000, 7), (30_000, 50)])
def test_sparse_logging_gives_the_same_schedule(steps: int, every: int) -> None:
    def norm_at(step: np.ndarray) -> np.ndarray:
        return 1 + np.exp(-6 * step / steps)

    logged = np.arange(0, steps, every)
    found = refined_schedule(logged, norm_at(logged), "l1", steps)
    full = refine(norm_at(np.arange(steps)), "l1")
    assert len(found.fractions) == 400
    assert (found.fractions[0], found.fractions[-1], found.multipliers[-1], found.multipliers.max()) == (0, 1, 0, 1)
    expected = np.interp(found.fractions, np.linspace(0, 1, steps), full)
    # The first two logged norms are left out: 21 updates of the sparser one.
    assert_allclose(found.multipliers, expected, atol=0.02)


def test_nulls_and_overflows_are_passed_over() -> None:
    norms = np.full(200, 2.0)
    norms[[50, 120]] = np.nan, np.inf
    found = refined_schedule(np.arange(200), norms, "l1", 200)
    assert_allclose(found.multipliers, 1 - found.fractions, atol=1e-3)


# γ*·√T and Ω*·√T for G = D = 1 at T = 400 and 4000, from the authors' package (Schaipp et al. 2025).
PUBLISHED = {
    "constant": (0.3635, 2.7509, 0.3183, 3.1418),
    "wsd linear 0.1": (0.4526, 2.3227, 0.4600, 2.2882),
    "wsd linear 0.2": (0.5075, 2.1865, 0.5134, 2.1637),
    "wsd linear 0.4": (0.6014, 2.0752, 0.6067, 2.0601),
    "wsd linear 0.6": (0.7020, 2.0313, 0.7075, 2.0190),
    "wsd linear 0.8": (0.8253, 2.0153, 0.8314, 2.0042),
    "linear 0": (0.9913, 2.0126, 0.9988, 2.0018),
    "linear 0.1": (0.8677, 2.0910, 0.8330, 2.1823),
    "cosine 0": (0.9648, 2.0677, 0.9702, 2.0609),
    "cosine 0.1": (0.8719, 2.0811, 0.8353, 2.1763),
    "wsd sqrt 0.1": (0.4708, 2.2725, 0.4772, 2.2448),
    "wsd sqrt 0.2": (0.5369, 2.1458, 0.5420, 2.1287),
    "wsd sqrt 0.4": (0.6626, 2.0545, 0.6672, 2.0434),
    "wsd sqrt 0.6": (0.8186, 2.0315, 0.8239, 2.0225),
    "wsd sqrt 0.8": (1.0507, 2.0339, 1.0577, 2.0254),
}


def published_schedule(name: str, steps: int) -> np.ndarray:
    """The package's conventions: a cooldown ends at 0 in update T, counted from 0; other shapes have T updates."""
    kind, *rest = name.split()
    p = np.arange(steps) / steps
    if kind == "constant":
        return np.ones(steps)
    share = float(rest[-1])
    if kind == "linear":
        return 1 - (1 - share) * p
    if kind == "cosine":
        return share + (1 - share) * (1 + np.cos(np.pi * p)) / 2
    length = round(share * steps)
    u = np.arange(1, length + 1) / length
    return np.concatenate([np.ones(steps + 1 - length), 1 - (u if rest[0] == "linear" else np.sqrt(u))])


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("steps", [400, 4000])
def test_the_published_bounds(name: str, steps: int) -> None:
    terms = last_iterate_bound(published_schedule(name, steps))
    peak, lowest = PUBLISHED[name][:2] if steps == 400 else PUBLISHED[name][2:]
    assert_allclose(terms.optimal_peak_lr * steps**0.5, peak, atol=6e-5)
    assert_allclose(terms.lowest * steps**0.5, lowest, atol=6e-5)
    assert_allclose(terms.at(terms.optimal_peak_lr), terms.lowest, rtol=1e-12)


@given(
    st.lists(st.tuples(st.floats(0, 2), st.floats(0.1, 5)), min_size=1, max_size=30).filter(
        lambda pairs: pairs[-1][0] > 1e-3
    ),
    st.floats(0.1, 10),
)
def test_the_bound_is_the_double_sum(pairs: list[tuple[float, float]], distance: float) -> None:
    w, g = (np.array(column) for column in zip(*pairs, strict=True))
    total = sum(w)
    slow = distance**2 / (2 * total) + sum(w**2 * g**2) / (2 * total)
    for k in range(len(w) - 1):
        slow += 0.5 * w[k] / sum(w[k + 1 :]) / sum(w[k:]) * sum(w[k:] ** 2 * g[k:] ** 2)
    assert_allclose(last_iterate_bound(w, g, distance).at(1.0), slow, rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: refine([1.0], "l1"), "at least 2"),
        (lambda: refine([1.0, 0.0], "l1"), "gradient norm 0.0 at place 1"),
        (lambda: refined_schedule([0, 0], [1, 1], "l1", 10), "ascending"),
        (lambda: refined_schedule(range(20), [1.0] * 20, "l1", 10), "for 10 updates"),
        (lambda: refined_schedule(range(13), [1.0] * 13, "l1", 13), "9 usable gradient norms"),
        (lambda: refined_schedule(range(50), [1.0] * 50, "l1", 200), "at least half of the run"),
    ],
)
def test_what_cannot_be_refined_is_refused(call: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()  # type: ignore[operator]
