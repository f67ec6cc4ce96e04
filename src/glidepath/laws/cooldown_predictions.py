"""The cooldown oracle applied to a study: predictions with intervals, refusals, and out-of-sample scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.laws.cooldown_oracle import (
    MIN_SLOPE_OCTAVES,
    ORACLE,
    PREDICTORS,
    ROUNDING,
    Cooldowns,
    Fit,
    fit,
    held_out,
    length,
    progress,
)
from glidepath.study import tables

Floats = NDArray[np.float64]

TRUNK = ["model", "peak_lr", "batch_sequences", "replicate"]
MIN_TRUNKS = 4
"""One more than coefficients, so that an error is left."""
RANGES = (
    "branch_tokens_per_parameter",
    "end_tokens_per_parameter",
    "decay_fraction",
    "peak_lr",
    "n_params_counted",
    "batch_sequences",
)
"""Columns in which a prediction must lie within the calibrating cooldowns."""
VALIDATIONS = {"leave_one_trunk_out": TRUNK, "leave_one_peak_lr_out": ["peak_lr"]}
LEVELS = (0.5, 0.9)


@dataclass(frozen=True)
class Oracle:
    """The oracle calibrated on the rows of `tables.COOLDOWN_ORACLE` whose `calibrating` is true."""

    calibration: pd.DataFrame
    """Those of them whose gain and slope are known."""

    @cached_property
    def fit(self) -> Fit:
        return fit(ORACLE, cooldowns(self.calibration))

    @cached_property
    def n_trunks(self) -> int:
        return int(self.calibration[TRUNK].drop_duplicates().shape[0])

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of every column of `RANGES`."""
        return {key: (float(self.calibration[key].min()), float(self.calibration[key].max())) for key in RANGES}

    def refusal(self, row: pd.Series[Any]) -> str:
        """Key, value and rule by which a row is refused; empty if it is not."""
        if undefined := _undefined(row) or self.too_few:
            return undefined
        shape = shape_of(row["decay_shape"], row["final_lr_fraction"])
        if shape not in (known := self.fit.shapes):
            return f"decay_shape {shape}: the calibrating cooldowns are {', '.join(known)}"
        for key, (low, high) in self.ranges.items():
            if not low / ROUNDING <= row[key] <= high * ROUNDING:
                return f"{key} {row[key]:g}: the calibrating cooldowns have {low:g} … {high:g}"
        return ""

    @property
    def too_few(self) -> str:
        """Why nothing can be predicted; empty if it can."""
        if self.n_trunks < MIN_TRUNKS:
            return f"trunks {self.n_trunks}: at least {MIN_TRUNKS} with real cooldowns are needed to know the error"
        return ""


def calibrated(rows: pd.DataFrame) -> Oracle:
    """The oracle of a study, from rows of `tables.COOLDOWN_ORACLE`."""
    known = rows["calibrating"].astype(bool) & rows[["loss_slope", "val_loss_averaged"]].notna().all(axis=1)
    return Oracle(rows[known])


