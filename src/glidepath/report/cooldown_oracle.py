"""What the stable-phase checkpoint would be worth after a cooldown, as predicted from its snapshots: evidence with the
error that such predictions have shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures.text import compact
from glidepath.figures.text import interval as interval_words
from glidepath.report.answer import Condition, Evidence, Rows, Tables, rows, where
from glidepath.report.numbers import interval, percent_of

ORACLE, SCORES = "cooldown_oracle", "cooldown_oracle_scores"
OUT_OF_SAMPLE = "leave_one_trunk_out"
NAIVE = {"averaged": "for taking the averaged loss as it is", "mean_drop": "for the mean drop of all cooldowns"}


def oracle(tables: Tables, cells: pd.DataFrame) -> Iterator[Evidence]:
    """How well it predicts, and what it predicts for the last checkpoint of the first of these trunks; `cells` are rows
    of averages of one trajectory."""
    yield from _error(tables[SCORES])
    one = cells.sort_values("replicate", kind="stable").iloc[0]
    trunk: dict[str, Condition] = {
        name: one[name].item() if isinstance(one[name], np.generic) else one[name]
        for name in ("model", "peak_lr", "batch_sequences", "replicate")
    }
    yield from _prediction(where(tables[ORACLE], **trunk))


def _error(scores: pd.DataFrame) -> Iterator[Evidence]:
    known = where(scores, validation=OUT_OF_SAMPLE)
    known = known[known["rmse"].notna()].sort_values("rmse", kind="stable")
    errors = {str(name): float(rmse) for name, rmse in zip(known["predictor"], known["rmse"], strict=True)}
    if "oracle" not in errors:
        return
    own = known[known["predictor"] == "oracle"].iloc[0]
    against = [f"{errors[name]:.2g} {words}" for name, words in NAIVE.items() if name in errors]
    said = (
        "From its snapshots alone, the loss after a cooldown was predicted with a root mean square error of "
        f"{errors['oracle']:.2g} nat/token on {int(own['n_cooldowns'])} real cooldowns of {int(own['n_trunks'])} "
        "trunks, each predicted without its own trunk"
    )
    said += f", against {' and '.join(against)}" if against else ""
    if pd.notna(own["coverage_90"]):
        said += f"; its 90 % interval held {percent_of(own['coverage_90'], 0.1).lstrip('+')} of them"
    best = next(iter(errors))
    said += "." if best == "oracle" else f". The simpler predictor {best} has the smaller error."
    yield Evidence(said, (rows(SCORES, validation=OUT_OF_SAMPLE),))


def _prediction(found: pd.DataFrame) -> Iterator[Evidence]:
    """The last point that is predicted, of every cooldown that the study trained; the reason if none is."""
    if found.empty:
        return
    usable = found[found["status"] != "refused"]
    if usable.empty:
        row = found.sort_values("updates_done").iloc[-1]
        yield Evidence(
            f"The cooldown oracle predicts nothing for this trunk. {row['schedule']} after "
            f"{compact(row['tokens_seen'])} tokens is refused: {row['reason']}.",
            (_row(row),),
        )
    for _, of_schedule in usable.groupby("schedule", sort=True):
        row = of_schedule.sort_values("updates_done").iloc[-1]
        trained = (
            f"; trained, it came to {row['val_loss_cooldown']:.4g}, of which the prediction knew nothing"
            if row["status"] == "held_out"
            else ""
        )
        level = f" ({interval_words(row['ci_level'])})" if pd.notna(row["ci_low"]) else ""
        predicted = interval(row["val_loss_predicted"], row["ci_low"], row["ci_high"]).replace(" [", " nat/token [")
        yield Evidence(
            f"Predicted for the checkpoint after {compact(row['tokens_seen'])} tokens (raw "
            f"{row['val_loss_raw']:.4g} nat/token) after the cooldown {row['schedule']} up to "
            f"{compact(row['end_tokens'])} tokens: {predicted}{level}{trained}.",
            (_row(row),),
        )


def _row(row: pd.Series[Any]) -> Rows:
    return rows(
        ORACLE, cell_id=str(row["cell_id"]), updates_done=int(row["updates_done"]), schedule=str(row["schedule"])
    )
