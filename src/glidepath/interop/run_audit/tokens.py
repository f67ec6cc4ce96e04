"""Tokens that fall or are not updates times batch, and batches that change."""

from __future__ import annotations

import numpy as np

from glidepath.interop.run_audit.fault import Fault, Floats, Mask

SAME_BATCH = 0.01


def falling_tokens(tokens: Floats) -> Mask:
    """Rows whose tokens are fewer than some earlier row's."""
    return np.asarray(tokens < np.maximum.accumulate(tokens), dtype=np.bool_)


def non_monotone_tokens(steps: Floats, tokens: Floats) -> list[Fault]:
    """Tokens that fall while the step rises."""
    falls = falling_tokens(tokens)
    if not falls.any():
        return []
    where = steps[falls]
    return [
        Fault(
            "tokens_fall",
            float(where[0]),
            float(where[-1]),
            len(where),
            f"tokens_seen falls while the step rises, first to {tokens[falls][0]:g} at {where[0]:g}",
            "these rows say nothing about tokens",
        )
    ]


def inconsistent_tokens(steps: Floats, tokens: Floats, batch_tokens: float) -> list[Fault]:
    """Tokens that are not updates times batch, by more than an update."""
    off = np.abs(tokens - steps * batch_tokens) > batch_tokens * (1 + 1e-6 * steps)
    if not off.any():
        return []
    where, first = steps[off], int(np.flatnonzero(off)[0])
    return [
        Fault(
            "tokens_inconsistent",
            float(where[0]),
            float(where[-1]),
            len(where),
            f"tokens_seen is {tokens[first]:g} at {steps[first]:g}, not {steps[first]:g} updates of {batch_tokens:g} "
            f"tokens ({steps[first] * batch_tokens:g})",
            "the logged tokens count",
        )
    ]


def batches_between(steps: Floats, tokens: Floats) -> Floats:
    """Tokens per update between neighbouring rows, the first from the begin of training: shape as steps."""
    before = np.concatenate([[0.0], steps[:-1]]), np.concatenate([[0.0], tokens[:-1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((tokens - before[1]) / (steps - before[0]), dtype=np.float64)


def changed_batch(steps: Floats, batch_tokens: Floats) -> list[Fault]:
    """Rows from which on the tokens per update are others than before."""
    known = np.isfinite(batch_tokens) & (batch_tokens > 0)
    at, batch = steps[known], batch_tokens[known]
    if len(batch) < 2:
        return []
    changes = np.flatnonzero(np.abs(np.diff(batch)) > SAME_BATCH * np.minimum(batch[1:], batch[:-1])) + 1
    if not len(changes):
        return []
    values = ", ".join(f"{batch[i - 1]:g} to {batch[i]:g} at {at[i]:g}" for i in changes[:3])
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return [
        Fault(
            "batch_changes",
            float(at[changes[0]]),
            float(at[changes[-1]]),
            len(changes),
            f"tokens per update change from {values}{more}",
            "the run's batch is the last one, tokens are those of every update",
        )
    ]
