"""How much further the raw weights must train to be as good as an average: evidence for its worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures.text import compact, scientific, time_unit
from glidepath.report.answer import Condition, Evidence, Tables, rows, where
from glidepath.study.averaging_config import BEST_WINDOW

STEPS_SAVED = "steps_saved"


def saved(tables: Tables, cells: pd.DataFrame, average: str) -> Iterator[Evidence]:
    """At the last point whose loss the raw weights still reach; `cells` are rows of averages of one trajectory. For
    best_window that of the windows which is best at the end."""
    one = cells.iloc[0]
    key: dict[str, Condition] = {
        "model": str(one["model"]),
        "schedule": str(one["schedule"]),
        "peak_lr": float(one["peak_lr"]),
        "batch_sequences": int(one["batch_sequences"]),
    }
    found = where(tables[STEPS_SAVED], **key)
    if average == BEST_WINDOW:
        windows = sorted(cells.loc[cells["averaging_scheme"] == "window", "average"].unique())
        found = where(found, average=windows)
    else:
        found = where(found, average=average)
    if found.empty:
        return
    last = found[found["updates_done"] == found["updates_done"].max()]
    key["average"] = str(last.sort_values("val_loss_averaged", kind="stable")["average"].iloc[0])
    found = where(found, average=key["average"]).sort_values("updates_done")
    reached = found[found["status"] == "reached"]
    if len(reached):
        row = reached.iloc[-1]
        yield Evidence(_reached(row), (rows(STEPS_SAVED, **key, updates_done=int(row["updates_done"])),))
    open_ended = found[(found["status"] == "beyond") & (found["tokens_saved"] > 0)]
    if len(open_ended):
        row = open_ended.sort_values("tokens_saved").iloc[-1]
        yield Evidence(
            f"{row['average']} after {compact(row['tokens_seen'])} tokens: the raw weights do not get there before the "
            f"end of training, so it saves at least {compact(row['tokens_saved'])} tokens {_interval(row)}.",
            (rows(STEPS_SAVED, **key, updates_done=int(row["updates_done"])),),
        )
    if not len(reached) and not len(open_ended):
        yield Evidence(
            f"{key['average']} saves no training at any point before the end: it is not below the raw weights.",
            (rows(STEPS_SAVED, **key),),
        )


def _reached(row: pd.Series[Any]) -> str:
    costs = [f"{compact(round(row['updates_saved']))} updates", f"{scientific(row['flops_saved'])} FLOP"]
    if np.isfinite(row["hours_saved"]):
        seconds = 3600.0 * float(row["hours_saved"])
        unit, name = time_unit(seconds)
        costs.append(f"{seconds / unit:.2g} {name}")
    return (
        f"{row['average']} after {compact(row['tokens_seen'])} tokens is as good as the raw weights are after "
        f"{compact(row['reached_tokens'])}: it saves {compact(row['tokens_saved'])} tokens {_interval(row)} "
        f"({', '.join(costs)})."
    )


def _interval(row: pd.Series[Any]) -> str:
    low, high = float(row["tokens_saved_low"]), float(row["tokens_saved_high"])
    if not np.isfinite(low):
        return "[interval not identified]"
    return f"[{compact(low)}, {compact(high) if np.isfinite(high) else 'beyond the end of training'}]"
