"""What the laws of loss curves share: hidden runs first, then bands, then the fit of everything.

Which runs are fitted together is in laws/curve_groups.py, the fit in fitted_curves.py, what it says of hidden runs in
hidden_curves.py, the width of a single run's interval in curve_spread.py, and the tables in curve_tables.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from glidepath.laws.curve_groups import Group, horizon_ranks, size_splits
from glidepath.laws.curve_spread import Spread, beyond, spread_of
from glidepath.laws.curves import RunCurve, distinct, keys_of
from glidepath.laws.fitted_curves import Fitted, fitted
from glidepath.laws.hidden_curves import HiddenRun, hidden_from, said_of
from glidepath.laws.law import DECLARED, Settings

LEVELS = (0.5, 0.9)
BOOTSTRAP_SAMPLES = 100
SCHEDULE, LONGEST_HORIZON = "schedule", "longest_horizon"


def kind(holdout: str) -> str:
    """Of a holdout its first word: `schedule` of `schedule cosine`."""
    return holdout.split(" ", 1)[0]


@dataclass(frozen=True)
class GroupFit:
    """All that a law says of a group."""

    group: Group
    law: str
    whole: Fitted | None
    schedules: dict[str, list[HiddenRun]]
    """Runs of every schedule, hidden together."""
    horizons: list[list[HiddenRun]]
    """Runs of every horizon but the shortest, with only shorter ones fitted."""
    declared: list[HiddenRun]
    sizes: dict[str, list[HiddenRun]] = field(default_factory=dict)
    """By holdout: runs of the largest size."""
    unsaid: dict[str, str] = field(default_factory=dict)
    """By holdout, why it is predicted by no fit."""

    @cached_property
    def spread(self) -> Spread:
        """For runs that were not made."""
        return spread_of(list(self.schedules.values()), self.horizons)

    def _spread_without(self, schedule: str) -> Spread:
        """From what the other schedules were missed by; all but one of the fits that missed them have seen this one."""
        others = [runs for name, runs in self.schedules.items() if name != schedule]
        return spread_of(others, self.horizons)

    @property
    def _spread_of_shorter(self) -> Spread:
        """For the longest horizon: the growth from shorter ones alone, the rest from shorter runs of hidden schedules,
        whose fits have seen long runs of the other schedules."""
        ranks = horizon_ranks(self.group.open)
        longest = max(ranks.values())
        shorter = [[one for one in runs if ranks[one.run.cell_id] < longest] for runs in self.schedules.values()]
        return spread_of(shorter, self.horizons[:-1])

    @property
    def _spread_of_smaller(self) -> Spread:
        """For other schedules of the largest size, from smaller sizes alone."""
        largest = max(run.curve.n_params or 0.0 for run in self.group.open)
        smaller = [[one for one in runs if one.run.curve.n_params != largest] for runs in self.schedules.values()]
        return spread_of(smaller, [])

    def scored(self) -> Iterator[tuple[str, list[HiddenRun], Spread]]:
        """Holdout, its runs, and a spread that has not seen them."""
        for schedule, runs in self.schedules.items():
            if runs:
                yield f"{SCHEDULE} {schedule}", runs, self._spread_without(schedule)
        if self.horizons and self.horizons[-1]:
            yield LONGEST_HORIZON, self.horizons[-1], self._spread_of_shorter
        for holdout, runs in self.sizes.items():
            if runs:
                yield holdout, runs, self._spread_of_smaller
        if self.declared:
            yield DECLARED, self.declared, self.spread


def fit_group(law: str, group: Group, settings: Settings) -> GroupFit:
    """Hide, predict, then fit all."""
    runs, seed = group.open, settings.seed
    whole = None if group.refusal else fitted(law, runs, min(settings.n_bootstrap, BOOTSTRAP_SAMPLES), seed)
    if whole is None:
        return GroupFit(group, law, None, {}, [], [])
    names = sorted({run.schedule for run in runs})
    names = names if len(names) > 1 else []
    ranks = horizon_ranks(runs)
    longer = range(1, max(ranks.values()) + 1)
    by_schedule = [([r for r in runs if r.schedule != x], [r for r in runs if r.schedule == x]) for x in names]
    by_horizon = [
        ([r for r in runs if ranks[r.cell_id] < x], [r for r in runs if ranks[r.cell_id] == x]) for x in longer
    ]
    by_size = size_splits(group)
    said, unsaid = hidden_from(whole, [*by_schedule, *by_horizon, *by_size.values()], group.min_sizes)
    # The last of the horizons is the longest.
    holdouts = [*(f"{SCHEDULE} {x}" for x in names), *[LONGEST_HORIZON] * len(by_horizon), *by_size]
    unseen = distinct([run for run in group.runs if run.holdout], keys_of(runs))
    return GroupFit(
        group,
        law,
        whole,
        schedules=dict(zip(names, said, strict=False)),
        horizons=said[len(names) : len(names) + len(by_horizon)],
        declared=said_of(whole, runs, unseen),
        sizes=dict(zip(by_size, said[len(names) + len(by_horizon) :], strict=True)),
        unsaid={holdout: why for holdout, why in dict(zip(holdouts, unsaid, strict=True)).items() if why},
    )


def bands(fit: GroupFit, run: RunCurve, levels: Sequence[float] = LEVELS) -> dict[str, Any]:
    """predicted [n], low and high (one [n] per level) and extrapolated [n] at the points of a run, fitted or not made.

    Raises ValueError for a group without a fit.
    """
    if fit.whole is None:
        raise ValueError(f"{fit.law} was not fitted to {fit.group.key}: too few points")
    known = fit.whole.at_points
    if all(key in known for key in run.keys):
        predicted, parameter_sd = np.array([known[key] for key in run.keys]).T
    else:
        predicted, parameter_sd = fit.whole.predict(run.curve)
    further = beyond(run.curve.updates_done, fit.whole.reach)
    halves = [fit.spread.half_widths(level, parameter_sd, further) for level in levels]
    return {
        "predicted": predicted,
        "low": [predicted * np.exp(-half) for half in halves],
        "high": [predicted * np.exp(half) for half in halves],
        "extrapolated": further > 0,
    }
