"""What a sweep of batches says: the critical batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures.text import compact, interval
from glidepath.laws.critical_batch import swept_schedule
from glidepath.report.answer import Evidence, Tables, Target, rows, where
from glidepath.report.finding import Finding

CRITICAL_BATCH = "critical_batch"
KEY = ("model", "schedule", "weights", "lr_rule", "target_loss", "definition")
RULES = {
    "re_tuned": "the best learning rate of every batch",
    "none": "one learning rate for all batches",
    "sqrt": "the learning rate following the root of the batch",
    "linear": "the learning rate following the batch",
}
DEFINITIONS = {
    "step_data_tradeoff": "the trade-off of updates and examples",
    "fixed_overhead_20pct": "20 % more examples",
}


def critical(tables: Tables, target: Target) -> Finding | None:
    """To the lowest loss at which one is identified, of the target's model if it was swept and of the schedule that the
    recommendation tells; None without a sweep."""
    found = tables.get(CRITICAL_BATCH, pd.DataFrame(columns=list(KEY)))
    own = where(found, model=target.model)
    found = own if len(own) else found
    if found.empty:
        return None
    in_order = found.assign(
        _status=found["status"] != "converged",
        _rule=found["lr_rule"].map(list(RULES).index),
        _weights=found["weights"] != "raw",
        _definition=found["definition"].map(lambda name: name != "step_data_tradeoff"),
    ).sort_values(["_status", "_weights", "_rule", "_definition", "target_loss"], kind="stable")
    first = in_order.iloc[0]
    preferred = where(in_order, **{name: first[name] for name in ("_status", "_weights", "_rule", "_definition")})
    first = where(preferred, schedule=swept_schedule(preferred, target.schedule)).iloc[0]
    alike = where(in_order, **{name: first[name] for name in ("model", "schedule", "weights", "target_loss")})
    evidence = tuple(_evidence(row) for _, row in alike.iterrows())
    if first["status"] != "converged":
        return Finding(
            "The critical batch is not resolved by the sweep of batches.",
            "not resolved",
            f"Not identified: {first['reason']}.",
            evidence,
        )
    caveats = ["A critical batch belongs to a loss: at another one it may differ."]
    if first["edge_of_grid"]:
        caveats.append("A peak learning rate behind the critical batch lies at the edge of its grid.")
    return Finding(
        f"The critical batch to a loss of {first['target_loss']:.3f} is {_tokens(first)} tokens, by "
        f"{DEFINITIONS[first['definition']]} with {RULES[first['lr_rule']]}: {_advice(first, target)}.",
        "resolved",
        f"The {interval(float(first['ci_level']))} of the critical batch rests on {first['noise_from']}, from "
        f"{int(first['n_batches'])} batches.",
        evidence,
        tuple(caveats),
    )


def _advice(row: pd.Series[Any], target: Target) -> str:
    low, high = float(row["critical_batch_tokens_ci_low"]), float(row["critical_batch_tokens_ci_high"])
    batch = f"the target's batch of {compact(float(target.batch_tokens))}"
    if target.batch_tokens < low:
        return f"{batch} is below it, where a larger one saves updates for few more tokens"
    if target.batch_tokens > high:
        return f"{batch} is above it, where a smaller one saves tokens for few more updates"
    return f"{batch} is not resolved from it"


def _tokens(row: pd.Series[Any]) -> str:
    value, low, high = (float(row[f"critical_batch_tokens{end}"]) for end in ("", "_ci_low", "_ci_high"))
    ends = [compact(end) if np.isfinite(end) else "open" for end in (low, high)]
    return f"{compact(value) if np.isfinite(value) else 'beyond all batches'} [{ends[0]}, {ends[1]}]"


def _evidence(row: pd.Series[Any]) -> Evidence:
    definition = DEFINITIONS.get(str(row["definition"]), str(row["definition"]))
    text = f"{row['schedule']}, {row['weights']} weights, {RULES[str(row['lr_rule'])]}, {definition}: "
    if row["status"] == "failed":
        text += f"{row['reason']}."
    else:
        reason = "" if row["status"] == "converged" else f" ({row['reason']})"
        text += f"{_tokens(row)} tokens{reason}."
    if row["status"] == "converged" and np.isfinite(row["over_noise_scale_total"]):
        text += f" It is {_ratio(row)} times the noise scale of all layers there."
    key = {name: row[name] if isinstance(row[name], str) else float(row[name]) for name in KEY}
    return Evidence(text, (rows(CRITICAL_BATCH, **key),))


def _ratio(row: pd.Series[Any]) -> str:
    value, low, high = (float(row[f"over_noise_scale_total{end}"]) for end in ("", "_ci_low", "_ci_high"))
    ends = [f"{end:.2g}" if np.isfinite(end) else "open" for end in (low, high)]
    return f"{value:.2g} [{ends[0]}, {ends[1]}]"
