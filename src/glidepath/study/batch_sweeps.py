"""Which schedules of a study can tell a critical batch: trained at several batches, and the same however long."""

from __future__ import annotations

from collections import defaultdict

from glidepath.study.config import StudyConfig

HORIZON_FREE_KINDS = ("constant", "schedule_free", "plateau", "inverse_sqrt", "rational")
"""Their loss along the way does not depend on the horizon. A decay's does: it says nothing of the updates to a loss
but at its end."""
MIN_BATCHES = 3
"""Two parameters of the law and a check."""


def batch_sweeps(study: StudyConfig) -> dict[tuple[str, str], tuple[int, ...]]:
    """Batches by model and schedule, ascending, where there are enough and the target's is one of them.

    None in a study whose warm-up or weight decay depends on the horizon.
    """
    if study.warmup.fraction or study.optimizer.weight_decay_policy == "constant_timescale":
        return {}
    found: dict[tuple[str, str], set[int]] = defaultdict(set)
    for block in study.grid:
        for name in block.schedules:
            schedule = study.schedules[name]
            if schedule.kind in HORIZON_FREE_KINDS and schedule.batch is None and not block.holdout:
                for model in block.models:
                    found[model, name].update(block.batch_sequences)
    return {
        key: tuple(sorted(batches))
        for key, batches in found.items()
        if len(batches) >= MIN_BATCHES and study.target.batch_sequences in batches
    }
