"""What the study cost: the prediction that was made before anything ran, beside what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from glidepath.study.units import duration

AIM = 0.15
"""A prediction within this share of the measurement is called good."""


@dataclass(frozen=True)
class CostRow:
    """One stage, as text."""

    stage: str
    jobs: str
    predicted: str
    measured: str
    ratio: str
    predicted_wall: str
    measured_wall: str
    wall_ratio: str


@dataclass(frozen=True)
class Cost:
    """The section "What it cost"."""

    sentences: tuple[str, ...]
    rows: tuple[CostRow, ...]


def cost(budget: pd.DataFrame, spending: pd.DataFrame) -> Cost:
    """From the tables of these names."""
    total = _total(spending)
    return Cost(
        (_verdict(total), *_made_late(total), _sharing(_total(budget))),
        tuple(_row(row) for _, row in spending.iterrows()),
    )


def _total(frame: pd.DataFrame) -> pd.Series[Any]:
    return frame[frame["stage"] == "total"].iloc[0]


def _verdict(total: pd.Series[Any]) -> str:
    ratio = total["core_seconds_ratio"]
    if not math.isfinite(ratio):
        lacking, jobs = int(total["jobs"] - total["jobs_measured"]), int(total["jobs"])
        why = f"the time of {lacking} of {jobs} jobs" if lacking else "the speed of this machine beforehand"
        return f"Prediction and outcome cannot be compared as a whole: {why} is not known."
    verdict = "within" if abs(ratio - 1) <= AIM else "outside"
    return (
        f"{_time(total['core_seconds'])} of core time, {ratio:.2f} times what was predicted: {verdict} the "
        f"{100 * AIM:.0f}\N{NO-BREAK SPACE}% aimed at."
    )


def _made_late(total: pd.Series[Any]) -> tuple[str, ...]:
    late, jobs = int(total["jobs_before_prediction"]), int(total["jobs"])
    if not late:
        return ()
    return (f"{late} of {jobs} jobs had been done before the prediction was made: for them it is a description.",)


def _sharing(budget: pd.Series[Any]) -> str:
    text = f"Without shared prefixes training would have taken {budget['sharing_factor']:.2f} times as many FLOPs"
    saved = budget["unshared_core_seconds"] - budget["core_seconds"]
    return f"{text}, by the prediction {_time(saved)} more of core time." if math.isfinite(saved) else f"{text}."


def _row(row: pd.Series[Any]) -> CostRow:
    return CostRow(
        stage=str(row["stage"]),
        jobs=f"{row['jobs']}",
        predicted=_time(row["predicted_core_seconds"]),
        measured=_time(row["core_seconds"]),
        ratio=_ratio(row["core_seconds_ratio"]),
        predicted_wall=_time(row["predicted_wall_seconds"]),
        measured_wall=_time(row["wall_seconds"]),
        wall_ratio=_ratio(row["wall_seconds_ratio"]),
    )


def _time(seconds: float) -> str:
    return duration(seconds) if math.isfinite(seconds) else "not known"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if math.isfinite(ratio) else ""
