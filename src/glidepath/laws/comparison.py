"""Laws compared by what they missed on runs that were hidden from them."""

from __future__ import annotations

from collections.abc import Mapping
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

    Errors are means over hidden points, not over groups. Laws are ranked only against those that were scored on the
    same hidden points, in whichever groups, or, where a law does not tell them, on the same groups with as many hidden
    points in each: an error on other runs says nothing about which law is better.
    """
    rows: list[dict[str, Any]] = []
    hidden: list[str] = []
    for law, of_law in scores.items():
        of_law = of_law.assign(kind=of_law["holdout"].map(holdout_kind))
        for (quantity, kind), group in of_law.groupby(["quantity", "kind"], sort=True):
            rows.append({"quantity": quantity, "holdout_kind": kind, "law": law} | _pooled(group))
            scored = group[group["n_hidden"] > 0]
            if scored["hidden"].notna().all():
                hidden.append(f"{scored['n_hidden'].sum()} points {added(scored['hidden'])}")
            else:
                keys = scored[[*GROUP, "n_hidden"]].itertuples(index=False, name=None)
                hidden.append(f"groups {sorted(map(str, keys))}")
    if not rows:
        return tables.empty(tables.LAW_COMPARISON)
    found = pd.DataFrame(rows)
    found["hidden"] = hidden
    same = found[found["n_hidden"] > 0].groupby(["quantity", "holdout_kind", "hidden"])["mean_absolute_error"]
    found["n_laws"] = same.transform("size").astype("Int64")
    found["rank"] = same.rank(method="min").astype("Int64")
    # Losses first, the final ones before all.
    found["place"] = [LOSSES.index(name) if name in LOSSES else len(LOSSES) for name in found["quantity"]]
    order = ["place", "quantity", "holdout_kind", "n_laws", "rank", "law"]
    found = found.sort_values(order, ascending=[True, True, True, False, True, True], kind="stable", na_position="last")
    return found[tables.LAW_COMPARISON.names].reset_index(drop=True)


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
