"""Figures: one module each, with `data(tables)`, exactly what is drawn, and `draw(frame)`, which draws that
and no more.

Importing this package does not import matplotlib; `load` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from glidepath.study import figure_list

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    Tables = Mapping[str, pd.DataFrame]


class FigureModule(Protocol):
    """What every module of this package named in `figure_list` offers."""

    def data(self, tables: Tables) -> pd.DataFrame:
        """The rows that are drawn, in drawing order; none when there is nothing to draw."""

    def draw(self, frame: pd.DataFrame) -> Figure:
        """The figure, from those rows alone."""


def load(name: str) -> FigureModule:
    """The module of a figure. Raises ValueError for an unknown name."""
    return cast(FigureModule, import_module(f"glidepath.figures.{figure_list.entry(name).name}"))
