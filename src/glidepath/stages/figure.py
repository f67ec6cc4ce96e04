"""Draw one figure: read its tables, write exactly what is drawn, draw that file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from glidepath import figures
from glidepath.study import figure_list, tables

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = figure_list.FIGURE_NAMES + figure_list.CHECKPOINT_FIGURE_NAMES
    parser.add_argument("--name", required=True, choices=names, help="figure to draw")
    parser.add_argument("--results", type=Path, required=True, help="results folder of the study, with its tables")
    parser.add_argument(
        "--output-prefix",
        type=Path,
        required=True,
        help="path without ending; .parquet, .svg and .pdf are written",
    )


def main(args: argparse.Namespace) -> None:
    from glidepath.figures import style

    entry = figure_list.entry(args.name)
    module = figures.load(args.name)
    parquet = Path(f"{args.output_prefix}.parquet")
    tables.write(entry.table, module.data(read_tables(entry.tables, args.results)), parquet)
    # Drawn from the file and not from memory: the file holds all that the figure shows.
    style.save(module.draw(tables.read(entry.table, parquet)), args.output_prefix)


def read_tables(names: tuple[str, ...], results: Path) -> dict[str, pd.DataFrame]:
    """Tables by name, as in `FigureEntry.tables`."""
    return {name: tables.read(figure_list.table_schema(name), figure_list.table_path(name, results)) for name in names}
