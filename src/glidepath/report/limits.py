"""What this evidence cannot tell, from the study's own numbers, and where the study's tokens came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from glidepath.figures.text import compact
from glidepath.report.answer import Target
from glidepath.report.overview import Fact


def limits(runs: pd.DataFrame, target: Target) -> Iterator[str]:
    """Sentences; the general ones last."""
    n_params_counted = target.recommended.target.n_params_counted
    largest = float(runs["n_params_counted"].max())
    if n_params_counted > largest:
        yield (
            f"The target has {compact(float(n_params_counted))} parameters, the largest model here "
            f"{compact(largest)}: what holds across sizes is assumed."
        )
    longest = float(runs["tokens_per_parameter"].max())
    if target.tokens_per_parameter > longest:
        yield (
            f"Horizons end at {longest:g} tokens per parameter; the target's {target.tokens_per_parameter:g} "
            f"is {target.tokens_per_parameter / longest:.1f} times as long."
        )
    repeated = runs[runs["epochs"] > 1]
    if len(repeated):
        yield (
            f"{len(repeated)} of {len(runs)} cells saw training tokens more than once (up to "
            f"{repeated['epochs'].max():.1f} epochs): their losses mix schedule and repetition."
        )
    if runs["replicate"].nunique() < 3:
        yield (
            f"{runs['replicate'].nunique()} replicate(s): errors over seeds are pooled or missing; small "
            "differences need three or more."
        )
    if runs["corpus_id"].nunique() > 1:
        yield "The runs do not share one corpus: their losses do not compare."
    yield (
        "Conclusions about schedules at this scale carry over to large models in direction rather than in "
        "size; the exponent of the optimal learning rate is known to change with model size."
    )
    yield "One text, one tokenizer, one optimizer (AdamW): another mix moves losses, and may move optima."
    yield "Intervals cover replicates, validation blocks and the fit of a law, not a wrong form of it."


def provenance(
    runs: pd.DataFrame, manifest: Mapping[str, Any], study_digest: str, versions: Mapping[str, str]
) -> Iterator[Fact]:
    """Versions, corpus and digests."""
    yield Fact(
        "Corpus",
        f"{_values(runs['corpus_id'])}; {compact(float(manifest['n_train_tokens']))} unique training tokens",
    )
    for name, domain in manifest["domains"].items():
        licences = ", ".join(domain["licences"]) or "licence not stated"
        yield Fact(
            f"Domain {name}",
            f"{domain['use']}; {domain['files']} files; {compact(float(domain['train_tokens']))} training "
            f"and {compact(float(domain['validation_tokens']))} validation tokens, "
            f"{domain['bytes_per_token']:.2f} bytes per token; licences of its files: {licences}",
        )
    for name, file in sorted(manifest["files"].items()):
        yield Fact(name, f"{file['bytes']:,} bytes, SHA-256 {file['sha256']}")
    yield Fact("Study", f"digest {study_digest}")
    yield Fact(
        "Training code",
        f"engine version {_values(runs['engine_version'])}, digest {_values(runs['code_digest'])}",
    )
    yield Fact(
        "Trained with",
        f"torch {_values(runs['torch_version'])}, Python {_values(runs['python_version'])}, on "
        f"{_values(runs['device'])}",
    )
    yield Fact("Reported with", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _values(column: pd.Series[Any]) -> str:
    return ", ".join(str(value) for value in sorted(column.dropna().unique())) or "unknown"
