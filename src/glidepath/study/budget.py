"""What a study would cost, before anything runs."""

from __future__ import annotations

from glidepath.study.cells import param_counts
from glidepath.study.config import StudyConfig
from glidepath.study.segments import Plan

BYTES_PER_PARAMETER = 4
STATE_COPIES = 3
"""A state holds the weights and both moments."""


def summary(study: StudyConfig, planned: Plan) -> str:
    """A few lines: cells, jobs, FLOPs and what sharing saves."""
    segments = planned.segments.values()
    shared = sum(segment.train_flops_exact for segment in segments)
    unshared = sum(cell.train_flops_per_token * cell.token_horizon for cell in planned.cells)
    disk = sum(
        BYTES_PER_PARAMETER
        * param_counts(segment.spec.trajectory.model).n_params_total
        * (STATE_COPIES + len(segment.spec.recording.snapshot_at))
        for segment in segments
    )
    return (
        f"{study.study}: {len(planned.cells)} cells in {len(planned.segments)} training jobs, "
        f"{sum(segment.tokens for segment in segments) / 1e6:.4g}M tokens, {shared:.4g} FLOP; "
        f"without shared prefixes {unshared:.4g} FLOP, {unshared / shared:.2f} times as much; "
        f"{disk / 1e9:.2g} GB of states and snapshots"
    )
