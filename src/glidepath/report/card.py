"""The card at the top of the report: the recommendation, in a dozen words each."""

from __future__ import annotations

from dataclasses import dataclass

from glidepath.figures.text import compact
from glidepath.report.answer import Rows, Sure, is_known, source_rows
from glidepath.report.card_rows import LawRow, NextRow, Reach, law_rows, next_row, reach_row
from glidepath.report.card_strip import Strip, strip, uncertainty
from glidepath.report.card_values import Value, values
from glidepath.study.recommendation import Recommendation


@dataclass(frozen=True)
class Card:
    """What the template shows of the recommendation."""

    sure: Sure | None
    """None: one schedule and nothing to compare it with, though all else is measured."""
    target: str
    summary: tuple[Value, ...]
    strip: Strip | None
    uncertainty: str
    reaches: tuple[Reach, ...]
    laws: tuple[LawRow, ...]
    next_rows: tuple[NextRow, ...]
    how_sure: tuple[str, ...]
    warnings: tuple[str, ...]
    sources: tuple[Rows, ...]
    provenance: str


def card(recommended: Recommendation) -> Card:
    """The recommendation in words."""
    mistake = recommended.factor_2_lr_cost
    estimates = (
        recommended.peak_lr,
        mistake.double if mistake else None,
        recommended.noise_scale_tokens,
        recommended.critical_batch_tokens,
        recommended.batch_path.tokens_saved_fraction if recommended.batch_path else None,
        *recommended.predicted_loss,
    )
    sources = [rows for estimate in estimates if estimate for rows in source_rows(estimate)]
    prediction = recommended.prediction
    return Card(
        sure=_sure(recommended),
        target=_target(recommended),
        summary=tuple(values(recommended)),
        strip=strip(recommended),
        uncertainty=uncertainty(prediction) if prediction else "",
        reaches=tuple(reach_row(each) for each in recommended.extrapolation),
        laws=tuple(law_rows(prediction)) if prediction else (),
        next_rows=tuple(next_row(cell) for cell in recommended.next_cells),
        how_sure=recommended.how_sure,
        warnings=recommended.warnings,
        sources=tuple(dict.fromkeys(sources)),
        provenance=_provenance(recommended),
    )


def _target(recommended: Recommendation) -> str:
    target = recommended.target
    size = f"{compact(float(target.n_params_counted))} parameters"
    named = f"{target.model} ({size} counted)" if target.model else f"a model of {size}"
    updates = f" in {target.total_steps:,} updates" if target.total_steps else ""
    return (
        f"For {named} at {target.tokens_per_parameter:.4g} tokens per parameter: "
        f"{compact(float(target.token_horizon))} tokens{updates}."
    )


def _sure(recommended: Recommendation) -> Sure | None:
    """The weakest link: no interval, then extrapolation, then a schedule that cannot be told from others."""
    if not recommended.predicted_loss and recommended.peak_lr is None:
        return "not measured"
    known = [estimate for estimate in (recommended.peak_lr, *recommended.predicted_loss) if estimate]
    if not all(is_known(estimate) for estimate in known):
        return "not resolved"
    if any(each.verdict != "inside" for each in recommended.extrapolation) or recommended.horizon_extrapolation > 1.001:
        return "extrapolated"
    if recommended.n_schedules_compared == 1:
        return None
    return "not resolved" if recommended.equivalent_schedules else "resolved"


def _provenance(recommended: Recommendation) -> str:
    made = recommended.provenance
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    digests = ", ".join(f"{name} {digest[:12]}" for name, digest in made.tables.items())
    return f"Written {made.written_at} by {versions}, from {digests}."
