"""Question 2: which peak learning rate at a horizon that was not tuned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from glidepath.figures.laws import LR_EXPONENT, OPTIMAL_PEAK_LR
from glidepath.report.answer import (
    Answer,
    Condition,
    Evidence,
    Sure,
    Tables,
    Target,
    group_for,
    interpolate,
    level_words,
    rows,
    score_sentence,
    stand_in,
    where,
)
from glidepath.report.numbers import interval, rate_interval

QUESTION = "Which peak learning rate at that horizon, when I can only afford to tune at shorter ones?"
LR_OPTIMUM, LR_HORIZON = "laws/lr_optimum", "laws/lr_horizon"


def answer(tables: Tables, target: Target) -> Answer:
    """The law's optimum at the target's horizon, and what it rests on."""
    optima = where(tables[f"{LR_OPTIMUM}/parameters"], parameter=OPTIMAL_PEAK_LR, schedule=target.schedule)
    optima = optima[optima["value"].notna()]
    law = where(
        tables[f"{LR_HORIZON}/predictions"],
        quantity="peak_lr",
        x_name="token_horizon",
        schedule=target.schedule,
    )
    law = law[law["value"].notna()]
    group = group_for(law if len(law) else optima, target)
    if group is None:
        return Answer(
            2,
            QUESTION,
            f"Not measured: {target.schedule} has no optimal peak learning rate at any horizon.",
            "not measured",
            "A parabola needs at least three peak learning rates around the best one.",
        )
    model, batch = group
    ours = where(optima, model=model, batch_sequences=batch).sort_values("tokens_per_parameter")
    grid = where(law, model=model, batch_sequences=batch)
    found = interpolate(grid, target.token_horizon)
    evidence = [*_optima(ours, target.schedule), *_exponent(tables, group, target)]
    if found is None:
        return _without_law(ours, tuple(evidence), group, target)
    level = float(grid["ci_level"].iloc[0])
    headline = (
        f"Peak {rate_interval(*found)} ({level_words(level)}) for {target.schedule} at "
        f"{target.tokens_per_parameter:g} tokens per parameter."
    )
    score = score_sentence(
        where(tables[f"{LR_HORIZON}/scores"], model=model, schedule=target.schedule, batch_sequences=batch),
        "the optimal peak",
        "",
    )
    if score:
        evidence.append(
            Evidence(
                score,
                (rows(f"{LR_HORIZON}/scores", model=model, schedule=target.schedule, batch_sequences=batch),),
            )
        )
    nearest = grid.iloc[int(np.argmin(np.abs(np.log(grid["x"] / target.token_horizon))))]
    evidence.insert(
        0,
        Evidence(
            f"The law at {target.token_horizon:,} tokens: {rate_interval(*found)}.",
            (
                rows(
                    f"{LR_HORIZON}/predictions",
                    model=model,
                    schedule=target.schedule,
                    batch_sequences=batch,
                    quantity="peak_lr",
                ),
            ),
        ),
    )
    known = np.isfinite(found[1]) and np.isfinite(found[2])
    sure: Sure = (
        "not resolved" if not known else "extrapolated" if bool(nearest["extrapolated"]) else "resolved"
    )
    longest = float(ours["tokens_per_parameter"].max()) if len(ours) else np.nan
    why = {
        "not resolved": "The law has no interval here: too few horizons to say how far off it may be.",
        "extrapolated": f"Extrapolated by a power law from horizons up to {longest:g} tokens per parameter.",
        "resolved": "Within the horizons that were tuned.",
    }[sure]
    return Answer(
        2, QUESTION, headline, sure, why, tuple(evidence), (*stand_in(group, target), *_edges(ours))
    )


def _without_law(
    ours: pd.DataFrame, evidence: tuple[Evidence, ...], group: tuple[str, int], target: Target
) -> Answer:
    """The optimum at the nearest tuned horizon, said to be that and no more."""
    distance = np.abs(np.log(ours["tokens_per_parameter"] / target.tokens_per_parameter))
    row = ours.iloc[int(np.argmin(distance))] if len(ours) else None
    if row is None:
        return Answer(
            2, QUESTION, "Not measured.", "not measured", "There is neither a law nor an optimum.", evidence
        )
    at = float(row["tokens_per_parameter"])
    same = abs(at / target.tokens_per_parameter - 1) < 1e-3
    text = rate_interval(row["value"], row["ci_low"], row["ci_high"])
    known = np.isfinite(row["ci_low"]) and np.isfinite(row["ci_high"])
    return Answer(
        2,
        QUESTION,
        f"Peak {text} for {target.schedule} at {at:g} tokens per parameter"
        + (
            "."
            if same
            else f"; not resolved at {target.tokens_per_parameter:g}: there is no law in the horizon."
        ),
        "resolved" if same and known else "not resolved",
        "Tuned at this horizon." if same else "A law needs optima at two horizons or more.",
        evidence,
        (*stand_in(group, target), *_edges(ours)),
    )


def _optima(ours: pd.DataFrame, schedule: str) -> Iterator[Evidence]:
    for _, row in ours.iterrows():
        status = "" if row["status"] == "converged" else f" ({str(row['status']).replace('_', ' ')})"
        yield Evidence(
            f"Tuned at {row['tokens_per_parameter']:g} tokens per parameter: "
            f"{rate_interval(row['value'], row['ci_low'], row['ci_high'])}{status}, from "
            f"{int(row['n_points'])} cells.",
            (
                rows(
                    f"{LR_OPTIMUM}/parameters",
                    model=str(row["model"]),
                    schedule=schedule,
                    batch_sequences=int(row["batch_sequences"]),
                    tokens_per_parameter=float(row["tokens_per_parameter"]),
                    parameter=OPTIMAL_PEAK_LR,
                ),
            ),
        )


def _exponent(tables: Tables, group: tuple[str, int], target: Target) -> Iterator[Evidence]:
    conditions: dict[str, Condition] = {
        "model": group[0],
        "schedule": target.schedule,
        "batch_sequences": group[1],
        "parameter": LR_EXPONENT,
    }
    for _, row in where(tables[f"{LR_HORIZON}/parameters"], **conditions).iterrows():
        yield Evidence(
            "The optimal peak falls as horizon^(−b) with b = "
            f"{interval(row['value'], row['ci_low'], row['ci_high'])}: a factor {2 ** -row['value']:.2f} "
            "per doubling. Bjorck et al. found b = 0.32 from 760M parameters on and 0.65 to 0.70 below "
            "125M.",
            (rows(f"{LR_HORIZON}/parameters", **conditions),),
        )


def _edges(ours: pd.DataFrame) -> tuple[str, ...]:
    doubtful = ours[ours["status"] != "converged"]
    if doubtful.empty:
        return ()
    listed = "; ".join(
        f"{row['tokens_per_parameter']:g}: {str(row['status']).replace('_', ' ')}"
        for _, row in doubtful.iterrows()
    )
    return (f"Optima that did not converge, by tokens per parameter: {listed}. Widen `peak_lrs` there.",)
