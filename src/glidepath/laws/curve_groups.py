"""Runs that one law of loss curves is fitted to together, and what is hidden from it by size and by horizon.

A law is fitted per model, batch and peak learning rate, over all schedules and horizons; a law with the size in it over
all models of one architecture instead. Over several peaks at once it fails: the laws know the learning rate by its sum,
as if twice the rate were twice the speed, and on schedules hidden from them they missed 8 % instead of 1.5 % of the
loss in one study of tiny models and 7 instead of 1 % in another. So sizes share a law only where they share a peak:
where each size was trained at its own, there is none, and it says so. Points before `EARLY` of the longest run are left
out like the warm-up: the laws are of the falling part.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from glidepath.laws.curves import RunCurve
from glidepath.study.size_groups import SAME_HORIZON

EARLY = 0.03
"""Of the longest run's updates. Chosen on one study of tiny models, where it halved the error on hidden schedules; it
did so on another, and leaves published curves of large models, with their long warm-ups, as they are."""
ALL_MODELS = "all"
SIZES_OF_A_LAW = 3
"""A power of the size and the loss of an infinite model are told apart by no fewer."""
LARGEST_SIZE, REST_OF_LARGEST_SIZE = "largest_size", "rest_of_largest_size"
Split = tuple[list[RunCurve], list[RunCurve]]
"""Runs to fit, and runs to hide."""


@dataclass(frozen=True)
class Group:
    """Runs of one batch and peak learning rate: of one model, or of several sizes."""

    model: str
    """Or what the models have in common."""
    batch_sequences: int
    peak_lr: float
    """NaN for several."""
    runs: tuple[RunCurve, ...]
    min_sizes: int = 1
    """So many sizes are left in every fit."""
    refusal: str = ""
    """Why no law can be fitted, if so."""

    @property
    def open(self) -> list[RunCurve]:
        return [run for run in self.runs if not run.holdout]

    @property
    def key(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "schedule": f"all at peak_lr {self.peak_lr:g}" if np.isfinite(self.peak_lr) else "all",
            "batch_sequences": self.batch_sequences,
        }


def groups_of(runs: Sequence[RunCurve]) -> list[Group]:
    """Runs by model, batch and peak learning rate, points before `EARLY` left out; groups without a run open to fits
    are none."""
    by_key: dict[tuple[str, int, float], list[RunCurve]] = {}
    for run in runs:
        by_key.setdefault((run.model, run.batch_sequences, _peak(run)), []).append(run)
    groups = [Group(*key, _late(members)) for key, members in sorted(by_key.items())]
    return [group for group in groups if group.open]


def groups_over_sizes(runs: Sequence[RunCurve]) -> list[Group]:
    """Runs of all sizes by architecture, batch and peak learning rate, points before `EARLY` of each size's longest
    left out. A group with fewer than three sizes open to fits has a `refusal`; an architecture and batch without any
    group of three has one for all of its peaks."""
    by_key: dict[tuple[str, int], list[RunCurve]] = {}
    for run in runs:
        by_key.setdefault((run.architecture, run.batch_sequences), []).append(run)
    several = len({architecture for architecture, _ in by_key}) > 1
    groups = []
    for (architecture, batch), members in sorted(by_key.items()):
        label = f"architecture {architecture or 'not known'}" if several else ALL_MODELS
        found = [_over_sizes(label, batch, list(alike)) for _, alike in groupby(sorted(members, key=_peak), key=_peak)]
        if all(group.refusal for group in found):
            found = [Group(label, batch, np.nan, (), refusal=_refusal(members))]
        groups += found
    return groups


def size_splits(group: Group) -> dict[str, Split]:
    """What is hidden by size, by the name of the holdout: the largest size, and what it has beside one schedule.

    The one is constant, which can be trained before a horizon is chosen, or else that of most models.
    """
    runs = group.open
    if group.min_sizes == 1:
        return {}
    largest = max(run.curve.n_params or 0.0 for run in runs)
    own = [run for run in runs if run.curve.n_params == largest]
    smaller = [run for run in runs if run.curve.n_params != largest]
    splits = {LARGEST_SIZE: (smaller, own)}
    models = {name: len({run.model for run in runs if run.schedule == name}) for name in {run.schedule for run in own}}
    constant = {run.schedule for run in own if run.schedule_kind == "constant"}
    known = min(constant or models, key=lambda name: (-models[name], name))
    rest = [run for run in own if run.schedule != known]
    if rest:
        kept = [run for run in own if run.schedule == known]
        splits[f"{REST_OF_LARGEST_SIZE} but {known}"] = ([*smaller, *kept], rest)
    return splits


def horizon_ranks(runs: Sequence[RunCurve]) -> dict[str, int]:
    """By cell_id, how many shorter horizons its model has: sizes of equal tokens per parameter differ in updates.

    Lengths that differ by less than `SAME_HORIZON` are one horizon: the last line of a log may not be its last update.
    """
    starts: dict[str, list[int]] = {}
    for run in sorted(runs, key=lambda run: run.total_steps):
        known = starts.setdefault(run.model, [run.total_steps])
        if run.total_steps > (1 + SAME_HORIZON) * known[-1]:
            known.append(run.total_steps)
    return {run.cell_id: bisect_right(starts[run.model], run.total_steps) - 1 for run in runs}


def _peak(run: RunCurve) -> float:
    return float(f"{run.peak_lr:.6g}")


def _late(members: Sequence[RunCurve]) -> tuple[RunCurve, ...]:
    """Runs of one model without their early points; those that have no other are left out."""
    fitted = [run for run in members if not run.holdout]
    longest = max(run.total_steps for run in fitted or members)
    late = [(run, run.curve.updates_done >= EARLY * longest) for run in members]
    return tuple(run.points(chosen) for run, chosen in late if chosen.any())


def _over_sizes(label: str, batch: int, members: list[RunCurve]) -> Group:
    refusal = _refusal(members)
    by_model = groupby(sorted(members, key=_size), key=lambda run: run.model)
    kept = () if refusal else tuple(run for _, alike in by_model for run in _late(list(alike)))
    return Group(label, batch, _peak(members[0]), kept, SIZES_OF_A_LAW, refusal)


def _size(run: RunCurve) -> tuple[float, str]:
    return run.curve.n_params or 0.0, run.model


def _refusal(members: Sequence[RunCurve]) -> str:
    """Why runs of these sizes, and maybe peaks, are not one law's; empty if they are."""
    unknown = sorted({run.model for run in members if run.curve.n_params is None})
    if unknown:
        return f"the size of {', '.join(unknown)} is not known: give n_params"
    peaks: dict[float, set[float]] = {}
    for run in members:
        if not run.holdout:
            peaks.setdefault(run.curve.n_params or 0.0, set()).add(_peak(run))
    if len(peaks) < SIZES_OF_A_LAW:
        return (
            f"{len(peaks)} {'size' if len(peaks) == 1 else 'sizes'}, and a power of the size and the loss of an "
            f"infinite model are told apart by {SIZES_OF_A_LAW}: train a further size of this architecture"
        )
    at_peak = [{size for size, of_size in peaks.items() if peak in of_size} for peak in set.union(*peaks.values())]
    if max(map(len, at_peak)) < SIZES_OF_A_LAW:
        each = "; ".join(f"{size:.4g} parameters at {_listed(of_size)}" for size, of_size in sorted(peaks.items()))
        return (
            f"no peak_lr has {SIZES_OF_A_LAW} sizes ({each}), and laws of curves hold for one: train the sizes at a "
            "common peak_lr"
        )
    return ""


def _listed(peaks: set[float]) -> str:
    return ", ".join(f"{peak:g}" for peak in sorted(peaks))
