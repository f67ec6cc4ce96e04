"""How the noise scale of all layers follows that of the norm layers along training, under several smoothings.

A pair is the noise scale of the norm layers, x, and of a response, y (a layer type, `body`, `total`), at one point of
one cell, both from the same updates: those at which all layers were probed. Smoothings: the windows of the table
`noise_scale`; exponential moving averages of both parts per probed update, bias-corrected, from probe 1/(1 - decay) on
and read five times in so many probes (the published code's average is not corrected and gives the very first update the
weight decay^t, which only a long run forgets; it is read at every update). Parts are smoothed, then divided.

    slope            Σxy/Σx², y = slope·x through the origin: late, large noise scales decide
    log_log_slope    least squares of ln y on ln x, with a constant
    correlation      Pearson's r of x and y; log_correlation: of their logarithms
    detrended_correlation   r of logarithms from which a quadratic in ln tokens has been taken, in each cell: near zero
                     where both merely grow along training

A point counts if the smoothed |G|² of both lies more than `TRUSTED_STANDARD_ERRORS` standard errors above zero; the
others are counted in `n_left_out`. Status: too_few with fewer than `MIN_POINTS` points of a cell (no numbers);
untrusted with more than `MOST_LEFT_OUT` of them left out, since what remains is then chosen by its noise: no interval.

Intervals of one cell are about the noise of its probes, given its course along training. The parts of all layers are
resampled together, by moving blocks of probes within each window, and go through all of the above. On a scale on which
noise is even (ln slope, arctanh r) the interval is

    estimate - shift ± half the distance of the samples' quantiles.

Of slopes the shift is the samples' median less the same statistic of parts that are their windows' means: noise in x
makes a slope too small. It stays in the estimate, which is comparable with published ones, and is taken off the
interval, which is about the slope without it; where that leaves the estimate outside, the interval is extended to it,
since skewed noise scales then make the shift itself uncertain. Of r there is no shift: r is lower where smoothing
leaves more noise.

Intervals of several cells are also about how cells differ: ± Student's factor for that many cells times the standard
deviation of the statistic over resampled cells, if that is wider. Neither says that y is proportional to x: that do
log_log_slope and r.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from glidepath.laws.probes import Parts, block_lengths, parts_of, window_of, windows
from glidepath.science.autocorrelation import moving_blocks
from glidepath.science.replicates import interval
from glidepath.science.smoothing import MovingAverage, Smoothing, Windows, standard_errors
from glidepath.study import tables

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

MIN_POINTS = 4
MOST_LEFT_OUT = 0.25
TRUSTED_STANDARD_ERRORS = 2.0
VALUES_AT_ONCE = 2_000_000
LARGEST_R = 1.0 - 1e-12
"""Exact multiples have an interval of no width instead of an infinite arctanh."""
ESTIMATES = ("slope", "log_log_slope", "correlation", "log_correlation", "detrended_correlation")
SHIFTED = ("slope", "log_log_slope")


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    windows: int
    smoothing_decays: tuple[float, ...]
    ci_level: float
    n_bootstrap: int
    seed: int


def noise_scale_regression(statistics: pd.DataFrame, runs: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The table `noise_scale_regression`: rows of every completed, probed cell that is not held out, and of all of them
    of one model and schedule together, where shorter ones on the trunk of a longer one are left out as parts of it."""
    rows: list[dict[str, Any]] = []
    probed = _probed(statistics, runs)
    by_cell = dict(list(statistics[statistics["cell_id"].isin(probed["cell_id"])].groupby("cell_id")))
    for (model, schedule), members in probed.groupby(["model", "schedule"], sort=True):
        where = {"model": model, "schedule": schedule}
        random = np.random.default_rng(settings.seed)
        pooled: list[dict[tuple[str, str], _Pairs]] = []
        for cell_id, longest in zip(members["cell_id"], members["longest"], strict=True):
            cell = _read(by_cell[cell_id], settings.windows)
            if cell is None:
                continue
            pairs = _pairs(cell, settings, random)
            rows += _rows({**where, "cell_id": cell_id}, [pairs], settings, random)
            if longest:
                pooled.append(pairs)
        if pooled:
            rows += _rows({**where, "cell_id": ""}, pooled, settings, random)
    return pd.DataFrame(rows, columns=tables.NOISE_SCALE_REGRESSION.names)


