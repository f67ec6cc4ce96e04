"""Restarts, repeated steps and gaps: found where they are, and not found where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from glidepath.interop.run_audit.row_order import duplicates, gaps, is_unsorted, last_of_each, restarts, superseded
from tests.interop.run_audit.arrays import Floats, floats, only


def test_a_restart_makes_void_what_it_trains_anew() -> None:
    steps = floats(10, 20, 30, 40, 20, 30, 40, 50)
    assert superseded(steps).tolist() == [False, True, True, True, False, False, False, False]
    fault = only(restarts(steps))
    assert (fault.kind, fault.first, fault.last, fault.count) == ("restarted", 20, 40, 1)
    assert "40 to 20" in fault.detail
    assert "3 rows" in fault.done


def test_a_second_restart_from_further_back_makes_the_first_void_too() -> None:
    steps = floats(10, 20, 30, 20, 30, 10, 20)
    assert superseded(steps).tolist() == [True, True, True, True, True, False, False]
    assert only(restarts(steps)).count == 2


def test_a_restart_between_two_logged_steps_keeps_those_before_it() -> None:
    assert superseded(floats(10, 20, 30, 25, 35)).tolist() == [False, False, True, False, False]


def test_what_is_left_of_a_log_is_what_a_table_that_is_written_over_holds() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        pieces = [np.arange(start, start + length) for start, length in rng.integers(1, 40, (5, 2))]
        steps = np.concatenate(pieces).astype(np.float64)
        kept: dict[float, int] = {}
        for row, step in enumerate(steps):
            if row and step < steps[row - 1]:
                kept = {at: old for at, old in kept.items() if at < step}
            kept[step] = row
        left = np.flatnonzero(~superseded(steps))
        # Where a piece begins at a step that was reached, the step is there twice, and the later row counts.
        assert left[last_of_each(steps[left])].tolist() == [kept[step] for step in sorted(kept)]


def test_no_restart_where_the_step_stands_still() -> None:
    steps = floats(1, 1, 2, 2)
    assert not superseded(steps).any()
    assert restarts(steps) == []


def test_a_log_in_no_order_is_told_from_one_with_restarts() -> None:
    rising = np.arange(100.0)
    assert not is_unsorted(np.concatenate([rising, rising[50:]]))
    assert is_unsorted(np.random.default_rng(0).permutation(rising))
    assert is_unsorted(rising[::-1])


def test_repeated_steps_that_agree_are_told_from_those_that_do_not() -> None:
    same, other = duplicates(floats(1, 2, 2, 3, 3), floats(5, 4, 4, 3, 2), "train_loss")
    assert (same.kind, same.first, same.count) == ("duplicated", 2, 1)
    assert (other.kind, other.first, other.count) == ("conflicting", 3, 1)
    assert last_of_each(floats(1, 2, 2, 3, 3)).tolist() == [0, 2, 4]
    assert duplicates(floats(1, 2), floats(1, 1), "train_loss") == []


def test_a_gap_is_long_against_what_is_around_it() -> None:
    steps = np.concatenate([np.arange(10, 200, 10.0), np.arange(400, 600, 10.0)])
    fault = only(gaps(steps))
    assert (fault.kind, fault.first, fault.last) == ("gap", 190, 400)


@pytest.mark.parametrize(
    "steps",
    [np.unique(np.round(32 * 2 ** (np.arange(30) / 3))), np.arange(5.0), floats(1, 100), np.append(np.arange(9.0), 11)],
    ids=["octaves", "even", "two", "a short last one"],
)
def test_a_grid_is_no_gap(steps: Floats) -> None:
    assert gaps(steps) == []
