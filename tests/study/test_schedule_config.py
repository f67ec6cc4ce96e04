"""Every schedule of a study as the array that is applied, and what holds for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from glidepath.science import schedules
from glidepath.science.schedules import Floats
from glidepath.study.batch_ramp import batch_of_every_update
from glidepath.study.cells import Cell
from glidepath.study.schedule import Room, Schedule
from glidepath.study.schedule_config import ScheduleConfig
from glidepath.study.section import StudyError
from tests.study.studies import GOOD, planned

PARSE = TypeAdapter(ScheduleConfig).validate_python


def room(T: int, warmup_steps: int = 0, peak_lr: float = 1.0, batches: list[int] | None = None) -> Room:
    at = schedules.positions(np.array(batches or [4] * T))
    return Room(peak_lr, warmup_steps, at, 0.1, 4, 64, "the cell")


def applied(T: int, warmup_steps: int = 0, batches: list[int] | None = None, **keys: Any) -> Floats:
    """Learning rates of a schedule over T updates of four sequences, at a peak of 1."""
    schedule: Schedule = PARSE(keys)
    here = room(T, warmup_steps, 1.0, batches)
    return schedules.values(schedule.lr(here).path, here.at)


def test_steps_drop_at_their_milestones() -> None:
    thirds = applied(10, kind="step", milestones=[0.3, 0.6, 0.9], lr_fractions=[0.1, 0.01, 0.001])
    assert thirds.tolist() == [1] * 3 + [0.1] * 3 + [0.01] * 3 + [0.001]
    deepseek = applied(20, 2, kind="step", milestones=[0.8, 0.9], lr_fractions=[0.316, 0.1])
    assert deepseek.tolist() == [0.5] + [1] * 15 + [0.316] * 2 + [0.1] * 2
    assert applied(10, kind="step", milestones=[0.9], lr_fractions=[0.001]).tolist() == [1] * 9 + [0.001]


def test_an_inverse_square_root_takes_its_time_scale_from_the_warm_up() -> None:
    lr = applied(40, 10, kind="inverse_sqrt", min_lr_fraction=0.55)
    np.testing.assert_allclose(lr[10:], np.maximum(0.55, np.sqrt(10 / np.arange(10, 40))))
    with pytest.raises(StudyError, match="without warm-up"):
        applied(40, kind="inverse_sqrt")


def test_a_rational_descent_takes_its_time_scale_from_the_weight_decay() -> None:
    np.testing.assert_allclose(applied(40, kind="rational"), 1 / (1 + 0.1 * np.arange(40)))
    without = Room(1.0, 0, 4 * np.arange(11), 0.0, 4, 64, "the cell")
    with pytest.raises(StudyError, match="choose inverse_sqrt"):
        PARSE({"kind": "rational"}).lr(without)


def test_a_polynomial_and_a_sampled_rex() -> None:
    lr = applied(4, kind="polynomial", exponent=2, final_lr_fraction=0)
    np.testing.assert_allclose(lr, [1, 9 / 16, 4 / 16, 1 / 16])
    lr = applied(10, kind="rex", final_lr_fraction=0, refreshes=2)
    np.testing.assert_allclose(lr, [1] * 5 + [2 / 3] * 5)


def test_wsd_s_goes_on_from_its_cooldowns_at_the_peak() -> None:
    lr = applied(8, kind="wsd_s", ends=[0.5], decay_fraction=0.5, decay_shape="linear", final_lr_fraction=0)
    assert lr.tolist() == [1, 1, 1, 0.5, 1, 0.75, 0.5, 0.25]
    assert PARSE({"kind": "wsd_s", "ends": [0.5], "decay_fraction": 0.5, "decay_shape": "linear",
                  "final_lr_fraction": 0}).lr(room(8)).decay_steps == 4  # fmt: skip


def test_cycles_rise_as_they_fell_or_jump_back() -> None:
    lr = applied(6, kind="cyclic", cycles=2, cycle_shape="linear", final_lr_fraction=0.2, restart=False)
    np.testing.assert_allclose(lr, [1, 0.6, 0.2, 0.6, 1, 0.6])
    lr = applied(6, kind="cyclic", cycles=3, cycle_shape="cosine", final_lr_fraction=0, restart=True)
    np.testing.assert_allclose(lr, [1, 0.5] * 3)


def test_one_cycle_moves_the_momentum_inversely() -> None:
    keys = {"kind": "one_cycle", "cycle_shape": "linear", "rise_fraction": 0.5, "initial_lr_fraction": 0.2,
            "final_lr_fraction": 0, "adam_beta1_at_peak": 0.85}  # fmt: skip
    schedule, here = PARSE(keys), room(8, warmup_steps=3)
    np.testing.assert_allclose(
        schedules.values(schedule.lr(here).path, here.at), [0.2, 0.4, 0.6, 0.8, 1, 0.75, 0.5, 0.25]
    )
    beta1 = schedules.values(schedule.beta1(here, 0.95), here.at)
    np.testing.assert_allclose(beta1, [0.95, 0.925, 0.9, 0.875, 0.85, 0.875, 0.9, 0.925])


def test_points_are_joined_by_lines_or_held() -> None:
    keys = {"kind": "points", "points": [[0, 0.5], [0.5, 1], [1, 0.2]]}
    assert applied(4, unit="fraction", interpolation="step", **keys).tolist() == [0.5, 0.5, 1, 1]
    np.testing.assert_allclose(applied(4, unit="fraction", interpolation="linear", **keys), [0.5, 0.75, 1, 0.6])
    tokens = [[0, 0.5], [4 * 64 * 2, 1], [4 * 64 * 6, 0.2]]
    lr = applied(4, kind="points", unit="tokens", interpolation="linear", points=tokens)
    np.testing.assert_allclose(lr, [0.5, 0.75, 1, 0.8])
    lr = applied(8, kind="points", unit="tokens", interpolation="linear", points=tokens)
    np.testing.assert_allclose(lr, [0.5, 0.75, 1, 0.8, 0.6, 0.4, 0.2, 0.2])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_points_come_from_a_file(ending: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"position": [0.0, 0.5, 1.0], "multiplier": [0.5, 1.0, 0.2]})
    path = tmp_path / f"path.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    common = {"kind": "points", "unit": "fraction", "interpolation": "linear"}
    read = PARSE({**common, "file": str(path)})
    assert read == PARSE({**common, "points": [[0, 0.5], [0.5, 1], [1, 0.2]]})
    frame.rename(columns={"multiplier": "lr"}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(ValueError, match="columns position and multiplier"):
        PARSE({**common, "file": str(tmp_path / "other.csv")})
    with pytest.raises(ValueError, match="both given"):
        PARSE({**common, "file": str(path), "points": [[0, 0.5], [1, 1]]})


# -- batches


def test_the_published_ramp_has_its_updates_and_its_mean() -> None:
    """Gray et al. 2024: 16 to 120 sequences of 2048 in steps of 8 over 2,219,950,080 tokens."""
    ramp = PARSE({"kind": "constant", "batch": {"kind": "linear", "start_fraction": 2 / 15, "multiple_of": 8}}).batch
    batches = batch_of_every_update(ramp, 120, 2_219_950_080 // 2048)
    assert (len(batches), batches[0], max(batches)) == (18_953, 16, 120)
    # The published mean counts the last update in full, where ours stops at the horizon.
    assert (sum(batches[:-1]) + 120) / len(batches) == pytest.approx(57.198, abs=5e-4)
    assert sum(batches) * 2048 == 2_219_950_080


def test_stages_jump_and_the_last_update_takes_what_is_left() -> None:
    ramp = PARSE({"kind": "constant", "batch": {"kind": "stages", "milestones": [0.3], "batch_fractions": [0.5]}}).batch
    assert batch_of_every_update(ramp, 4, 10) == [2, 2, 4, 2]


@pytest.mark.parametrize(
    "keys",
    [
        {"kind": "cyclic", "cycles": 2, "cycle_shape": "linear", "final_lr_fraction": 0.1, "restart": False},
        {"kind": "linear", "final_lr_fraction": 0, "refreshes": 4},
        {"kind": "rational"},
        {"kind": "step", "milestones": [0.25, 0.75], "lr_fractions": [0.5, 0.1]},
        {"kind": "wsd", "decay_fraction": 0.5, "decay_shape": "linear", "final_lr_fraction": 0},
    ],
)
def test_every_kind_is_the_same_function_of_tokens_under_a_ramp(keys: dict[str, Any]) -> None:
    """16 updates of four sequences against 8 of two and 12 of four: the same positions, where both have an update."""
    fixed, ramped = room(16), room(20, batches=[2] * 8 + [4] * 12)
    schedule = PARSE(keys)
    without, with_ramp = (
        dict(zip(r.at[:-1].tolist(), schedules.values(schedule.lr(r).path, r.at), strict=True)) for r in (fixed, ramped)
    )
    shared = sorted(without.keys() & with_ramp.keys())
    assert len(shared) == 16
    np.testing.assert_allclose([with_ramp[at] for at in shared], [without[at] for at in shared], rtol=1e-9)


def test_the_learning_rate_of_a_ramp_is_that_of_its_tokens() -> None:
    fixed = applied(8, 2, kind="linear", final_lr_fraction=0)
    ramped = applied(8, 2, [4, 4, 8, 8, 4, 4], kind="linear", final_lr_fraction=0)
    np.testing.assert_allclose(ramped, fixed[[0, 1, 2, 4, 6, 7]])


SMALL_THEN_ALL = {"kind": "stages", "milestones": [0.5], "batch_fractions": [0.25]}


def ramped_cells(lr_scaling: str, optimizer: dict[str, Any] | None = None) -> tuple[Cell, ...]:
    """A constant and two decays to another value, their batch 1 and then 4."""
    batch = {**SMALL_THEN_ALL, "lr_scaling": lr_scaling}
    named = {
        "ramped": {"kind": "constant", "batch": batch},
        "cooled": {"kind": "wsd", "decay_fraction": 0.2, "decay_shape": "cosine", "final_lr_fraction": 0,
                   "batch": batch},
    }  # fmt: skip
    block = {**GOOD["grid"][0], "schedules": list(named), "peak_lrs": [0.02], "tokens_per_parameter": [10]}
    return planned(
        ("schedules", {**GOOD["schedules"], **named}),
        ("grid", [{**block, "replicates": [0]}, GOOD["grid"][0]]),
        ("warmup", {"tokens": 2048}),
        ("optimizer", optimizer or {}),
    ).cells[:2]


@pytest.mark.parametrize(("lr_scaling", "exponent"), [("none", 0.0), ("sqrt", 0.5), ("linear", 1.0)])
def test_a_scaled_learning_rate_is_that_of_the_tokens_times_a_power_of_the_batch(
    lr_scaling: str, exponent: float
) -> None:
    for cell, of_tokens in zip(ramped_cells(lr_scaling), ramped_cells("none"), strict=True):
        path, plain = cell.trajectory.path.arrays(), of_tokens.trajectory.path.arrays()
        assert set(path.batch_sequences.tolist()) == {1, 4}
        np.testing.assert_allclose(path.lr, plain.lr * (path.batch_sequences / 4) ** exponent, rtol=1e-9)
        assert path.lr.max() == cell.peak_lr == 0.02


def test_a_time_scale_in_tokens_is_kept_whatever_scales_the_learning_rate() -> None:
    """lr·λ per token is the same function of the tokens under every scaling."""
    policy = {"weight_decay_policy": "constant_timescale", "weight_decay": None, "weight_decay_timescale_fraction": 0.2}
    shrinkage = [
        path.lr * path.weight_decay / path.batch_sequences
        for scaling in ("none", "sqrt", "linear")
        for path in [ramped_cells(scaling, policy)[0].trajectory.path.arrays()]
    ]
    np.testing.assert_allclose(shrinkage[1], shrinkage[0], rtol=1e-9)
    np.testing.assert_allclose(shrinkage[2], shrinkage[0], rtol=1e-9)


def test_cells_share_their_trunk_under_a_scaled_learning_rate() -> None:
    constant, cooled = ramped_cells("sqrt")
    start = cooled.total_steps - cooled.decay_steps + 1
    assert constant.trajectory.clip(start) == cooled.trajectory.clip(start)


# -- policies


def only_cell(optimizer: dict[str, Any], **changes: Any) -> Cell:
    block = {**GOOD["grid"][0], "schedules": ["constant"], "peak_lrs": [0.02], "tokens_per_parameter": [10], **changes}
    target = {**GOOD["target"], "batch_sequences": block["batch_sequences"][0]}
    (cell,) = planned(("grid", [block]), ("optimizer", optimizer), ("target", target)).cells
    return cell


def test_policies_of_weight_decay() -> None:
    """An update shrinks by lr·λ: 0.02·0.1 coupled; 0.01 independent; 1/(0.2·T) for a memory of a fifth of the run."""
    T = only_cell({}).total_steps
    by_timescale = {"weight_decay": None, "weight_decay_timescale_fraction": 0.2}
    for policy, value, shrinkage in (
        ("coupled", {"weight_decay": 0.1}, 0.002),
        ("independent", {"weight_decay": 0.01}, 0.01),
        ("constant_timescale", by_timescale, 1 / (0.2 * T)),
    ):
        cell = only_cell({"weight_decay_policy": policy, **value})
        path = cell.trajectory.path.arrays()
        np.testing.assert_allclose(path.weight_decay * 0.02, shrinkage)
        assert cell.weight_decay == path.weight_decay[0]


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(StudyError, match="weight_decay is missing for weight_decay_policy independent"):
        only_cell({"weight_decay_policy": "independent"})
    with pytest.raises(StudyError, match=r"peak_lr 0.02 × weight decay 50 shrinks the weights to nothing"):
        only_cell({"weight_decay_policy": "independent", "weight_decay": 1.0})


def test_a_ramp_ends_at_the_cells_batch_and_counts_its_warm_up_in_tokens() -> None:
    ramp = {"kind": "constant", "batch": {"kind": "linear", "start_fraction": 0.5, "multiple_of": 3}}
    block = {**GOOD["grid"][0], "schedules": ["ramped"]}
    common = (("schedules", {**GOOD["schedules"], "ramped": ramp}), ("grid", [GOOD["grid"][0], block]))
    with pytest.raises(StudyError, match=r"batch.multiple_of 3 does not divide"):
        planned(*common, ("warmup", {"tokens": 1024}))
    ramp["batch"]["multiple_of"] = 2  # type: ignore[index]
    with pytest.raises(StudyError, match=r"warmup.steps 4 with a batch ramp"):
        planned(*common)
    planned(*common, ("warmup", {"tokens": 1024}))


def test_a_path_that_no_command_line_holds_is_refused() -> None:
    ramp = {"kind": "constant", "batch": {"kind": "linear", "start_fraction": 0.001}}
    block = {**GOOD["grid"][0], "schedules": ["ramped"], "peak_lrs": [0.02], "tokens_per_parameter": [20_000]}
    changes = {
        "schedules": {**GOOD["schedules"], "ramped": ramp},
        "grid": [GOOD["grid"][0], {**block, "batch_sequences": [1024]}],
        "warmup": {"tokens": 1024},
    }
    with pytest.raises(StudyError, match=r"pieces, more than the 900"):
        planned(*changes.items())


def test_a_rise_of_its_own_is_the_warm_up_that_tables_show() -> None:
    keys = {"kind": "one_cycle", "cycle_shape": "linear", "rise_fraction": 0.25, "initial_lr_fraction": 0.1,
            "final_lr_fraction": 0}  # fmt: skip
    cell = only_cell({}, schedules=["constant"])
    assert cell.warmup_steps == 4
    assert PARSE(keys).lr(room(40, warmup_steps=3)).own_warmup_steps == 10


def test_a_half_life_in_tokens_forgets_as_fast_whatever_the_batch() -> None:
    half_life = {"adam_beta2": None, "adam_beta2_half_life_tokens": 4 * 64 * 10.0}
    small = only_cell(half_life).trajectory.path.arrays()
    large = only_cell(half_life, batch_sequences=[8]).trajectory.path.arrays()
    np.testing.assert_allclose(small.adam_beta2, 0.5 ** (1 / 10))
    np.testing.assert_allclose(large.adam_beta2, 0.5 ** (1 / 5))


# -- what holds for every schedule

UNIT = st.floats(0.02, 0.9)
FALL = {"final_lr_fraction": st.floats(0.001, 0.9)}
EVERY_KIND: tuple[st.SearchStrategy[dict[str, Any]], ...] = (
    st.fixed_dictionaries({"kind": st.sampled_from(["constant", "schedule_free"])}),
    st.fixed_dictionaries({"kind": st.sampled_from(["linear", "cosine", "one_minus_sqrt", "rex"]), **FALL}),
    st.fixed_dictionaries({"kind": st.just("exponential"), **FALL}),
    st.fixed_dictionaries({"kind": st.just("polynomial"), "exponent": st.floats(0.3, 4), **FALL}),
    st.fixed_dictionaries({"kind": st.just("linear"), "refreshes": st.integers(1, 20), **FALL}),
    st.fixed_dictionaries({"kind": st.sampled_from(["inverse_sqrt", "rational"])}),
    st.fixed_dictionaries({"kind": st.just("wsd"), "decay_fraction": UNIT, **FALL,
                           "decay_shape": st.sampled_from(["linear", "mirror_cosine", "square", "exponential"])}),
    st.fixed_dictionaries({"kind": st.just("wsd"), "decay_fraction": UNIT, **FALL,
                           "decay_shape": st.just("power"), "decay_exponent": st.just(1.5)}),
    st.fixed_dictionaries({"kind": st.just("wsd_s"), "ends": st.just([0.3, 0.6]), "decay_fraction": st.floats(0.1, 0.3),
                           "decay_shape": st.just("one_minus_sqrt"), **FALL}),
    st.fixed_dictionaries({"kind": st.just("cyclic"), "cycles": st.integers(1, 5), "restart": st.booleans(),
                           "cycle_shape": st.sampled_from(["linear", "cosine"]), **FALL}),
    st.fixed_dictionaries({"kind": st.just("one_cycle"), "cycle_shape": st.sampled_from(["linear", "cosine"]),
                           "rise_fraction": UNIT, "initial_lr_fraction": st.floats(0.01, 1), **FALL}),
    st.fixed_dictionaries({"kind": st.just("step"), "milestones": st.just([0.5, 0.75]),
                           "lr_fractions": st.just([0.1, 0.01])}),
)  # fmt: skip


@given(keys=st.one_of(EVERY_KIND), T=st.integers(100, 400), W=st.integers(1, 9), data=st.data())
@settings(max_examples=300, deadline=None)
def test_what_holds_for_every_schedule(keys: dict[str, Any], T: int, W: int, data: st.DataObject) -> None:
    """No update is wasted, the peak is reached and never exceeded, the floor is where it should be, and a schedule
    knows its tokens: with another batch it is the same function."""
    schedule: Schedule = PARSE(keys)
    batches = data.draw(st.lists(st.integers(1, 12), min_size=T, max_size=T))
    for here in (room(T, W, 0.03), room(T, W, 0.03, batches)):
        found = schedule.lr(here)
        lr = schedules.values(found.path, here.at)
        assert len(lr) == T
        assert (lr > 0).all()
        assert lr.max() == pytest.approx(0.03, rel=1e-12)
        assert 0 <= found.decay_steps <= T
        # Pieces that the floor would spell as a constant are spelled so: a path never has neighbours of equal value.
        assert schedules.join(found.path) == found.path
        if schedule.final_fraction is not None:
            lowest = min(schedule.final_fraction, keys.get("initial_lr_fraction", 1.0))
            assert lr[W:].min() >= 0.03 * lowest * (1 - 1e-9)
            assert lr[-1] <= 0.03
    doubled = room(2 * T, 2 * W, 0.03)
    if keys["kind"] not in ("inverse_sqrt", "rational") and "refreshes" not in keys:
        stretched = schedules.values(schedule.lr(doubled).path, doubled.at)
        own = schedules.values(schedule.lr(room(T, W, 0.03)).path, room(T, W, 0.03).at)
        assert stretched.sum() / 2 == pytest.approx(own.sum(), rel=0.05, abs=0.03 * 3)
