"""Scales and ticks of axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from glidepath.figures import text


def log_ticks(
    ax: Axes,
    which: str,
    values: Iterable[float],
    label: Callable[[float], str],
    *,
    most: int = 7,
    unit_gap: float = 0.05,
) -> None:
    """Logarithmic axis with labelled ticks at values that occur, thinned out to at most `most` that do not
    touch."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    present = sorted({float(value) for value in values if np.isfinite(value) and value > 0})
    if not present:
        return
    kept = apart(present, max(unit_gap, math.log10(present[-1] / present[0]) / most))
    if len(present) == 1:
        # One value alone gives matplotlib no scale to choose.
        (ax.set_xlim if which == "x" else ax.set_ylim)(present[0] / 1.6, present[0] * 1.6)
    axis.set_major_locator(FixedLocator(kept))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))


def apart(values: Sequence[float], decades: float) -> list[float]:
    """Of ascending values those that are at least so many decades above the last one kept."""
    kept = list(values[:1])
    for value in values[1:]:
        if math.log10(value / kept[-1]) >= decades * 0.999:
            kept.append(value)
    return kept


def log_steps(ax: Axes, which: str, label: Callable[[float], str]) -> None:
    """Logarithmic axis with ticks at 1, 2, 5 of every decade within the limits; narrower ranges get finer
    steps."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    if not (0 < low < high and math.isfinite(high)):
        return
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in (
        (1,),
        (1, 3),
        (1, 2, 5),
        (1, 1.5, 2, 3, 4, 5, 6, 8),
        tuple(m / 10 for m in range(10, 100)),
    ):
        ticks = [m * 10.0**decade for decade in decades for m in mantissas if low <= m * 10.0**decade <= high]
        if len(ticks) >= 4:
            break
    axis.set_major_locator(FixedLocator(apart(ticks, math.log10(high / low) / 7)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))


def count_axis(ax: Axes, which: str, *, most: int = 6) -> None:
    """Linear axis of counts: 0, 1M, 2M."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text.compact(value)))
