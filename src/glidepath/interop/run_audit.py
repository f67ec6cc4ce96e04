"""What is wrong with a log: small functions from arrays to what was found, each for one fault.

Positions are updates done, rising unless said otherwise. Nothing here changes a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

UNSORTED_SHARE = 0.1
"""Above this share of steps that go back, a log is not one of restarts but in no order."""
GAP = 3.0
"""A gap is longer than so many of the distances around it."""
SAME_LR = 0.01
"""Learning rates that differ by less, over the peak, do not contradict each other."""
COARSE = 3.0
"""Learning rates further apart than so many losses leave open what the losses were trained with."""
SAME_BATCH = 0.01
LOSS_AT_START = 12.5
"""A model that has learnt nothing has ln(vocabulary): 12.4 for a quarter of a million tokens [nat/token]."""
PERPLEXITY_MEDIAN = 13.0
LOWEST_LOSS = 0.3
"""Of text, per token; bits per byte come lower."""


class Logged(Protocol):
    """A quantity along a run."""

    @property
    def at(self) -> Floats: ...


@dataclass(frozen=True)
class Fault:
    """One fault: its kind, where it is, and in words what it is and what follows."""

    kind: str
    first: float
    last: float
    count: int
    detail: str
    done: str


def going_back(steps: Floats) -> Mask:
    """Rows whose step is lower than that of the row before."""
    return np.concatenate([[False], np.diff(steps) < 0])


def is_unsorted(steps: Floats) -> bool:
    """Whether a log is in no order at all, rather than restarted now and then."""
    back = int(going_back(steps).sum())
    return back > 2 and back > UNSORTED_SHARE * len(steps)


def superseded(steps: Floats) -> Mask:
    """Rows that a later restart trained anew: those at or beyond the step that some later row goes back to."""
    back = going_back(steps)
    if not back.any():
        return np.zeros(len(steps), dtype=np.bool_)
    restarted = np.where(back, steps, np.inf)
    # The lowest restart behind each row.
    later = np.append(np.minimum.accumulate(restarted[::-1])[::-1][1:], np.inf)
    return np.asarray(steps >= later, dtype=np.bool_)


def restarts(steps: Floats) -> list[Fault]:
    """Each place where the step goes back, and what it makes void."""
    back = np.flatnonzero(going_back(steps))
    if not len(back):
        return []
    void = superseded(steps)
    froms = ", ".join(f"{steps[i - 1]:g} to {steps[i]:g}" for i in back[:3])
    more = f" and {len(back) - 3} more" if len(back) > 3 else ""
    return [
        Fault(
            "restarted",
            float(steps[back].min()),
            float(steps[back - 1].max()),
            len(back),
            f"the step goes back {len(back)} times: {froms}{more}",
            f"the later piece counts; {int(void.sum())} rows before are flagged superseded",
        )
    ]


def last_of_each(steps: Floats) -> Rows:
    """Row numbers, ascending in step: of rows at one step the last."""
    if len(steps) < 2 or bool(np.all(np.diff(steps) > 0)):
        return np.arange(len(steps), dtype=np.int64)
    order = np.argsort(steps, kind="stable")
    ranked = steps[order]
    return np.asarray(order[np.append(ranked[1:] != ranked[:-1], True)], dtype=np.int64)


def duplicates(steps: Floats, values: Floats, what: str) -> list[Fault]:
    """Steps that have a value more than once, those that agree and those that do not."""
    kept = last_of_each(steps)
    if len(kept) == len(steps):
        return []
    at = np.searchsorted(steps[kept], steps)
    others = np.ones(len(steps), dtype=np.bool_)
    others[kept] = False
    same = values == values[kept][at]
    found = []
    for kind, mask, words in (
        ("duplicated", others & same, "with the same value"),
        ("conflicting", others & ~same, "with different values"),
    ):
        if mask.any():
            where = steps[mask]
            found.append(
                Fault(
                    kind,
                    float(where.min()),
                    float(where.max()),
                    int(mask.sum()),
                    f"{what} is logged more than once at {len(np.unique(where))} steps {words}",
                    "the last one counts",
                )
            )
    return found


def gaps(steps: Floats) -> list[Fault]:
    """Stretches without a row that are long against those before, behind and in general; not the widening ones of a
    grid in octaves."""
    distances = np.diff(steps)
    if len(distances) < 4:
        return []
    around = np.maximum(np.append(distances[:1], distances[:-1]), np.append(distances[1:], distances[-1:]))
    # The last distance has nothing behind it, and the first nothing before.
    wide = np.flatnonzero(distances > GAP * np.maximum(around_without(distances, around), np.median(distances)))
    if not len(wide):
        return []
    longest = wide[np.argmax(distances[wide])]
    return [
        Fault(
            "gap",
            float(steps[wide[0]]),
            float(steps[wide[-1] + 1]),
            len(wide),
            f"nothing is logged in {len(wide)} stretches, the longest from {steps[longest]:g} to "
            f"{steps[longest + 1]:g}, where rows are {np.median(distances):g} apart",
            "nothing",
        )
    ]


def around_without(distances: Floats, around: Floats) -> Floats:
    """The larger neighbour of each distance; at the ends the only one."""
    found = around.copy()
    found[0], found[-1] = distances[1], distances[-2]
    return found


def falling_tokens(tokens: Floats) -> Mask:
    """Rows whose tokens are fewer than some earlier row's."""
    return np.asarray(tokens < np.maximum.accumulate(tokens), dtype=np.bool_)


