"""The planner: what is shared, what a chain amounts to, and what leaves which identity alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glidepath.study.averaging_config import SnapshotGrid
from glidepath.study.segments import MIN_SHARED_UPDATES, Plan
from tests.study.studies import GOOD, MISSING, planned

BLOCK: dict[str, Any] = GOOD["grid"][0]
ONE = {**BLOCK, "peak_lrs": [0.01], "tokens_per_parameter": [20]}
QUIET = (("averaging", MISSING), ("noise_scale", MISSING))


def spans(plan: Plan, schedule: str) -> list[tuple[int, int]]:
    """Start and stop of the chain of the one cell of a schedule."""
    (cell,) = [cell for cell in plan.cells if cell.schedule_name == schedule]
    return [(plan.segments[name].spec.start, plan.segments[name].spec.stop) for name in plan.chains[cell.cell_id]]


def test_a_trunk_carries_its_cooldown() -> None:
    """264 updates: the cooldown's last 53 begin at 211, and its first update is the trunk's."""
    plan = planned(("grid", [ONE]), *QUIET)
    assert spans(plan, "constant") == [(0, 212), (212, 264)]
    assert spans(plan, "wsd") == [(0, 212), (212, 264)]
    assert spans(plan, "linear_0") == [(0, 264)]
    constant, linear, wsd = plan.cells
    assert plan.chains[constant.cell_id][0] == plan.chains[wsd.cell_id][0]
    assert plan.own_steps(constant) == plan.own_steps(wsd) == 52
    assert plan.own_steps(linear) == 264
    parents = {name: segment.parent for name, segment in plan.segments.items()}
    assert sorted(map(str, parents.values())).count("None") == 2
    assert {parents[plan.chains[cell.cell_id][-1]] for cell in (constant, wsd)} == {plan.chains[wsd.cell_id][0]}


def test_horizons_of_a_constant_schedule_are_one_trunk() -> None:
    block = {**ONE, "schedules": ["constant"], "tokens_per_parameter": [10, 20, 40]}
    plan = planned(("grid", [block]), *QUIET)
    assert len(plan.segments) == 3
    longest = plan.cells[-1]
    assert [plan.segments[name].spec.stop for name in plan.chains[longest.cell_id]] == [132, 264, 528]


def test_a_prefix_that_costs_less_than_a_job_is_not_shared() -> None:
    """Two linear decays agree on their warm-up and their first update only."""
    block = {**ONE, "schedules": ["linear_0"], "tokens_per_parameter": [10, 20]}
    for warmup, segments in ((MIN_SHARED_UPDATES - 2, 2), (MIN_SHARED_UPDATES - 1, 3)):
        plan = planned(("grid", [block]), ("warmup.steps", warmup), ("analysis.reference_schedule", "linear_0"), *QUIET)
        assert len(plan.segments) == segments


def test_cells_of_other_models_batches_and_replicates_share_nothing() -> None:
    block = {**ONE, "schedules": ["constant"], "batch_sequences": [4, 8], "replicates": [0, 1]}
    plan = planned(("grid", [block]), *QUIET)
    assert len(plan.cells) == len(plan.segments) == 4


def test_equal_cells_under_two_names_are_trained_once() -> None:
    both = {**ONE, "schedules": ["linear_0", "same"]}
    plan = planned(("schedules.same", {"kind": "linear", "final_lr_fraction": 0.0}), ("grid", [both]),
                   ("analysis.reference_schedule", "same"), *QUIET)  # fmt: skip
    assert (len(plan.cells), len(plan.segments)) == (2, 1)


def test_a_cell_in_two_blocks_is_one_cell() -> None:
    again = {**ONE, "schedules": ["constant"]}
    assert len(planned(("grid", [ONE, again])).cells) == len(planned(("grid", [ONE])).cells)


# -- identities: what leaves them alone


def ids(*changes: tuple[str, Any]) -> set[str]:
    return set(planned(*changes).segments)


def test_adding_a_peak_lr_keeps_every_segment() -> None:
    more = ids(("grid.0.peak_lrs", [0.01, 0.015, 0.02]))
    assert ids() < more
    assert len(more) == len(ids()) * 3 // 2


def test_adding_a_replicate_or_a_schedule_of_its_own_keeps_every_segment() -> None:
    assert ids() < ids(("grid.0.replicates", [0, 1]))
    cosine = {"kind": "cosine", "final_lr_fraction": 0.1}
    added = ("grid.0.schedules", ["cosine", *BLOCK["schedules"]])
    assert ids() < ids(("schedules.cosine", cosine), added)


@pytest.mark.parametrize("longer", [26, 40])
def test_adding_a_longer_horizon_keeps_every_segment(longer: int) -> None:
    """As soon as its cooldown begins behind the end of the shorter ones: their snapshots and evaluations stay."""
    assert ids() < ids(("grid.0.tokens_per_parameter", [10, 20, longer]))


def test_a_branching_point_inside_a_segment_cuts_it_and_keeps_what_follows() -> None:
    wsd = {"kind": "wsd", "final_lr_fraction": 0, "decay_shape": "linear"}
    long = {**ONE, "tokens_per_parameter": [40]}
    before = planned(("grid", [long]), *QUIET)
    trunk, tail = before.chains[before.cells[0].cell_id]
    for decay_fraction, cut in ((0.1, tail), (0.5, trunk)):
        new = ("schedules.new", wsd | {"decay_fraction": decay_fraction})
        after = planned(("grid", [{**long, "schedules": [*long["schedules"], "new"]}]), new, *QUIET)
        assert set(before.segments) - set(after.segments) == {cut}


def test_cuts_can_make_one_segment_of_branches_that_part_too_early_to_share() -> None:
    """The decays of the second leave the third and the constant 28 updates of one path, too few; a cut at 100 makes
    them a segment all the same, and it belongs to both."""
    wsd = {"kind": "wsd", "final_lr_fraction": 0, "decay_fraction": 0.5, "decay_shape": "linear"}
    wsd_s = {"kind": "wsd_s", "final_lr_fraction": 0, "decay_fraction": 0.1, "decay_shape": "linear", "ends": [0.4]}
    grid = {"models": ["d16"], "schedules": ["constant", "s", "wsd"], "peak_lrs": [0.01]}
    plan = planned(
        ("schedules", {"constant": {"kind": "constant"}, "s": wsd_s, "wsd": wsd}),
        ("warmup", {"steps": 0}),
        ("segments", {"max_updates": 50}),
        ("grid", [grid | {"tokens_per_parameter": [15.0], "batch_sequences": [4]}]),
        ("averaging", MISSING),
        ("noise_scale", MISSING),
    )
    for chain_of, names in plan.chains.items():
        assert all(chain_of in plan.segments[name].cell_ids for name in names)


def test_order_and_spelling_change_nothing() -> None:
    reordered = {
        **BLOCK,
        "schedules": BLOCK["schedules"][::-1],
        "peak_lrs": [2.0e-2, 1e-2],
        "tokens_per_parameter": [20.0, 10],
    }
    assert ids(("grid", [reordered])) == ids()
    halves = [{**BLOCK, "peak_lrs": [peak_lr]} for peak_lr in (0.02, 0.01)]
    assert ids(("grid", halves)) == ids()


def test_what_is_written_differently_is_trained_apart_whatever_the_order() -> None:
    """Linear and cosine over two updates: 1 and 1/2. Their trunk is shared, their last update is not."""
    two = {"kind": "wsd", "final_lr_fraction": 0, "decay_steps": 2}
    shapes = [(f"schedules.{shape}", two | {"decay_shape": shape}) for shape in ("linear", "cosine")]
    plans = [
        planned(*shapes, ("grid", [{**ONE, "schedules": names}]), ("analysis.reference_schedule", "linear"), *QUIET)
        for names in (["linear", "cosine"], ["cosine", "linear"])
    ]
    assert set(plans[0].segments) == set(plans[1].segments)
    assert len(plans[0].segments) == 3


def test_every_segment_finds_its_parent_where_two_warm_ups_are_one_array() -> None:
    """A warm-up to 2p over 2W begins as one to p over W: the arrays agree, but a state has one name."""
    plan = planned(
        ("warmup", {"fraction": 0.1}),
        ("grid.0.peak_lrs", [0.004, 0.008, 0.016]),
        ("grid.0.tokens_per_parameter", [15, 30, 60]),
        ("grid.0.schedules", ["constant", "linear_0"]),
        *QUIET,
    )
    assert_parents_are_found(plan)
    assert any(segment.parent for segment in plan.segments.values())


def assert_parents_are_found(plan: Plan) -> None:
    """A job refuses the state of another trajectory than its own up to its start."""
    for segment in plan.segments.values():
        if segment.parent:
            start = segment.spec.trajectory.clip(segment.spec.start)
            assert plan.segments[segment.parent].spec.trajectory.digest == start.digest


def test_analysis_target_names_and_figures_change_no_segment() -> None:
    assert ids() == ids(
        ("analysis", {"reference_schedule": "wsd", "ci_level": 0.95, "bootstrap_samples": 500, "seed": 3}),
        ("target.tokens_per_parameter", 100),
        ("study", "another"),
        ("description", "another"),
        ("noise_scale.windows", 3),
        ("averaging.points_per_octave", 5),
        ("grid.0.holdout", False),
        ("models.unused", {"depth": 1, "width": 32}),
    )


def test_probes_are_recorded_where_a_probed_cell_runs_through() -> None:
    """All layers at every so many updates, the norm layers alone at all others or never."""
    for every, recorded in ((1, 1), (4, 4), (None, 0)):
        plan = planned(("noise_scale.norm_layers_every_updates", every))
        probed = {name for cell in plan.cells if cell.probed for name in plan.chains[cell.cell_id]}
        assert set() < probed < set(plan.segments)
        for name, segment in plan.segments.items():
            recording = segment.spec.recording
            expected = (8, recorded) if name in probed else (0, 0)
            assert (recording.probe_every, recording.probe_norm_layers_every) == expected


def test_holding_out_changes_no_segment() -> None:
    hidden = [{**BLOCK, "tokens_per_parameter": [10]}, {**BLOCK, "tokens_per_parameter": [20], "holdout": True}]
    assert ids(("grid", hidden)) == ids()


def test_numbers_of_the_science_change_every_segment() -> None:
    for change in (("optimizer", {"adam_beta2": 0.99}), ("optimizer", {"weight_decay": 0.0}), ("warmup.steps", 5)):
        assert not ids(change) & ids()


# -- what holds for every study

FRACTIONS = st.sampled_from([0.1, 0.2, 0.4, 0.5])
SHAPES = st.sampled_from(["linear", "cosine", "one_minus_sqrt"])


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[str, Any], ...]:
    """Changes of the good study: some schedules, some peaks, some horizons, with and without records."""
    warmup = draw(st.sampled_from([{"steps": 0}, {"steps": 1}, {"steps": 33}, {"tokens": 1000}, {"fraction": 0.1}]))
    found: dict[str, Any] = {"constant": {"kind": "constant"}}
    for i in range(draw(st.integers(0, 3))):
        fields: dict[str, Any] = {"final_lr_fraction": draw(st.sampled_from([0, 0.1, 0.5]))}
        kind = draw(st.sampled_from(["cosine", "linear", "wsd", "wsd_s", "step", "rational", "one_cycle", "points"]))
        if kind in ("wsd", "wsd_s"):
            fields |= {"decay_fraction": draw(FRACTIONS), "decay_shape": draw(SHAPES)}
        if kind == "wsd_s":
            fields |= {"ends": [0.4]}
        if kind == "one_cycle":
            fields |= {"cycle_shape": "linear", "rise_fraction": 0.3, "initial_lr_fraction": 0.1}
            fields |= {"adam_beta1_at_peak": 0.8}
        if kind in ("step", "rational", "points"):
            fields = {
                "step": {"milestones": [0.5, 0.75], "lr_fractions": [0.3, 0.1]},
                "rational": {},
                "points": {"unit": "tokens", "interpolation": "linear", "points": [[0, 0.5], [9000, 1], [40000, 0.1]]},
            }[kind]
        batch = (
            None
            if "steps" in warmup
            else draw(st.sampled_from([None, {"kind": "linear", "start_fraction": 0.3, "multiple_of": 2}]))
        )
        found[f"s{i}"] = {"kind": kind, **fields, "batch": batch}
    horizons = draw(
        st.lists(st.floats(14, 60) | st.sampled_from([15.0, 30.0, 60.0]), min_size=1, max_size=3, unique=True)
    )
    block = {**BLOCK, "schedules": sorted(found), "tokens_per_parameter": horizons,
             "peak_lrs": draw(st.lists(st.sampled_from([0.01, 0.02]), min_size=1, unique=True))}  # fmt: skip
    records = draw(st.sampled_from([(), QUIET]))
    optimizer = draw(st.sampled_from([{}, {"adam_beta2": None, "adam_beta2_half_life_tokens": 10_000.0}]))
    segments = draw(st.sampled_from([{}, {"max_updates": 50}]))
    changes = (("schedules", found), ("warmup", warmup), ("optimizer", optimizer), ("segments", segments))
    return (*changes, ("grid", [block]), *records)


@given(changes=grids())
@settings(max_examples=60, deadline=None)
def test_chains_amount_to_their_cells(changes: tuple[tuple[str, Any], ...]) -> None:
    plan = planned(*changes)
    assert_parents_are_found(plan)
    assert {name for chain in plan.chains.values() for name in chain} == set(plan.segments)
    for cell in plan.cells:
        chain = [plan.segments[name] for name in plan.chains[cell.cell_id]]
        assert [segment.parent for segment in chain] == [None, *plan.chains[cell.cell_id][:-1]]
        assert [segment.spec.start for segment in chain] == [0, *(segment.spec.stop for segment in chain[:-1])]
        own = cell.trajectory.path.arrays()
        for name in ("lr", "weight_decay", "adam_beta1", "adam_beta2", "batch_sequences"):
            walked = [getattr(s.spec.trajectory.path.arrays(), name)[s.spec.start :] for s in chain]
            assert np.concatenate(walked).tobytes() == getattr(own, name).tobytes()
        last = chain[-1].spec
        assert last.stop == cell.total_steps
        assert last.recording.evaluate_full_at == (cell.total_steps,)
        assert cell.total_steps in last.recording.evaluate_subset_at
        kept = {update for segment in chain for update in segment.spec.recording.snapshot_at}
        ends = {segment.spec.stop for segment in chain}
        if cell.averaged:
            # The grid of the small study; a trunk is also what cells that are not averaged run through.
            assert kept == {*SnapshotGrid(first_update=32, per_octave=8).updates(cell.total_steps), *ends}
        for segment in chain:
            record = segment.spec.recording
            recorded = (*record.evaluate_subset_at, *record.evaluate_full_at, *record.snapshot_at)
            assert all(segment.spec.start < update <= segment.spec.stop for update in recorded)
            assert cell.cell_id in segment.cell_ids


@given(changes=grids())
@settings(max_examples=40, deadline=None)
def test_no_two_segments_do_the_same_work(changes: tuple[tuple[str, Any], ...]) -> None:
    """Of all that could be shared, only prefixes shorter than a job are trained twice.

    Warm-ups to p over W updates and to 2p over 2W are alike without being one recipe, which is not sharing.
    """
    plan = planned(*changes)
    done: set[tuple[bytes, tuple[float, int] | None]] = set()
    starts = []
    for segment in plan.segments.values():
        first = segment.spec.trajectory.path.lr[0]
        warmup = (first.end_value, first.length) if first.shape == "warmup" else None
        path = segment.spec.trajectory.path.arrays()
        columns = (path.lr, path.weight_decay, path.adam_beta1, path.adam_beta2, path.batch_sequences)
        work = np.stack(columns, axis=1)
        assert (work.tobytes(), warmup) not in done
        done.add((work.tobytes(), warmup))
        if segment.spec.start == 0:
            starts.append((work, warmup))
    for i, (a, warmup_of_a) in enumerate(starts):
        for b, warmup_of_b in starts[:i]:
            if warmup_of_a != warmup_of_b:
                continue
            n = min(len(a), len(b))
            same = (a[:n] == b[:n]).all(axis=1)
            assert (n if same.all() else int(np.argmin(same))) < MIN_SHARED_UPDATES


@given(changes=grids())
@settings(max_examples=20, deadline=None)
def test_order_of_schedules_never_matters(changes: tuple[tuple[str, Any], ...]) -> None:
    *others, (key, [block]) = [change for change in changes if change[0] != "grid"] + [
        change for change in changes if change[0] == "grid"
    ]
    turned = {**block, "schedules": block["schedules"][::-1], "peak_lrs": block["peak_lrs"][::-1]}
    assert ids(*changes) == ids(*others, (key, [turned]))


# -- what sharing saves


def test_cooldowns_of_four_horizons_cost_a_third_of_training_them_alone() -> None:
    """T, 2T, 4T, 8T × cooldowns of 10, 20, 40 % × three shapes: a trunk of 8T and 3·0.7·15T of cooldowns."""
    found = {
        f"wsd_{percent}_{shape}": {
            "kind": "wsd", "final_lr_fraction": 0, "decay_fraction": percent / 100, "decay_shape": shape
        }
        for percent in (10, 20, 40)
        for shape in ("linear", "cosine", "one_minus_sqrt")
    }  # fmt: skip
    horizons = [20, 40, 80, 160]
    block = {**ONE, "schedules": sorted(found), "tokens_per_parameter": horizons}
    plan = planned(("schedules", found), ("grid", [block]), ("analysis.reference_schedule", sorted(found)[0]), *QUIET)
    assert len(plan.cells) == 36
    shared = sum(segment.spec.stop - segment.spec.start for segment in plan.segments.values())
    unshared = sum(cell.total_steps for cell in plan.cells)
    T = plan.cells[0].total_steps
    assert shared / unshared <= 1 / 3
    assert abs(shared - (0.9 * 8 + 3 * 0.7 * 15) * T) < 0.01 * unshared


def test_segments_are_bounded_when_asked() -> None:
    free, bounded = planned(), planned(("segments", {"max_updates": 50}))
    assert max(s.spec.stop - s.spec.start for s in free.segments.values()) > 50
    assert max(s.spec.stop - s.spec.start for s in bounded.segments.values()) == 50
    cuts = {s.spec.stop for s in bounded.segments.values()} - {s.spec.stop for s in free.segments.values()}
    assert cuts
    assert not [cut for cut in cuts if cut % 50]
    assert sum(s.tokens for s in bounded.segments.values()) == sum(s.tokens for s in free.segments.values())


def test_evaluations_lie_on_a_grid_common_to_all_horizons() -> None:
    plan = planned(("grid.0.tokens_per_parameter", [10, 20, 40]))
    ends = {cell.total_steps for cell in plan.cells}
    on_grid = {round(32 * 2 ** (i / 3)) for i in range(20)}
    for segment in plan.segments.values():
        assert set(segment.spec.recording.evaluate_subset_at) <= on_grid | ends
