"""Numbers of a recommendation with their intervals, and the rows of tables that they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.averaging import half_width
from glidepath.laws.law import Floats
from glidepath.laws.predictors import Predictor
from glidepath.science.replicates import interval
from glidepath.study.recommendation import Estimate, Source


def of_samples(value: float, samples: Floats, level: float, *sources: Source) -> Estimate:
    """With the percentile interval, if both of its ends are known."""
    low, high = interval(samples, level) if len(samples) else (np.nan, np.nan)
    known = np.isfinite(low) and np.isfinite(high)
    return Estimate(
        value=value, ci_low=low if known else None, ci_high=high if known else None, ci_level=level, sources=sources
    )


def of_replicates(point: pd.Series[Any], name: str, level: float, sources: Sequence[Source]) -> Estimate:
    """A mean over replicates with Student's interval; null ends without degrees of freedom."""
    value = float(point[name])
    half = half_width(float(point[f"{name}_se"]), int(point[f"{name}_degrees_of_freedom"]), level)
    known = np.isfinite(half)
    return Estimate(
        value=value,
        ci_low=value - half if known else None,
        ci_high=value + half if known else None,
        ci_level=level,
        sources=tuple(sources),
    )


def of_row(row: pd.Series[Any], name: str, ends: str, source: Source) -> Estimate:
    """A number of a table, whose interval is in the columns `ends`_low and _high; an end that is not finite is null."""
    low, high = (float(row[f"{ends}_{end}"]) for end in ("low", "high"))
    return Estimate(
        value=float(row[name]),
        ci_low=low if np.isfinite(low) else None,
        ci_high=high if np.isfinite(high) else None,
        ci_level=float(row["ci_level"]),
        sources=(source,),
    )


def source_row(table: str, row: pd.Series[Any], key: Iterable[str]) -> Source:
    """A row of a table by the columns that tell it from others."""
    return Source(table=table, key={name: _plain(row[name]) for name in key})


def of_law(law: Predictor, group: Mapping[str, str | float | int]) -> list[Source]:
    """The row of a law's fit; none where it is in no table."""
    if law.source is None:
        return []
    table, parameter = law.source
    return [Source(table=table, key={**group, "tokens_per_parameter": 0.0, "parameter": parameter})]


def _plain(value: Any) -> str | float | int:
    """A JSON scalar out of a pandas one."""
    plain: str | float | int = value.item() if isinstance(value, np.generic) else value
    return plain
