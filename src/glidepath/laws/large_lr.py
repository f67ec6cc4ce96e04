"""Where large learning rates lead: the regime of every constant learning rate, and where the best one lies against the
convergence threshold, raw, after averaging and after a real cooldown.

Regimes follow `science/regimes.py` from the training losses over the last doubling of tokens of the longest horizon of
a model, batch and constant schedule, replicate by replicate, since only cells of one replicate see the same batches.
`divergent` are cells that diverged or that end more than 1 nat/token above the best of their sweep: the rule of
`study/exclusion.py`, by which they are kept out of fits.

The threshold lies between the largest learning rate that converges and the next one that does not; over replicates, the
interval that holds all of theirs. The optimum of each kind of weights is the vertex of the parabola of
`science/optimum.py` through means over replicates, its interval that of losses that the study could have measured
(`science/replicates.py`: own, position and shared replicate noise; the validation text, common to all, is not
resampled). A learning rate is left out of a kind where a trained replicate has no loss of it or one more than 1
nat/token above the best. For averages the loss is that of `best_window`, or without windows that of the average with
the lowest mean at its best learning rate; for cooldowns that of the best wsd cell that is the same training up to its
own decay (`study/trunks.py`) and ends at the same tokens.

Sadrtdinov et al. 2024 (arXiv 2410.22113) expect the optimum after averaging or fine-tuning slightly above the
threshold. Verdict: `above` if the interval of the optimum lies above that of the threshold, `below`, or `not resolved`.

Doubts. The valley is steeper on one side than a parabola, which no interval says: in config/high_lr.yaml its minimum
after cooldowns lies 0.02 nat/token below the best of the grid, so the best of the grid stands beside it. The best of
several cooldowns is chosen on the losses that are compared. A horizon is one: thresholds and optima
both move with it, and with muP learning rates are those at the base width. AdamW with weight decay fixes no norm, so
lr × weight_decay stands beside every learning rate; at an optimum between those trained it is a power law through its
neighbours' values, which is exact for every policy of weight decay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.laws.law import FAR_OFF
from glidepath.science.optimum import Optimum, optimum, vertices
from glidepath.science.regimes import (
    Regime,
    Threshold,
    Trend,
    last_part,
    over_replicates,
    pace_statistic,
    threshold,
    trend,
)
from glidepath.science.replicates import interval, replicate_noise, resampled_losses
from glidepath.study import tables
from glidepath.study.averaging_config import BEST_WINDOW
from glidepath.study.exclusion import EXCLUDED_ABOVE_BEST
from glidepath.study.trunks import leaves_chain

Floats = NDArray[np.float64]

SWEEP = ["model", "batch_sequences", "schedule"]
WEIGHTS = {"raw": "val_loss_raw", "averaged": "val_loss_averaged", "cooldown": "val_loss_cooldown"}
NOT_A_SLOPE = Trend(np.nan, np.nan, 0)


def constant_cells(runs: pd.DataFrame) -> pd.DataFrame:
    """The cells of constant schedules at the longest horizon of their model, batch and schedule."""
    constant = runs[runs["schedule_kind"] == "constant"]
    longest = constant.groupby(SWEEP)["tokens_per_parameter"].transform("max")
    return constant[constant["tokens_per_parameter"] == longest]


def regimes(runs: pd.DataFrame, updates: pd.DataFrame, averages: pd.DataFrame, level: float) -> pd.DataFrame:
    """The table `regimes`: a row per constant cell of the longest horizon of its sweep."""
    cells = constant_cells(runs)
    curves = {str(cell): frame for cell, frame in updates[updates["cell_id"].isin(cells["cell_id"])].groupby("cell_id")}
    rows = [
        row
        for _, sweep in cells.groupby([*SWEEP, "replicate"], sort=False)
        for row in _regime_rows(sweep.sort_values("peak_lr"), curves, level)
    ]
    frame = pd.DataFrame(rows, columns=[name for name in tables.REGIMES.names if name not in ADDED])
    return _with_losses(frame, runs, averages)[tables.REGIMES.names]


ADDED = ("average", "val_loss_averaged", "cooldown_cell_id", "val_loss_cooldown")


def _regime_rows(sweep: pd.DataFrame, curves: dict[str, pd.DataFrame], level: float) -> Iterator[dict[str, Any]]:
    """Rows of one replicate: runs on the same batches."""
    parts = {cell_id: _last_losses(curves[cell_id]) for cell_id in sweep["cell_id"] if cell_id in curves}
    completed = sweep.loc[sweep["status"] == "completed", "cell_id"]
    means = {cell_id: float(part[1].mean()) for cell_id in completed if (part := parts.get(cell_id))}
    best = min(means, key=means.__getitem__, default=None)
    best_part = parts.get(best) if best else None
    for _, cell in sweep.iterrows():
        part = parts.get(cell["cell_id"])
        own = pace = NOT_A_SLOPE
        regime: Regime = "divergent" if cell["status"] in ("diverged", "excluded") else "undecided"
        if part and cell["status"] != "diverged":
            own = trend(*part)
        if part and best_part and cell["status"] == "completed":
            pace = pace_statistic(*part, best_part[1])
            regime = pace.regime(level)
        low, high = pace.interval(level) if pace.degrees_of_freedom else (np.nan, np.nan)
        yield {
            **{
                name: cell[name]
                for name in (*SWEEP, "cell_id", "tokens_per_parameter", "token_horizon", "peak_lr", "replicate")
            },
            "lr_weight_decay": cell["peak_lr"] * cell["weight_decay"],
            "status": cell["status"],
            "regime": regime,
            "slope": own.slope,
            "slope_se": own.standard_error,
            "best_cell_id": best,
            "pace": pace.slope,
            "pace_se": pace.standard_error,
            "pace_ci_low": low,
            "pace_ci_high": high,
            "ci_level": level,
            "val_loss_raw": cell["val_loss"],
        }


def _last_losses(curve: pd.DataFrame) -> tuple[Floats, Floats] | None:
    """Tokens and training losses of the last doubling; None where too few were logged."""
    curve = curve.sort_values("step")
    tokens, loss = (curve[name].to_numpy(np.float64) for name in ("tokens_seen", "train_loss"))
    try:
        part = last_part(tokens)
    except ValueError:
        return None
    return tokens[part], loss[part]


def _with_losses(frame: pd.DataFrame, runs: pd.DataFrame, averages: pd.DataFrame) -> pd.DataFrame:
    """Beside every cell its best average at its end and the best real cooldown that leaves its training."""
    ends = averages[averages["at_end"] & averages["cell_id"].isin(frame["cell_id"])]
    if len(ends):
        ends = ends[ends["domain"] == ends["domain"].iloc[0]]
    chosen = pd.concat(
        [_one_average(ends.merge(cells[["cell_id", "peak_lr"]])) for _, cells in frame.groupby(SWEEP)]
        or [ends.assign(peak_lr=0.0)]
    )
    frame = frame.merge(chosen[["cell_id", "average", "val_loss_averaged"]], on="cell_id", how="left")
    frame["average"] = frame["average"].fillna("")
    trained = runs.set_index("cell_id")
    cooled = runs[(runs["schedule_kind"] == "wsd") & (runs["status"].isin(["completed", "excluded"]))]
    best = [_best_cooldown(trained.loc[cell_id], cooled) for cell_id in frame["cell_id"]]
    frame["cooldown_cell_id"] = [cell_id for cell_id, _ in best]
    frame["val_loss_cooldown"] = np.array([val_loss for _, val_loss in best], dtype=np.float64)
    return frame


def _best_cooldown(cell: pd.Series[Any], cooled: pd.DataFrame) -> tuple[str | None, float]:
    """Name and loss of the lowest one that leaves this cell's training and ends at its tokens; None, NaN without."""
    ends_here = cooled[cooled["token_horizon"] == cell["token_horizon"]]
    found = [
        (str(other["cell_id"]), float(other["val_loss"]))
        for _, other in ends_here.iterrows()
        if leaves_chain(cell, other)
    ]
    return min(found, key=lambda named: named[1], default=(None, np.nan))


