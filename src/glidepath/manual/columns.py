"""The page of tables: every table that a user may rely on, column by column."""

from __future__ import annotations

from glidepath.manual.markdown import GENERATED, markdown_table, prose
from glidepath.study.figure_list import CHECKPOINT_FIGURES, FIGURES
from glidepath.study.layout import Layout
from glidepath.study.tables import CHECKPOINT_TABLES, CURVE_TABLES, IMPORT_TABLES, LAW_TABLES, TABLES, Table


def data_dictionary() -> str:
    """Every table that a user may rely on, column by column."""
    layout = Layout("<study>", "<corpus>")
    groups = (
        (
            "Tables of a study",
            [(table, layout.table(table.name)) for table in TABLES],
        ),
        (
            "Tables of a law",
            [(table, f"{layout.results}/laws/<law>/{table.name}.parquet") for table in (*LAW_TABLES, *CURVE_TABLES)],
        ),
        (
            "Tables of the figures",
            [(entry.table, layout.figure(entry.name)[-1]) for entry in FIGURES],
        ),
        (
            "Tables of checkpoints that were trained elsewhere, beside `averages`",
            [
                *((table, layout.table(table.name)) for table in CHECKPOINT_TABLES if table not in TABLES),
                *((entry.table, layout.figure(entry.name)[-1]) for entry in CHECKPOINT_FIGURES),
            ],
        ),
        (
            "Tables of imported runs, beside `runs`, `updates` and `evaluations`",
            [(table, layout.table(table.name)) for table in IMPORT_TABLES],
        ),
    )
    lines = [
        "# The tables",
        "",
        f"*{GENERATED}*",
        "",
        "Every table is Parquet; unit and meaning of each column are also in the metadata of its Parquet field.",
        "The columns marked as key are never null and together name a row; a unit of - is a pure number or a name.",
        "A figure's table holds what is drawn, a row per mark in drawing order, and has no key.",
        "",
    ]
    for title, group in groups:
        lines += [f"## {title}", ""]
        for table, path in group:
            lines += [f"### `{table.name}`", "", f"{prose(table.meaning)} File: `{path}`.", ""]
            lines += [*_columns(table), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _columns(table: Table) -> list[str]:
    rows = [
        (f"`{column.name}`", column.type, column.unit, "key" if column.key else "", prose(column.meaning))
        for column in table.columns
    ]
    return markdown_table(("column", "type", "unit", "key", "meaning"), rows)
