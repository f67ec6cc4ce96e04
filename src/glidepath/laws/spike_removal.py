"""What averaging does to a provoked loss spike. The measure, written down before the study was run.

A pair is two cells of one model, batch, peak learning rate, horizon and replicate whose schedules are `clean` and
`spiked`, which differ in the learning rates of a few updates only. Up to the first of these they are one trajectory;
after it they still see the same data in the same order. t0 is the last evaluated point that is not after the begin of
the spike; the weights there are the same. The window is what is evaluated in (t0, t0 + window_fraction × horizon].

L[a, t, r] is the loss on all validation tokens of the first domain, of the average `a` (`raw`: of the weights
themselves) at the point t of replicate r. The text is the same everywhere, so a difference of means is the mean of the
differences over its blocks; it is taken as fixed, and all intervals are Student's over replicates, at the level of the
study.

    excess[a, t, r] = L_spiked - L_clean                     what the spike costs there
    rise[a, t, r]   = L_spiked at t - L_spiked at t0         how far it stands above its own loss before the spike
    height[a, r]    = largest excess in the window
    share_removed[a]      = 1 - mean height[a]/mean height[raw]
    mean_share_removed[a] = 1 - mean excess[a] over the window/that of raw
    final_excess[a]       = excess at the end of the cell: lasting damage

Shares are ratios of means over replicates with the delete-one jackknife's standard error. The largest of several noisy
numbers is too large, which counts against averages, whose excess is small. An average whose snapshots reach back over
the spike holds spiked weights until its window has passed it: it may lower the height and lengthen the spike, which is
why the mean over the window is there too; `reaches_spike` marks those points.

Verdict on an average, the first that holds:

    not resolved  there are fewer than two pairs, which give no interval
    no spike      nowhere in the window is the mean rise of the raw weights resolved: its interval never lies above zero
    removed       nowhere in the window is the mean rise of the average resolved, and the interval of share_removed lies
                  above zero
    reduced       the interval of share_removed lies above zero
    raised        it lies below zero
    not resolved  otherwise

Of the raw weights, where neither of the first two holds, it is `spike`.

Amendment, later than the rest: the first line. Without it, an interval that is not there counted as one that does
not lie above zero, so that a spike of any height was called no spike where one pair was left, as when the others
diverged. Verdicts on two pairs or more are as they were written down.

Doubts. `removed` and `no spike` rest on a rise that is not resolved, so few replicates make them easier;
`largest_rise` stands beside them with the upper end of its interval. The loss falls along training: a spike lower than
that fall since t0 is no rise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from glidepath.study import tables
from glidepath.study.averaging_config import RAW
from glidepath.study.spikes_config import SAME_LR, SpikesConfig

Floats = NDArray[np.float64]

WHERE = ["model", "batch_sequences", "tokens_per_parameter", "peak_lr"]


def spike_removal(
    runs: pd.DataFrame, updates: pd.DataFrame, averages: pd.DataFrame, spikes: SpikesConfig, level: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables `spike_excess`, a row per average and point, and `spike_removal`, a row per average.

    A replicate of which one cell diverged is left out. Without a complete pair there are no rows. Raises ValueError if
    the cells of a pair have the same learning rates, or nothing is evaluated in the window.
    """
    rows: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    averages = averages[averages["domain"] == averages["domain"].iloc[0]] if len(averages) else averages
    whole = runs[runs["status"] != "diverged"]
    for spiked in spikes.spiked:
        pairs = whole[whole["schedule"] == spiked].merge(
            whole[whole["schedule"] == spikes.clean], on=[*WHERE, "replicate"], suffixes=("_spiked", "_clean")
        )
        for where, found in pairs.groupby(WHERE, sort=False):
            key = dict(zip(WHERE, where, strict=True)) | {"spiked": spiked, "clean": spikes.clean}
            study = _study(found, updates, averages, spikes.window_fraction)
            for table, part in zip(rows, _rows(study, level), strict=True):
                table.extend({**key, **row, "ci_level": level} for row in part)
    return tuple(
        pd.DataFrame(found, columns=table.names)
        for found, table in zip(rows, (tables.SPIKE_EXCESS, tables.SPIKE_REMOVAL), strict=True)
    )  # type: ignore[return-value]


