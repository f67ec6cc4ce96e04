from dataclasses import dataclass

import numpy as np
import pytest

from glidepath.science.laws.annealing import AnnealingLaw
from glidepath.science.laws.curve import Curve, Floats
from glidepath.science.laws.multi_power import MultiPowerLaw
from glidepath.science.schedule_search import FoundSchedule, best_schedule, gains, hand_made

PEAK, WARMUP, TOTAL = 3e-4, 100, 4000
RISE = PEAK * np.arange(1, WARMUP + 1) / WARMUP


def _scalars(*values: float) -> list[Floats]:
    return [np.array(value) for value in values]


L0, A, ALPHA, B, C, BETA, GAMMA = _scalars(2.65, 0.6, 0.453, 438.0, 2.13, 0.598, 0.655)
MULTI_POWER = MultiPowerLaw(L0, A, ALPHA, B, C, BETA, GAMMA)
ANNEALING = AnnealingLaw(L0, A, ALPHA, C=np.array(0.41), momentum=np.array(0.99))


@dataclass(frozen=True)
class _Distance:
    """How far a schedule is from a given one, squared: its best schedule is known."""

    target: Floats

    def at_end(self, curve: Curve) -> tuple[float, Floats]:
        off = curve.lr[WARMUP:] / PEAK - self.target
        return float(off @ off) / len(off), 2 * off / PEAK / len(off)


def _after() -> Floats:
    return np.arange(TOTAL - WARMUP) / (TOTAL - WARMUP)


def _best(law: _Distance | MultiPowerLaw | AnnealingLaw, **options: float) -> FoundSchedule:
    settings = {"lowest_fraction": 0.01} | options
    return best_schedule(law, peak_lr=PEAK, total_steps=TOTAL, warmup_lr=RISE, **settings)


@pytest.mark.parametrize("shape", ["wsd", "square", "linear"])
def test_a_known_best_schedule_is_found(shape: str) -> None:
    after: Floats = _after()
    target: Floats = {
        "wsd": np.clip((1 - after) / 0.3, 0.1, 1.0),
        "square": np.maximum((1 - after) ** 2, 0.1),
        "linear": 1 - 0.9 * after,
    }[shape]
    found = _best(_Distance(target))
    # Knots are a fiftieth of the run apart where the plateau of the first ends.
    np.testing.assert_allclose(found.lr[WARMUP:] / PEAK, target, atol=0.03)
    assert found.loss < 2e-5
    assert "starts_disagree" not in found.doubts


def test_where_the_best_would_rise_or_go_below_the_lowest_it_does_not() -> None:
    after = _after()
    found = _best(_Distance(np.where(after < 0.5, 0.4, 0.8) * (after < 0.9)), lowest_fraction=0.2)
    assert found.lr[WARMUP] == PEAK
    assert (np.diff(found.lr[WARMUP:]) <= 1e-18).all()
    assert found.lr[WARMUP:].min() >= 0.2 * PEAK * (1 - 1e-12)


def test_no_descent_is_steeper_than_allowed() -> None:
    found = _best(_Distance((_after() < 0.5).astype(np.float64)), shortest_decay=0.2)
    assert -np.diff(found.lr[WARMUP:]).min() <= PEAK / (0.2 * (TOTAL - WARMUP)) * 1.001
    assert found.doubts == ("drops_as_fast_as_allowed", "stays_at_the_lowest")


def test_lines_through_the_knots_are_the_schedule() -> None:
    found = _best(MULTI_POWER)
    lines = PEAK * np.interp(np.arange(TOTAL), found.updates, found.multipliers)
    np.testing.assert_allclose(found.lr, lines, rtol=1e-9)
    assert (found.updates[0], found.updates[-1]) == (0, TOTAL)
    assert len(found.updates) < 30


def test_under_the_multi_power_law_it_beats_all_made_by_hand() -> None:
    found = _best(MULTI_POWER)
    assert found.doubts == ()
    others = hand_made(PEAK, TOTAL, RISE, 0.01)
    assert all(gain > 0 for gain in gains(MULTI_POWER, found, others, WARMUP).values())
    assert {name: len(lr) for name, lr in others.items()} == dict.fromkeys(others, TOTAL)
    # Its loss is the law's, up to what the law's nodes leave out.
    at_end = Curve(lr=found.lr, updates_done=np.array([TOTAL]), warmup_steps=WARMUP)
    assert found.loss == pytest.approx(MULTI_POWER.predict(at_end)[0], abs=1e-5)


def test_the_annealing_law_asks_for_a_drop_at_once_and_is_doubted() -> None:
    assert "drops_as_fast_as_allowed" in _best(ANNEALING).doubts


def test_gains_of_samples_have_their_shape() -> None:
    found = _best(MULTI_POWER)
    others = {"linear": hand_made(PEAK, TOTAL, RISE, 0.01)["linear"]}
    full = np.ones(3)
    varied = np.array([0.9, 1.0, 1.1])
    samples = MultiPowerLaw(L0 * full, A * full, ALPHA * full, B * varied, C * full, BETA * full, GAMMA * full)
    gain = gains(samples, found, others, WARMUP)["linear"]
    assert gain.shape == (3,)
    assert gain[1] == pytest.approx(gains(MULTI_POWER, found, others, WARMUP)["linear"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest_fraction": 1.0}, "lowest_fraction"),
        ({"shortest_decay": 0.0}, "shortest_decay"),
        ({"peak_lr": 0.0}, "peak_lr"),
        ({"total_steps": 105}, "at least 10"),
    ],
)
def test_what_is_no_search_is_refused(options: dict[str, float], message: str) -> None:
    settings = {"peak_lr": PEAK, "total_steps": TOTAL, "lowest_fraction": 0.1} | options
    with pytest.raises(ValueError, match=message):
        best_schedule(MULTI_POWER, warmup_lr=RISE, **settings)  # type: ignore[arg-type]
