"""The budget of a study as it is printed."""

from __future__ import annotations

from collections.abc import Sequence

from glidepath.study.budget import Budget
from glidepath.study.units import duration, size


def described(budget: Budget) -> str:
    """The budget as an aligned table and a sentence on what sharing saves."""
    rows = [("stage", "cells", "jobs", "FLOP", "core time", "time", "disk")]
    there = tuple(stage for stage in budget.stages if stage.jobs)
    for stage, parts in (*((stage, (stage,)) for stage in there), (budget.total, there)):
        rows.append(
            (
                stage.stage,
                f"{stage.cells:,}" if stage.cells else "",
                f"{stage.jobs:,}",
                f"{stage.train_flops_exact:.3g}" if stage.train_flops_exact else "",
                _time([part.core_seconds for part in parts]),
                _time([part.wall_seconds for part in parts]),
                size(stage.disk_bytes) if stage.disk_bytes else "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    total = budget.total
    sentences = [
        f"{budget.study}: {total.cells:,} cells, {total.tokens / 1e6:.4g}M tokens. Without shared prefixes training "
        f"would take {total.unshared_train_flops_exact:.3g} FLOP, {total.sharing_factor or 1.0:.2f} times as much"
    ]
    if total.core_seconds is not None and total.unshared_core_seconds is not None:
        saved = (total.unshared_core_seconds - total.core_seconds) / budget.conditions.cores
        sentences[-1] += f"; sharing saves {duration(saved)} on {budget.conditions.cores} cores"
    if budget.unmeasured:
        sentences.append(f"The speed of {', '.join(budget.unmeasured)} on this machine is not known")
    return "\n".join([f"{'. '.join(sentences)}.", *lines])


def _time(parts: Sequence[float | None]) -> str:
    """The sum, of which unknown parts make a lower bound."""
    known = [part for part in parts if part is not None]
    if not known:
        return "not known"
    return f"{'> ' if len(known) < len(parts) else ''}{duration(sum(known))}"
