"""temporal: val_loss at position i = a0/(1 + a1·i) + a2, a2 = q - r·ln(tokens) - c·(1 - lr/peak_lr), along a training.

Fitted to the first part of a training, it predicts the rest (after Xiong et al. 2024; what stands in for the evolution
of their parameters is said in `science.laws.temporal`). Losses by position come from the section `temporal` of a study.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.law import EXTRAPOLATION, GRID_POINTS, Floats, LawTables, Settings
from glidepath.science.laws.horizon import fit_saturating_law
from glidepath.science.laws.temporal import ANNEALED, TemporalFit, fit_temporal_law, resampled_temporal_laws
from glidepath.study.final_losses import GROUP, open_to_fits

WINDOW = 4.0
"""The trend of the plateau is fitted to checkpoints up to so many times earlier than the last one known: it bends over
longer stretches. On trainings of 80 tokens per parameter, errors of forecasts were smallest at 3 to 4."""
KNOWN_PARTS = {"last half of training": 0.5, "last three quarters of training": 0.25}
"""What is hidden, and the part of the tokens that is known then."""
MEAN, AT_POSITION, POWER_LAW = "val_loss", "val_loss_at_position", "val_loss_power_law"


@dataclass(frozen=True)
class Training:
    """Checkpoints of one trajectory, mean over replicates."""

    peak_lr: float
    positions: Floats
    tokens: Floats
    losses: Floats
    """[checkpoints, positions]"""
    sems: Floats
    annealed: Floats
    """1 - lr/peak_lr of the last update before each checkpoint."""

    def known(self, until: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which checkpoints a fit rests on that knows the training up to some tokens."""
        here: np.ndarray[Any, np.dtype[np.bool_]] = (self.tokens <= until) & (self.tokens > until / WINDOW)
        return here

    def fit(self, until: float) -> TemporalFit:
        """Raises ValueError for too few checkpoints."""
        w = self.known(until)
        return fit_temporal_law(
            self.positions, self.losses[w], self.tokens[w], sems=self.sems[w], annealed=self.annealed[w]
        )


def fit(found: dict[str, pd.DataFrame], settings: Settings) -> LawTables:
    """Fit `runs`, `updates` and `position_losses`.

    Every schedule is scored by hiding the last part of its trainings, at all peak learning rates; parameters and curves
    are of the one that ends lowest.
    """
    out = LawTables(settings, "checkpoints")
    for group, horizon, trainings in _groups(open_to_fits(found["runs"]), found["updates"], found["position_losses"]):
        for holdout, part in KNOWN_PARTS.items():
            _score(out, group, f"{holdout}, {horizon:g} tokens per parameter", part, trainings)
        best = min(trainings, key=lambda training: float(training.losses[-1].mean()))
        try:
            law = best.fit(float(best.tokens[-1]))
        except ValueError:
            for name in ("a0", "a1", "q", "r"):
                out.parameter(group, horizon, name, np.nan, np.empty(0), len(best.tokens), "failed")
            continue
        _parameters(out, group, horizon, best, law)
        _predictions(out, group, horizon, best, law)
    return out


def _groups(
    runs: pd.DataFrame, updates: pd.DataFrame, position_losses: pd.DataFrame
) -> Iterator[tuple[dict[str, Any], float, list[Training]]]:
    """By model, schedule, batch and horizon; of cells on one trunk, which agree up to the shorter one's end, only the
    longest if the schedule is the same."""
    there = runs[runs["cell_id"].isin(position_losses["cell_id"].unique())]
    trunk = there["trunk_id"].where(there["trunk_id"].notna(), there["cell_id"])
    longest = there.assign(trunk_id=trunk).sort_values("token_horizon", ascending=False, kind="stable")
    longest = longest.groupby(["trunk_id", "schedule", "peak_lr"]).head(1)
    known = longest[longest["cell_id"].isin(updates["cell_id"].unique())]
    lr = {str(cell): frame for cell, frame in updates[updates["cell_id"].isin(known["cell_id"])].groupby("cell_id")}
    by_cell = dict(list(position_losses.groupby("cell_id")))
    for key, cells in known.groupby([*GROUP, "tokens_per_parameter"], sort=False):
        *names, horizon = key
        group = dict(zip(GROUP, names, strict=True))
        trainings = []
        for peak_lr in sorted({float(peak_lr) for peak_lr in cells["peak_lr"]}):
            same = cells.loc[cells["peak_lr"] == peak_lr, "cell_id"]
            trainings.append(_training(peak_lr, [(by_cell[cell], lr[cell]) for cell in same]))
        yield group, float(str(horizon)), trainings


def _training(peak_lr: float, replicates: list[tuple[pd.DataFrame, pd.DataFrame]]) -> Training:
    """Mean over replicates of checkpoints after the warm-up, which all of them have."""
    wide = [
        rows.pivot(index="updates_done", columns="position", values=["val_loss", "val_loss_sem"])
        for rows, _ in replicates
    ]
    applied = replicates[0][1].sort_values("step")
    lr = applied["lr"].to_numpy(np.float64)
    common = sorted(set.intersection(*(set(frame.index) for frame in wide)))
    risen = int(np.argmax(lr >= lr.max() * (1 - ANNEALED)))
    done = np.array([u for u in common if risen < u <= len(lr)], dtype=np.int64)
    tokens = applied["tokens_seen"].to_numpy(np.float64)
    return Training(
        peak_lr=peak_lr,
        positions=wide[0]["val_loss"].columns.to_numpy(np.float64),
        tokens=tokens[done - 1],
        losses=np.mean([frame["val_loss"].loc[list(done)].to_numpy(np.float64) for frame in wide], axis=0),
        # The text is the same for all replicates, and with it most of the error.
        sems=np.mean([frame["val_loss_sem"].loc[list(done)].to_numpy(np.float64) for frame in wide], axis=0),
        annealed=1 - lr[done - 1] / lr.max(),
    )


