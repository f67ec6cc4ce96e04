"""Laws compared by what they missed on runs that were hidden from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.law import added
from glidepath.study import tables

GROUP = ["holdout", "model", "schedule", "batch_sequences"]
KINDS = (
    "declared",
    "longest horizon",
    "largest size",
    "rest of largest size",
    "most epochs",
    "schedule",
    "inner learning rates",
)
"""Kinds of what is hidden, as the first words that name one in `holdout`."""
OTHER = "other"
LOSSES = ("val_loss", "loss_curve_end", "loss_curve")
"""Quantities that are losses [nat/token]: final ones, at the end of a curve, along it."""


def holdout_kind(holdout: str) -> str:
    """The kind that a law's own name of what it hid begins with; underscores count as spaces."""
    words = holdout.replace("_", " ")
    return next((kind for kind in KINDS if words.startswith(kind)), OTHER)


def compared(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`law_comparison` from the scores of every law, by law.

    Errors are means over hidden points, not over groups. Laws are ranked by their error on the hidden points that all
    of those have predicted with which they share any, in whichever groups, or, where a law does not tell its points, in
    the same groups with as many of them: an error on other runs says nothing about which law is better.
    """
    rows: list[dict[str, Any]] = []
    for (quantity, kind), by_law in _by_kind(scores).items():
        ranked = _ranked({law: group[group["n_hidden"] > 0] for law, group in by_law.items()})
        for law, group in by_law.items():
            known = {"quantity": quantity, "holdout_kind": kind, "law": law}
            rows.append(known | _pooled(group) | ranked.get(law, {}))
    if not rows:
        return tables.empty(tables.LAW_COMPARISON)
    found = pd.DataFrame(rows, columns=tables.LAW_COMPARISON.names)
    for name in ("n_laws", "n_compared", "rank"):
        found[name] = found[name].astype("Int64")
    # Losses first, the final ones before all.
    found["place"] = [LOSSES.index(name) if name in LOSSES else len(LOSSES) for name in found["quantity"]]
    order = ["place", "quantity", "holdout_kind", "n_laws", "rank", "law"]
    found = found.sort_values(order, ascending=[True, True, True, False, True, True], kind="stable", na_position="last")
    return found[tables.LAW_COMPARISON.names].reset_index(drop=True)


def _by_kind(scores: Mapping[str, pd.DataFrame]) -> dict[tuple[str, str], dict[str, pd.DataFrame]]:
    """Scores by quantity and kind of what was hidden, then by law."""
    found: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    for law, of_law in scores.items():
        kinds = of_law["holdout"].map(holdout_kind)
        for (quantity, kind), group in of_law.groupby([of_law["quantity"], kinds], sort=True):
            found.setdefault((str(quantity), str(kind)), {})[law] = group
    return found


def _ranked(scored: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """n_laws, n_compared, compared_error and rank of every law that has a score."""
    predicted = {law: _Predicted.of(group) for law, group in scored.items() if len(group)}
    sets: list[list[str]] = []
    for law in sorted(predicted, key=lambda law: -len(predicted[law].groups)):
        mine = next((laws for laws in sets if _common([predicted[other] for other in (*laws, law)])), None)
        if mine is None:
            sets.append([law])
        else:
            mine.append(law)
    ranked: dict[str, dict[str, Any]] = {}
    for laws in sets:
        errors = dict(zip(laws, _common([predicted[law] for law in laws]), strict=True))
        for law, (n_points, error) in errors.items():
            rank = None if np.isnan(error) else 1 + sum(other < error for _, other in errors.values())
            ranked[law] = {"n_laws": len(laws), "n_compared": n_points, "compared_error": error, "rank": rank}
    return ranked


@dataclass(frozen=True)
class _Predicted:
    """What a law has predicted of what was hidden from it: points and their mean error, by name of the points."""

    groups: dict[str, tuple[int, float]]
    whole: str
    """Name of all points together, which a law with other groups may have predicted too."""

    @classmethod
    def of(cls, scored: pd.DataFrame) -> _Predicted:
        groups = {}
        for row in scored.to_dict("records"):
            told = row["hidden"] if pd.notna(row["hidden"]) else str([row[name] for name in (*GROUP, "n_hidden")])
            groups[str(told)] = int(row["n_hidden"]), float(row["mean_absolute_error"])
        told = scored["hidden"].notna().all()
        return cls(groups, added(scored["hidden"]) if told else str(sorted(groups)))


def _common(several: Sequence[_Predicted]) -> list[tuple[int, float]]:
    """Points that all of them have predicted, and the mean error of each on these; empty if there are none."""
    if len({one.whole for one in several}) == 1:
        return [_mean_error(one.groups.values()) for one in several]
    common = set.intersection(*(set(one.groups) for one in several))
    return [_mean_error([one.groups[name] for name in sorted(common)]) for one in several] if common else []


def _mean_error(groups: Collection[tuple[int, float]]) -> tuple[int, float]:
    n_points = sum(count for count, _ in groups)
    return n_points, sum(count * error for count, error in groups) / n_points


def _pooled(group: pd.DataFrame) -> dict[str, Any]:
    """Errors over all hidden points of a law's groups."""
    scored, silent = group[group["n_hidden"] > 0], group[group["n_hidden"] == 0]
    pooled: dict[str, Any] = {
        name: _mean(scored[name], scored["n_hidden"])
        for name in ("mean_absolute_error", "mean_relative_error", "baseline_mean_absolute_error")
    }
    told = scored[scored["covered"].notna()]
    baseline = pooled["baseline_mean_absolute_error"]
    return pooled | {
        "n_groups": len(scored),
        "n_hidden": int(scored["n_hidden"].sum()),
        "worst_relative_error": float(scored["worst_relative_error"].max()) if len(scored) else np.nan,
        "skill": 1 - pooled["mean_absolute_error"] / baseline if baseline > 0 else np.nan,
        "covered": _mean(told["covered"], told["n_hidden"]),
        "ci_level": float(group["ci_level"].iloc[0]),
        "n_not_scored": len(silent),
        "reason": str(silent["status"].iloc[0]) if len(silent) else "",
    }


def _mean(values: pd.Series[Any], counts: pd.Series[Any]) -> float:
    """Mean over points of values of groups; NaN without groups or where one of them is unknown."""
    return float((values * counts).sum(skipna=False) / counts.sum()) if len(values) else np.nan
