"""Whether the spikes of a study can be judged, before anything is trained for them."""

from __future__ import annotations

from glidepath.science import schedules
from glidepath.study.averages import average_specs
from glidepath.study.cells import Cell
from glidepath.study.config import StudyConfig
from glidepath.study.section import StudyError
from glidepath.study.segments import Plan
from glidepath.study.spikes_config import SAME_LR


def check_spikes(study: StudyConfig, planned: Plan) -> None:
    """Every spiked cell must share its training with its clean pair up to the spike, differ from it by higher learning
    rates of some updates only, and be evaluated in the window.

    Raises StudyError otherwise.
    """
    if study.spikes is None:
        return
    clean = {_position(cell): cell for cell in planned.cells if cell.schedule_name == study.spikes.clean}
    points = {name: spec.evaluate_at for name, spec in average_specs(planned, study.averaging).items()}
    for cell in planned.cells:
        if cell.schedule_name not in study.spikes.spiked:
            continue
        pair = clean[_position(cell)]
        _check_alike(cell, pair)
        chain = planned.chains[cell.cell_id]
        shared = [name for name in chain if name in planned.chains[pair.cell_id]]
        if not shared:
            raise StudyError(
                f"spikes: {cell.schedule_name} and {study.spikes.clean} share no training before the spike: the spike "
                "must begin after some updates that are written alike. Schedules by points have no warm-up of the "
                "study's: give warmup: {steps: 0}, or both by points."
            )
        begin = planned.segments[shared[-1]].spec.stop
        at = schedules.positions(schedules.batches(cell.trajectory.path.batch_sequences))
        _check_learning_rates(cell, pair, at)
        window = at[begin] + study.spikes.window_fraction * at[-1]
        if not any(at[begin] < at[u] <= window for name in chain for u in points[name]):
            raise StudyError(
                f"spikes.window_fraction {study.spikes.window_fraction:g}: no average is evaluated within this part of "
                f"the horizon after update {begin}, where {cell.schedule_name} leaves {study.spikes.clean}. Raise it "
                "or averaging.points_per_octave."
            )


def _check_alike(cell: Cell, pair: Cell) -> None:
    """Raises StudyError if they differ in more than learning rates."""
    spiked, clean = (one.trajectory.model_dump(exclude={"path": {"lr"}}) for one in (cell, pair))
    if spiked != clean:
        raise StudyError(
            f"spikes.spiked {cell.schedule_name} differs from spikes.clean {pair.schedule_name} in more than learning "
            "rates known before training: what follows would not be the spike's alone. Give both the same batch, and "
            "neither of kind one_cycle, plateau or schedule_free."
        )


def _check_learning_rates(cell: Cell, pair: Cell, at: schedules.Positions) -> None:
    """Raises StudyError unless the spiked cell's are nowhere lower, somewhere higher and at the end the same again."""
    spiked, clean = (schedules.values(one.trajectory.path.lr, at) for one in (cell, pair))
    lower, higher = spiked < (1 - SAME_LR) * clean, spiked > (1 + SAME_LR) * clean
    if not (lower | higher).any():
        raise StudyError(
            f"spikes: {cell.schedule_name} and {pair.schedule_name} are the same training: nothing provokes a spike. "
            "Raise the learning rate of some updates of the spiked one."
        )
    if lower.any():
        step = int(lower.argmax())
        raise StudyError(
            f"spikes.spiked {cell.schedule_name} has at update {step} of {cell.cell_id} the learning rate "
            f"{spiked[step]:g}, below the {clean[step]:g} of spikes.clean {pair.schedule_name}: a spike is provoked by "
            "higher ones, and a descent is none. Make it nowhere lower than the clean one, or choose another as clean."
        )
    if higher[-1]:
        raise StudyError(
            f"spikes.spiked {cell.schedule_name} ends {cell.cell_id} at the learning rate {spiked[-1]:g}, above the "
            f"{clean[-1]:g} of spikes.clean {pair.schedule_name}: a spike is over before the end. Let it come back to "
            "the clean one."
        )


def _position(cell: Cell) -> tuple[str, int, float, float, int]:
    return cell.model_name, cell.batch_sequences, cell.tokens_per_parameter, cell.peak_lr, cell.replicate
