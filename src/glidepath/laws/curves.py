"""From the study's tables to loss curves with the learning rate that was applied, every measured point once.

Cells of one trunk share its updates and its evaluations: a point that several cells have is one measurement, and counts
once in a fit. Losses are those on the validation subset along training, never mixed with losses on all of it; of a log
that was imported they are what it tells.

Laws of loss curves read learning rates by update. They cannot read a run whose state is more than its path
(schedule-free, decay on plateau), nor one whose batch changes: after the change an update is another step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.science.laws.curve import Curve, observed

Floats = NDArray[np.float64]

TRAINING_POINTS = 200
"""Means over so many stretches of equally many logged training losses make a curve of a run that was not evaluated."""
MORE_THAN_A_PATH = ("schedule_free", "plateau")


@dataclass(frozen=True, eq=False)
class RunCurve:
    """One run as the laws of curves see it."""

    cell_id: str
    model: str
    architecture: str
    """Digest of the model without its size; empty where it is not known."""
    schedule: str
    schedule_kind: str
    batch_sequences: int
    batch_tokens: int
    """0 where it is not known."""
    peak_lr: float
    tokens_per_parameter: float
    """NaN where the size is not known."""
    token_horizon: float
    replicate: int
    trunk: str
    """Runs of one trunk are correlated."""
    holdout: bool
    curve: Curve
    keys: tuple[str, ...]
    """Of every point, what was measured: equal where runs share a point."""

    @property
    def total_steps(self) -> int:
        return len(self.curve.lr)

    def points(self, chosen: NDArray[np.bool_]) -> RunCurve:
        """The same run with some of its points."""
        losses = None if self.curve.losses is None else self.curve.losses[chosen]
        curve = replace(self.curve, updates_done=self.curve.updates_done[chosen], losses=losses)
        return replace(self, curve=curve, keys=tuple(np.array(self.keys, dtype=object)[chosen]))


@dataclass(frozen=True)
class Curves:
    """Curves of a study, and why the other cells have none."""

    runs: tuple[RunCurve, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    """Reason by cell_id."""


def curves_of(tables: Mapping[str, pd.DataFrame]) -> Curves:
    """The curves of all cells, shortest horizon first, of the tables RUNS, UPDATES and EVALUATIONS, by name.

    Points are evaluations on the first domain's subset after the warm-up; where no cell has a subset, on what there is;
    and where none is evaluated at all, training losses in `TRAINING_POINTS` means.
    """
    runs, updates = tables["runs"], tables["updates"]
    points = _points(tables["evaluations"]) or _training_points(updates)
    paths = dict(list(updates.groupby("cell_id", sort=False)))
    found: list[RunCurve] = []
    left_out: dict[str, str] = {}
    for _, cell in runs.sort_values(["token_horizon"], kind="stable").iterrows():
        name = str(cell["cell_id"])
        made = _curve(cell, paths.get(name), points.get(name))
        if isinstance(made, str):
            left_out[name] = made
        else:
            found.append(made)
    return Curves(tuple(found), left_out)


def distinct(runs: Iterable[RunCurve], taken: Iterable[str] = ()) -> list[RunCurve]:
    """Runs with the points that neither an earlier one nor `taken` has; runs without any are left out."""
    seen = set(taken)
    kept = []
    for run in runs:
        new = np.array([key not in seen for key in run.keys])
        seen.update(run.keys)
        if new.all():
            kept.append(run)
        elif new.any():
            kept.append(run.points(new))
    return kept


def keys_of(runs: Iterable[RunCurve]) -> set[str]:
    """Every point that these runs have."""
    return {key for run in runs for key in run.keys}


def nearest_run(run: RunCurve, others: Sequence[RunCurve]) -> Floats:
    """What no law would say at the run's points: the loss of the most similar run after as many updates, shape [n].

    Of the runs of the nearest size that have come so far, or else of those that have come furthest, the one whose
    learning rate up to there differs least (mean of its distance over the updates); between its points the loss is
    linear in ln updates, after them it is the last.
    """
    at = run.curve.updates_done
    known = _of_nearest_size(run, [other for other in others if other.curve.losses is not None])
    ends = np.array([int(other.curve.updates_done[-1]) for other in known])
    furthest = np.minimum(ends.max(initial=0), at)
    apart, losses = np.full((2, len(known), len(at)), np.inf)
    for i, other in enumerate(known):
        n = min(len(other.curve.lr), len(run.curve.lr))
        sums = np.cumsum(np.abs(other.curve.lr[:n] - run.curve.lr[:n]))
        reached = ends[i] >= furthest
        apart[i, reached] = sums[np.minimum(furthest[reached], n) - 1]
        losses[i] = np.interp(np.log(at), np.log(other.curve.updates_done), observed(other.curve))
    return losses[apart.argmin(0), np.arange(len(at))] if known else np.full(len(at), np.nan)


def _of_nearest_size(run: RunCurve, others: list[RunCurve]) -> list[RunCurve]:
    """Runs whose size is nearest by its logarithm; all where sizes are not known."""
    sizes = [other.curve.n_params for other in others]
    if run.curve.n_params is None or None in sizes or not sizes:
        return others
    apart = np.abs(np.log(np.array(sizes, np.float64) / run.curve.n_params))
    return [other for other, far in zip(others, apart, strict=True) if far == apart.min()]


def _points(evaluations: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Evaluations along training of the first domain, by cell."""
    if evaluations.empty:
        return {}
    first = evaluations["domain"].iloc[0]
    subset = evaluations["eval_set"] == "subset"
    chosen = evaluations[(evaluations["domain"] == first) & (subset if subset.any() else ~subset)]
    return dict(list(chosen[chosen["val_loss"] > 0].sort_values("updates_done").groupby("cell_id", sort=False)))


