"""The figures of a study as plain data, by the question that they serve: what each shows, which tables it needs and
which columns its Parquet has.

The Snakefile reads this list while it is parsed, so nothing here may import a drawing library.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from glidepath.study.figure_list import (
    averaging,
    batch,
    checkpoints,
    curve_laws,
    features,
    loss,
    noise_scale,
    peak_lr,
    schedules,
)
from glidepath.study.figure_list.figure_entry import (
    BATCH_PATHS,
    BATCH_SWEEPS,
    CURVES_OF,
    ISOFLOP,
    LOSS_HORIZON,
    LOSS_SIZE_HORIZON,
    LR_HORIZON,
    LR_OPTIMUM,
    LR_TRANSFER,
    FigureEntry,
)
from glidepath.study.tables import (
    CHECKPOINT_TABLES,
    COORDINATE_CHECK,
    CURVE_TABLES,
    IMPORT_TABLES,
    LAW_TABLES,
    TABLES,
    Table,
)

if TYPE_CHECKING:
    from glidepath.study.config import StudyConfig

FIGURES: tuple[FigureEntry, ...] = (
    *schedules.FIGURES,
    *peak_lr.FIGURES,
    *noise_scale.FIGURES,
    *batch.FIGURES,
    *averaging.FIGURES,
    *loss.FIGURES,
    *curve_laws.FIGURES,
    *features.FIGURES,
)
FIGURE_NAMES: tuple[str, ...] = tuple(entry.name for entry in FIGURES)

CHECKPOINT_FIGURES = checkpoints.FIGURES
"""Figures of checkpoints trained elsewhere, which no study has."""
CHECKPOINT_FIGURE_NAMES: tuple[str, ...] = tuple(entry.name for entry in CHECKPOINT_FIGURES)

SCHEMAS = {table.name: table for table in (*TABLES, *CHECKPOINT_TABLES, *IMPORT_TABLES)}
LAW_SCHEMAS = {table.name: table for table in (*LAW_TABLES, *CURVE_TABLES)}
TABLES_FROM_LOGS = ("runs", "updates", "evaluations", "law_comparison")
FIGURES_FROM_LOGS = (
    "law_comparison",
    "curve_predictions",
    "loss_curves",
    "lr_sweep",
    "lr_horizon",
    "lr_batch_surface",
    "loss_horizon",
    "loss_size_horizon",
    "isoflop",
)
"""Figures that are drawn from what logs tell; one of them whose quantity no log tells says that it has nothing to draw,
and is left out of the report."""


def figures_of(study: StudyConfig) -> tuple[str, ...]:
    """Names of the figures that a study has."""
    from glidepath.study.batch_pairs import batch_pairs
    from glidepath.study.batch_sweeps import batch_sweeps

    asked = {None, *(f"laws/{law}" for law in study.analysis.laws)}
    if study.coordinate_check:
        asked.add(COORDINATE_CHECK.name)
    if study.spikes:
        asked.add("spikes")
    if batch_sweeps(study):
        asked.add(BATCH_SWEEPS)
    if batch_pairs(study):
        asked.add(BATCH_PATHS)
    return tuple(entry.name for entry in FIGURES if entry.asked_for in asked)


def import_figures_of(laws: Collection[str]) -> tuple[str, ...]:
    """Names of the figures of imported runs to which these laws are fitted, in the order of a reader."""
    given = {*TABLES_FROM_LOGS, *(f"laws/{law}/{part}" for law in laws for part in LAW_SCHEMAS)}
    return tuple(name for name in FIGURES_FROM_LOGS if given.issuperset(entry(name).tables))


def entry(name: str) -> FigureEntry:
    """The figure of that name. Raises ValueError naming the known ones."""
    for candidate in (*FIGURES, *CHECKPOINT_FIGURES):
        if candidate.name == name:
            return candidate
    raise ValueError(f"there is no figure {name!r}; choose one of {', '.join(FIGURE_NAMES + CHECKPOINT_FIGURE_NAMES)}")


def table_schema(name: str) -> Table:
    """Schema of a table named as in `FigureEntry.tables`. Raises KeyError for an unknown name."""
    return LAW_SCHEMAS[name.rsplit("/", 1)[1]] if name.startswith("laws/") else SCHEMAS[name.rsplit("/", 1)[-1]]


def table_path(name: str, results: Path) -> Path:
    """File of a table named as in `FigureEntry.tables`."""
    return results / f"{name}.parquet"


__all__ = [
    "BATCH_PATHS",
    "BATCH_SWEEPS",
    "CHECKPOINT_FIGURES",
    "CHECKPOINT_FIGURE_NAMES",
    "CURVES_OF",
    "FIGURES",
    "FIGURE_NAMES",
    "ISOFLOP",
    "LOSS_HORIZON",
    "LOSS_SIZE_HORIZON",
    "LR_HORIZON",
    "LR_OPTIMUM",
    "LR_TRANSFER",
    "FigureEntry",
    "entry",
    "figures_of",
    "import_figures_of",
    "table_path",
    "table_schema",
]
