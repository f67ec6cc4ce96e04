"""Every fault of a log: found where it is, and not found where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from glidepath.interop import run_audit as audit
from glidepath.interop.run_audit import Evaluated, Fault

Floats = NDArray[np.float64]


def floats(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def only(faults: list[Fault]) -> Fault:
    (fault,) = faults
    return fault


def test_a_restart_makes_void_what_it_trains_anew() -> None:
    steps = floats(10, 20, 30, 40, 20, 30, 40, 50)
    assert audit.superseded(steps).tolist() == [False, True, True, True, False, False, False, False]
    fault = only(audit.restarts(steps))
    assert (fault.kind, fault.first, fault.last, fault.count) == ("restarted", 20, 40, 1)
    assert "40 to 20" in fault.detail
    assert "3 rows" in fault.done


def test_a_second_restart_from_further_back_makes_the_first_void_too() -> None:
    steps = floats(10, 20, 30, 20, 30, 10, 20)
    assert audit.superseded(steps).tolist() == [True, True, True, True, True, False, False]
    assert only(audit.restarts(steps)).count == 2


def test_a_restart_between_two_logged_steps_keeps_those_before_it() -> None:
    assert audit.superseded(floats(10, 20, 30, 25, 35)).tolist() == [False, False, True, False, False]


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
        left = np.flatnonzero(~audit.superseded(steps))
        # Where a piece begins at a step that was reached, the step is there twice, and the later row counts.
        assert left[audit.last_of_each(steps[left])].tolist() == [kept[step] for step in sorted(kept)]


def test_no_restart_where_the_step_stands_still() -> None:
    steps = floats(1, 1, 2, 2)
    assert not audit.superseded(steps).any()
    assert audit.restarts(steps) == []


def test_a_log_in_no_order_is_told_from_one_with_restarts() -> None:
    rising = np.arange(100.0)
    assert not audit.is_unsorted(np.concatenate([rising, rising[50:]]))
    assert audit.is_unsorted(np.random.default_rng(0).permutation(rising))
    assert audit.is_unsorted(rising[::-1])


def test_repeated_steps_that_agree_are_told_from_those_that_do_not() -> None:
    same, other = audit.duplicates(floats(1, 2, 2, 3, 3), floats(5, 4, 4, 3, 2), "train_loss")
    assert (same.kind, same.first, same.count) == ("duplicated", 2, 1)
    assert (other.kind, other.first, other.count) == ("conflicting", 3, 1)
    assert audit.last_of_each(floats(1, 2, 2, 3, 3)).tolist() == [0, 2, 4]
    assert audit.duplicates(floats(1, 2), floats(1, 1), "train_loss") == []


def test_a_gap_is_long_against_what_is_around_it() -> None:
    steps = np.concatenate([np.arange(10, 200, 10.0), np.arange(400, 600, 10.0)])
    fault = only(audit.gaps(steps))
    assert (fault.kind, fault.first, fault.last) == ("gap", 190, 400)


@pytest.mark.parametrize(
    "steps",
    [np.unique(np.round(32 * 2 ** (np.arange(30) / 3))), np.arange(5.0), floats(1, 100), np.append(np.arange(9.0), 11)],
    ids=["octaves", "even", "two", "a short last one"],
)
def test_a_grid_is_no_gap(steps: Floats) -> None:
    assert audit.gaps(steps) == []


def test_tokens_that_fall() -> None:
    steps, tokens = floats(1, 2, 3, 4), floats(100, 200, 150, 400)
    assert audit.falling_tokens(tokens).tolist() == [False, False, True, False]
    fault = only(audit.non_monotone_tokens(steps, tokens))
    assert (fault.kind, fault.first, fault.count) == ("tokens_fall", 3, 1)
    assert audit.non_monotone_tokens(steps, floats(1, 1, 2, 3)) == []


def test_tokens_that_are_not_steps_times_batch() -> None:
    fault = only(audit.inconsistent_tokens(floats(1, 2, 3), floats(100, 200, 900), 100))
    assert (fault.kind, fault.first, fault.count) == ("tokens_inconsistent", 3, 1)
    # Counted before instead of after the update: an update's worth.
    assert audit.inconsistent_tokens(floats(1, 2, 3), floats(0, 100, 200), 100) == []


def test_a_batch_that_changes() -> None:
    steps = floats(1, 2, 3, 4, 5)
    batches = audit.batches_between(steps, floats(100, 200, 300, 500, 700))
    assert batches.tolist() == [100, 100, 100, 200, 200]
    fault = only(audit.changed_batch(steps, batches))
    assert (fault.kind, fault.first, fault.count) == ("batch_changes", 4, 1)
    assert "100 to 200 at 4" in fault.detail
    assert audit.changed_batch(steps, np.full(5, 100.0)) == []


def test_learning_rates_that_contradict_what_was_declared() -> None:
    declared = np.linspace(1e-3, 0, 100)
    at = np.arange(0, 100, 10)
    assert audit.contradicting_lr(at, declared[at], declared) == []
    fault = only(audit.contradicting_lr(at, np.full(10, 1e-3), declared))
    assert (fault.kind, fault.first, fault.count) == ("lr_contradicts", 11, 9)
    late = np.array([0.0, 0.5, 1.0, 1.0])
    shifted = only(audit.contradicting_lr(np.arange(4), np.array([0.5, 1.0, 1.0, 1.0]), late))
    assert "shifted by 1 update" in shifted.detail


def test_losses_that_are_not_finite() -> None:
    steps = floats(1, 2, 3, 4)
    faults, diverged = audit.not_finite(steps, floats(5, np.inf, 4, 3), "train_loss")
    assert diverged is None
    assert (only(faults).first, only(faults).count) == (2, 1)
    faults, diverged = audit.not_finite(steps, floats(5, 4, np.inf, np.inf), "train_loss")
    assert diverged == 3
    assert "diverged" in only(faults).done
    assert audit.not_finite(steps, floats(5, 4, 3, 2), "train_loss") == ([], None)


FALLING = 2.5 + 8.0 * np.arange(1, 101) ** -0.5


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (FALLING / np.log(2), "bits per token"),
        (np.exp(FALLING), "perplexity"),
        (FALLING * 0.05, "bits per byte come that low"),
        (FALLING - 4.0, "positive"),
        (np.append(FALLING, 20.0), "goes up to 20"),
    ],
    ids=["bits", "perplexity", "low", "negative", "blown up"],
)
def test_losses_in_another_unit_are_suspected(losses: Floats, words: str) -> None:
    fault = only(audit.implausible_losses(np.arange(len(losses), dtype=np.float64), losses, "train_loss"))
    assert fault.kind == "implausible_loss"
    assert words in fault.detail


def test_losses_in_nats_are_not_suspected() -> None:
    assert audit.implausible_losses(np.arange(100.0), FALLING, "train_loss") == []


def test_a_run_that_ends_early() -> None:
    fault = only(audit.short_of_horizon(800, 10, 1000))
    assert (fault.kind, fault.first, fault.last) == ("ends_early", 800, 1000)
    assert audit.short_of_horizon(990, 10, 1000) == []
    assert audit.short_of_horizon(1000, 0, 1000) == []


def evaluated(run: str, **change: object) -> Evaluated:
    whole = {"horizon": 100.0, "domains": ("web",), "n_eval_tokens": (1e6,), "first": 10.0, "last": 100.0, "count": 10}
    return Evaluated(run, **{**whole, **change})  # type: ignore[arg-type]


def test_evaluations_that_differ_between_runs() -> None:
    alike = [evaluated(name) for name in "abc"]
    assert audit.unequal_evaluations(alike) == []
    for change, words in (
        ({"domains": ("code",)}, "evaluation sets"),
        ({"n_eval_tokens": (2e6,)}, "n_eval_tokens"),
        ({"last": 90.0}, "evaluated last"),
        ({"count": 20}, "other grids"),
    ):
        fault = only(audit.unequal_evaluations([*alike, evaluated("odd", **change)]))
        assert fault.kind == "unequal_evaluations"
        assert words in fault.detail
    # Another length has another grid.
    assert audit.unequal_evaluations([*alike, evaluated("long", horizon=200.0, last=200.0, count=20)]) == []


def test_facts_that_change() -> None:
    fault = only(audit.changing_facts({"peak_lr": floats(1, 2, 2), "n_layer": floats(3, 3, np.nan)}))
    assert fault.kind == "fact_changes"
    assert "peak_lr is 1 first" in fault.detail
