"""Which averages a study asks for: one job per cell whose snapshots are kept."""

from __future__ import annotations

from glidepath.science import schedules
from glidepath.study.config import AveragingConfig
from glidepath.study.identity import digest
from glidepath.study.segments import Plan
from glidepath.study.specs import ModelSpec, Spec


class AverageSpec(Spec):
    """What decides the averages of one cell."""

    cell_id: str
    model: ModelSpec
    snapshot_at: tuple[int, ...]
    """Updates after which weights were kept, ascending; the last is the cell's end."""
    batch_sequences: tuple[schedules.Stage, ...]
    """Of every update of the cell: snapshots are equally spaced in tokens, and so are windows and memories."""
    segments: tuple[str, ...]
    window_fractions: tuple[float, ...]
    ema_timescale_fractions: tuple[float, ...]

    @property
    def average_id(self) -> str:
        """Name of its directory in the store."""
        return f"{self.cell_id}-{digest(self.model_dump(mode='json'))}"


def average_specs(planned: Plan, averaging: AveragingConfig | None) -> dict[str, AverageSpec]:
    """By cell, for the cells that keep snapshots."""
    if averaging is None:
        return {}
    return {
        cell.cell_id: AverageSpec(
            cell_id=cell.cell_id,
            model=cell.trajectory.model,
            snapshot_at=cell.snapshot_at,
            batch_sequences=cell.trajectory.path.batch_sequences,
            segments=planned.chains[cell.cell_id],
            window_fractions=averaging.window_fractions,
            ema_timescale_fractions=averaging.ema_timescale_fractions,
        )
        for cell in planned.cells
        if cell.snapshot_at
    }
