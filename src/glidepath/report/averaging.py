"""Question 4: does averaging replace a decay, and what is a stable-phase checkpoint worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures.text import learning_rate
from glidepath.laws.averaging import at_cell_ends, half_width, replicate_means
from glidepath.report.answer import Answer, Evidence, Rows, Sure, Tables, Target, beyond, rows, where
from glidepath.report.numbers import difference, estimate, percent_of

QUESTION = "Does averaging checkpoints replace a decay, and what is my stable-phase checkpoint worth?"


def answer(tables: Tables, target: Target) -> Answer:
    """The best average at the longest horizon and the best learning rate of the averaged trunks."""
    averages = _averages(tables, target)
    if averages.empty:
        return Answer(
            4,
            QUESTION,
            "Not measured: no checkpoints were averaged.",
            "not measured",
            "Add an `averaging` section to the study.",
        )
    best = replicate_means(averages).sort_values("averaged", kind="stable").iloc[0]
    cells = where(averages, schedule=str(best["schedule"]), peak_lr=float(best["peak_lr"]))
    longest = float(best["tokens_per_parameter"])
    gain = difference(-best["gain"], best["gain_se"])
    evidence = [
        Evidence(
            f"Averaging changes the loss of the {best['schedule']} trunk at peak {learning_rate(best['peak_lr'])} and "
            f"{longest:g} tokens per parameter by {gain} nat/token ({_setting(best)}): what the stable-phase "
            "checkpoint gains without any decay.",
            (_rows(cells, best),),
        )
    ]
    caveats = [
        *beyond(longest, target),
        "The best of the tried averages was chosen on the blocks it is scored on; with so few settings this flatters "
        "it little.",
    ]
    if best["n"] == 1:
        caveats.append("One trunk only: what another seed would change is not in the error.")
    if not np.isfinite(best["gap"]):
        return Answer(
            4,
            QUESTION,
            f"Averaging changes the loss by {gain} nat/token; whether it replaces a decay is not measured.",
            "not measured",
            "No cooldown of the same trunk was trained: add a wsd schedule to the grid.",
            tuple(evidence),
            tuple(caveats),
        )
    trunks = "1 trunk" if best["n"] == 1 else f"{int(best['n'])} trunks"
    evidence.append(
        Evidence(
            "Against the best real cooldown of the same trunk at equal tokens: "
            f"{difference(best['gap'], best['gap_se'])} nat/token ({trunks}).",
            (_rows(cells, best),),
        )
    )
    headline, sure, why = _verdict(best, target.recommended.peak_lr.ci_level)
    if sure == "resolved" and beyond(longest, target):
        sure, why = "extrapolated", f"Resolved at {longest:g}, not measured at the target's horizon. {why}"
    degrees = f"{best['gap_degrees_of_freedom']:.0f} degrees of freedom"
    why += f" Errors: replicates, pooled with {degrees}, and validation blocks."
    return Answer(4, QUESTION, headline, sure, why, tuple(evidence), tuple(caveats))


def _averages(tables: Tables, target: Target) -> pd.DataFrame:
    """Averages at the longest horizon: of the target's model, and of trunks with a cooldown, where there are any."""
    averages = at_cell_ends(tables["averages"], tables["runs"])
    own = where(averages, model=target.model)
    averages = own if len(own) else averages
    with_cooldown = averages[averages["gap_to_cooldown"].notna()]
    averages = with_cooldown if len(with_cooldown) else averages
    return where(averages, tokens_per_parameter=float(averages["tokens_per_parameter"].max()))


def _verdict(best: pd.Series[Any], level: float) -> tuple[str, Sure, str]:
    """Headline, how sure, and why."""
    gap, half = float(best["gap"]), half_width(best["gap_se"], int(best["gap_degrees_of_freedom"]), level)
    to_cooldown = f"{estimate(abs(gap), best['gap_se'])} nat/token"
    closed = percent_of(best["closed"], 0.1).lstrip("+")
    share = f"It closes {closed} of the gap from the raw weights to the cooldown."
    name = f"{100 * level:.3g} % interval of the gap"
    if gap > half:
        return (
            f"No: the best average stays above a real decay, by {to_cooldown}. {share}",
            "resolved",
            f"The {name} lies above zero.",
        )
    if gap < -half:
        return (
            f"Yes: the best average is below a real decay, by {to_cooldown}. {share}",
            "resolved",
            f"The {name} lies below zero.",
        )
    return (
        f"Not resolved: the best average differs from a real decay by {to_cooldown}. {share}",
        "not resolved",
        f"The {name} includes zero."
        if np.isfinite(half)
        else "Without replicates there is no interval: add replicates.",
    )


def _setting(best: pd.Series[Any]) -> str:
    return (
        f"{best['average']}: {best['window_checkpoints']:.0f} snapshots over the last "
        f"{100 * best['window_fraction']:.2g} % of the horizon"
    )


def _rows(cells: pd.DataFrame, best: pd.Series[Any]) -> Rows:
    return rows("averages", cell_id=sorted(cells["cell_id"].unique()), average=str(best["average"]), at_end=True)
