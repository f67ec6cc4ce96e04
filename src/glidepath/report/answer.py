"""What an answer is: a headline, how sure it is, the evidence, and the rows that every number can be looked
up in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

Tables = Mapping[str, pd.DataFrame]
Condition = str | float | list[str]
Sure = Literal["resolved", "not resolved", "extrapolated", "not measured"]


@dataclass(frozen=True)
class Target:
    """The real run that the answers are for, and what they are relative to."""

    model: str
    tokens_per_parameter: float
    batch_sequences: int
    batch_tokens: int
    token_horizon: int
    reference_schedule: str
    schedule: str
    """The schedule whose learning rate and loss are wanted: the recommended one."""


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


def interpolate(grid: pd.DataFrame, x: float) -> tuple[float, float, float] | None:
    """(value, low, high) of a law's grid at `x`, linear in logarithms; None outside the grid."""
    grid = grid.sort_values("x")
    xs = grid["x"].to_numpy(float)
    if not len(xs) or not xs[0] * 0.999 <= x <= xs[-1] * 1.001:
        return None
    at = [
        np.interp(np.log(x), np.log(xs), grid[column].to_numpy(float))
        for column in ("value", "ci_low", "ci_high")
    ]
    return float(at[0]), float(at[1]), float(at[2])


def score_sentence(scores: pd.DataFrame, what: str, unit: str) -> str:
    """What a law missed on cells that were hidden from it; empty without a score."""
    scored = scores[(scores["status"] == "scored") & scores["mean_absolute_error"].notna()]
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


def level_words(level: float) -> str:
    """A level as in "90 % interval"."""
    return f"{100 * level:.0f}\N{NO-BREAK SPACE}% interval" if np.isfinite(level) else "interval"
