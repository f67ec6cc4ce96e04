"""The report of a study as one page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glidepath.report.answer import Answer
from glidepath.report.card import Card
from glidepath.report.cost import Cost
from glidepath.report.law_trial import Trial
from glidepath.report.methods import METHODS
from glidepath.report.overview import BestTable, Fact, Lost
from glidepath.report.rendering import PageFigure, page_figure, rendered, table_facts
from glidepath.study import figure_list

SHORT_NAMES = {1: "Schedule", 2: "Peak LR", 3: "Batch", 4: "Averaging", 5: "Loss"}


@dataclass(frozen=True)
class Page:
    """Everything the template shows."""

    study: str
    description: str
    trial: Trial
    card: Card
    answers: Sequence[Answer]
    facts: Sequence[Fact]
    cost: Cost
    best: Sequence[BestTable]
    lost: Sequence[Lost]
    limits: Sequence[str]
    provenance: Sequence[Fact]
    table_names: Sequence[str]
    """Tables in the results folder, as in `FigureEntry.tables`."""


@dataclass(frozen=True)
class _Section:
    answer: Answer
    short: str
    figures: tuple[PageFigure, ...]


def render(page: Page, svg_by_figure: Mapping[str, bytes]) -> str:
    """The page as HTML text, with the figures that are given."""
    context: dict[str, Any] = {
        "study": page.study,
        "description": page.description,
        "trial": page.trial,
        "card": page.card,
        "sections": [
            _Section(answer, SHORT_NAMES[answer.number], _figures(answer.number, svg_by_figure))
            for answer in page.answers
        ],
        "study_figures": _figures(0, svg_by_figure),
        "facts": page.facts,
        "cost": page.cost,
        "best": page.best,
        "lost": page.lost,
        "methods": METHODS,
        "limits": page.limits,
        "provenance": page.provenance,
        "files": list(_files(page.table_names, svg_by_figure)),
    }
    return rendered("report.html.j2", context)


def _figures(question: int, svg_by_figure: Mapping[str, bytes]) -> tuple[PageFigure, ...]:
    return tuple(
        page_figure(entry, svg_by_figure[entry.name])
        for entry in figure_list.FIGURES
        if entry.question == question and entry.name in svg_by_figure
    )


def _files(names: Sequence[str], drawn: Iterable[str]) -> Iterable[Fact]:
    """Every file that a reader may want, with what it holds."""
    yield Fact("recommendation.json", "The recommendation, for programs.")
    yield from table_facts(names)
    for entry in (figure_list.entry(name) for name in drawn):
        yield Fact(f"figures/{entry.name}.parquet", entry.table.meaning)
