"""Which way the learning rate of an imported run is known, and what contradicts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from glidepath.interop.run_audit.fault import Fault
from glidepath.interop.run_audit.learning_rates import contradicted_lr_facts, contradicting_lr, sparse_lr
from glidepath.interop.run_lr import AppliedLr, Floats, LrTables, interpolated, of_schedule
from glidepath.interop.run_series import Mapped, Series
from glidepath.study.import_config import ImportConfig
from glidepath.study.import_sources import LrKnown, LrTable
from glidepath.study.section import StudyError

MOST_UPDATES = 20_000_000
"""Of one run whose learning rate is known at every update."""
SURPLUS = 0.01
"""So much longer than its schedule, and by one update at least, a log may be."""
DONE_HELD = "the last one known is held behind it"


def applied_lr(
    run: str,
    config: ImportConfig,
    given: LrKnown | LrTable | None,
    points: Sequence[Mapped],
    facts: dict[str, Any],
    logged: Series,
    losses: Sequence[Series],
    n_updates: int,
    tables: LrTables,
    faults: list[tuple[str, Fault]],
) -> tuple[AppliedLr, str] | None:
    """Learning rates of all updates, and in words how they are known; None where they are not. `losses` are what the
    run has of them along training."""
    if not points or not n_updates:
        return None
    known = [one.source.lr_kind for one in points]
    lr = given or next((one for one in known if one.kind != "unknown"), known[0])
    if lr.kind == "unknown":
        return None
    if n_updates > MOST_UPDATES:
        raise StudyError(
            f"The run {run}: its step reaches {n_updates:,}, and the learning rate of no more than {MOST_UPDATES:,} "
            "updates is held. If the column counts tokens, map it to tokens_seen"
        )
    if lr.kind == "logged":
        steps = logged.at.astype(np.int64) - 1
        if not len(logged) or not np.isfinite(logged.values).all():
            detail = "no learning rate is logged" if not len(logged) else "a learning rate is NaN or infinite"
            faults.append(("", _no_lr(detail)))
            return None
        applied = interpolated(steps, logged.values, n_updates, facts.get("warmup_steps"))
        sparse = sparse_lr(logged.at, applied.held, applied.held_behind, losses)
        sparse += contradicted_lr_facts(logged.at, logged.values, facts.get("warmup_steps"), facts.get("schedule_kind"))
        faults.extend(("", fault) for fault in sparse)
        _check_declared(run, config, facts, logged, faults)
        missing = n_updates - len(logged)
        words = "logged at every update" if missing <= 0 else f"logged at {len(logged)} updates, straight between them"
        return applied, words
    if lr.kind == "table":
        assert isinstance(lr, LrTable)
        found = tables.lr(lr, {"run": run, "model": facts.get("model"), "schedule": facts.get("schedule")})
        if found is None:
            faults.append(("", _no_lr(f"{lr.path} has no learning rates of it")))
            return None
        applied, words = found, f"from {lr.path}"
    elif lr.kind == "constant":
        applied = AppliedLr(np.full(n_updates, float(_needed(run, "constant", facts, "peak_lr"))))
        words = "constant, as said"
    else:
        applied, words = _of_schedule(run, config, facts), f"from the schedule {facts.get('schedule')}"
    values = _as_long_as_the_log(applied.lr, n_updates, words, faults)
    if values is None:
        return None
    applied = replace(applied, lr=values)
    if len(logged):
        steps = logged.at.astype(np.int64) - 1
        faults.extend(("", fault) for fault in contradicting_lr(steps, logged.values, applied.lr))
    return applied, words


def _as_long_as_the_log(lr: Floats, n_updates: int, words: str, faults: list[tuple[str, Fault]]) -> Floats | None:
    """Learning rates of `n_updates`, the last one held for a small surplus of the log; None for a large one."""
    surplus = n_updates - len(lr)
    if surplus <= 0:
        return lr[:n_updates]
    detail = f"the log goes on to update {n_updates}, and its learning rate, {words}, to {len(lr)} only"
    if surplus > max(1.0, SURPLUS * len(lr)):
        faults.append(("", _no_lr(detail)))
        return None
    faults.append(("", Fault("lr_held", float(len(lr) + 1), float(n_updates), surplus, detail, DONE_HELD)))
    return np.append(lr, np.full(surplus, lr[-1]))


def _no_lr(detail: str) -> Fault:
    return Fault("missing_lr", np.nan, np.nan, 1, detail, "laws that read the learning rate leave the run out")


def _needed(run: str, kind: str, facts: Mapping[str, Any], name: str) -> Any:
    if facts.get(name) is None:
        raise StudyError(
            f"The run {run}: lr.kind {kind} needs its {name}, which is not known. Give it in columns or in runs"
        )
    return facts[name]


def _of_schedule(run: str, config: ImportConfig, facts: dict[str, Any]) -> AppliedLr:
    """Of the whole schedule that the run is said to have, whose kind and shape become facts of the run."""
    name = _needed(run, "schedule", facts, "schedule")
    if name not in config.schedules:
        raise StudyError(
            f"The run {run}: lr.kind schedule, and its schedule {name!r} is not one of schedules "
            f"({', '.join(config.schedules) or 'none'}). Define it there, or say in runs which of them it is"
        )
    schedule = config.schedules[name]
    full = of_schedule(
        schedule,
        peak_lr=_needed(run, "schedule", facts, "peak_lr"),
        warmup_steps=facts.get("warmup_steps", 0),
        total_steps=facts["total_steps"],
        batch_tokens=facts.get("batch_tokens") or 1,
        weight_decay=facts.get("weight_decay") or 0.0,
        where=f"the run {run} with the schedule {name}",
    )
    facts.setdefault("schedule_kind", schedule.kind)
    facts.setdefault("final_lr_fraction", schedule.final_fraction)
    facts.setdefault("decay_shape", schedule.shape)
    facts.setdefault("decay_steps", full.decay_steps)
    return full


def _check_declared(
    run: str, config: ImportConfig, facts: dict[str, Any], logged: Series, faults: list[tuple[str, Fault]]
) -> None:
    """Holds logged learning rates against the schedule that the run is said to have."""
    name = facts.get("schedule")
    if name not in config.schedules or facts.get("peak_lr") is None or "declared_steps" not in facts:
        return
    declared = _of_schedule(run, config, facts).lr
    found = contradicting_lr(logged.at.astype(np.int64) - 1, logged.values, declared)
    faults.extend(
        ("", Fault(f.kind, f.first, f.last, f.count, f.detail, "the logged one counts, as lr says")) for f in found
    )
