"""Write report.html: the answers, the figures and where the rows are, in one self-contained page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from glidepath.stages.figure import read_tables
from glidepath.study import figure_list, tables
from glidepath.study.config import parse_study
from glidepath.study.identity import digest
from glidepath.study.provenance import versions
from glidepath.study.recommendation import Recommendation
from glidepath.study.segments import plan

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="the validated study as JSON")
    parser.add_argument(
        "--results", type=Path, required=True, help="results folder of the study: tables, laws, figures"
    )
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json of the tokenised corpus")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="report.html, in the results folder: its links are relative",
    )


def main(args: argparse.Namespace) -> None:
    from glidepath.report import page
    from glidepath.report.answer import Target
    from glidepath.report.answers import answers, tables_for
    from glidepath.report.card import card
    from glidepath.report.cost import cost
    from glidepath.report.law_trial import law_trial
    from glidepath.report.limits import limits, provenance
    from glidepath.report.overview import best_tables, facts, lost_cells

    study = parse_study(json.loads(args.config), "given as JSON")
    manifest = json.loads(args.manifest.read_text(encoding="utf-8"))
    recommended = Recommendation.model_validate_json((args.results / "recommendation.json").read_text(encoding="utf-8"))
    found = read_tables(tables_for(study), args.results)
    costs = read_tables(("budget", "spending"), args.results)
    runs, reference = found["runs"], study.analysis.reference_schedule
    planned = plan(study, _corpus_id(runs), int(runs["vocab_size"].iloc[0]))
    target = Target(recommended, reference, study.schedules)
    content = page.Page(
        study=study.study,
        description=study.description,
        trial=law_trial(found["law_comparison"]),
        card=card(recommended),
        answers=answers(found, target),
        facts=facts(runs, planned),
        cost=cost(costs["budget"], costs["spending"]),
        best=best_tables(runs, found["comparisons"], reference),
        lost=lost_cells(runs),
        limits=tuple(limits(runs, target)),
        provenance=tuple(provenance(runs, manifest, digest(study.model_dump(mode="json")), versions())),
        table_names=tables_in(args.results),
    )
    svg = {name: (args.results / "figures" / f"{name}.svg").read_bytes() for name in figure_list.figures_of(study)}
    temporary = args.output.with_name(f".{args.output.name}.partial")
    temporary.write_text(page.render(content, svg), encoding="utf-8")
    temporary.replace(args.output)


def _corpus_id(runs: pd.DataFrame) -> str:
    return str(runs["corpus_id"].iloc[0])


def tables_in(results: Path) -> tuple[str, ...]:
    """Names of the study's tables that are there, in the order of the data dictionary, then of its laws."""
    named = [table.name for table in (*tables.TABLES, *tables.IMPORT_TABLES)]
    laws = sorted(str(path.relative_to(results).with_suffix("")) for path in results.glob("laws/*/*.parquet"))
    return tuple(name for name in [*named, *laws] if (results / f"{name}.parquet").is_file())