def predicted(rows: pd.DataFrame, ci_level: float) -> pd.DataFrame:
    """Rows with val_loss_predicted, ci_low, ci_high, ci_level, status and reason.

    status: `held_out`, a calibrating cooldown, predicted without its trunk; `predicted`; `refused`, with the reason. A
    prediction has a reason where another predictor has the smaller error on the calibrating cooldowns.
    """
    oracle = calibrated(rows)
    reason = np.array([oracle.refusal(row) for _, row in rows.iterrows()], dtype=object)
    status = np.where(reason == "", "predicted", "refused").astype(object)
    drops, halves = np.full((2, len(rows)), np.nan)
    if not oracle.too_few:
        sems = _floats(rows, "gain_sem")
        drops, halves = oracle.fit.drops(cooldowns(rows)), oracle.fit.half_widths(ci_level, sems)
        reason[status == "predicted"] = better_predictor(scores(rows))
        own = rows.index.isin(oracle.calibration.index)
        real = cooldowns(rows[own])
        drops[own], halves[own] = held_out(ORACLE, real, real.trunk, ci_level, sems[own])
        alone = own & np.isnan(drops)
        status[own], reason[own] = "held_out", ""
        status[alone], reason[alone] = "refused", "decay_shape: no other trunk has a cooldown of this shape"
    refused = status == "refused"
    losses = np.where(refused, np.nan, _floats(rows, "val_loss_raw") - drops)
    return rows.assign(
        val_loss_predicted=losses,
        ci_low=losses - halves,
        ci_high=losses + halves,
        ci_level=ci_level,
        status=status,
        reason=reason,
    )


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """`tables.COOLDOWN_ORACLE_SCORES` of the calibrating rows; no row without any.

    Errors are those of predictions without the cooldown's group, ranges set aside: the lowest and the highest peak
    learning rate are then extrapolated to. rmse and bias count every trunk once; all predictors are scored on the
    cooldowns that the oracle can predict.
    """
    frame = calibrated(rows).calibration
    found: list[dict[str, Any]] = []
    if frame.empty:
        return pd.DataFrame(found, columns=tables.COOLDOWN_ORACLE_SCORES.names)
    all_cooldowns, sems = cooldowns(frame), _floats(frame, "gain_sem")
    trunks = all_cooldowns.trunk
    for validation, columns in VALIDATIONS.items():
        groups = _labels(frame, columns)
        answers = {
            name: [held_out(name, all_cooldowns, groups, level, sems) for level in LEVELS] for name in PREDICTORS
        }
        scored = np.isfinite(answers[ORACLE][0][0])
        for name, at_levels in answers.items():
            # Too high a drop is too low a loss.
            errors = (all_cooldowns.drop - at_levels[0][0])[scored]
            covered = [_share(np.abs(errors), halves[scored]) for _, halves in at_levels]
            found.append(
                {
                    "predictor": name,
                    "validation": validation,
                    "rmse": _over_trunks(np.square(errors), trunks[scored]) ** 0.5,
                    "bias": _over_trunks(errors, trunks[scored]),
                    "coverage_50": covered[0],
                    "coverage_90": covered[1],
                    "n_cooldowns": int(scored.sum()),
                    "n_trunks": len(np.unique(trunks[scored])),
                    "status": "not scored: no cooldown can be predicted from the others" if not scored.any() else "",
                }
            )
        lowest = min(found[-len(PREDICTORS) :], key=lambda row: float(row["rmse"]))
        if scored.any():
            lowest["status"] = "best"
    return pd.DataFrame(found, columns=tables.COOLDOWN_ORACLE_SCORES.names)


def better_predictor(found: pd.DataFrame) -> str:
    """Which naive predictor had the smaller error on trunks left out, from `scores`; empty if none."""
    first = found[found["validation"] == next(iter(VALIDATIONS))]
    rmse = dict(zip(first["predictor"], first["rmse"], strict=True))
    best = first.loc[first["status"] == "best", "predictor"].tolist()
    if best in ([], [ORACLE]):
        return ""
    return f"{best[0]} has the smaller error: {rmse[best[0]]:.4f} against {rmse[ORACLE]:.4f}"


def cooldowns(frame: pd.DataFrame) -> Cooldowns:
    """The model's view of rows of `tables.COOLDOWN_ORACLE`."""
    raw, branch, end, mean_lr = (
        _floats(frame, name) for name in ("val_loss_raw", "tokens_seen", "end_tokens", "mean_lr_fraction")
    )
    return Cooldowns(
        shape=np.array(list(map(shape_of, frame["decay_shape"], frame["final_lr_fraction"])), dtype=object),
        trunk=_labels(frame, TRUNK),
        gain=raw - _floats(frame, "val_loss_averaged"),
        length=length(branch, end, mean_lr),
        progress=progress(_floats(frame, "loss_slope"), _floats(frame, "lag_tokens"), branch, end, mean_lr),
        drop=raw - _floats(frame, "val_loss_cooldown"),
    )


def shape_of(decay_shape: str, final_lr_fraction: float) -> str:
    """Shape of a decay and the fraction of the peak that it ends at."""
    return f"{decay_shape} to {final_lr_fraction:g}"


def _undefined(row: pd.Series[Any]) -> str:
    if not np.isfinite(row["val_loss_averaged"]):
        return f"average: none is defined at {row['updates_done']} updates"
    if not np.isfinite(row["loss_slope"]):
        return f"loss_slope: {row['average']} was not evaluated {MIN_SLOPE_OCTAVES:g} doublings of the tokens before"
    return ""


def _labels(frame: pd.DataFrame, columns: list[str]) -> NDArray[np.int64]:
    return np.asarray(frame.groupby(columns, sort=True).ngroup(), dtype=np.int64)


def _floats(frame: pd.DataFrame, column: str) -> Floats:
    return frame[column].to_numpy(np.float64)


def _share(errors: Floats, halves: Floats) -> float:
    """Share of the errors within the half-widths; NaN where there are none."""
    known = np.isfinite(halves)
    return float((errors[known] <= halves[known]).mean()) if known.any() else np.nan


def _over_trunks(values: Floats, trunks: NDArray[np.int64]) -> float:
    """Mean over trunks of the means within them; NaN without values."""
    means = [values[trunks == trunk].mean() for trunk in np.unique(trunks)]
    return float(np.mean(means)) if means else np.nan
