"""Faults of whole runs: their length, their facts, and evaluations that differ between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glidepath.interop.run_audit.fault import Fault, Floats


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


def changing_facts(values: Mapping[str, Floats]) -> list[Fault]:
    """Quantities that a run has one value of, and the log several."""
    found = []
    for name, column in values.items():
        known = column[np.isfinite(column)]
        if len(known) and known.min() != known.max():
            detail = f"{name} is {known[0]:g} first, and between {known.min():g} and {known.max():g}"
            found.append(Fault("fact_changes", np.nan, np.nan, len(np.unique(known)), detail, "the first one counts"))
    return found


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
