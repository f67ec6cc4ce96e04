"""schedule_features: ln(val_loss) linear in features of the applied learning rate, of size and of horizon (a regression
like that of Opt-Laws; the features are those of `science.laws.schedule_features`).

Scored by hiding one family of schedules (`schedule_kind`) after another, the longest horizon and the largest size, and
by how it ranks the schedules and peak learning rates of one size and horizon. Left out: schedule_free and plateau,
whose learning rate is not all that is scheduled or not known before training, and batch paths, whose updates are of
several sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from glidepath.laws.law import DECLARED, SPANS_HORIZONS, Floats, LawTables, Settings, point_name
from glidepath.science.laws.schedule_features import (
    LR_FEATURES,
    MEMORIES,
    FeatureLaw,
    divergence_probability,
    f1,
    fit_divergence,
    fit_feature_law,
    lr_features,
)
from glidepath.study.final_losses import GROUP, open_to_fits

ALL = "all"
FAMILIES, LONGEST, LARGEST = "schedule families", "longest_horizon", "largest size"
LOSS, LINEAR, DIVERGENCE = "val_loss", "val_loss_without_squares", "divergence"
HIDDEN_FAMILY = "val_loss_hidden_family"
"""Quantity of the predictions: of every point by a law that has not seen its family."""
SIZES = ("n_params_counted", "token_horizon")
SIZE_AND_HORIZON = ("ln_parameters", "ln_tokens")
NAMES = (*LR_FEATURES, *SIZE_AND_HORIZON)
NOT_A_PATH = ("schedule_free", "plateau")
MIN_FAMILIES = 3
"""One is hidden, and among the others the ridge is chosen by hiding one."""
MIN_CANDIDATES = 3
"""Points of one size and horizon that a ranking needs."""
TOP = 2


@dataclass(frozen=True)
class Runs:
    """Runs of one batch with their features."""

    frame: pd.DataFrame
    features: Floats
    """[runs, features], columns as in `names`"""
    names: tuple[str, ...]

    @property
    def losses(self) -> Floats:
        return self.frame["val_loss"].to_numpy(np.float64)

    @property
    def point_names(self) -> list[str]:
        """A run is the best of one peak learning rate."""
        facts = self.frame[["token_horizon", "epochs", "peak_lr"]].to_numpy(np.float64, na_value=np.nan)
        groups = self.frame[GROUP].to_dict("records")
        return [point_name(group, d, epochs, [lr]) for group, (d, epochs, lr) in zip(groups, facts, strict=True)]

    @property
    def families(self) -> NDArray[np.int64]:
        return _labels(self.frame["family"])

    def of(self, which: NDArray[np.bool_]) -> Runs:
        return Runs(self.frame[which], self.features[which], self.names)

    def fit(self, groups: NDArray[np.int64], *, squares: bool | None = None) -> FeatureLaw:
        return fit_feature_law(self.features, self.losses, self.names, groups, squares=squares)

    def baseline(self) -> Callable[[Floats], Floats]:
        """What size and horizon alone say: least squares of ln L on ln N and ln D as far as they vary."""
        columns = [i for i, name in enumerate(self.names) if name in SIZE_AND_HORIZON]
        design = np.column_stack([np.ones(len(self.frame)), self.features[:, columns]])
        solution = np.linalg.lstsq(design, np.log(self.losses))[0]
        return lambda x: np.asarray(np.exp(np.column_stack([np.ones(len(x)), x[:, columns]]) @ solution))


def fit(found: dict[str, pd.DataFrame], settings: Settings) -> LawTables:
    """Fit `runs` and `updates`: one regression per batch, over all models, schedules, peak learning rates and horizons.

    Where the size of the updates is not known, batches are pooled.
    """
    runs, updates = found["runs"], found["updates"]
    out = LawTables(settings, "trunks")
    unseen = open_to_fits(runs, holdout=True)
    open_runs = open_to_fits(runs)
    for batch in sorted({int(b) for b in open_runs["batch_sequences"]}):
        cells = open_runs[open_runs["batch_sequences"] == batch]
        group = {"model": ALL, "schedule": ALL, "batch_sequences": batch}
        of_batch = runs[runs["batch_sequences"] == batch]
        table = _features(of_batch, updates)
        known = table.of(table.frame["cell_id"].isin(cells["cell_id"]).to_numpy())
        families = known.frame["family"].nunique()
        if families < MIN_FAMILIES or len(known.frame) < 2 * len(known.names):
            reason = (
                f"{len(known.frame)} runs of {families} families of schedules: {MIN_FAMILIES} families and "
                f"{2 * len(NAMES)} runs are needed"
            )
            out.parameter(group, SPANS_HORIZONS, "ridge_strength", np.nan, np.empty(0), len(known.frame), "failed")
            out.not_scored(group, FAMILIES, LOSS, reason)
            continue
        _score_families(out, group, known)
        # Tokens go with size; a log that does not tell the latter has only them.
        horizon = "tokens_per_parameter" if known.frame["tokens_per_parameter"].notna().all() else "token_horizon"
        _score_end(out, group, known, LONGEST, known.frame[horizon])
        _score_end(out, group, known, LARGEST, known.frame["n_params_counted"])
        law = known.fit(known.families)
        _score_declared(out, group, known, law, table.of(table.frame["cell_id"].isin(unseen["cell_id"]).to_numpy()))
        _parameters(out, group, known, law)
        _divergence(out, group, of_batch, table)
    return out


def _features(cells: pd.DataFrame, updates: pd.DataFrame) -> Runs:
    """Cells whose training is told by one applied learning rate, with the features that all of them have.

    Of a diverged cell it is that of a completed one of the same schedule, size and length, scaled to its peak.
    """
    paths = {str(cell): rows for cell, rows in updates[updates["cell_id"].isin(cells["cell_id"])].groupby("cell_id")}
    found: dict[Any, Floats] = {}
    for index, cell in cells.iterrows():
        if cell["schedule_kind"] in NOT_A_PATH:
            continue
        rows = paths.get(str(cell["cell_id"]))
        path = _whole_path(cell, cells, paths) if cell["status"] == "diverged" else _lr(rows)
        if path is not None and path.max() > 0:
            found[index] = path
    frame = cells.loc[list(found)]
    kinds = frame["schedule_kind"]
    frame = frame.assign(family=kinds.where(kinds.notna() & (kinds != ""), frame["schedule"]))
    middle = float(np.median([path.sum() for path in found.values()])) if found else 1.0
    of_lr = [
        lr_features(path, _warmup_steps(known, path), [m * middle for m in MEMORIES])
        for known, path in zip(frame["warmup_steps"], found.values(), strict=True)
    ]
    size = np.log([frame[name].astype("Float64").to_numpy(np.float64, na_value=np.nan) for name in SIZES]).T
    x = np.column_stack([np.array(of_lr).reshape(len(found), len(LR_FEATURES)), size])
    # A log that tells no size at all has none as a feature; a run that lacks what others have is left out.
    told = np.isfinite(x).any(0)
    whole = np.isfinite(x[:, told]).all(1)
    return Runs(frame[whole], x[whole][:, told], tuple(name for name, keep in zip(NAMES, told, strict=True) if keep))


def _lr(rows: pd.DataFrame | None) -> Floats | None:
    """Applied learning rate of every update; None if one is not known or updates differ in size."""
    if rows is None:
        return None
    rows = rows.sort_values("step")
    lr, batch = rows["lr"].to_numpy(np.float64), rows["batch_tokens"].dropna()
    return lr if np.isfinite(lr).all() and batch.nunique() <= 1 else None


def _whole_path(cell: pd.Series[Any], cells: pd.DataFrame, paths: dict[str, pd.DataFrame]) -> Floats | None:
    same = cells[
        (cells["status"] != "diverged")
        & (cells["model"] == cell["model"])
        & (cells["schedule"] == cell["schedule"])
        & (cells["total_steps"] == cell["total_steps"])
        & cells["cell_id"].isin(paths)
    ]
    if same.empty:
        return None
    other = same.iloc[0]
    path = _lr(paths[str(other["cell_id"])])
    return None if path is None else path * float(cell["peak_lr"] / other["peak_lr"])


def _warmup_steps(known: float | None, path: Floats) -> int:
    """As recorded, else up to the first update at the peak."""
    return int(np.argmax(path >= path.max() * (1 - 1e-9))) if known is None or pd.isna(known) else int(known)


def _families_hidden(known: Runs, level: float, *, squares: bool | None = None) -> tuple[Floats, Floats, Floats]:
    """Losses of all runs predicted by laws that have not seen their family, the ends of their intervals [2, n], and
    what size and horizon alone say."""
    n = len(known.frame)
    predicted, ends, baseline = np.empty(n), np.empty((2, n)), np.empty(n)
    for family in np.unique(known.families):
        away = known.families == family
        rest, there = known.of(~away), known.features[away]
        law = rest.fit(rest.families, squares=squares)
        predicted[away], ends[:, away] = law.predict(there), law.interval(there, level)
        baseline[away] = rest.baseline()(there)
    return predicted, _told(ends), baseline


def _told(ends: Floats) -> Floats:
    """An end at infinity is none."""
    return np.where(np.isfinite(ends) & (ends > 0), ends, np.nan)


def _score_families(out: LawTables, group: dict[str, Any], known: Runs) -> None:
    level = out.settings.ci_level
    predicted, (low, high), baseline = _families_hidden(known, level)
    out.score(group, FAMILIES, LOSS, predicted, known.losses, baseline, low=low, high=high, hidden=known.point_names)
    linear, _, _ = _families_hidden(known, level, squares=False)
    out.score(group, FAMILIES, LINEAR, linear, known.losses, baseline)
    points = known.frame.assign(predicted=predicted, low=low, high=high)
    keys = ["model", "schedule", "batch_sequences", "tokens_per_parameter", "peak_lr"]
    means = points.groupby(keys, as_index=False, dropna=False)[["predicted", "low", "high", "token_horizon"]].mean()
    for _, point in means.iterrows():
        out.predictions.append(
            {
                "model": point["model"],
                "schedule": point["schedule"],
                "batch_sequences": int(point["batch_sequences"]),
                "tokens_per_parameter": float(point["tokens_per_parameter"]),
                "x_name": "peak_lr",
                "x": float(point["peak_lr"]),
                "quantity": HIDDEN_FAMILY,
                "value": float(point["predicted"]),
                "ci_low": float(point["low"]),
                "ci_high": float(point["high"]),
                "ci_level": level,
                "extrapolated": False,
            }
        )
    _ranking(out, group, points)


def _ranking(out: LawTables, group: dict[str, Any], points: pd.DataFrame) -> None:
    """How the predictions order the schedules and peak learning rates of one size and horizon.

    A set is all points of one model and horizon. Size and horizon alone predict one loss for all of them, which is no
    order: beside the hit rate stands that of a choice by lot.
    """
    correlations, hits, by_lot, sizes = np.array(list(_ranked(points)), np.float64).reshape(-1, 4).T
    generator = np.random.default_rng(out.settings.seed)
    n = len(sizes)
    drawn = generator.integers(0, max(n, 1), (out.settings.n_bootstrap, n))
    for name, values in {
        "rank_correlation": correlations,
        f"top_{TOP}_hit_rate": hits,
        f"top_{TOP}_hit_rate_by_lot": by_lot,
        "candidates_per_set": sizes,
    }.items():
        value = float(values.mean()) if n else np.nan
        samples = values[drawn].mean(1) if n else np.empty(0)
        out.parameter(group, SPANS_HORIZONS, name, value, samples, n, "converged" if n > 1 else "not_identified")


def _ranked(points: pd.DataFrame) -> Iterator[tuple[float, float, float, float]]:
    """Of every set: rank correlation, whether the best is among the two predicted best, the chance of that by lot, and
    its candidates."""
    keys = ["model", "token_horizon"]
    means = points.groupby([*keys, "schedule", "peak_lr"], as_index=False, dropna=False)[["predicted", "val_loss"]]
    for _, candidates in means.mean().groupby(keys):
        n = len(candidates)
        if n < MIN_CANDIDATES:
            continue
        predicted, true = candidates["predicted"].to_numpy(), candidates["val_loss"].to_numpy()
        order = stats.rankdata(predicted), stats.rankdata(true)
        correlation = 0.0 if min(np.ptp(ranks) for ranks in order) == 0 else float(np.corrcoef(*order)[0, 1])
        yield correlation, float(true.argmin() in predicted.argsort()[:TOP]), TOP / n, float(n)


def _score_end(out: LawTables, group: dict[str, Any], known: Runs, holdout: str, along: pd.Series[Any]) -> None:
    """Hide the largest value of one axis; the ridge is chosen by hiding the others in turn."""
    values = along.to_numpy(np.float64, na_value=np.nan)
    steps = np.unique(values[np.isfinite(values)])
    if len(steps) < 3:
        out.not_scored(group, holdout, LOSS, f"{len(steps)} on this axis: three are needed to hide the last")
        return
    away = values == steps[-1]
    rest, there = known.of(~away), known.features[away]
    law = rest.fit(_labels(pd.Series(values[~away])))
    low, high = _told(law.interval(there, out.settings.ci_level))
    out.score(
        group, holdout, LOSS, law.predict(there), known.losses[away], rest.baseline()(there), low=low, high=high,
        hidden=known.of(away).point_names,
    )  # fmt: skip


def _score_declared(out: LawTables, group: dict[str, Any], known: Runs, law: FeatureLaw, unseen: Runs) -> None:
    if len(unseen.frame):
        x = unseen.features
        low, high = _told(law.interval(x, out.settings.ci_level))
        out.score(
            group, DECLARED, LOSS, law.predict(x), unseen.losses, known.baseline()(x), low=low, high=high,
            hidden=unseen.point_names,
        )  # fmt: skip


def _parameters(out: LawTables, group: dict[str, Any], known: Runs, law: FeatureLaw) -> None:
    """Coefficients per standard deviation of a feature. Single ones mean little: the features go together."""
    n, frame = len(known.frame), known.frame
    trunks = _labels(frame["trunk_id"].where(frame["trunk_id"].notna(), frame["cell_id"]))
    generator = np.random.default_rng(out.settings.seed)
    n_trunks = int(trunks.max()) + 1
    drawn = generator.multinomial(n_trunks, np.full(n_trunks, 1 / n_trunks), size=out.settings.n_bootstrap)
    samples = law.resampled(known.features, known.losses, drawn[:, trunks].astype(np.float64))
    out.parameter(group, SPANS_HORIZONS, "intercept", float(law.intercept), samples.intercept, n, "converged")
    for i, name in enumerate(law.names):
        value, of_samples = float(law.coefficients[i]), samples.coefficients[:, i]
        out.parameter(group, SPANS_HORIZONS, name, value, of_samples, n, "converged")
    for name in law.dropped:
        out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), n, "not_identified")
    chosen = np.full(out.settings.n_bootstrap, law.strength)
    out.parameter(group, SPANS_HORIZONS, "ridge_strength", law.strength, chosen, n, "converged")
    out.parameter(group, SPANS_HORIZONS, "squares", float(law.squares), chosen * 0 + law.squares, n, "converged")


def _divergence(out: LawTables, group: dict[str, Any], of_batch: pd.DataFrame, table: Runs) -> None:
    """F1 of divergence told from the features, a family hidden in turn, beside that of always expecting it."""
    diverged = (table.frame["status"] == "diverged").to_numpy()
    n_diverged = int((of_batch["status"] == "diverged").sum())
    if not diverged.any():
        reason = "no cell diverged: not measured"
        if n_diverged:
            reason = f"{n_diverged} cells diverged, none beside a completed one of its schedule, size and length"
        out.not_scored(group, FAMILIES, DIVERGENCE, reason)
        return
    families, expected = table.families, np.zeros(len(diverged), dtype=np.bool_)
    for family in np.unique(families):
        away = families == family
        rest = diverged[~away]
        if rest.any() and not rest.all():
            found = fit_divergence(table.features[~away], rest)
            expected[away] = divergence_probability(found, table.features[away]) > 0.5
        else:
            expected[away] = bool(rest.all())
    share = float(diverged.mean())
    for name, value in {
        "divergence_f1": f1(expected, diverged),
        "divergence_f1_if_always_expected": 2 * share / (1 + share),
        "diverged_share": share,
    }.items():
        out.parameter(group, SPANS_HORIZONS, name, value, np.full(1, np.nan), len(diverged), "converged")


def _labels(values: pd.Series[Any]) -> NDArray[np.int64]:
    return np.asarray(pd.factorize(values, sort=True)[0], dtype=np.int64)
