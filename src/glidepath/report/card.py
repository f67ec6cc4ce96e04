"""The card at the top of the report: the recommendation, in a dozen words each."""

from __future__ import annotations

from dataclasses import dataclass

from glidepath.report.answer import Sure


@dataclass(frozen=True)
class Value:
    """One recommended number with what qualifies it."""

    name: str
    text: str
    detail: str = ""


@dataclass(frozen=True)
class Card:
    """What the template shows of the recommendation."""

    sure: Sure
    target: str
    summary: tuple[Value, ...]
    how_sure: str
    warnings: tuple[str, ...]
    sources: tuple[str, ...]
