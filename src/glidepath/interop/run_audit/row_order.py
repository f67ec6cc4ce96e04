"""The order of rows: restarts, steps that come twice, gaps."""

from __future__ import annotations

import numpy as np

from glidepath.interop.run_audit.fault import Fault, Floats, Mask, Rows

UNSORTED_SHARE = 0.1
"""Above this share of steps that go back, a log is not one of restarts but in no order."""
GAP = 3.0
"""A gap is longer than so many of the distances around it."""


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
