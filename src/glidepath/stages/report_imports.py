"""Write report.html of imported runs, one self-contained page."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

from glidepath.stages.figure import read_tables
from glidepath.stages.report import tables_in
from glidepath.study import figure_list, tables
from glidepath.study.import_config import parse_imports
from glidepath.study.law_list import DEFAULT_IMPORT_LAWS, LAW_TABLES, LOSS_CURVES
from glidepath.study.recommendation import Recommendation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="the validated import as JSON")
    parser.add_argument("--results", type=Path, required=True, help="results folder: tables, laws, figures")
    parser.add_argument(
        "--output", type=Path, required=True, help="report.html, in the results folder: its links are relative"
    )


def main(args: argparse.Namespace) -> None:
    from glidepath.report import imported
    from glidepath.report.card import card
    from glidepath.report.law_trial import law_trial

    study = parse_imports(json.loads(args.config), "the import")
    laws = study.analysis.laws or DEFAULT_IMPORT_LAWS
    found = read_tables(
        ("runs", "findings", "law_comparison", "run_predictions", *(f"laws/{law}/parameters" for law in laws)),
        args.results,
    )
    of_curves = (law for law in laws if LAW_TABLES[law] == LOSS_CURVES)
    curves = read_tables(tuple(f"laws/{law}/curve_predictions" for law in of_curves), args.results)
    ends = (imported.curve_end_rows(name.split("/")[1], frame) for name, frame in curves.items())
    hidden = (*imported.hidden_rows(found["run_predictions"]), *itertools.chain.from_iterable(ends))
    hidden = tuple(sorted(hidden, key=lambda row: row.run))
    recommended = args.results / "recommendation.json"
    content = imported.Page(
        study=study.imports,
        description=study.description,
        trial=law_trial(found["law_comparison"]),
        card=card(Recommendation.model_validate_json(recommended.read_text())) if study.target else None,
        hidden=hidden[: imported.MOST_ROWS],
        n_more_hidden=max(0, len(hidden) - imported.MOST_ROWS),
        unpredicted=imported.unpredicted(found["run_predictions"]),
        findings=imported.finding_rows(found["findings"]),
        laws=tuple(imported.law_table(law, found[f"laws/{law}/parameters"]) for law in laws),
        facts=imported.facts(found["runs"]),
        provenance=tuple(imported.provenance_facts(json.loads((args.results / "provenance.json").read_text()))),
        table_names=tables_in(args.results),
    )
    svg = {name: _svg(args.results, name) for name in figure_list.import_figures_of(laws) if _drawn(args.results, name)}
    temporary = args.output.with_name(f".{args.output.name}.partial")
    temporary.write_text(imported.render(content, svg), encoding="utf-8")
    temporary.replace(args.output)


def _svg(results: Path, name: str) -> bytes:
    return (results / "figures" / f"{name}.svg").read_bytes()


def _drawn(results: Path, name: str) -> bool:
    """Whether a figure shows anything: logs differ in what they tell, and sweeps without an optimum or points without
    their law tell a reader nothing that the table does not."""
    entry = figure_list.entry(name)
    laws = read_tables(tuple(table for table in entry.tables if table.startswith("laws/")), results)
    if not all(frame["value"].notna().any() for frame in laws.values() if "value" in frame):
        return False
    return len(tables.read(entry.table, results / "figures" / f"{name}.parquet")) > 0