@dataclass(frozen=True)
class _Cell:
    """Parts at the updates where all layers were probed, [2, groups, updates]; the first group is norm."""

    groups: tuple[str, ...]
    parts: Floats
    log_tokens: Floats
    window: Ints
    block: int


@dataclass(frozen=True)
class _Pairs:
    """What one cell says under one smoothing on one response, as sums over points."""

    data: Floats
    """Of the data themselves, [14] as `_sums` gives them."""
    smooth: Floats
    """Of parts that are their windows' means, [14]."""
    samples: Floats
    """Of every sample, [n_samples, 14]."""
    n_points: int
    n_left_out: int
    block: int


def _probed(statistics: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Completed, probed runs that are not held out; `longest`: no longer one of the same schedule and peak learning
    rate on its trunk."""
    probed = runs[(runs["status"] == "completed") & runs["probed"] & ~runs["holdout"]]
    probed = probed[probed["cell_id"].isin(statistics["cell_id"])]
    ordered = probed.sort_values(["total_steps", "cell_id"], ascending=[False, True], kind="stable")
    shorter = ordered.duplicated(["model", "trunk_id", "schedule", "peak_lr"])
    return ordered.assign(longest=~shorter).sort_values("cell_id")


def _read(statistics: pd.DataFrame, most: int) -> _Cell | None:
    """None where not all layers, the norm layers among them, were ever probed together."""
    parts = parts_of(statistics)
    if "norm" not in parts or "total" not in parts:
        return None
    steps = parts["total"].steps
    window = window_of(steps, windows(parts, most))
    groups = ("norm", *(group for group in parts if group != "norm"))
    at = {group: _at(parts[group], steps) for group in groups}
    return _Cell(
        groups,
        np.array(
            [
                [at[group].grad_sq_norm_true for group in groups],
                [at[group].grad_noise_trace for group in groups],
            ]
        ),
        np.log(at["total"].tokens_seen.astype(np.float64)),
        window,
        int(max(block_lengths(at[group], window).max() for group in ("norm", "total"))),
    )


def _at(parts: Parts, steps: Ints) -> Parts:
    here = np.isin(parts.steps, steps)
    return Parts(
        parts.steps[here], parts.tokens_seen[here], parts.grad_sq_norm_true[here], parts.grad_noise_trace[here]
    )


def _pairs(cell: _Cell, settings: Settings, random: np.random.Generator) -> dict[tuple[str, str], _Pairs]:
    """By smoothing and response, all from the same resampled updates."""
    n = cell.parts.shape[-1]
    starts = np.flatnonzero(np.diff(cell.window, prepend=-1))
    positions = _resampled(cell, starts, settings.n_bootstrap, random)
    in_windows = Windows(starts)
    level = in_windows.mean(cell.parts)[..., np.searchsorted(starts, np.arange(n), side="right") - 1]
    smoothings: dict[str, Smoothing] = {"windows": in_windows} | {
        f"ema_{decay:g}": MovingAverage(decay) for decay in settings.smoothing_decays
    }
    found: dict[tuple[str, str], _Pairs] = {}
    for name, smoothing in smoothings.items():
        least = TRUSTED_STANDARD_ERRORS * standard_errors(smoothing, cell.parts[0])
        scales, usable = _noise_scales(smoothing, cell.parts, least)
        log_tokens = smoothing.mean(cell.log_tokens)
        of_levels, _ = _noise_scales(smoothing, level, least)
        samples = _sampled_sums(smoothing, cell.parts, least, positions, log_tokens)
        for g, group in enumerate(cell.groups[1:], start=1):
            both = usable[0] & usable[g]
            found[name, group] = _Pairs(
                _sums(scales[0], scales[g], both, log_tokens),
                _sums(of_levels[0], of_levels[g], both, log_tokens),
                samples[g - 1],
                int(both.sum()),
                int((~both).sum()),
                cell.block,
            )
    return found


def _resampled(cell: _Cell, starts: Ints, n_samples: int, random: np.random.Generator) -> Ints:
    """Positions of resampled updates [n_samples, updates]: blocks of neighbours, each window from itself."""
    ends = np.append(starts[1:], len(cell.window))
    return np.hstack(
        [
            start + moving_blocks(end - start, min(cell.block, end - start), n_samples, random)
            for start, end in zip(starts, ends, strict=True)
        ]
    )


def _noise_scales(smoothing: Smoothing, parts: Floats, least: Floats) -> tuple[Floats, Flags]:
    """Noise scales [..., points] of smoothed parts [2, ..., updates], and which of them count: where |G|² is above
    `least`, which is that of the data for samples too."""
    true, trace = smoothing.mean(parts[0]), smoothing.mean(parts[1])
    return _ratio(true, trace), (true > least) & (trace > 0)


def _ratio(true: Floats, trace: Floats) -> Floats:
    """trΣ/|G|², NaN where either is not positive."""
    ratio: Floats = np.divide(trace, true, out=np.full(true.shape, np.nan), where=(true > 0) & (trace > 0))
    return ratio


def _sampled_sums(
    smoothing: Smoothing, parts: Floats, least: Floats, positions: Ints, log_tokens: Floats
) -> list[Floats]:
    """Sums of every sample [n_samples, sums], for every group but the first."""
    at_once = max(1, VALUES_AT_ONCE // positions.shape[1])
    found: list[list[Floats]] = [[] for _ in parts[0, 1:]]
    for start in range(0, len(positions), at_once):
        rows = positions[start : start + at_once]
        norm, trusted = _noise_scales(smoothing, parts[:, 0][:, rows], least[0])
        for g in range(1, parts.shape[1]):
            scales, also = _noise_scales(smoothing, parts[:, g][:, rows], least[g])
            found[g - 1].append(_sums(norm, scales, trusted & also, log_tokens))
    return [np.concatenate(chunks) for chunks in found]


def _sums(x: Floats, y: Floats, usable: Flags, log_tokens: Floats) -> Floats:
    """Sums over points [..., 14] of what all estimates are made of; those of several cells add up.

    1, x², xy; x, y, y²; with u = ln x and v = ln y: u, v, u², uv, v²; with residuals p of u and q of v: p², pq, q².
    """
    weight = (usable & np.isfinite(x) & np.isfinite(y)).astype(np.float64)
    x, y = np.where(weight > 0, x, 1.0), np.where(weight > 0, y, 1.0)
    u, v = np.log(x), np.log(y)
    p, q = _detrended(np.stack([u, v]), weight, log_tokens)
    terms = (np.ones_like(x), x, y, x * x, x * y, y * y, u, v, u * u, u * v, v * v, p * p, p * q, q * q)
    return np.stack([(weight * term).sum(-1) for term in terms], axis=-1)


def _detrended(values: Floats, weight: Floats, log_tokens: Floats) -> Floats:
    """Values less their quadratic in log tokens, by weighted least squares along the last axis."""
    if not values.size:
        return values
    scaled = (log_tokens - log_tokens.mean()) / max(float(np.ptp(log_tokens)), 1e-12)
    design = np.stack([scaled**0, scaled, scaled**2], axis=-1)
    normal = (weight @ (design[:, :, None] * design[:, None, :]).reshape(-1, 9)).reshape(*weight.shape[:-1], 3, 3)
    right = (weight * values) @ design
    coefficients = (np.linalg.pinv(normal, hermitian=True) @ right[..., None])[..., 0]
    residuals: Floats = values - coefficients @ design.T
    return residuals


def _rows(
    where: dict[str, Any],
    cells: Sequence[dict[tuple[str, str], _Pairs]],
    settings: Settings,
    random: np.random.Generator,
) -> list[dict[str, Any]]:
    """A row per smoothing and response that all cells have."""
    return [
        {
            **where,
            "smoothing": smoothing,
            "group": group,
            **_row([cell[smoothing, group] for cell in cells], settings, random),
            "ci_level": settings.ci_level,
            "n_bootstrap": settings.n_bootstrap,
        }
        for smoothing, group in cells[0]
        if all((smoothing, group) in cell for cell in cells)
    ]


def _row(cells: Sequence[_Pairs], settings: Settings, random: np.random.Generator) -> dict[str, Any]:
    usable = [cell for cell in cells if cell.n_points >= MIN_POINTS]
    n_points, n_left_out = sum(cell.n_points for cell in cells), sum(cell.n_left_out for cell in cells)
    row = {
        "n_cells": len(usable),
        "n_points": n_points,
        "n_left_out": n_left_out,
        "block_probes": max(cell.block for cell in cells),
        "status": "untrusted" if n_left_out > MOST_LEFT_OUT * (n_points + n_left_out) else "ok",
    }
    if not usable:
        nothing = {name: np.nan for one in ESTIMATES for name in (one, f"{one}_ci_low", f"{one}_ci_high")}
        return row | nothing | {"status": "too_few"}
    data = np.stack([cell.data for cell in usable])
    estimates, smooth, samples = (
        _estimates(np.sum(sums, axis=0))
        for sums in (data, [cell.smooth for cell in usable], [cell.samples for cell in usable])
    )
    half = _half_widths(samples, data, settings, random)
    found: dict[str, float] = {}
    for name, estimate in estimates.items():
        middle = _even(name, estimate)
        if name in SHIFTED:
            middle = middle - (_median(_even(name, samples[name])) - _even(name, smooth[name]))
        found[name] = float(estimate)
        known = row["status"] == "ok"
        low, high = (_from_even(name, middle + sign * half[name]) if known else np.nan for sign in (-1, 1))
        found[f"{name}_ci_low"] = float(np.minimum(low, estimate))
        found[f"{name}_ci_high"] = float(np.maximum(high, estimate))
    return row | found


def _half_widths(
    samples: dict[str, Floats], data: Floats, settings: Settings, random: np.random.Generator
) -> dict[str, float]:
    """Half of each interval on the even scale: of the probes' noise, or of how cells differ if that is wider."""
    n = len(data)
    cells = _estimates(random.multinomial(n, np.full(n, 1.0 / n), size=settings.n_bootstrap) @ data)
    found = {}
    for name, values in samples.items():
        low, high = interval(_even(name, values), settings.ci_level)
        found[name] = (high - low) / 2
        if n > 1:
            spread = float(np.std(_even(name, cells[name]))) * np.sqrt(n / (n - 1))
            found[name] = np.maximum(found[name], stats.t.ppf((1 + settings.ci_level) / 2, n - 1) * spread)
    return found


def _median(values: Floats) -> float:
    """Of the samples that have an answer; NaN if none has."""
    answered = values[np.isfinite(values)]
    return float(np.median(answered)) if len(answered) else np.nan


def _estimates(sums: Floats) -> dict[str, Floats]:
    """Estimates by name, shape [...] each, from sums [..., 14] as `_sums` gives them."""
    n, x, y, xx, xy, yy, u, v, uu, uv, vv, pp, pq, qq = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        s_xx, s_xy, s_yy = xx - x * x / n, xy - x * y / n, yy - y * y / n
        s_uu, s_uv, s_vv = uu - u * u / n, uv - u * v / n, vv - v * v / n
        return {
            "slope": xy / xx,
            "log_log_slope": s_uv / s_uu,
            "correlation": s_xy / np.sqrt(s_xx * s_yy),
            "log_correlation": s_uv / np.sqrt(s_uu * s_vv),
            "detrended_correlation": pq / np.sqrt(pp * qq),
        }


def _even(name: str, values: Floats) -> Floats:
    """On the scale on which noise is even."""
    if name == "log_log_slope":
        return values
    even: Floats = np.log(values) if name == "slope" else np.arctanh(np.clip(values, -LARGEST_R, LARGEST_R))
    return even


def _from_even(name: str, values: Floats) -> Floats:
    if name == "log_log_slope":
        return values
    found: Floats = np.exp(values) if name == "slope" else np.tanh(values)
    return found
