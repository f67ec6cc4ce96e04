"""Learning rates that contradict what was declared, or are logged too rarely."""

from __future__ import annotations

import numpy as np

from glidepath.interop.run_audit.learning_rates import contradicted_lr_facts, contradicting_lr, sparse_lr
from glidepath.interop.run_series import Series
from tests.interop.run_audit.arrays import only

NO_ORIGIN = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


def test_learning_rates_that_contradict_what_was_declared() -> None:
    declared = np.linspace(1e-3, 0, 100)
    at = np.arange(0, 100, 10)
    assert contradicting_lr(at, declared[at], declared) == []
    fault = only(contradicting_lr(at, np.full(10, 1e-3), declared))
    assert (fault.kind, fault.first, fault.count) == ("lr_contradicts", 11, 9)
    late = np.array([0.0, 0.5, 1.0, 1.0])
    shifted = only(contradicting_lr(np.arange(4), np.array([0.5, 1.0, 1.0, 1.0]), late))
    assert "shifted by 1 update" in shifted.detail


def test_learning_rates_far_apart_are_said() -> None:
    every = Series(np.arange(1.0, 101), np.ones(100), NO_ORIGIN)
    rare = np.arange(10.0, 101, 10)
    assert [fault.kind for fault in sparse_lr(rare, 0, 0, [every])] == ["lr_coarse"]
    assert sparse_lr(rare, 0, 10, [Series(rare, rare, NO_ORIGIN)]) == []
    assert [(f.kind, f.count) for f in sparse_lr(rare[:5], 0, 50, [Series(rare, rare, NO_ORIGIN)])] == [("lr_held", 50)]


def test_learning_rates_that_are_not_of_the_declared_kind_or_warm_up() -> None:
    steps = np.arange(1.0, 101)
    flat, cosine = np.ones(100), 0.5 + 0.5 * np.cos(np.pi * steps / 100)
    warm = np.minimum(steps / 20, 1.0)
    assert contradicted_lr_facts(steps, warm, 20, "constant") == []
    assert contradicted_lr_facts(steps, np.minimum((steps - 1) / 20, 1.0), 20, None) == []
    assert contradicted_lr_facts(steps, cosine, None, "cosine") == []
    (rise,) = contradicted_lr_facts(steps, warm, 60, "constant")
    assert "a straight rise over 60 updates" in rise.detail
    (falls,) = contradicted_lr_facts(steps, cosine, None, "constant")
    assert "of the kind constant, and the logged learning rate falls" in falls.detail
    (stays,) = contradicted_lr_facts(steps, flat, None, "cosine")
    assert "does not fall" in stays.detail