def _training_points(updates: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Mean training loss over stretches of a run, by cell; a loss is that of the weights before its update."""
    found = {}
    logged = updates[updates["train_loss"] > 0].sort_values("step")
    for name, rows in logged.groupby("cell_id", sort=False):
        steps, losses = rows["step"].to_numpy(np.float64), rows["train_loss"].to_numpy(np.float64)
        stretches = np.array_split(np.arange(len(rows)), min(TRAINING_POINTS, len(rows)))
        at = np.array([max(round(float(steps[some].mean())), 1) for some in stretches])
        means = pd.DataFrame({"updates_done": at, "val_loss": [float(losses[some].mean()) for some in stretches]})
        found[str(name)] = means.drop_duplicates("updates_done")
    return found


def _curve(cell: pd.Series[Any], path: pd.DataFrame | None, points: pd.DataFrame | None) -> RunCurve | str:
    """The curve of a cell, or why it has none."""
    if cell["status"] != "completed":
        return f"it is {cell['status']}"
    if cell["schedule_kind"] in MORE_THAN_A_PATH:
        return f"schedule_kind {cell['schedule_kind']}: its state is more than the path of its learning rate"
    if path is None or path["lr"].isna().any():
        return "the learning rate of its updates is not known"
    path = path.sort_values("step")
    if not np.array_equal(path["step"], np.arange(len(path))):
        return f"updates has {len(path)} rows for {int(path['step'].max()) + 1} updates: a law reads every one"
    if path["batch_tokens"].dropna().nunique() > 1:
        return "its batch changes: laws of curves count updates, which are other steps then"
    lr = path["lr"].to_numpy(np.float64)
    known = cell["warmup_steps"]
    warmup_steps = rise(lr) if pd.isna(known) else int(known)
    if warmup_steps >= len(lr):
        return f"its warm-up of {warmup_steps} updates is all of it"
    after = None if points is None else points[points["updates_done"].between(max(warmup_steps, 1), len(lr))]
    if after is None or after.empty:
        return "it has no evaluation after its warm-up"
    updates_done = after["updates_done"].to_numpy(np.int64)
    n_params = cell["n_params_counted"]
    return RunCurve(
        cell_id=str(cell["cell_id"]),
        model=str(cell["model"]),
        architecture=str(cell["architecture"]) if _is_text(cell["architecture"]) else "",
        schedule=str(cell["schedule"]),
        schedule_kind=str(cell["schedule_kind"]) if _is_text(cell["schedule_kind"]) else "",
        batch_tokens=0 if path["batch_tokens"].isna().any() else int(path["batch_tokens"].iloc[0]),
        batch_sequences=0 if pd.isna(cell["batch_sequences"]) else int(cell["batch_sequences"]),
        peak_lr=float(lr.max()) if pd.isna(cell["peak_lr"]) else float(cell["peak_lr"]),
        tokens_per_parameter=_number(cell["tokens_per_parameter"]),
        token_horizon=_number(cell["token_horizon"]),
        replicate=0 if pd.isna(cell["replicate"]) else int(cell["replicate"]),
        trunk=str(cell["trunk_id"]) if _is_text(cell["trunk_id"]) else str(cell["cell_id"]),
        holdout=not pd.isna(cell["holdout"]) and bool(cell["holdout"]),
        curve=Curve(
            lr=lr,
            updates_done=updates_done,
            losses=after["val_loss"].to_numpy(np.float64),
            warmup_steps=warmup_steps,
            n_params=None if pd.isna(n_params) or not n_params > 0 else float(n_params),
        ),
        keys=_keys(cell, updates_done),
    )


def rise(lr: Floats) -> int:
    """Updates of the warm-up where nobody tells them: as long as the learning rate rises."""
    falls = np.flatnonzero(np.diff(lr) <= 0)
    return int(falls[0]) + 1 if len(falls) and falls[0] > 0 else 0


def _keys(cell: pd.Series[Any], updates_done: NDArray[np.int64]) -> tuple[str, ...]:
    """Every point by the segment that measured it, which cells share; without segments, by the cell."""
    if not _is_text(cell["segments"]) or not _is_text(cell["segment_ends"]):
        return tuple(f"{cell['cell_id']}@{updates}" for updates in updates_done)
    segments = str(cell["segments"]).split()
    ends = np.array([int(end) for end in str(cell["segment_ends"]).split()])
    return tuple(f"{segments[int(np.searchsorted(ends, updates))]}@{updates}" for updates in updates_done)


def _number(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
