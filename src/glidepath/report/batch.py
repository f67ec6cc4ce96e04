"""Question 3: which batch size, and should it grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures import select
from glidepath.figures.text import compact
from glidepath.report.answer import Answer, Evidence, Sure, Tables, Target, rows, where
from glidepath.report.numbers import difference, estimate

QUESTION = "Which batch size, and should it grow during training?"


def answer(tables: Tables, target: Target) -> Answer:
    """Losses at several batches if they were trained, and the gradient noise scale if it was probed."""
    trained, losses = _trained(tables["runs"], target)
    scale = _noise(tables, target)
    evidence = (*losses, *(scale.evidence if scale else ()))
    if trained is None and scale is None:
        return Answer(
            3,
            QUESTION,
            "Not measured: every cell has the same batch and no gradient was probed. The target keeps "
            f"{compact(target.batch_tokens)} tokens per update.",
            "not measured",
            "Add values to `batch_sequences`, or a `noise_scale` section, to the study.",
        )
    sure: Sure = "not resolved"
    sentences, why = [], []
    if trained is not None:
        sentence, sure, because = trained
        sentences.append(sentence)
        why.append(because)
    if scale is not None:
        sentences.append(scale.sentence)
        why.append(scale.because)
    if trained is None:
        why.append("Not resolved by losses: no second batch was trained at the same horizon.")
    caveats = (
        "The noise scale is a guide, not the critical batch: it ignores curvature and Adam's "
        "preconditioning, so factors of two are the best to be hoped for.",
    )
    return Answer(3, QUESTION, " ".join(sentences), sure, " ".join(why), evidence, caveats if scale else ())


def _trained(runs: pd.DataFrame, target: Target) -> tuple[tuple[str, Sure, str] | None, tuple[Evidence, ...]]:
    """Best batch of the target's model and schedule at the longest horizon that has several."""
    best = select.at_best_lr(where(runs, model=target.model))
    several = best.groupby(["schedule", "tokens_per_parameter"])["batch_sequences"].transform("nunique") > 1
    best = best[several]
    if best.empty:
        return None, ()
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
        "The gap exceeds twice the standard error over replicates."
        if resolved
        else "Not resolved: the gap is within its error."
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
    return (sentence, "resolved" if resolved else "not resolved", because), evidence


CLOSE = 1.5
"""A noise scale within this factor of the batch calls for no other batch."""


@dataclass(frozen=True)
class _Noise:
    """What one probed cell says about the batch."""

    sentence: str
    because: str
    evidence: tuple[Evidence, ...]


def _in_words(windows: pd.DataFrame, cell: pd.Series[Any], target: Target) -> _Noise:
    """From the trusted windows of one cell, ascending: its first and its last."""
    first, last = windows.iloc[0], windows.iloc[-1]
    batch = target.batch_tokens
    value, error = float(last["noise_scale_tokens"]), float(last["noise_scale_tokens_se"])
    if value - 2 * error > CLOSE * batch:
        place, advice = "above", "a larger batch would lose little per token"
    elif value + 2 * error < batch / CLOSE:
        place, advice = "below", "a smaller batch would use tokens better"
    else:
        place, advice = "not resolved from", "no case for another batch"
    growth = value / float(first["noise_scale_tokens"])
    spread = float(np.hypot(*(w["noise_scale_tokens_se"] / w["noise_scale_tokens"] for w in (first, last))))
    change = f"It changes by a factor {growth:.1f} from the first to the last trusted window"
    if abs(np.log(growth)) <= 2 * spread:
        change = "Whether it grows along training is not resolved."
    else:
        change += ": a batch that grows is worth a try." if growth > 1 else ": no case for a growing batch."
    return _Noise(
        f"The noise scale at the end is {estimate(value, error)} tokens, {place} the target's batch of "
        f"{compact(float(batch))}: {advice}. {change}",
        f"From {len(windows)} trusted windows of one cell; errors by jackknife over probed updates.",
        tuple(
            Evidence(
                f"{name} window: {estimate(w['noise_scale_tokens'], w['noise_scale_tokens_se'])} tokens "
                f"after {compact(float(w['tokens_seen']))} tokens ({cell['schedule']}).",
                (rows("noise_scale", cell_id=str(cell["cell_id"]), group="total", window=int(w["window"])),),
            )
            for name, w in (("First", first), ("Last", last))
        ),
    )


def _noise(tables: Tables, target: Target) -> _Noise | None:
    """Windows of the cell that the recommendation reads, or of the longest probed one on another model."""
    noise = where(tables["noise_scale"], group="total", status="ok")
    noise = noise[noise["noise_scale_tokens"] > 0]
    runs = select.among(tables["runs"], noise)
    measured = target.recommended.noise_scale_tokens
    if measured is not None:
        runs = where(runs, cell_id=str(measured.sources[0].key["cell_id"]))
    if runs.empty:
        return None
    cell = runs.sort_values(["tokens_per_parameter", "val_loss"], ascending=[False, True], kind="stable").iloc[0]
    windows = where(noise, cell_id=str(cell["cell_id"])).sort_values("window")
    return _in_words(windows, cell, target)