def _score(out: LawTables, group: dict[str, Any], holdout: str, part: float, trainings: list[Training]) -> None:
    predicted: dict[str, list[Floats]] = {MEAN: [], AT_POSITION: [], POWER_LAW: []}
    observed: dict[str, list[Floats]] = {MEAN: [], AT_POSITION: [], POWER_LAW: []}
    carried: dict[str, list[Floats]] = {MEAN: [], AT_POSITION: [], POWER_LAW: []}
    ends: list[Floats] = []
    refused = ""
    for training in trainings:
        until = part * float(training.tokens[-1])
        later = training.tokens > until
        try:
            found = training.fit(until)
        except ValueError as refusal:
            refused = str(refusal)
            continue
        t, h, i = training.tokens[later], training.annealed[later], training.positions
        w = training.known(until)
        means = training.losses.mean(1)
        curve = fit_saturating_law(training.tokens[w], means[w])
        last = training.losses[w][-1]
        for quantity, values, truth, baseline in (
            (MEAN, found.law.mean_loss(i, t, h), means[later], np.full(len(t), last.mean())),
            (POWER_LAW, curve.predict(t), means[later], np.full(len(t), last.mean())),
            (AT_POSITION, found.law.position_losses(i, t, h), training.losses[later], np.tile(last, (len(t), 1))),
        ):
            if np.isfinite(values).all():
                predicted[quantity].append(values.ravel())
                observed[quantity].append(truth.ravel())
                carried[quantity].append(baseline.ravel())
        ends.append(found.interval(i, t, out.settings.ci_level, h))
    for quantity, parts in predicted.items():
        if not parts:
            out.not_scored(group, holdout, quantity, refused or "no fit has finite parameters")
            continue
        low, high = np.where(np.isfinite(both := np.concatenate(ends, axis=1)), both, np.nan)
        columns = (np.concatenate(column) for column in (parts, observed[quantity], carried[quantity]))
        out.score(group, holdout, quantity, *columns, **({"low": low, "high": high} if quantity == MEAN else {}))


def _parameters(out: LawTables, group: dict[str, Any], horizon: float, training: Training, found: TemporalFit) -> None:
    w = training.known(float(training.tokens[-1]))
    m = len(found.tokens)
    generator = np.random.default_rng(out.settings.seed)
    drawn = generator.multinomial(m, np.full(m, 1 / m), size=out.settings.n_bootstrap).astype(np.float64)
    samples = resampled_temporal_laws(found, training.positions, training.losses[w], drawn, training.annealed[w])
    context = "edge_of_grid" if found.hyperbolas.at_edge.mean() > (1 - out.settings.ci_level) / 2 else "converged"
    status = {"a0": context, "a1": context, "q": "converged", "r": "converged"}
    if found.annealing_seen:
        status["c"] = "converged"
    for name, how in status.items():
        value, of_samples = float(getattr(found.law, name)), getattr(samples, name)
        out.parameter(group, horizon, name, value, of_samples, m, how)


def _predictions(out: LawTables, group: dict[str, Any], horizon: float, training: Training, found: TemporalFit) -> None:
    """The mean loss without annealing, and the loss by position at the last checkpoint."""
    t = np.geomspace(found.tokens[0], found.tokens[-1] * EXTRAPOLATION, GRID_POINTS)
    i, level = training.positions, out.settings.ci_level
    low, high = found.interval(i, t, level)
    ahead = t > found.tokens[-1] * (1 + 1e-9)
    _rows(out, group, horizon, "tokens_seen", t, MEAN, found.law.mean_loss(i, t), low, high, ahead)
    at_end = found.law.position_losses(i, training.tokens[-1:], training.annealed[-1:])[0]
    none = np.full(len(i), np.nan)
    _rows(out, group, horizon, "position", i, AT_POSITION, at_end, none, none, np.zeros(len(i), dtype=bool))


def _rows(
    out: LawTables,
    group: dict[str, Any],
    horizon: float,
    x_name: str,
    x: Floats,
    quantity: str,
    values: Floats,
    low: Floats,
    high: Floats,
    extrapolated: np.ndarray[Any, np.dtype[np.bool_]],
) -> None:
    """A curve whose band is that of a single run, not of bootstrap samples."""
    for at, value, below, above, beyond in zip(x, values, low, high, extrapolated, strict=True):
        out.predictions.append(
            {
                **group,
                "tokens_per_parameter": horizon,
                "x_name": x_name,
                "x": float(at),
                "quantity": quantity,
                "value": float(value),
                "ci_low": float(below),
                "ci_high": float(above),
                "ci_level": out.settings.ci_level,
                "extrapolated": bool(beyond),
            }
        )
