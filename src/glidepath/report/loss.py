"""Question 5: what loss the real run should reach, and how sure that is."""

from __future__ import annotations

import numpy as np

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
from glidepath.report.numbers import interval

QUESTION = "What loss should the real run then reach, and how sure is that?"
LOSS_HORIZON = "laws/loss_horizon"


def answer(tables: Tables, target: Target) -> Answer:
    """The predicted loss of the recommended run, with the law's parameters and its error out of sample."""
    recommended = target.recommended
    if not recommended.predicted_loss:
        return Answer(
            5,
            QUESTION,
            f"Not measured: no loss law holds for {target.schedule} on the target's model {target.model}.",
            "not measured",
            "A loss law needs that model at three horizons or more: add `tokens_per_parameter`.",
        )
    group = recommended.chosen_at_model, target.batch_sequences
    same: dict[str, Condition] = {"model": group[0], "schedule": target.schedule, "batch_sequences": group[1]}
    *_, widest = sorted(recommended.predicted_loss, key=lambda estimate: estimate.ci_level)
    sure = sure_of(widest, target)
    trained = where(tables["runs"], **same, status="completed")
    longest = float(trained["tokens_per_parameter"].max()) if len(trained) else np.nan
    why = {
        "not resolved": "There is no interval: too few horizons to say how far off the law may be.",
        "extrapolated": f"Fitted up to {longest:.3g} tokens per parameter; beyond, the law is an assumption.",
        "resolved": "Within the horizons that were trained.",
        "not measured": "",
    }[sure]
    evidence = [
        Evidence(
            f"{interval(*ends(estimate))} nat/token, {interval_words(estimate.ci_level)}.",
            source_rows(estimate),
        )
        for estimate in recommended.predicted_loss
    ]
    parameters = where(tables[f"{LOSS_HORIZON}/parameters"], **same)
    for _, row in parameters[parameters["value"].notna()].iterrows():
        status = "" if row["status"] == "converged" else f" ({str(row['status']).replace('_', ' ')})"
        evidence.append(
            Evidence(
                f"{row['parameter']} = {interval(row['value'], row['ci_low'], row['ci_high'])}{status}.",
                (rows(f"{LOSS_HORIZON}/parameters", **same, parameter=str(row["parameter"])),),
            )
        )
    score = score_sentence(where(tables[f"{LOSS_HORIZON}/scores"], **same), "the loss", " nat/token")
    if score:
        evidence.append(Evidence(score, (rows(f"{LOSS_HORIZON}/scores", **same),)))
    return Answer(
        5,
        QUESTION,
        f"{interval(*ends(widest))} nat/token ({interval_words(widest.ci_level)}) for {target.schedule} at "
        f"{target.tokens_per_parameter:g} tokens per parameter.",
        sure,
        why,
        tuple(evidence),
        (
            *stand_in(group, target),
            "The loss is on this study's validation text and tokenizer; another data mix is another loss.",
        ),
    )