def _one_average(ends: pd.DataFrame) -> pd.DataFrame:
    """The rows of one average for the whole sweep: `best_window`, or the one that gets lowest."""
    if ends.empty or (ends["average"] == BEST_WINDOW).any():
        return ends[ends["average"] == BEST_WINDOW]
    means = ends.groupby(["average", "peak_lr"], as_index=False)["val_loss_averaged"].mean()
    lowest: pd.DataFrame = ends[ends["average"] == means.loc[means["val_loss_averaged"].idxmin(), "average"]]
    return lowest


def large_lr(table: pd.DataFrame, level: float, n_samples: int, seed: int) -> pd.DataFrame:
    """The table `large_lr`, from `regimes`: a row per sweep and kind of weights."""
    rows: list[dict[str, Any]] = []
    for _, cells in table.groupby(SWEEP, sort=False):
        found = over_replicates(
            [
                threshold(one["peak_lr"].to_numpy(), list(one["regime"]))
                for _, one in cells.sort_values("peak_lr").groupby("replicate")
            ]
        )
        rows.extend(_optimum_rows(cells, found, level, n_samples, seed))
    return pd.DataFrame(rows, columns=tables.LARGE_LR.names)


def _optimum_rows(
    cells: pd.DataFrame, found: Threshold, level: float, n_samples: int, seed: int
) -> Iterator[dict[str, Any]]:
    kept = {weights: _usable(cells, column) for weights, column in WEIGHTS.items()}
    if not any(map(len, kept.values())):
        return
    stacked = pd.concat([wide for wide in kept.values() if len(wide)])
    peaks = np.unique(stacked.index.to_numpy(np.float64))
    positions = np.searchsorted(peaks, stacked.index.to_numpy(np.float64))
    noise = replicate_noise(stacked.to_numpy(np.float64), positions)
    # Two blocks without any noise: the validation text is not resampled.
    samples = resampled_losses(noise, positions, np.zeros((len(stacked), 2)), n_samples, seed)
    start = 0
    for weights, wide in kept.items():
        rows = slice(start, start := start + len(wide))
        lrs = wide.index.to_numpy(np.float64)
        if not len(wide):
            continue
        best = optimum(lrs, noise.means[rows])
        known = best.status == "converged" and noise.degrees_of_freedom > 0
        low, high = _interval(best, lrs, samples[:, rows], level) if known else (np.nan, np.nan)
        first = cells.iloc[0]
        yield {
            **{name: first[name] for name in (*SWEEP, "tokens_per_parameter", "token_horizon")},
            "weights": weights,
            "average": first["average"] if weights == "averaged" else "",
            "threshold_low": found.low,
            "threshold_high": found.high,
            "peak_lr": best.peak_lr,
            "ci_low": low,
            "ci_high": high,
            "ci_level": level,
            "lr_weight_decay": _lr_weight_decay(cells, best.peak_lr),
            "val_loss": best.val_loss,
            "best_grid_peak_lr": float(lrs[noise.means[rows].argmin()]),
            "best_grid_val_loss": float(noise.means[rows].min()),
            "ratio_to_threshold": best.peak_lr / float(np.sqrt(found.low * found.high)),
            "ratio_low": low / found.high,
            "ratio_high": high / found.low,
            "n_points": len(best.used),
            "n_replicates": int(noise.counts[rows].max()),
            "status": best.status,
            "verdict": _verdict(low, high, found),
        }


