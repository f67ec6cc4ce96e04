"""Losses that are not finite or in another unit: found where they are, and not found where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from glidepath.interop.run_audit.losses import implausible_losses, not_finite
from tests.interop.run_audit.arrays import Floats, floats, only


def test_losses_that_are_not_finite() -> None:
    steps = floats(1, 2, 3, 4)
    faults, diverged = not_finite(steps, floats(5, np.inf, 4, 3), "train_loss")
    assert diverged is None
    assert (only(faults).first, only(faults).count) == (2, 1)
    faults, diverged = not_finite(steps, floats(5, 4, np.inf, np.inf), "train_loss")
    assert diverged == 3
    assert "diverged" in only(faults).done
    assert not_finite(steps, floats(5, 4, 3, 2), "train_loss") == ([], None)


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
    fault = only(implausible_losses(np.arange(len(losses), dtype=np.float64), losses, "train_loss"))
    assert fault.kind == "implausible_loss"
    assert words in fault.detail


def test_losses_in_nats_are_not_suspected() -> None:
    assert implausible_losses(np.arange(100.0), FALLING, "train_loss") == []
