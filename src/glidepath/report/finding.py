"""A part of an answer: what one kind of measurement says."""

from __future__ import annotations

from dataclasses import dataclass

from glidepath.report.answer import Evidence, Sure


@dataclass(frozen=True)
class Finding:
    """What was found, how sure it is and why, and the rows that say so."""

    sentence: str
    sure: Sure
    because: str
    evidence: tuple[Evidence, ...]
    caveats: tuple[str, ...] = ()