def _lr_weight_decay(cells: pd.DataFrame, peak_lr: float) -> float:
    """peak_lr × weight_decay between the cells' own values: linear in the logarithms of both, so exact for values that
    are proportional to the peak (coupled) and for constant ones (independent, constant time-scale)."""
    known = cells.drop_duplicates("peak_lr").sort_values("peak_lr")
    lrs, values = (known[name].to_numpy(np.float64) for name in ("peak_lr", "lr_weight_decay"))
    # Without weight decay, which is the same for all peaks, there is no logarithm.
    return float(np.exp(np.interp(np.log(peak_lr), np.log(lrs), np.log(values)))) if (values > 0).all() else 0.0


def _usable(cells: pd.DataFrame, column: str) -> pd.DataFrame:
    """Losses [peak_lr, replicate] where every trained replicate has one that is not far above the best."""
    far = cells[column] - cells[column].min() > EXCLUDED_ABOVE_BEST
    lost = cells.loc[cells[column].isna() | far, "peak_lr"]
    kept = cells[~cells["peak_lr"].isin(lost)]
    return kept.pivot(index="peak_lr", columns="replicate", values=column).astype(float)


def _interval(best: Optimum, lrs: Floats, samples: Floats, level: float) -> tuple[float, float]:
    """Percentile interval of the vertex; samples whose vertex is far off the grid only say on which side it lies."""
    vertex, _, _ = vertices(lrs[best.used], samples[:, best.used])
    falling = samples[:, -1] < samples[:, 0]
    beyond = np.where(np.isnan(vertex), np.where(falling, np.inf, 0.0), np.where(vertex < lrs.min(), 0.0, np.inf))
    near = (vertex > lrs.min() / FAR_OFF) & (vertex < lrs.max() * FAR_OFF)
    return interval(np.where(near, vertex, beyond), level)


def _verdict(low: float, high: float, found: Threshold) -> Literal["above", "below", "not resolved"]:
    """NaN at an end that is needed resolves nothing."""
    if low > found.high:
        return "above"
    return "below" if high < found.low else "not resolved"
