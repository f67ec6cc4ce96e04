"""A schedule in a short phrase, from its configuration: a reader need not look the study up."""

from __future__ import annotations

from glidepath.study.batch_ramp import BatchRamp, LinearRamp
from glidepath.study.schedule import Schedule
from glidepath.study.schedule_constants import Constant, Plateau
from glidepath.study.schedule_cooldowns import WSD, WSDS
from glidepath.study.schedule_cycles import Cyclic, OneCycle
from glidepath.study.schedule_descents import Decay, HorizonFree, Step
from glidepath.study.schedule_points import Points

SHAPES = {"one_minus_sqrt": "1 − √", "mirror_cosine": "mirrored cosine", "inverse_sqrt": "inverse square root"}


def in_words(schedule: Schedule) -> str:
    """What the learning rate does after the warm-up, and the batch where it grows. Raises TypeError for a kind without
    words."""
    grows = f"; batch {_ramp(schedule.batch)}" if schedule.batch else ""
    return _descent(schedule) + grows


def _descent(schedule: Schedule) -> str:
    match schedule:
        case Constant():
            return "no decay" + (", schedule-free AdamW" if schedule.kind == "schedule_free" else "")
        case Plateau():
            return (
                f"times {schedule.factor:g} after more than {schedule.patience} evaluations without improvement, "
                f"{schedule.evaluate_every_updates} updates apart{_floor(schedule.min_lr_fraction)}"
            )
        case Decay():
            held = f", held {schedule.refreshes} times" if schedule.refreshes else ""
            return f"{_shape(schedule.kind, schedule.exponent)} {_end(schedule.final_lr_fraction)}{held}"
        case HorizonFree():
            return f"{_shape(schedule.kind)}, whatever the horizon{_floor(schedule.min_lr_fraction)}"
        case Step():
            drops = zip(schedule.lr_fractions, schedule.milestones, strict=True)
            return ", ".join(f"{value:g} of the peak from {_percent(start)}" for value, start in drops)
        case WSD():
            part = (
                f"{schedule.decay_steps} updates" if schedule.decay_steps else _percent(schedule.decay_fraction or 0.0)
            )
            return f"last {part}, {_shape(schedule.decay_shape, schedule.decay_exponent)} {_aim(schedule)}"
        case WSDS():
            ends = ", ".join(_percent(end) for end in (*schedule.ends, 1.0))
            shape = _shape(schedule.decay_shape, schedule.decay_exponent)
            return f"last {_percent(schedule.decay_fraction)} before each of {ends}, {shape} {_aim(schedule)}"
        case Cyclic():
            turn = "back to the peak at once" if schedule.restart else "rising as it fell"
            return f"{schedule.cycles} × {schedule.cycle_shape} {_aim(schedule)}, {turn}"
        case OneCycle():
            return (
                f"{schedule.cycle_shape} rise from {schedule.initial_lr_fraction:g} of the peak until "
                f"{_percent(schedule.rise_fraction)}, then {_aim(schedule)}"
            )
        case Points():
            unit = "tokens" if schedule.unit == "tokens" else "fractions of the horizon"
            between = "held in between" if schedule.interpolation == "step" else "lines in between"
            return f"by {len(schedule.points)} points in {unit}, {between}"
    raise TypeError(f"the kind {schedule.kind} has no words; add them in report/schedule_words.py")


LR_SCALINGS = {
    "none": "",
    "sqrt": ", learning rate times the root of the batch",
    "linear": ", learning rate times the batch",
}


def _ramp(ramp: BatchRamp) -> str:
    return _growth(ramp) + LR_SCALINGS[ramp.lr_scaling]


def _growth(ramp: BatchRamp) -> str:
    if isinstance(ramp, LinearRamp):
        return f"growing from {_percent(ramp.start_fraction)} of its end, linearly until {_percent(ramp.until)}"
    first, *others = ramp.batch_fractions
    stages = zip((*others, 1.0), ramp.milestones, strict=True)
    return f"{_percent(first)} of its end, " + ", ".join(
        f"{_percent(share)} from {_percent(start)}" for share, start in stages
    )


def _shape(shape: str, exponent: float | None = None) -> str:
    name = SHAPES.get(shape, shape)
    return f"(1 − u)^{exponent:g}" if exponent is not None else name


def _aim(schedule: WSD | WSDS | Cyclic | OneCycle) -> str:
    return _end(schedule.final_lr_fraction)


def _end(final_lr_fraction: float) -> str:
    return f"to {final_lr_fraction:g} of the peak" if final_lr_fraction else "to zero"


def _floor(min_lr_fraction: float) -> str:
    return f", never below {min_lr_fraction:g} of the peak" if min_lr_fraction else ""


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"
