"""What is known of an imported run besides its rows: facts of the log, overridden by those of the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glidepath.interop.run_audit.fault import Fault
from glidepath.interop.run_audit.whole_runs import changing_facts
from glidepath.interop.run_rows import Rows
from glidepath.study.import_columns import FACTORS, TOKENS
from glidepath.study.import_sources import ALONG, Source
from glidepath.study.section import StudyError

Floats = NDArray[np.float64]
OF_A_WHOLE_RUN = {
    "step": "total_steps",
    "tokens_seen": "token_horizon",
    "batch_tokens": "batch_tokens",
    "weight_decay": "weight_decay",
    "lr": "peak_lr",
}
"""Quantities that change along a run, and the facts that they are where a row is a finished run."""
WHOLE = (
    *("n_params_total", "n_params_non_embedding", "n_layer", "d_model", "context_length", "warmup_steps"),
    *("decay_steps", "batch_sequences", "batch_tokens", "total_steps", "token_horizon", "unique_tokens", "replicate"),
)
"""Facts that are whole numbers."""


def facts_of(
    run: str, rows: Sequence[Rows], names: Sequence[str], given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[tuple[str, Fault]]]:
    """Facts of a run in the tables' units, and what is wrong with them, by source.

    Raises StudyError for a unit whose own fact is missing, and for a number that is none of its kind.
    """
    found: dict[str, Any] = {}
    faults: list[tuple[str, Fault]] = []
    units: dict[str, tuple[Source, float]] = {}
    logged_as: dict[str, str] = {}
    for one in rows:
        named = {name: fact for name in one.values if (fact := _fact(one.source, name)) is not None}
        numbers = {fact: one.values[name] for name, fact in named.items()}
        logged_as |= {fact: name for name, fact in named.items()}
        faults += [(one.source.name, fault) for fault in changing_facts(numbers)]
        for name, values in numbers.items():
            known = values[np.isfinite(values)]
            if len(known):
                units[name] = (one.source, float(known[0]))
        for name, codes in one.texts.items():
            if name not in ALONG and (codes >= 0).any():
                found[name] = names[int(codes[codes >= 0][0])]
    # Sequences need the context, and updates the batch.
    waiting = sorted(units, key=lambda name: (name in TOKENS) + (name in ("token_horizon", "unique_tokens")))
    for name in waiting:
        if name not in given:
            source, value = units[name]
            found[name] = value * factor(
                run, source, logged_as[name], {**found, **given, **batch_of({**found, **given})}
            )
    found |= given
    for name in WHOLE:
        if name in found:
            found[name] = _whole(run, name, found[name])
    found |= {name: value for name, value in batch_of(found).items() if name not in found}
    for name in ("peak_lr", "train_flops", "n_params_total", "n_params_non_embedding", "token_horizon", "total_steps"):
        if name in found and not found[name] > 0:
            raise StudyError(
                f"The run {run}: {name} is {found[name]:g}: it must be positive. Correct the log, its unit or runs"
            )
    return found, faults


def _fact(source: Source, name: str) -> str | None:
    """The fact that a quantity is; None if it changes along the run."""
    if name not in ALONG:
        return name
    return OF_A_WHOLE_RUN.get(name) if source.rows == "runs" else None


def batch_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Batch in tokens from that in sequences, and the other way."""
    context = facts.get("context_length")
    if context and facts.get("batch_sequences") and "batch_tokens" not in facts:
        return {"batch_tokens": facts["batch_sequences"] * context}
    if context and facts.get("batch_tokens") and "batch_sequences" not in facts:
        sequences = facts["batch_tokens"] / context
        return {"batch_sequences": int(sequences)} if sequences == int(sequences) else {}
    return {}


def factor(run: str, source: Source, name: str, facts: Mapping[str, Any]) -> float:
    """What a quantity of a log is multiplied by to be in the tables' unit. Raises StudyError if that is not known."""
    unit = source.units.get(name, "one")  # type: ignore[call-overload]
    if unit in ("sequences", "updates"):
        needs = "context_length" if unit == "sequences" else "batch_tokens"
        if not facts.get(needs):
            raise StudyError(
                f"The run {run}: units.{name} of the source {source.name} is {unit}, and its {needs} is not known. "
                f"Give {needs} in columns or in runs"
            )
        return float(facts[needs])
    return FACTORS[unit]


def in_nats(source: Source, name: str, losses: Floats) -> Floats:
    """Losses in nat/token."""
    unit = source.units.get(name, "nat")  # type: ignore[call-overload]
    if unit == "perplexity":
        # What is not finite stays so, and what is no perplexity is no loss.
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(
                losses > 0.0, np.log(np.where(losses > 0.0, losses, 1.0)), np.where(losses <= 0, np.inf, losses)
            )
    if unit == "bit_per_byte":
        return losses * (log(2.0) * (source.bytes_per_token or np.nan))
    return losses * FACTORS[unit]


def _whole(run: str, name: str, value: float) -> int:
    rounded = round(value)
    if abs(value - rounded) > max(1e-6 * abs(value), 1e-9) and name not in LARGE:
        raise StudyError(
            f"The run {run}: {name} is {value:.10g}: a whole number is needed. Correct its unit or the log"
        )
    return int(rounded)


LARGE = ("n_params_total", "n_params_non_embedding", "token_horizon", "unique_tokens", "batch_tokens", "total_steps")
"""Of these a fraction is of no account."""
