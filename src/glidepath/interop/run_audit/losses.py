"""Losses that are not finite, or look as if they had another unit."""

from __future__ import annotations

import numpy as np

from glidepath.interop.run_audit.fault import Fault, Floats

LOSS_AT_START = 12.5
"""A model that has learnt nothing has ln(vocabulary): 12.4 for a quarter of a million tokens [nat/token]."""
PERPLEXITY_MEDIAN = 13.0
LOWEST_LOSS = 0.3
"""Of text, per token; bits per byte come lower."""


def not_finite(steps: Floats, losses: Floats, what: str) -> tuple[list[Fault], float | None]:
    """Losses that were logged as NaN or infinity; and the first step from which on none is finite, if there is one."""
    bad = ~np.isfinite(losses)
    if not bad.any():
        return [], None
    finite = np.flatnonzero(~bad)
    after = int(finite[-1]) + 1 if len(finite) else 0
    diverged = float(steps[after]) if after < len(steps) else None
    what_follows = "the run has diverged there" if diverged is not None else "it is taken as not logged"
    where = steps[bad]
    return [
        Fault(
            "not_finite",
            float(where[0]),
            float(where[-1]),
            len(where),
            f"{what} is NaN or infinite" + ("" if diverged is None else f", from {diverged:g} on to the end"),
            what_follows,
        )
    ], diverged


def implausible_losses(steps: Floats, losses: Floats, what: str) -> list[Fault]:
    """Losses that look as if they had another unit than nat/token."""
    finite = np.isfinite(losses)
    steps, losses = steps[finite], losses[finite]
    if not len(losses):
        return []
    median, highest, lowest = float(np.median(losses)), float(losses.max()), float(losses.min())
    if lowest <= 0.0:
        suspicion, odd = f"is {lowest:g}, and a cross-entropy is positive", losses <= 0.0
    elif median > PERPLEXITY_MEDIAN:
        suspicion = f"has the median {median:.4g}, as a perplexity has (its logarithm is {np.log(median):.3g})"
        odd = losses > LOSS_AT_START
    elif highest > LOSS_AT_START and np.argmax(losses) <= 1 and highest < LOSS_AT_START / np.log(2):
        suspicion = f"begins at {highest:.4g}, as bits per token would ({highest * np.log(2):.3g} nat)"
        odd = losses > LOSS_AT_START
    elif highest > LOSS_AT_START:
        suspicion = f"goes up to {highest:.4g}, above the loss of a model that has learnt nothing"
        odd = losses > LOSS_AT_START
    elif median < LOWEST_LOSS:
        suspicion = f"has the median {median:.4g}, below what text has per token; bits per byte come that low"
        odd = losses < LOWEST_LOSS
    else:
        return []
    where = steps[odd]
    return [
        Fault(
            "implausible_loss",
            float(where.min()),
            float(where.max()),
            int(odd.sum()),
            f"{what} {suspicion}",
            "nothing; see units",
        )
    ]
