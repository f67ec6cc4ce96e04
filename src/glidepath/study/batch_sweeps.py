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

    Where warm-up or weight decay depend on the horizon, so does the loss along the way: then only schedules that are
    trained at one horizon, the same for all batches.
    """
    depends = study.warmup.fraction is not None or study.optimizer.weight_decay_policy == "constant_timescale"
    batches: dict[tuple[str, str], set[int]] = defaultdict(set)
    horizons: dict[tuple[str, str], set[float]] = defaultdict(set)
    for block in study.grid:
        for name in block.schedules:
            schedule = study.schedules[name]
            if schedule.kind in HORIZON_FREE_KINDS and schedule.batch is None and not block.holdout:
                for model in block.models:
                    batches[model, name].update(block.batch_sequences)
                    horizons[model, name].update(block.tokens_per_parameter)
    return {
        key: tuple(sorted(found))
        for key, found in batches.items()
        if len(found) >= MIN_BATCHES
        and study.target.batch_sequences in found
        and not (depends and len(horizons[key]) > 1)
    }
