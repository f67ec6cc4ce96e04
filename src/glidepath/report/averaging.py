"""Question 4: does averaging replace a decay, and what is a stable-phase checkpoint worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures.text import learning_rate
from glidepath.report.answer import Answer, Evidence, Rows, Sure, Tables, Target, beyond, rows, where
from glidepath.report.numbers import difference, estimate, percent_of

QUESTION = "Does averaging checkpoints replace a decay, and what is my stable-phase checkpoint worth?"
TWO_SIDED_95 = 1.96


def answer(tables: Tables, target: Target) -> Answer:
    """The best average at the longest horizon and the best learning rate of the averaged trunks."""
    averages = tables["averages"].merge(
        tables["runs"][
            [
                "cell_id",
                "model",
                "schedule",
                "peak_lr",
                "tokens_per_parameter",
                "batch_sequences",
                "replicate",
            ]
        ],
        on="cell_id",
    )
    averages = averages[averages["val_loss_averaged"].notna()]
    if averages.empty:
        return Answer(
            4,
            QUESTION,
            "Not measured: no checkpoints were averaged.",
            "not measured",
            "Add an `averaging` section to the study.",
        )
    if len(where(averages, model=target.model)):
        averages = where(averages, model=target.model)
    paired = averages[averages["gap_to_cooldown"].notna()]
    pool = paired if len(paired) else averages
    pool = pool[pool["tokens_per_parameter"] == pool["tokens_per_parameter"].max()]
    points = pool.groupby(
        [
            "schedule",
            "peak_lr",
            "averaging_scheme",
            "window_fraction",
            "ema_timescale_fraction",
            "tokens_per_parameter",
        ],
        as_index=False,
    ).agg(
        averaged=("val_loss_averaged", "mean"),
        gain=("gain", "mean"),
        gain_se=("gain_sem", _error_of_mean),
        gap=("gap_to_cooldown", "mean"),
        gap_se=("gap_to_cooldown_sem", _error_of_mean),
        gap_sd=("gap_to_cooldown", "std"),
        closed=("closed_fraction", "mean"),
        n=("gain", "size"),
    )
    # Trunks are replicates: what they differ by adds to the error over validation blocks.
    points["gap_se"] = np.hypot(points["gap_se"], (points["gap_sd"] / np.sqrt(points["n"])).fillna(0.0))
    best = points.sort_values("averaged", kind="stable").iloc[0]
    cells = pool[(pool["peak_lr"] == best["peak_lr"]) & (pool["schedule"] == best["schedule"])]
    longest = float(best["tokens_per_parameter"])
    setting = _setting(best)
    gain = difference(-best["gain"], best["gain_se"])
    evidence = [
        Evidence(
            f"Averaging changes the loss of the {best['schedule']} trunk at peak "
            f"{learning_rate(best['peak_lr'])} and {longest:g} tokens per parameter by {gain} nat/token "
            f"({setting}): what the stable-phase checkpoint gains without any decay.",
            (_rows(cells, best),),
        )
    ]
    caveats = [
        *beyond(longest, target),
        "The best of the tried averages was chosen on the blocks it is scored on; with so few settings "
        "this flatters it little.",
    ]
    if best["n"] == 1:
        caveats.append("One trunk only: what another seed would change is not in the error.")
    if not np.isfinite(best["gap"]):
        headline = f"Averaging changes the loss by {gain} nat/token; whether it replaces a decay is not measured."
        return Answer(
            4,
            QUESTION,
            headline,
            "not measured",
            "No cooldown of the same trunk was trained: add a wsd schedule to the grid.",
            tuple(evidence),
            tuple(caveats),
        )
    evidence.append(
        Evidence(
            "Against the best real cooldown of the same trunk at equal tokens: "
            f"{difference(best['gap'], best['gap_se'])} nat/token ({int(best['n'])} "
            f"trunk{'s' if best['n'] != 1 else ''}).",
            (_rows(cells, best),),
        )
    )
    half = TWO_SIDED_95 * float(best["gap_se"])
    gap = float(best["gap"])
    to_cooldown = f"{estimate(abs(gap), best['gap_se'])} nat/token"
    closed = percent_of(best["closed"], 0.1).lstrip("+")
    share = f"It closes {closed} of the gap from the raw weights to the cooldown."
    sure: Sure
    if gap > half:
        headline = f"No: the best average stays above a real decay, by {to_cooldown}. {share}"
        sure, why = "resolved", "The 95 % interval of the gap lies above zero."
    elif gap < -half:
        headline = f"Yes: the best average is below a real decay, by {to_cooldown}. {share}"
        sure, why = "resolved", "The 95 % interval of the gap lies below zero."
    else:
        headline = f"Not resolved: the best average differs from a real decay by {to_cooldown}. {share}"
        sure, why = "not resolved", "The 95 % interval of the gap includes zero."
    if sure == "resolved" and beyond(longest, target):
        sure, why = "extrapolated", f"Resolved at {longest:g}, not measured at the target's horizon. {why}"
    return Answer(
        4,
        QUESTION,
        headline,
        sure,
        f"{why} Errors are over validation blocks{' and trunks' if best['n'] > 1 else ''}.",
        tuple(evidence),
        tuple(caveats),
    )


def _error_of_mean(errors: pd.Series[float]) -> float:
    return float(np.sqrt(np.sum(np.square(errors))) / len(errors))


def _setting(best: pd.Series[Any]) -> str:
    if best["averaging_scheme"] == "window":
        return f"uniform window over the last {100 * best['window_fraction']:.3g} % of the horizon"
    return f"EMA with a memory of {100 * best['ema_timescale_fraction']:.3g} % of the horizon"


def _rows(cells: pd.DataFrame, best: pd.Series[Any]) -> Rows:
    return rows(
        "averages",
        cell_id=sorted(cells["cell_id"].unique()),
        averaging_scheme=str(best["averaging_scheme"]),
        window_fraction=float(best["window_fraction"]),
        ema_timescale_fraction=float(best["ema_timescale_fraction"]),
    )
