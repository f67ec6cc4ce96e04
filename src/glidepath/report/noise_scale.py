"""What the gradient noise scale says of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures import select
from glidepath.figures.text import compact
from glidepath.report.answer import Evidence, Tables, Target, rows, where
from glidepath.report.finding import Finding
from glidepath.report.numbers import estimate

CLOSE = 1.5
"""A noise scale within this factor of the batch calls for no other batch."""
CAVEAT = (
    "The noise scale is a guide, not the critical batch: it ignores curvature and Adam's preconditioning, so factors "
    "of two are the best to be hoped for."
)


def noise(tables: Tables, target: Target) -> Finding | None:
    """Trusted windows of the cell that the recommendation reads, or of the longest probed one on another model; None
    without any."""
    found = where(tables["noise_scale"], group="total", status="ok")
    found = found[found["noise_scale_tokens"] > 0]
    runs = select.among(tables["runs"], found)
    measured = target.recommended.noise_scale_tokens
    if measured is not None:
        runs = where(runs, cell_id=str(measured.sources[0].key["cell_id"]))
    if runs.empty:
        return None
    cell = runs.sort_values(["tokens_per_parameter", "val_loss"], ascending=[False, True], kind="stable").iloc[0]
    windows = where(found, cell_id=str(cell["cell_id"])).sort_values("window")
    return _in_words(windows, cell, target)


def _in_words(windows: pd.DataFrame, cell: pd.Series[Any], target: Target) -> Finding:
    """From the trusted windows of one cell, ascending: its first and its last."""
    first, last = windows.iloc[0], windows.iloc[-1]
    batch = target.batch_tokens
    value, error = float(last["noise_scale_tokens"]), float(last["noise_scale_tokens_se"])
    if value - 2 * error > CLOSE * batch:
        place, advice = "above", "a larger batch would lose little per token"
    elif value + 2 * error < batch / CLOSE:
        place, advice = "below", "a smaller batch would use tokens better"
    else:
        place, advice = "not resolved from", "no case for another batch"
    growth = value / float(first["noise_scale_tokens"])
    spread = float(np.hypot(*(w["noise_scale_tokens_se"] / w["noise_scale_tokens"] for w in (first, last))))
    change = f"It changes by a factor {growth:.1f} from the first to the last trusted window"
    if abs(np.log(growth)) <= 2 * spread:
        change = "Whether it grows along training is not resolved."
    else:
        change += ": a batch that grows is worth a try." if growth > 1 else ": no case for a growing batch."
    return Finding(
        f"The noise scale at the end is {estimate(value, error)} tokens, {place} the target's batch of "
        f"{compact(float(batch))}: {advice}. {change}",
        "not resolved",
        f"From {len(windows)} trusted windows of one cell; errors by jackknife over probed updates.",
        tuple(
            Evidence(
                f"{name} window: {estimate(w['noise_scale_tokens'], w['noise_scale_tokens_se'])} tokens "
                f"after {compact(float(w['tokens_seen']))} tokens ({cell['schedule']}).",
                (rows("noise_scale", cell_id=str(cell["cell_id"]), group="total", window=int(w["window"])),),
            )
            for name, w in (("First", first), ("Last", last))
        ),
        (CAVEAT,),
    )
