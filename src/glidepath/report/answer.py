"""What an answer is: a headline, how sure it is, the evidence, and the rows that every number can be looked
up in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from glidepath.study.recommendation import Estimate, Recommendation
from glidepath.study.schedule import Schedule

Tables = Mapping[str, pd.DataFrame]
Condition = str | float | list[str]
Sure = Literal["resolved", "not resolved", "extrapolated", "not measured"]


@dataclass(frozen=True)
class Target:
    """The real run that the answers are for, what was recommended for it, what differences are relative to, and what
    the schedules are."""

    recommended: Recommendation
    reference_schedule: str
    schedules: Mapping[str, Schedule]
    """Those of the study, by name."""

    @property
    def model(self) -> str:
        return self.recommended.target.model

    @property
    def tokens_per_parameter(self) -> float:
        return self.recommended.target.tokens_per_parameter

    @property
    def batch_sequences(self) -> int:
        return self.recommended.target.batch_sequences

    @property
    def batch_tokens(self) -> int:
        return self.recommended.target.batch_tokens or 0

    @property
    def schedule(self) -> str:
        return self.recommended.schedule


@dataclass(frozen=True)
class Rows:
    """Where a number is: a Parquet file below the results folder and the filter that finds its rows."""

    table: str
    filter: str
    """In the language of `pandas.DataFrame.query`."""


@dataclass(frozen=True)
class Evidence:
    """One sentence with numbers, and their rows."""

    text: str
    rows: tuple[Rows, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The answer to one of the five questions."""

    number: int
    question: str
    headline: str
    sure: Sure
    how_sure: str
    """Why it is as sure as that, in a sentence."""
    evidence: tuple[Evidence, ...] = ()
    caveats: tuple[str, ...] = ()


def rows(table: str, **conditions: Condition) -> Rows:
    """The rows of a table in which columns have these values, or one of these."""
    parts = [
        f"{column} in {value}" if isinstance(value, list) else f"{column} == {_literal(value)}"
        for column, value in conditions.items()
    ]
    return Rows(f"{table}.parquet", " and ".join(parts))


def _literal(value: str | float) -> str:
    if isinstance(value, str):
        return repr(str(value))
    return repr(int(value)) if float(value).is_integer() else repr(float(value))


def where(frame: pd.DataFrame, **conditions: Condition) -> pd.DataFrame:
    """The rows in which columns have these values, or one of these."""
    for column, value in conditions.items():
        frame = frame[frame[column].isin(value if isinstance(value, list) else [value])]
    return frame


def group_for(frame: pd.DataFrame, target: Target) -> tuple[str, int] | None:
    """(model, batch) to answer from: the target's own if it has rows, else the one with most rows; None
    without rows."""
    if frame.empty:
        return None
    if len(where(frame, model=target.model, batch_sequences=target.batch_sequences)):
        return target.model, target.batch_sequences
    counts = frame.groupby(["model", "batch_sequences"]).size().sort_values(kind="stable")
    model, batch = counts.index[-1]
    return str(model), int(batch)


def stand_in(group: tuple[str, int], target: Target) -> tuple[str, ...]:
    """A caveat when the rows are not of the target's model and batch."""
    model, batch = group
    if group == (target.model, target.batch_sequences):
        return ()
    return (
        f"Measured on model {model} at {batch} sequences per update, not on the target {target.model} at "
        f"{target.batch_sequences}: it is assumed that the answer carries over.",
    )


def beyond(longest: float, target: Target) -> tuple[str, ...]:
    """A caveat when the target's horizon is longer than what was measured."""
    if target.tokens_per_parameter <= longest * 1.001:
        return ()
    return (
        f"The target has {target.tokens_per_parameter:g} tokens per parameter, "
        f"{target.tokens_per_parameter / longest:.1f} times the longest horizon measured here ({longest:g}).",
    )


def ends(estimate: Estimate) -> tuple[float, float, float]:
    """(value, low, high); NaN ends where they are not identified."""
    low = math.nan if estimate.ci_low is None else estimate.ci_low
    high = math.nan if estimate.ci_high is None else estimate.ci_high
    return estimate.value, low, high


def is_known(estimate: Estimate) -> bool:
    """Whether it has an interval."""
    return estimate.ci_low is not None and estimate.ci_high is not None


def source_rows(estimate: Estimate) -> tuple[Rows, ...]:
    """The rows that an estimate of the recommendation names."""
    return tuple(rows(source.table, **source.key) for source in estimate.sources)


def sure_of(estimate: Estimate, target: Target) -> Sure:
    """How sure a number at the target's horizon is."""
    if not is_known(estimate):
        return "not resolved"
    return "extrapolated" if target.recommended.horizon_extrapolation > 1.001 else "resolved"


def score_sentence(scores: pd.DataFrame, what: str, unit: str) -> str:
    """What a law missed on cells that were hidden from it; empty without a score."""
    scored = scores[scores["status"].str.startswith("scored") & scores["mean_absolute_error"].notna()]
    if scored.empty:
        return ""
    row = scored.iloc[0]
    error = float(row["mean_absolute_error"])
    text = (
        f"Out of sample: hiding the {str(row['holdout']).replace('_', ' ')} ({int(row['n_hidden'])} hidden), "
        f"the law missed {what} by {error:.2g}{unit} on average"
    )
    baseline = float(row["baseline_mean_absolute_error"])
    if np.isfinite(baseline):
        text += f", against {baseline:.2g}{unit} for carrying the nearest observation over"
    return f"{text}."
