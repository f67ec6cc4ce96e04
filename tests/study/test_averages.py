"""Which averages a study asks for, and what each of them is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from glidepath.science.averaging import ema_weights
from glidepath.study.averages import (
    AverageSpec,
    History,
    average_specs,
    averages_of,
    chain_of,
    decay_values,
    evaluated_points,
    snapshot_weights,
)
from glidepath.study.averaging_config import (
    EmaScheme,
    EmulatedDecayScheme,
    LawaScheme,
    Scheme,
    SnapshotGrid,
    SwaScheme,
    WindowScheme,
)
from glidepath.study.section import StudyError
from tests.study.studies import GOOD, MISSING, planned, study

GRID = SnapshotGrid(first_update=64, per_octave=32)


def specs(*changes: tuple[str, Any]) -> dict[str, AverageSpec]:
    return average_specs(planned(*changes), study(*changes).averaging)


# -- where snapshots are


def test_snapshots_are_equally_spaced_within_a_doubling() -> None:
    kept = SnapshotGrid(first_update=8, per_octave=4).updates(40)
    assert kept == [8, 10, 12, 14, 16, 20, 24, 28, 32, 40]


@given(short=st.integers(1, 5000), longer=st.integers(0, 5000))
def test_a_longer_run_moves_no_snapshot(short: int, longer: int) -> None:
    kept = GRID.updates(short + longer)
    assert [u for u in kept if u <= short] == GRID.updates(short)


@given(stop=st.integers(64, 20_000), per_octave=st.integers(1, 8))
def test_points_are_snapshots_as_dense_as_asked_for(stop: int, per_octave: int) -> None:
    points = sorted(p for p in evaluated_points(GRID, per_octave, stop) if p <= stop)
    assert set(points) <= set(GRID.updates(stop))
    assert points[0] == 64
    steps = np.diff(np.log2([*points, stop]))
    assert steps.max() < 1.0 / per_octave + 0.05
    assert np.diff(np.log2(points)).min(initial=1.0) > 1.0 / per_octave - 0.05


def test_no_points_but_the_ends() -> None:
    assert evaluated_points(GRID, 0, 1000) == set()
    for spec in specs(("averaging.points_per_octave", 0)).values():
        assert spec.evaluate_at == spec.snapshot_at[-1:]
    assert evaluated_points(GRID, 2, 31) == set()


# -- one job per segment


def test_one_per_segment_that_an_averaged_cell_runs_through() -> None:
    plan, found = planned(), specs()
    averaged = [cell for cell in plan.cells if cell.averaged]
    assert {cell.schedule_name for cell in averaged} == {"constant"}
    assert set(found) == {segment for cell in averaged for segment in plan.chains[cell.cell_id]}
    for name, spec in found.items():
        segment = plan.segments[name].spec
        assert spec.segment == name
        assert spec.snapshot_at[-1] == spec.evaluate_at[-1] == segment.stop
        assert set(spec.evaluate_at) <= set(spec.snapshot_at)
        assert min(spec.evaluate_at) > segment.start


def test_points_are_evaluated_once_however_many_cells_run_through_them() -> None:
    """Both horizons of a learning rate share a trunk: the points of the longer one are those of its chain."""
    plan, found = planned(), specs()
    longest = max((c for c in plan.cells if c.averaged), key=lambda c: c.total_steps)
    points = [u for segment in plan.chains[longest.cell_id] for u in found[segment].evaluate_at]
    assert points == sorted(set(points))
    assert points[-1] == longest.total_steps
    # A decay's first update is still at the peak, and shared.
    branches = [c.total_steps - c.decay_steps + 1 for c in plan.cells if c.schedule_name == "wsd"]
    assert set(branches) <= set(points)


def test_none_without_averaging() -> None:
    assert specs(("averaging", MISSING)) == {}
    assert all(not segment.spec.recording.snapshot_at for segment in planned(("averaging", MISSING)).segments.values())


def test_the_snapshots_of_an_average_are_kept_along_its_chain() -> None:
    plan, found = planned(), specs()
    for cell in plan.cells:
        kept: set[int] = set()
        for segment in plan.chains[cell.cell_id] if cell.averaged else ():
            kept |= set(plan.segments[segment].spec.recording.snapshot_at)
            assert set(found[segment].snapshot_at) <= kept


def ids(*changes: tuple[str, Any]) -> set[str]:
    return {spec.average_id for spec in specs(*changes).values()}


def test_the_name_is_the_content() -> None:
    assert ids() == ids(("grid.0.peak_lrs", [0.02, 0.01]))
    assert ids() < ids(("grid.0.peak_lrs", [0.01, 0.02, 0.04]))
    other = {"window_30": {"kind": "window", "fraction": 0.3}}
    assert not ids() & ids(("averaging.schemes", other))
    # Nothing here counts in tokens per parameter.
    assert {spec.n_params_counted for spec in specs().values()} == {None}


def test_another_average_trains_nothing() -> None:
    other = ("averaging.schemes", {"window_30": {"kind": "window", "fraction": 0.3}})
    assert set(planned().segments) == set(planned(other).segments)


def test_a_longer_horizon_keeps_what_is_averaged() -> None:
    assert ids() < ids(("grid.0.tokens_per_parameter", [10, 20, 80]))


def test_another_branching_point_averages_anew_only_in_the_segment_that_it_cuts() -> None:
    """A cooldown of half the horizon leaves the trunk of 264 updates at 133, behind the end of the shorter horizon."""
    one = {**GOOD["grid"][0], "peak_lrs": [0.01], "tokens_per_parameter": [20]}
    half = {"kind": "wsd", "final_lr_fraction": 0, "decay_shape": "linear", "decay_fraction": 0.5}
    before = ids(("grid", [one]))
    after = ids(("grid", [{**one, "schedules": [*one["schedules"], "half"]}]), ("schedules.half", half))
    assert len(before) == 2
    assert len(after) == 3
    assert len(before & after) == 1


def test_an_average_that_is_defined_nowhere_is_refused() -> None:
    tiny = ("averaging.schemes", {"tiny": {"kind": "window", "fraction": 1e-9}})
    with pytest.raises(StudyError, match=r"averaging\.schemes\.tiny is not defined at the end of any averaged cell"):
        specs(tiny)


def test_the_averages_of_a_chain_in_order() -> None:
    plan, found = planned(), specs()
    cell = next(c for c in plan.cells if c.averaged and len(plan.chains[c.cell_id]) > 1)
    chain = plan.chains[cell.cell_id]
    assert chain_of(found, chain) == [found[segment].average_id for segment in chain]


def test_a_spec_travels_as_json() -> None:
    for spec in specs().values():
        assert AverageSpec.model_validate_json(spec.model_dump_json()) == spec


# -- what an average is made of


def history(updates: int, tokens_per_update: float = 100.0, weight_decay: float = 0.0) -> History:
    """A constant learning rate; a hundred parameters, so that an update is a token per parameter."""
    return History(
        positions=tokens_per_update * np.arange(updates + 1, dtype=np.float64),
        lr=np.full(updates, 0.01),
        weight_decay=np.full(updates, weight_decay),
        n_params_counted=100,
    )


def used(scheme: Scheme, at: NDArray[np.int64], weight_decay: float = 0.0) -> dict[int, float] | None:
    """Weights by update, of those that are not zero."""
    weights = snapshot_weights(scheme, history(int(at[-1]), weight_decay=weight_decay), at)
    return None if weights is None else {int(u): float(w) for u, w in zip(at, weights, strict=True) if w}


EVERY_TEN = np.arange(10, 201, 10)


def test_a_window_is_of_the_training_so_far() -> None:
    assert used(WindowScheme(kind="window", fraction=0.2), EVERY_TEN) == pytest.approx(
        {170: 0.25, 180: 0.25, 190: 0.25, 200: 0.25}
    )
    assert used(WindowScheme(kind="window", fraction=0.2), EVERY_TEN[:10]) == pytest.approx({90: 0.5, 100: 0.5})
    assert used(WindowScheme(kind="window", fraction=0.05), EVERY_TEN) is None


def test_few_checkpoints_of_a_window_are_equally_spaced() -> None:
    """A window of 80 of 200 updates: its four places are 20 apart."""
    found = used(WindowScheme(kind="window", fraction=0.4, checkpoints=4), EVERY_TEN)
    assert found == pytest.approx({140: 0.25, 160: 0.25, 180: 0.25, 200: 0.25})
    assert used(WindowScheme(kind="window", fraction=0.4, checkpoints=9), EVERY_TEN) is None


def test_a_moving_lawa_has_the_latest_multiples() -> None:
    moving = LawaScheme(kind="lawa", checkpoints=3, every_updates=20)
    assert used(moving, EVERY_TEN) == pytest.approx({160: 1 / 3, 180: 1 / 3, 200: 1 / 3})
    assert used(moving, EVERY_TEN[:-1]) == pytest.approx({140: 1 / 3, 160: 1 / 3, 180: 1 / 3})
    assert used(moving, EVERY_TEN[:5]) is None


def test_a_disjoint_lawa_has_the_latest_whole_group() -> None:
    """Groups end at 60, 120, 180, as the released script of Sanyal et al. saves them."""
    disjoint = LawaScheme(kind="lawa", checkpoints=3, every_updates=20, groups="disjoint")
    for n in (18, 19, 20):
        assert used(disjoint, EVERY_TEN[:n]) == pytest.approx({140: 1 / 3, 160: 1 / 3, 180: 1 / 3})
    assert used(disjoint, EVERY_TEN[:17]) == pytest.approx({80: 1 / 3, 100: 1 / 3, 120: 1 / 3})
    assert used(disjoint, EVERY_TEN[:5]) is None


def test_a_lawa_of_checkpoints_that_were_not_kept_is_none() -> None:
    assert used(LawaScheme(kind="lawa", checkpoints=3, every_updates=10), np.array([10, 20, 40, 60, 80])) is None


def test_an_ema_remembers_a_fraction_of_the_tokens_so_far() -> None:
    weights = snapshot_weights(EmaScheme(kind="ema", timescale_fraction=0.1), history(200), EVERY_TEN)
    np.testing.assert_allclose(weights, ema_weights(EVERY_TEN, 20.0), rtol=1e-12)


def test_an_ema_of_fixed_memory_has_it_all_along() -> None:
    """3000 tokens are thirty updates, early and late."""
    scheme = EmaScheme(kind="ema", timescale_tokens=3000)
    for n in (10, 20):
        weights = snapshot_weights(scheme, history(10 * n), EVERY_TEN[:n])
        np.testing.assert_allclose(weights, ema_weights(EVERY_TEN[:n], 30.0), rtol=1e-12)


def test_swa_starts_where_it_is_told() -> None:
    """At 150 tokens per parameter, which is update 150; from the start it has everything."""
    assert used(SwaScheme(kind="swa", start_tokens_per_parameter=150), EVERY_TEN) == pytest.approx(
        dict.fromkeys((160, 170, 180, 190, 200), 0.2)
    )
    assert used(SwaScheme(kind="swa", start_tokens_per_parameter=0), EVERY_TEN) == pytest.approx(
        dict.fromkeys(EVERY_TEN.tolist(), 0.05)
    )
    assert used(SwaScheme(kind="swa", start_tokens_per_parameter=500), EVERY_TEN) is None


def test_an_emulated_linear_decay_is_uniform_over_its_length() -> None:
    """A fall by equal amounts; half of what lies before its first snapshot belongs to that one."""
    found = used(EmulatedDecayScheme(kind="emulated_decay", fraction=0.2, shape="linear"), EVERY_TEN)
    assert found is not None
    assert list(found) == [160, 170, 180, 190, 200]
    assert [found[u] for u in (170, 180, 190)] == pytest.approx([0.25] * 3)
    assert found[160] + found[200] == pytest.approx(0.25)


def test_a_decay_from_before_the_first_snapshot_is_not_emulated() -> None:
    assert used(EmulatedDecayScheme(kind="emulated_decay", fraction=0.98, shape="linear"), EVERY_TEN) is None


def test_the_emulated_decay_is_the_one_that_is_trained() -> None:
    """Its learning rates are those of a wsd cell of the study that decays to zero over the same updates."""
    cell = next(c for c in planned().cells if c.schedule_name == "wsd")
    path = cell.trajectory.path.arrays()
    start = cell.total_steps - cell.decay_steps
    scheme = EmulatedDecayScheme(kind="emulated_decay", fraction=0.2, shape="linear")
    fall = decay_values(scheme, path.positions[start:].astype(np.float64))
    np.testing.assert_allclose(cell.peak_lr * fall, path.lr[start:], rtol=1e-12)


@pytest.mark.parametrize(
    "scheme",
    [
        WindowScheme(kind="window", fraction=0.3),
        EmaScheme(kind="ema", timescale_fraction=0.1),
        EmulatedDecayScheme(kind="emulated_decay", fraction=0.3, shape="one_minus_sqrt"),
    ],
)
def test_averages_count_tokens_and_not_updates(scheme: Scheme) -> None:
    """Small batches first: the same snapshots in tokens have the same weights, whatever updates led there."""
    steady = history(100)
    batches = np.concatenate([np.full(100, 50.0), np.full(50, 100.0)])
    ramped = History(np.concatenate([[0.0], np.cumsum(batches)]), np.full(150, 0.01), np.zeros(150), 100)
    at = np.arange(10, 101, 10)
    ramped_at = np.searchsorted(ramped.positions, steady.positions[at])
    np.testing.assert_allclose(
        snapshot_weights(scheme, ramped, ramped_at), snapshot_weights(scheme, steady, at), atol=0.011
    )


def test_points_where_an_average_is_not_defined_are_left_out() -> None:
    spec = AverageSpec(
        averaging_version=1,
        segment="a",
        snapshot_at=(10, 20, 30, 40),
        evaluate_at=(10, 20, 40),
        n_params_counted=100,
        schemes={"all": SwaScheme(kind="swa", start_tokens_per_parameter=0)},
    )
    ((name, found),) = averages_of(spec, history(40))
    assert name == "all"
    assert [point for point, _ in found] == [20, 40]
    np.testing.assert_allclose(found[0][1], [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(found[1][1], [0.25] * 4)
