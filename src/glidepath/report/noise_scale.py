"""What the gradient noise scale says of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures import select
from glidepath.figures.text import compact, interval
from glidepath.report.answer import Evidence, Tables, Target, rows, where
from glidepath.report.finding import Finding

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
    found = found[np.isfinite(found["ci_low"]) & np.isfinite(found["ci_high"]) & (found["ci_low"] > 0)]
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
    if last["ci_low"] > CLOSE * batch:
        place, advice = "above", "a larger batch would lose little per token"
    elif last["ci_high"] < batch / CLOSE:
        place, advice = "below", "a smaller batch would use tokens better"
    else:
        place, advice = "not resolved from", "no case for another batch"
    growth = float(last["noise_scale_tokens"] / first["noise_scale_tokens"])
    half_width = float(np.hypot(*(np.log(w["ci_high"] / w["ci_low"]) / 2 for w in (first, last))))
    if abs(np.log(growth)) <= half_width:
        change = "Whether it grows along training is not resolved."
    else:
        change = f"It changes by a factor {growth:.1f} from the first to the last trusted window: "
        change += "a batch that grows is worth a try." if growth > 1 else "no case for a growing batch."
    return Finding(
        f"The noise scale at the end is {_tokens(last)}, {place} the target's batch of "
        f"{compact(float(batch))}: {advice}. {change}",
        "not resolved",
        f"The noise scale is from {len(windows)} trusted windows of one cell, with "
        f"{interval(float(last['ci_level']))}s over blocks of probed updates.",
        tuple(
            Evidence(
                f"{name} window: {_tokens(w)} after {compact(float(w['tokens_seen']))} tokens ({cell['schedule']}).",
                (rows("noise_scale", cell_id=str(cell["cell_id"]), group="total", window=int(w["window"])),),
            )
            for name, w in (("First", first), ("Last", last))
        ),
        (CAVEAT,),
    )


def _tokens(window: pd.Series[Any]) -> str:
    """Value and interval in tokens."""
    value, low, high = (compact(float(window[name])) for name in ("noise_scale_tokens", "ci_low", "ci_high"))
    return f"{value} [{low}, {high}] tokens"
