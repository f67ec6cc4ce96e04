"""What the probes of one cell say, by layer type and in windows along training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.science.autocorrelation import block_length
from glidepath.science.noise_scale import unbiased_parts
from glidepath.science.smoothing import MIN_PROBES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUMS = {"matrix": ("attention", "feed_forward"), "body": ("norm", "attention", "feed_forward")}
"""Sums of layer types, beside `total`, which is all of them: the norm layers alone are no total."""


@dataclass(frozen=True)
class Parts:
    """Unbiased estimates of one layer type or sum, one of each per probed update, updates ascending, shape [updates].

    Per sequence: trΣ/|G|² is in sequences.
    """

    steps: Ints
    tokens_seen: Ints
    grad_sq_norm_true: Floats
    grad_noise_trace: Floats


def parts_of(cell: pd.DataFrame) -> dict[str, Parts]:
    """Parts by layer type and sum, from one cell's rows of `gradient_statistics`.

    A sum has an estimate only at updates at which all layer types of the cell were probed, and is not there if there
    are none; squared norms add over parameters, and so do both parts. Updates of one sequence compare nothing and are
    left out, as are those of a run that diverged whose norms are no numbers.
    """
    groups = sorted(cell["group"].unique())
    finite = np.isfinite(cell["grad_sq_norm_small"]) & np.isfinite(cell["grad_sq_norm_big"])
    cell = cell[(cell["big_batch_tokens"] > cell["small_batch_tokens"]) & finite]
    if cell.empty:
        return {}
    true, trace = unbiased_parts(
        cell["grad_sq_norm_small"],
        cell["grad_sq_norm_big"],
        1.0,
        cell["big_batch_tokens"].to_numpy() / cell["small_batch_tokens"].to_numpy(),
    )
    rows = cell[["step", "tokens_seen", "group"]].assign(true=true, trace=trace)
    wide = rows.pivot(index=["step", "tokens_seen"], columns="group", values=["true", "trace"]).sort_index()
    found = {group: _parts(wide, [group]) for group in sorted(rows["group"].unique())}
    everywhere = wide.dropna()
    if groups == ["norm"] or set(found) != set(groups) or everywhere.empty:
        return found
    for name, members in (SUMS | {"total": tuple(groups)}).items():
        if set(members) <= set(groups):
            found[name] = _parts(everywhere, list(members))
    return found


def windows(parts: Mapping[str, Parts], most: int) -> Ints:
    """First update of each window: at most so many, of (nearly) equal numbers of probes of all layers.

    All layer types have the same windows, the norm layers with what was probed of them alone in between. Only where all
    layers were probed fewer than `MIN_PROBES` times are the norm layers cut by their own probes.
    """
    grid = parts["total"].steps if "total" in parts else np.empty(0, np.int64)
    if len(grid) < MIN_PROBES:
        grid = max((one.steps for one in parts.values()), key=len)
    n_windows = max(1, min(most, len(grid) // MIN_PROBES))
    return np.array([rows[0] for rows in np.array_split(grid, n_windows) if len(rows)], np.int64)


def window_of(steps: Ints, first_steps: Ints) -> Ints:
    """Index of the window of each update; updates before the first window belong to it."""
    return np.searchsorted(first_steps[1:], steps, side="right").astype(np.int64)


def standardised(parts: Parts, window: Ints) -> Floats:
    """(trΣ_hat - R·|G|²_hat)/its standard deviation within each window, R the window's ratio of means, shape [updates].

    This is what the noise of a window's ratio is made of, with the course along training taken off.
    """
    found = np.zeros(len(window))
    for rows in np.split(np.arange(len(window)), np.flatnonzero(np.diff(window)) + 1):
        true, trace = parts.grad_sq_norm_true[rows], parts.grad_noise_trace[rows]
        residuals = trace * true.mean() - true * trace.mean()
        spread = residuals.std()
        if spread > 1e-12 * np.abs(trace * true.mean()).max(initial=0.0):
            found[rows] = residuals / spread
    return found


def block_lengths(parts: Parts, window: Ints) -> Ints:
    """Length of blocks in every window, shape [windows]: the autocorrelation is that of all windows together, since one
    alone has too few probes to show it."""
    noise = standardised(parts, window)
    counts = np.bincount(window)
    if len(noise) < 2:
        return np.ones(len(counts), np.int64)
    return np.array([block_length(noise, max(int(n), 1)) for n in counts], np.int64)


def _parts(wide: pd.DataFrame, groups: list[str]) -> Parts:
    """Sums over the groups, at the updates where none is missing."""
    rows = wide.loc[:, wide.columns.get_level_values("group").isin(groups)].dropna()
    return Parts(
        rows.index.get_level_values("step").to_numpy(np.int64),
        rows.index.get_level_values("tokens_seen").to_numpy(np.int64),
        rows["true"].to_numpy(np.float64).sum(axis=1),
        rows["trace"].to_numpy(np.float64).sum(axis=1),
    )
