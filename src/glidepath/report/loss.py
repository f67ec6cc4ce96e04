"""Question 5: what loss the real run should reach, and how sure that is."""

from __future__ import annotations

import numpy as np

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
from glidepath.report.numbers import interval

QUESTION = "What loss should the real run then reach, and how sure is that?"
LOSS_HORIZON = "laws/loss_horizon"


def answer(tables: Tables, target: Target) -> Answer:
    """The loss law of the recommended schedule at the target's horizon."""
    law = where(
        tables[f"{LOSS_HORIZON}/predictions"],
        quantity="val_loss",
        x_name="tokens_per_parameter",
        schedule=target.schedule,
    )
    law = law[law["value"].notna()]
    group = group_for(law, target)
    none = Answer(
        5,
        QUESTION,
        f"Not measured: there is no loss law for {target.schedule} that reaches "
        f"{target.tokens_per_parameter:g} tokens per parameter.",
        "not measured",
        "A loss law needs more horizons (`tokens_per_parameter`) than were completed.",
    )
    if group is None:
        return none
    model, batch = group
    grid = where(law, model=model, batch_sequences=batch)
    found = interpolate(grid, target.tokens_per_parameter)
    if found is None:
        return none
    same: dict[str, Condition] = {"model": model, "schedule": target.schedule, "batch_sequences": batch}
    level = float(grid["ci_level"].iloc[0])
    nearest = grid.iloc[int(np.argmin(np.abs(np.log(grid["x"] / target.tokens_per_parameter))))]
    known = np.isfinite(found[1]) and np.isfinite(found[2])
    extrapolated = bool(nearest["extrapolated"])
    sure: Sure = "not resolved" if not known else "extrapolated" if extrapolated else "resolved"
    trained = where(tables["runs"], **same, status="completed", holdout=False)
    fitted = float(trained["tokens_per_parameter"].max()) if len(trained) else np.nan
    why = {
        "not resolved": "The law has no interval: too few horizons to say how far off it may be.",
        "extrapolated": f"Fitted up to {fitted:.3g} tokens per parameter; beyond, the form is an assumption.",
        "resolved": "Within the horizons that were trained.",
    }[sure]
    evidence = [
        Evidence(
            f"{target.schedule} at {target.tokens_per_parameter:g} tokens per parameter: {interval(*found)} "
            f"nat/token ({level_words(level)}).",
            (rows(f"{LOSS_HORIZON}/predictions", **same, quantity="val_loss"),),
        )
    ]
    parameters = where(tables[f"{LOSS_HORIZON}/parameters"], **same)
    for _, row in parameters.iterrows():
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
    headline = (
        f"{interval(*found)} nat/token ({level_words(level)}) for {target.schedule} at "
        f"{target.tokens_per_parameter:g} tokens per parameter."
    )
    caveats = (
        *stand_in(group, target),
        "The loss is on this study's validation text and tokenizer; the interval is the law's, not that of "
        "another data mix.",
    )
    return Answer(5, QUESTION, headline, sure, why, tuple(evidence), caveats)
