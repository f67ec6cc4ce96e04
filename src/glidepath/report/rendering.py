"""One self-contained HTML page from a template: figures are embedded, nothing is loaded from the network."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from glidepath.report.overview import Fact
from glidepath.study import figure_list


@dataclass(frozen=True)
class PageFigure:
    """A figure with its picture in it."""

    name: str
    title: str
    caption: str
    image: str


def page_figure(entry: figure_list.FigureEntry, svg: bytes) -> PageFigure:
    """A figure of the list, drawn."""
    image = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    return PageFigure(entry.name, entry.title, entry.table.meaning, image)


def rendered(template: str, context: Mapping[str, Any]) -> str:
    """A template of this package as HTML text; its style sheet is `css`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("glidepath.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = files("glidepath.report").joinpath("report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render({**context, "css": Markup(css)})


def table_facts(names: Sequence[str]) -> Iterator[Fact]:
    """Tables of the results folder, named as in `FigureEntry.tables`, with what they hold."""
    for name in names:
        yield Fact(f"{name}.parquet", figure_list.table_schema(name).meaning)
