"""What a batch that grows saves against a fixed one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures.text import learning_rate
from glidepath.report.answer import Evidence, Tables, Target, rows, where
from glidepath.report.finding import Finding
from glidepath.report.numbers import difference, percent_of, signed

BATCH_SAVING = "batch_saving"
KEY = ("schedule", "model", "tokens_per_parameter", "batch_sequences", "lr_choice", "peak_lr", "at")
RESOLVED = ("saves tokens", "costs tokens")
CAVEAT = (
    "What a batch path saves is read off the curves of runs of one horizon: a run planned for fewer tokens would have "
    "decayed by then."
)


def path(tables: Tables, target: Target) -> Finding | None:
    """Each path and its fixed batch at their best learning rates, at the longest horizon; None without a pair."""
    found = tables.get(BATCH_SAVING, pd.DataFrame(columns=list(KEY)))
    found = where(found, at="end")
    own = where(found, model=target.model)
    found = own if len(own) else found
    if found.empty:
        return None
    each_at_its_best = where(found, lr_choice="best")
    found = each_at_its_best if len(each_at_its_best) else found
    best = found[found["tokens_per_parameter"] == found["tokens_per_parameter"].max()]
    best = best.sort_values("tokens_saved_fraction", ascending=False, kind="stable")
    resolved = best[best["status"].isin(RESOLVED)]
    replicates = int(best["n_replicates"].min())
    at_edge = best.loc[best["edge_of_grid"], "schedule"].unique()
    edge = (
        f"The best peak learning rate of {', '.join(at_edge)} or of the fixed batch lies at the edge of its grid: the "
        "saving may not be that of each at its best."
    )
    return Finding(
        f"At {best['tokens_per_parameter'].iloc[0]:g} tokens per parameter "
        + "; ".join(_sentence(paths) for _, paths in best.groupby("fixed_schedule", sort=False))
        + ".",
        "resolved" if len(resolved) else "not resolved",
        f"Savings of batch paths rest on {replicates} paired replicates."
        if replicates > 1
        else "The batch path has one replicate: its saving has no interval.",
        tuple(_evidence(row) for _, row in found.iterrows()),
        (CAVEAT, edge) if len(at_edge) else (CAVEAT,),
    )


def _sentence(paths: pd.DataFrame) -> str:
    """All paths of one fixed batch, each at the higher of the two final losses."""
    return f"against {paths['fixed_schedule'].iloc[0]}, to the same loss, " + ", ".join(
        f"{row['schedule']} takes {_tokens(row)} and {percent_of(-float(row['updates_saved_fraction']), 0.01)} updates"
        for _, row in paths.iterrows()
    )


def _tokens(row: pd.Series[Any]) -> str:
    """−8.1 % [−10.9, −5.2] tokens: what a path takes more or less."""
    value, low, high = (-100 * float(row[f"tokens_saved_fraction{end}"]) for end in ("", "_high", "_low"))
    if not np.isfinite(low):
        return f"{signed(value, 1)} % tokens (no interval)"
    resolved = "" if row["status"] in RESOLVED else ", not resolved,"
    return f"{signed(value, 1)} % tokens [{signed(low, 1)}, {signed(high, 1)}]{resolved}"


def _evidence(row: pd.Series[Any]) -> Evidence:
    rate = (
        f"peak {learning_rate(row['peak_lr'])}"
        if row["lr_choice"] == "equal"
        else f"each at its best peak, {learning_rate(row['peak_lr'])} and {learning_rate(row['fixed_peak_lr'])}"
    )
    key = {name: row[name] if isinstance(row[name], str) else float(row[name]) for name in KEY}
    seconds = float(row["seconds_saved_fraction"])
    machine = f", {percent_of(-seconds, 0.01)} of this machine's time" if np.isfinite(seconds) else ""
    return Evidence(
        f"{row['schedule']} against {row['fixed_schedule']}, {row['tokens_per_parameter']:g} tokens per parameter, "
        f"{rate}: {percent_of(-float(row['tokens_saved_fraction']), 0.01)} tokens to the same loss{machine}; at equal "
        f"tokens {difference(float(row['loss_difference']), float(row['loss_difference_se']))} nat/token.",
        (rows(BATCH_SAVING, **key),),
    )