@dataclass(frozen=True)
class Curves:
    """Losses of one average at its points, a column per replicate, rows t0 and what comes after; shapes [points] and
    [points, replicates]."""

    average: str
    scheme: str
    updates_done: NDArray[np.int64]
    tokens_seen: Floats
    in_window: NDArray[np.bool_]
    reaches_spike: NDArray[np.bool_]
    clean: Floats
    spiked: Floats

    @property
    def excess(self) -> Floats:
        return self.spiked - self.clean

    @property
    def rise(self) -> Floats:
        above: Floats = self.spiked - self.spiked[0]
        return above

    @property
    def height(self) -> Floats:
        """Of every replicate."""
        highest: Floats = self.excess[self.in_window].max(0)
        return highest


@dataclass(frozen=True)
class Study:
    """All pairs of one spike; the first curves are those of the raw weights."""

    begin: int
    """Updates done when the spike begins."""
    end: int
    lr_multiple: float
    curves: list[Curves]


def _study(pairs: pd.DataFrame, updates: pd.DataFrame, averages: pd.DataFrame, window_fraction: float) -> Study:
    """The curves of all replicates."""
    first = pairs.iloc[0]
    applied = [
        updates[updates["cell_id"] == first[f"cell_id_{which}"]].sort_values("step") for which in ("spiked", "clean")
    ]
    ratio = applied[0]["lr"].to_numpy() / applied[1]["lr"].to_numpy()
    differ = np.flatnonzero(np.abs(ratio - 1.0) > SAME_LR)
    if not len(differ):
        raise ValueError(
            f"spikes: {first['cell_id_spiked']} and {first['cell_id_clean']} have the same learning rates, so there is "
            "no spike to remove. Give the spiked schedule other ones at some updates"
        )
    begin, end = int(differ[0]), int(differ[-1]) + 1
    last = float(applied[1]["tokens_seen"].iloc[end - 1])
    window = window_fraction * float(first["token_horizon_clean"])
    found = [
        curves
        for average in [RAW, *averages["average"].unique()]
        if (curves := _curves(average, pairs, averages, begin, last, window)) is not None
    ]
    if not found or found[0].average != RAW:
        raise ValueError(
            f"spikes: of {first['cell_id_spiked']} and {first['cell_id_clean']} nothing is evaluated both before the "
            f"spike and in the {window:.0f} tokens after it. Raise averaging.points_per_octave or "
            "spikes.window_fraction"
        )
    return Study(begin, end, float(ratio.max()), found)


def _curves(
    average: str, pairs: pd.DataFrame, averages: pd.DataFrame, begin: int, last: float, window: float
) -> Curves | None:
    """`begin`: updates done at the spike's begin; `last`: tokens seen at its end; `window` [tokens]."""
    if average == RAW:
        rows = averages.drop_duplicates(["cell_id", "updates_done"]).assign(loss=lambda frame: frame["val_loss_raw"])
    else:
        rows = averages[averages["average"] == average].assign(loss=lambda frame: frame["val_loss_averaged"])
    wide = rows.pivot_table(index="updates_done", columns="cell_id", values="loss")
    clean, spiked = (list(pairs[f"cell_id_{which}"]) for which in ("clean", "spiked"))
    if not {*clean, *spiked} <= set(wide.columns):
        return None
    wide = wide[[*clean, *spiked]].dropna()
    before = wide.index[wide.index <= begin]
    wide = wide[wide.index >= (before[-1] if len(before) else np.inf)]
    described = rows[rows["cell_id"] == spiked[0]].set_index("updates_done").reindex(wide.index)
    tokens = described["tokens_seen"].to_numpy(np.float64)
    if len(wide) < 2 or not (inside := (tokens > tokens[0]) & (tokens <= tokens[0] + window)).any():
        return None
    reach = tokens - described["window_tokens"].to_numpy(np.float64)
    after = wide.index.to_numpy() > begin
    return Curves(
        average=average,
        scheme=average if average == RAW else str(described["averaging_scheme"].iloc[0]),
        updates_done=wide.index.to_numpy(np.int64),
        tokens_seen=tokens,
        in_window=inside,
        reaches_spike=after & (reach <= last) if average != RAW else np.zeros(len(wide), dtype=bool),
        clean=wide[clean].to_numpy(),
        spiked=wide[spiked].to_numpy(),
    )


