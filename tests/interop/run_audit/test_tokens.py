"""Tokens and batches: faults found where they are, and not found where they are not."""

from __future__ import annotations

import numpy as np

from glidepath.interop.run_audit.tokens import (
    batches_between,
    changed_batch,
    falling_tokens,
    inconsistent_tokens,
    non_monotone_tokens,
)
from tests.interop.run_audit.arrays import floats, only


def test_tokens_that_fall() -> None:
    steps, tokens = floats(1, 2, 3, 4), floats(100, 200, 150, 400)
    assert falling_tokens(tokens).tolist() == [False, False, True, False]
    fault = only(non_monotone_tokens(steps, tokens))
    assert (fault.kind, fault.first, fault.count) == ("tokens_fall", 3, 1)
    assert non_monotone_tokens(steps, floats(1, 1, 2, 3)) == []


def test_tokens_that_are_not_steps_times_batch() -> None:
    fault = only(inconsistent_tokens(floats(1, 2, 3), floats(100, 200, 900), 100))
    assert (fault.kind, fault.first, fault.count) == ("tokens_inconsistent", 3, 1)
    # Counted before instead of after the update: an update's worth.
    assert inconsistent_tokens(floats(1, 2, 3), floats(0, 100, 200), 100) == []


def test_a_batch_that_changes() -> None:
    steps = floats(1, 2, 3, 4, 5)
    batches = batches_between(steps, floats(100, 200, 300, 500, 700))
    assert batches.tolist() == [100, 100, 100, 200, 200]
    fault = only(changed_batch(steps, batches))
    assert (fault.kind, fault.first, fault.count) == ("batch_changes", 4, 1)
    assert "100 to 200 at 4" in fault.detail
    assert changed_batch(steps, np.full(5, 100.0)) == []
