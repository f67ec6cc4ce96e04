"""Question 2: which peak learning rate at a horizon that was not tuned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from glidepath.figures.laws import LR_EXPONENT, OPTIMAL_PEAK_LR
from glidepath.figures.text import compact
from glidepath.figures.text import interval as interval_words
from glidepath.report.answer import (
    Answer,
    Condition,
    Evidence,
    Tables,
    Target,
    ends,
    rows,
    score_sentence,
    source_rows,
    stand_in,
    sure_of,
    where,
)
from glidepath.report.numbers import interval, rate_interval
from glidepath.report.stability import stability
from glidepath.report.transfer import transfer
from glidepath.study.recommendation import LrMistake

QUESTION = "Which peak learning rate at that horizon, when I can only afford to tune at shorter ones?"
LR_OPTIMUM, LR_HORIZON = "laws/lr_optimum", "laws/lr_horizon"


def answer(tables: Tables, target: Target) -> Answer:
    """The recommended peak at the target's horizon, and what it rests on."""
    recommended = target.recommended
    peak = recommended.peak_lr
    if peak is None:
        return Answer(2, QUESTION, "Not measured: no learning rate is known.", "not measured", "Sweep `peak_lrs`.")
    group = recommended.chosen_at_model, target.batch_sequences
    optima = where(
        tables[f"{LR_OPTIMUM}/parameters"],
        parameter=OPTIMAL_PEAK_LR,
        model=group[0],
        schedule=target.schedule,
        batch_sequences=group[1],
    )
    ours = optima[optima["value"].notna()].sort_values("tokens_per_parameter")
    evidence = [
        Evidence(
            f"At {recommended.target.token_horizon:,} tokens: {rate_interval(*ends(peak))}.",
            source_rows(peak),
        ),
        *_optima(ours, target.schedule),
        *_exponent(tables, group, target),
        *_mistake(recommended.factor_2_lr_cost),
        *_score(tables, group, target),
        *stability(tables["runs"], group, target.schedule),
        *transfer(tables, target.schedule),
    ]
    sure = sure_of(peak, target)
    longest = float(ours["tokens_per_parameter"].max()) if len(ours) else np.nan
    why = {
        "not resolved": "There is no interval: fewer than two horizons have their optimum inside the grid.",
        "extrapolated": f"Extrapolated by a factor {recommended.horizon_extrapolation:.3g} in the horizon, "
        f"from at most {longest:g} tokens per parameter.",
        "resolved": "Within the horizons that were tuned.",
        "not measured": "",
    }[sure]
    return Answer(
        2,
        QUESTION,
        f"Peak {rate_interval(*ends(peak))} ({interval_words(peak.ci_level)}) for {target.schedule} at "
        f"{target.tokens_per_parameter:g} tokens per parameter.",
        sure,
        why,
        tuple(evidence),
        (*stand_in(group, target), *_edges(ours)),
    )


def _mistake(cost: LrMistake | None) -> Iterator[Evidence]:
    if cost is None:
        return
    at = f"at {compact(float(cost.token_horizon))} tokens, the longest horizon with its optimum inside the grid"
    if cost.shape == "parabola":
        text = f"A peak that is off by a factor of two costs {interval(*ends(cost.double))} nat/token {at}."
    else:
        text = (
            f"Twice the best peak costs {interval(*ends(cost.double))} nat/token, half of it "
            f"{interval(*ends(cost.half))}, {at}."
        )
    yield Evidence(text, source_rows(cost.double))


def _score(tables: Tables, group: tuple[str, int], target: Target) -> Iterator[Evidence]:
    same: dict[str, Condition] = {"model": group[0], "schedule": target.schedule, "batch_sequences": group[1]}
    score = score_sentence(where(tables[f"{LR_HORIZON}/scores"], **same), "the optimal peak", "")
    if score:
        yield Evidence(score, (rows(f"{LR_HORIZON}/scores", **same),))


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
    found = where(tables[f"{LR_HORIZON}/parameters"], **conditions)
    for _, row in found[found["value"].notna()].iterrows():
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
        f"{row['tokens_per_parameter']:g}: {str(row['status']).replace('_', ' ')}" for _, row in doubtful.iterrows()
    )
    return (f"Optima that did not converge, by tokens per parameter: {listed}. Widen `peak_lrs` there.",)
