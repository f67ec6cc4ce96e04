"""Which schedules of a study can tell a critical batch: trained at several batches, and the same however long."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glidepath.study.config import StudyConfig

HORIZON_FREE_KINDS = ("constant", "schedule_free", "plateau", "inverse_sqrt", "rational")
"""Their loss along the way does not depend on the horizon. A decay's does: it says nothing of the updates to a loss
but at its end."""
MIN_BATCHES = 3
"""Two parameters of the law and a check."""


def batch_sweeps(study: StudyConfig) -> dict[tuple[str, str], tuple[int, ...]]:
    """Batches by model and schedule, ascending, where there are enough and the target's is one of them.

    Where warm-up or weight decay depend on the horizon, so does the loss along the way: then only schedules that are
    trained at one horizon, the same for all batches.
    """
    return {key: tuple(sorted(on.batches)) for key, on in _trained(study).items() if _reason(study, key[1], on) is None}


def no_sweeps(study: StudyConfig) -> list[str]:
    """Why models and schedules that are trained at enough batches are no sweep: a sentence each.

    Of schedules that cannot be one, only where their model has no other.
    """
    swept = {model for model, _ in batch_sweeps(study)}
    return [
        f"{model} with {name} at batches {', '.join(map(str, sorted(on.batches)))} tells no critical batch: {reason}."
        for (model, name), on in _trained(study).items()
        if len(on.batches) >= MIN_BATCHES and (reason := _reason(study, name, on))
        if model not in swept or _can_be_swept(study, name)
    ]


@dataclass
class _Trained:
    """Where the blocks that are not hidden train one model with one schedule."""

    batches: set[int] = field(default_factory=set)
    horizons: set[float] = field(default_factory=set)


def _trained(study: StudyConfig) -> dict[tuple[str, str], _Trained]:
    found: dict[tuple[str, str], _Trained] = defaultdict(_Trained)
    for block in study.grid:
        if not block.holdout:
            for name in block.schedules:
                for model in block.models:
                    found[model, name].batches.update(block.batch_sequences)
                    found[model, name].horizons.update(block.tokens_per_parameter)
    return found


def _can_be_swept(study: StudyConfig, name: str) -> bool:
    return study.schedules[name].kind in HORIZON_FREE_KINDS and study.schedules[name].batch is None


def _reason(study: StudyConfig, name: str, trained: _Trained) -> str | None:
    """Why this is no sweep, and what to do; None where it is one."""
    schedule, target = study.schedules[name], study.target.batch_sequences
    depends = study.warmup.fraction is not None or study.optimizer.weight_decay_policy == "constant_timescale"
    if schedule.kind not in HORIZON_FREE_KINDS:
        return "it decays to its horizon, which its loss along the way depends on; add a constant schedule"
    if schedule.batch is not None:
        return "its batch is no fixed one; add the schedule without a batch path"
    if len(trained.batches) < MIN_BATCHES:
        return f"it needs {MIN_BATCHES} batches; add some"
    if target not in trained.batches:
        return f"target.batch_sequences {target} is not among them; add it to batch_sequences of the grid"
    if depends and len(trained.horizons) > 1:
        return (
            "warm-up or weight decay depend on the horizon, of which there are several; keep one, or give the warm-up "
            "in updates or tokens and another weight_decay_policy"
        )
    return None