def _rows(study: Study, level: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    raw = study.curves[0]
    points = [row for curves in study.curves for row in _points(curves, level)]
    return points, [_removal(study, curves, raw, level) for curves in study.curves]


def _points(curves: Curves, level: float) -> Iterator[dict[str, Any]]:
    for i, updates_done in enumerate(curves.updates_done):
        yield {
            "average": curves.average,
            "updates_done": int(updates_done),
            "tokens_seen": int(curves.tokens_seen[i]),
            "in_window": bool(curves.in_window[i]),
            "reaches_spike": bool(curves.reaches_spike[i]),
            "n_replicates": curves.clean.shape[1],
            "val_loss_clean": float(curves.clean[i].mean()),
            "val_loss_spiked": float(curves.spiked[i].mean()),
            **_named("excess", curves.excess[i], level),
            **_named("rise", curves.rise[i], level),
        }


def _removal(study: Study, curves: Curves, raw: Curves, level: float) -> dict[str, Any]:
    highest = int(np.argmax(np.where(curves.in_window, curves.rise.mean(1), -np.inf)))
    mean = curves.excess[curves.in_window].mean(0)
    share = removed_share(curves.height, raw.height, level)
    mean_share = removed_share(mean, raw.excess[raw.in_window].mean(0), level)
    if curves is raw:
        share = mean_share = Estimate(np.nan, np.nan, np.nan, np.nan)
    return {
        "average": curves.average,
        "averaging_scheme": curves.scheme,
        "spike_begin": study.begin,
        "spike_end": study.end,
        "lr_multiple": study.lr_multiple,
        "n_points": int(curves.in_window.sum()),
        "n_points_reaching_spike": int((curves.in_window & curves.reaches_spike).sum()),
        "n_replicates": curves.clean.shape[1],
        **_named("height", curves.height, level),
        "share_removed": share.value,
        "share_removed_se": share.standard_error,
        "share_removed_ci_low": share.ci_low,
        "share_removed_ci_high": share.ci_high,
        **_named("mean_excess", mean, level),
        "mean_share_removed": mean_share.value,
        "mean_share_removed_se": mean_share.standard_error,
        "mean_share_removed_ci_low": mean_share.ci_low,
        "mean_share_removed_ci_high": mean_share.ci_high,
        **_named("final_excess", curves.excess[-1], level),
        **_named("largest_rise", curves.rise[highest], level),
        "verdict": _verdict(curves, raw, share, level),
    }


def _verdict(curves: Curves, raw: Curves, share: Estimate, level: float) -> str:
    if raw.clean.shape[1] < 2:
        return "not resolved"
    if not _rises(raw, level):
        return "no spike"
    if curves is raw:
        return "spike"
    if share.ci_low > 0:
        return "reduced" if _rises(curves, level) else "removed"
    return "raised" if share.ci_high < 0 else "not resolved"


def _rises(curves: Curves, level: float) -> bool:
    """Whether the mean rise is resolved anywhere in the window; needs two replicates."""
    return any(mean_over_replicates(rise, level).ci_low > 0 for rise in curves.rise[curves.in_window])


@dataclass(frozen=True)
class Estimate:
    """A number with Student's interval over replicates; NaN where one replicate alone says nothing."""

    value: float
    standard_error: float
    ci_low: float
    ci_high: float


def mean_over_replicates(values: Floats, level: float) -> Estimate:
    """Mean and its interval, shape [replicates]."""
    n = len(values)
    error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return _student(float(values.mean()), error, n, level)


def removed_share(averaged: Floats, raw: Floats, level: float) -> Estimate:
    """1 - mean(averaged)/mean(raw) with the delete-one jackknife's interval, shapes [replicates]; NaN where the raw
    weights have nothing to remove."""
    n = len(raw)
    if raw.mean() <= 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    value = 1.0 - float(averaged.mean() / raw.mean())
    if n < 2:
        return Estimate(value, np.nan, np.nan, np.nan)
    without = 1.0 - (averaged.sum() - averaged) / (raw.sum() - raw)
    error = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
    return _student(value, error, n, level)


def _student(value: float, error: float, n: int, level: float) -> Estimate:
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * error if n > 1 else np.nan
    return Estimate(value, error, value - half, value + half)


def _named(name: str, values: Floats, level: float) -> dict[str, float]:
    found = mean_over_replicates(values, level)
    return {name: found.value, f"{name}_ci_low": found.ci_low, f"{name}_ci_high": found.ci_high}
