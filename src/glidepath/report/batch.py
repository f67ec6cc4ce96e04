"""Question 3: which batch size, and should it grow."""

from __future__ import annotations

import numpy as np
import pandas as pd

from glidepath.figures import select
from glidepath.figures.text import compact
from glidepath.report.answer import Answer, Evidence, Tables, Target, rows, where
from glidepath.report.batch_path import path
from glidepath.report.critical_batch import critical
from glidepath.report.finding import Finding
from glidepath.report.noise_scale import noise
from glidepath.report.numbers import difference, estimate

QUESTION = "Which batch size, and should it grow during training?"


def answer(tables: Tables, target: Target) -> Answer:
    """What was trained at several batches, the critical batch, the gradient noise scale, and what a batch that grows
    saves, as far as each was measured."""
    measured = (_trained(tables["runs"], target), critical(tables, target), noise(tables, target), path(tables, target))
    findings = [finding for finding in measured if finding is not None]
    if not findings:
        return Answer(
            3,
            QUESTION,
            "Not measured: every cell has the same batch and no gradient was probed. The target keeps "
            f"{compact(target.batch_tokens)} tokens per update.",
            "not measured",
            "Add values to `batch_sequences`, a schedule with a `batch` path, or a `noise_scale` section.",
        )
    resolved = any(finding.sure == "resolved" for finding in findings)
    why = [finding.because for finding in findings]
    if measured[0] is None:
        why.append("Not resolved by losses: no second batch was trained at the same horizon.")
    return Answer(
        3,
        QUESTION,
        " ".join(finding.sentence for finding in findings),
        "resolved" if resolved else "not resolved",
        " ".join(why),
        tuple(evidence for finding in findings for evidence in finding.evidence),
        tuple(caveat for finding in findings for caveat in finding.caveats),
    )


def _trained(runs: pd.DataFrame, target: Target) -> Finding | None:
    """Best batch of the target's model and schedule at the longest horizon that has several."""
    best = select.at_best_lr(where(runs, model=target.model))
    several = best.groupby(["schedule", "tokens_per_parameter"])["batch_sequences"].transform("nunique") > 1
    best = best[several]
    if best.empty:
        return None
    own = where(best, schedule=target.schedule)
    best = own if len(own) else best[best["schedule"] == best["schedule"].iloc[0]]
    best = best[best["tokens_per_parameter"] == best["tokens_per_parameter"].max()].sort_values("val_loss")
    first, second = best.iloc[0], best.iloc[1]
    gap = float(second["val_loss"] - first["val_loss"])
    error = float(np.hypot(first["val_loss_se"], second["val_loss_se"]))
    resolved = np.isfinite(error) and gap > 2 * error
    sentence = (
        f"Of the batches trained at {first['tokens_per_parameter']:g} tokens per parameter, "
        f"{compact(first['batch_tokens'])} tokens per update has the lowest loss; "
        f"{compact(second['batch_tokens'])} is {difference(gap, error)} nat/token behind."
    )
    because = (
        "The gap between trained batches exceeds twice the standard error over replicates."
        if resolved
        else "Between the trained batches nothing is resolved: the gap is within its error."
    )
    evidence = tuple(
        Evidence(
            f"{compact(row['batch_tokens'])} tokens per update: "
            f"{estimate(row['val_loss'], row['val_loss_se'])} nat/token at its best peak learning rate.",
            (
                rows(
                    "runs",
                    model=target.model,
                    schedule=str(row["schedule"]),
                    tokens_per_parameter=float(row["tokens_per_parameter"]),
                    batch_sequences=int(row["batch_sequences"]),
                    peak_lr=float(row["peak_lr"]),
                ),
            ),
        )
        for _, row in best.iterrows()
    )
    return Finding(sentence, "resolved" if resolved else "not resolved", because, evidence)