def non_monotone_tokens(steps: Floats, tokens: Floats) -> list[Fault]:
    """Tokens that fall while the step rises."""
    falls = falling_tokens(tokens)
    if not falls.any():
        return []
    where = steps[falls]
    return [
        Fault(
            "tokens_fall",
            float(where[0]),
            float(where[-1]),
            len(where),
            f"tokens_seen falls while the step rises, first to {tokens[falls][0]:g} at {where[0]:g}",
            "these rows say nothing about tokens",
        )
    ]


def inconsistent_tokens(steps: Floats, tokens: Floats, batch_tokens: float) -> list[Fault]:
    """Tokens that are not updates times batch, by more than an update."""
    off = np.abs(tokens - steps * batch_tokens) > batch_tokens * (1 + 1e-6 * steps)
    if not off.any():
        return []
    where, first = steps[off], int(np.flatnonzero(off)[0])
    return [
        Fault(
            "tokens_inconsistent",
            float(where[0]),
            float(where[-1]),
            len(where),
            f"tokens_seen is {tokens[first]:g} at {steps[first]:g}, not {steps[first]:g} updates of {batch_tokens:g} "
            f"tokens ({steps[first] * batch_tokens:g})",
            "the logged tokens count",
        )
    ]


def batches_between(steps: Floats, tokens: Floats) -> Floats:
    """Tokens per update between neighbouring rows, the first from the begin of training: shape as steps."""
    before = np.concatenate([[0.0], steps[:-1]]), np.concatenate([[0.0], tokens[:-1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((tokens - before[1]) / (steps - before[0]), dtype=np.float64)


def changed_batch(steps: Floats, batch_tokens: Floats) -> list[Fault]:
    """Rows from which on the tokens per update are others than before."""
    known = np.isfinite(batch_tokens) & (batch_tokens > 0)
    at, batch = steps[known], batch_tokens[known]
    if len(batch) < 2:
        return []
    changes = np.flatnonzero(np.abs(np.diff(batch)) > SAME_BATCH * np.minimum(batch[1:], batch[:-1])) + 1
    if not len(changes):
        return []
    values = ", ".join(f"{batch[i - 1]:g} to {batch[i]:g} at {at[i]:g}" for i in changes[:3])
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return [
        Fault(
            "batch_changes",
            float(at[changes[0]]),
            float(at[changes[-1]]),
            len(changes),
            f"tokens per update change from {values}{more}",
            "the run's batch is the last one, tokens are those of every update",
        )
    ]


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


def not_finite(steps: Floats, losses: Floats, what: str) -> tuple[list[Fault], float | None]:
    """Losses that were logged as NaN or infinity; and the first step from which on none is finite, if there is one."""
    bad = ~np.isfinite(losses)
    if not bad.any():
        return [], None
    finite = np.flatnonzero(~bad)
    after = int(finite[-1]) + 1 if len(finite) else 0
    diverged = float(steps[after]) if after < len(steps) else None
    what_follows = "the run has diverged there" if diverged is not None else "it is taken as not logged"
    where = steps[bad]
    return [
        Fault(
            "not_finite",
            float(where[0]),
            float(where[-1]),
            len(where),
            f"{what} is NaN or infinite" + ("" if diverged is None else f", from {diverged:g} on to the end"),
            what_follows,
        )
    ], diverged


def implausible_losses(steps: Floats, losses: Floats, what: str) -> list[Fault]:
    """Losses that look as if they had another unit than nat/token."""
    finite = np.isfinite(losses)
    steps, losses = steps[finite], losses[finite]
    if not len(losses):
        return []
    median, highest, lowest = float(np.median(losses)), float(losses.max()), float(losses.min())
    if lowest <= 0.0:
        suspicion, odd = f"is {lowest:g}, and a cross-entropy is positive", losses <= 0.0
    elif median > PERPLEXITY_MEDIAN:
        suspicion = f"has the median {median:.4g}, as a perplexity has (its logarithm is {np.log(median):.3g})"
        odd = losses > LOSS_AT_START
    elif highest > LOSS_AT_START and np.argmax(losses) <= 1 and highest < LOSS_AT_START / np.log(2):
        suspicion = f"begins at {highest:.4g}, as bits per token would ({highest * np.log(2):.3g} nat)"
        odd = losses > LOSS_AT_START
    elif highest > LOSS_AT_START:
        suspicion = f"goes up to {highest:.4g}, above the loss of a model that has learnt nothing"
        odd = losses > LOSS_AT_START
    elif median < LOWEST_LOSS:
        suspicion = f"has the median {median:.4g}, below what text has per token; bits per byte come that low"
        odd = losses < LOWEST_LOSS
    else:
        return []
    where = steps[odd]
    return [
        Fault(
            "implausible_loss",
            float(where.min()),
            float(where.max()),
            int(odd.sum()),
            f"{what} {suspicion}",
            "nothing; see units",
        )
    ]


def short_of_horizon(last: float, spacing: float, total_steps: float) -> list[Fault]:
    """A run whose log ends before its declared length, by more than the distance of its rows."""
    if last + max(spacing, 1.0) > total_steps - 0.5:
        return []
    return [
        Fault(
            "ends_early",
            last,
            total_steps,
            1,
            f"the log ends after update {last:g} of {total_steps:g}",
            "the run is excluded; give it the total_steps it was to have if it is whole",
        )
    ]


@dataclass(frozen=True)
class Evaluated:
    """What is compared between the evaluations of runs."""

    run: str
    horizon: float
    """[updates]"""
    domains: tuple[str, ...]
    n_eval_tokens: tuple[float, ...]
    """Sizes of its evaluations, each once."""
    first: float
    last: float
    count: int


def unequal_evaluations(runs: Sequence[Evaluated]) -> list[Fault]:
    """Evaluations that differ between runs: the sets, their sizes and, among runs of one length, their times."""
    if len(runs) < 2:
        return []
    found = []
    for what, values in (
        ("evaluation sets", Counter(", ".join(run.domains) for run in runs)),
        ("n_eval_tokens", Counter(", ".join(f"{size:g}" for size in run.n_eval_tokens) or "unknown" for run in runs)),
    ):
        if len(values) > 1:
            listed = "; ".join(f"{value}: {count} runs" for value, count in values.most_common(4))
            found.append(_between_runs(f"{what} differ between runs ({listed})", len(values)))
    by_horizon: dict[float, list[Evaluated]] = {}
    for run in runs:
        by_horizon.setdefault(run.horizon, []).append(run)
    for horizon, alike in by_horizon.items():
        for what, numbers in (("last evaluated update", [r.last for r in alike]), ("count", [r.count for r in alike])):
            if len(set(numbers)) > 1:
                usual = Counter(numbers).most_common(1)[0][0]
                others = [run.run for run, number in zip(alike, numbers, strict=True) if number != usual]
                words = "are evaluated last after different updates" if what != "count" else "have other grids"
                found.append(
                    _between_runs(
                        f"runs of {horizon:g} updates {words}: mostly {usual:g}, not {', '.join(others[:5])}"
                        + (" and more" if len(others) > 5 else ""),
                        len(others),
                    )
                )
                break
    return found


def _between_runs(detail: str, count: int) -> Fault:
    return Fault("unequal_evaluations", np.nan, np.nan, count, detail, "nothing; comparisons between them mix the two")


def changing_facts(values: Mapping[str, Floats]) -> list[Fault]:
    """Quantities that a run has one value of, and the log several."""
    found = []
    for name, column in values.items():
        known = column[np.isfinite(column)]
        if len(known) and known.min() != known.max():
            detail = f"{name} is {known[0]:g} first, and between {known.min():g} and {known.max():g}"
            found.append(Fault("fact_changes", np.nan, np.nan, len(np.unique(known)), detail, "the first one counts"))
    return found
