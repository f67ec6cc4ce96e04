"""Loss curves, with bands, of the schedules of a study at horizons at which they were not trained."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from glidepath.laws.asked_runs import asked_runs
from glidepath.laws.best_curve_law import best_law
from glidepath.laws.curve_law import LAWS, NOT_TRAINED, curve_predictions, curves_and_groups, fit_group
from glidepath.laws.law import Settings
from glidepath.stages.plan import study_of
from glidepath.stages.results import read_result
from glidepath.study import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, required=True, help="results folder of the study")
    parser.add_argument("--study", required=True, help="YAML file of the study, or the validated study as JSON")
    parser.add_argument("--law", choices=sorted(LAWS), help="the one with the smallest error on hidden schedules")
    parser.add_argument("--schedules", nargs="*", default=[], help="names in the study; all of them")
    parser.add_argument(
        "--tokens-per-parameter", type=float, nargs="*", default=[], help="horizons; those of the grid and the target"
    )
    parser.add_argument("--output", type=Path, required=True, help="curve_predictions.parquet")


def main(args: argparse.Namespace) -> None:
    """Raises ValueError for a study whose laws of loss curves were not fitted."""
    study = study_of(args.study)
    law = args.law or best_law(law_scores(args.results))
    runs = read_result(tables.RUNS, args.results)
    settings = Settings(
        study.analysis.reference_schedule,
        study.analysis.ci_level,
        study.analysis.bootstrap_samples,
        study.analysis.seed,
    )
    horizons = args.tokens_per_parameter or sorted(
        {tpp for block in study.grid for tpp in block.tokens_per_parameter} | {study.target.tokens_per_parameter}
    )
    parts = [tables.empty(tables.CURVE_PREDICTIONS)]
    refusals: dict[str, str] = {}
    vocab_size = int(runs["vocab_size"].iloc[0])
    for group in curves_and_groups(read_tables_of(args.results))[1]:
        asked, refused = asked_runs(study, vocab_size, group, horizons, args.schedules)
        refusals |= refused
        fit = fit_group(law, group, settings)
        if fit.whole is None:
            continue
        rows = curve_predictions([fit], asked)
        parts.append(rows[rows["holdout"] == NOT_TRAINED])
    tables.write(tables.CURVE_PREDICTIONS, pd.concat([part for part in parts if len(part)] or parts[:1]), args.output)
    print(f"{sum(map(len, parts))} points of curves that were not trained, by {law}: {args.output}")
    for name, reason in refusals.items():
        print(f"not predicted: {name}: {reason}")


def law_scores(results: Path) -> dict[str, pd.DataFrame]:
    """Scores of the laws of loss curves that a study has fitted. Raises ValueError if it has none."""
    found = {
        law: tables.read(tables.LAW_SCORES, file)
        for law in LAWS
        if (file := results / "laws" / law / "scores.parquet").is_file()
    }
    if not found:
        raise ValueError(
            f"--results {results} has no law of loss curves: add {', '.join(LAWS)} to analysis.laws and run "
            "snakemake fit, or name one with --law"
        )
    return found


def read_tables_of(results: Path) -> dict[str, pd.DataFrame]:
    """What laws of loss curves read."""
    return {table.name: read_result(table, results) for table in (tables.RUNS, tables.UPDATES, tables.EVALUATIONS)}


def written(path: Path, value: object) -> None:
    """Plain data as JSON, by temporary file and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
