"""One self-contained HTML page: figures are embedded, nothing is loaded from the network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from glidepath.report.answer import Answer
from glidepath.report.card import Card
from glidepath.report.cost import Cost
from glidepath.report.law_trial import Trial
from glidepath.report.methods import METHODS
from glidepath.report.overview import BestTable, Fact, Lost
from glidepath.study import figure_list, tables

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
class _Figure:
    name: str
    title: str
    caption: str
    image: str


@dataclass(frozen=True)
class _Section:
    answer: Answer
    short: str
    figures: tuple[_Figure, ...]


def render(page: Page, svg_by_figure: Mapping[str, bytes]) -> str:
    """The page as HTML text, with the figures that are given."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("glidepath.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = files("glidepath.report").joinpath("report.css").read_text(encoding="utf-8")
    context: dict[str, Any] = {
        "study": page.study,
        "description": page.description,
        "css": Markup(css),
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
    return environment.get_template("report.html.j2").render(context)


def _figures(question: int, svg_by_figure: Mapping[str, bytes]) -> tuple[_Figure, ...]:
    return tuple(
        _Figure(entry.name, entry.title, entry.table.meaning, _data_uri(svg_by_figure[entry.name]))
        for entry in figure_list.FIGURES
        if entry.question == question and entry.name in svg_by_figure
    )


def _data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _files(names: Sequence[str], drawn: Iterable[str]) -> Iterable[Fact]:
    """Every file that a reader may want, with what it holds."""
    yield Fact("recommendation.json", "The recommendation, for programs.")
    described = {table.name: table.meaning for table in tables.TABLES}
    for name in names:
        meaning = figure_list.table_schema(name).meaning if name.startswith("laws/") else described[name]
        yield Fact(f"{name}.parquet", meaning)
    for entry in (figure_list.entry(name) for name in drawn):
        yield Fact(f"figures/{entry.name}.parquet", entry.table.meaning)
