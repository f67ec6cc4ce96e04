"""Whether the spikes of a study can be judged, before anything is trained for them."""

from __future__ import annotations

from glidepath.science import schedules
from glidepath.study.averages import average_specs
from glidepath.study.cells import Cell
from glidepath.study.config import StudyConfig
from glidepath.study.section import StudyError
from glidepath.study.segments import Plan


def check_spikes(study: StudyConfig, planned: Plan) -> None:
    """Every spiked cell must share its training with its clean pair up to the spike, and be evaluated in the window.

    Raises StudyError otherwise.
    """
    if study.spikes is None:
        return
    clean = {_position(cell): cell for cell in planned.cells if cell.schedule_name == study.spikes.clean}
    points = {name: spec.evaluate_at for name, spec in average_specs(planned, study.averaging).items()}
    for cell in planned.cells:
        if cell.schedule_name not in study.spikes.spiked or _position(cell) not in clean:
            continue
        chain, other = planned.chains[cell.cell_id], planned.chains[clean[_position(cell)].cell_id]
        shared = [name for name in chain if name in other]
        if not shared:
            raise StudyError(
                f"spikes: {cell.schedule_name} and {study.spikes.clean} share no training before the spike: the spike "
                "must begin after some updates that are written alike. Schedules by points have no warm-up of the "
                "study's: give warmup: {steps: 0}, or both by points."
            )
        begin = planned.segments[shared[-1]].spec.stop
        at = schedules.positions(schedules.batches(cell.trajectory.path.batch_sequences))
        if begin == cell.total_steps:
            raise StudyError(
                f"spikes: {cell.schedule_name} and {study.spikes.clean} are the same training: nothing provokes a "
                "spike. Change the learning rate of some updates of the spiked one."
            )
        window = at[begin] + study.spikes.window_fraction * at[-1]
        if not any(at[begin] < at[u] <= window for name in chain for u in points[name]):
            raise StudyError(
                f"spikes.window_fraction {study.spikes.window_fraction:g}: no average is evaluated within this part of "
                f"the horizon after update {begin}, where {cell.schedule_name} leaves {study.spikes.clean}. Raise it "
                "or averaging.points_per_octave."
            )


def _position(cell: Cell) -> tuple[str, int, float, float, int]:
    return cell.model_name, cell.batch_sequences, cell.tokens_per_parameter, cell.peak_lr, cell.replicate
