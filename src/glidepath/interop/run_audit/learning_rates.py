"""Learning rates that contradict what was declared, or are logged too rarely to tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from glidepath.interop.run_audit.fault import Fault, Floats, Rows

SAME_LR = 0.01
"""Learning rates that differ by less, over the peak, do not contradict each other."""
COARSE = 3.0
"""Learning rates further apart than so many losses leave open what the losses were trained with."""


class Logged(Protocol):
    """A quantity along a run."""

    @property
    def at(self) -> Floats: ...


def contradicting_lr(steps: Rows, logged: Floats, declared: Floats) -> list[Fault]:
    """Logged learning rates of updates `steps`, counted from 0, that are not the declared ones [updates]."""
    inside = steps < len(declared)
    steps, logged = steps[inside], logged[inside]
    if not len(steps):
        return []
    peak = max(float(declared.max()), float(logged.max()))
    off = np.abs(logged - declared[steps]) > SAME_LR * peak
    if not off.any():
        return []
    where, first = steps[off], int(np.flatnonzero(off)[0])
    shifts = {
        shift: float(np.abs(logged - declared[np.clip(steps + shift, 0, len(declared) - 1)]).max()) for shift in (-1, 1)
    }
    shift = min(shifts, key=lambda one: shifts[one])
    hint = f"; it agrees if shifted by {shift} update: see step_counts" if shifts[shift] <= SAME_LR * peak else ""
    return [
        Fault(
            "lr_contradicts",
            float(where[0] + 1),
            float(where[-1] + 1),
            len(where),
            f"the logged learning rate is {logged[first]:g} at update {steps[first]} (counted from 0), the "
            f"declared one {declared[steps[first]]:g}{hint}",
            "the declared one counts, as lr says",
        )
    ]


def sparse_lr(steps: Floats, held: int, held_behind: int, losses: Sequence[Logged]) -> list[Fault]:
    """Updates whose learning rate is not logged and may be another than what stands for it: the first `held`, the last
    `held_behind` where that is more than the distance of logged ones, and those between, where some loss is logged more
    than `COARSE` times as often."""
    found = []
    if held:
        detail = f"the learning rate is not logged before update {held} (counted from 0)"
        done = "the first logged value is held before it; give warmup_steps for a straight rise"
        found.append(Fault("lr_held", 1.0, float(held), held, detail, done))
    distance = float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0
    if held_behind > distance:
        detail = f"the learning rate is not logged behind update {steps[-1] - 1:g} (counted from 0)"
        last = float(steps[-1])
        found.append(Fault("lr_held", last + 1, last + held_behind, held_behind, detail, "the last value is held"))
    between = [float(np.median(np.diff(one.at))) for one in losses if len(one.at) > 1]
    if len(steps) > 1 and between and distance > COARSE * min(between):
        detail = f"the learning rate is logged every {distance:g} updates, a loss every {min(between):g}"
        done = "it is a straight line between them; give warmup_steps, or say with lr which schedule or table it is of"
        found.append(Fault("lr_coarse", float(steps[0]), float(steps[-1]), len(steps), detail, done))
    return found


def contradicted_lr_facts(
    steps: Floats, logged: Floats, warmup_steps: float | None, schedule_kind: str | None
) -> list[Fault]:
    """A length of the warm-up or a kind of schedule that logged learning rates do not have."""
    peak = float(logged.max())
    found = []
    if warmup_steps:
        rise = peak * steps / warmup_steps
        # Some count from 0, and are an update behind.
        off = (steps <= warmup_steps) & (np.abs(logged - rise) > SAME_LR * peak + peak / warmup_steps)
        if off.any():
            where, first = steps[off], int(np.flatnonzero(off)[0])
            detail = (
                f"a straight rise over {warmup_steps:g} updates has the learning rate {rise[first]:g} after update "
                f"{steps[first]:g}, the logged one is {logged[first]:g}"
            )
            found.append(_contradiction(where, detail, "the logged one counts; correct warmup_steps"))
    top = int(np.argmax(logged))
    falls = bool((logged[top:] < (1 - SAME_LR) * peak).any())
    if schedule_kind is not None and (schedule_kind == "constant") == falls and len(logged) > 2:
        words = "falls" if falls else "does not fall"
        detail = f"the schedule is said to be of the kind {schedule_kind}, and the logged learning rate {words}"
        found.append(_contradiction(steps[top:], detail, "the logged one counts; correct schedule_kind"))
    return found


def _contradiction(where: Floats, detail: str, done: str) -> Fault:
    return Fault("lr_contradicts", float(where[0]), float(where[-1]), len(where), detail, done)
