"""Loss curves, with bands, of the schedules of a study or an import at horizons at which they were not trained."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from glidepath.interop.run_lr import of_schedule
from glidepath.laws.asked_runs import asked_like, asked_runs
from glidepath.laws.best_curve_law import best_law
from glidepath.laws.curve_groups import Group, groups_of
from glidepath.laws.curve_law import fit_group
from glidepath.laws.curve_predictions import NOT_TRAINED, curve_predictions
from glidepath.laws.curves import MORE_THAN_A_PATH, RunCurve, curves_of
from glidepath.laws.fitted_curves import LAWS
from glidepath.laws.law import Settings
from glidepath.stages.results import read_result
from glidepath.study import tables
from glidepath.study.config import StudyConfig, parse_study
from glidepath.study.import_config import ImportConfig, parse_imports
from glidepath.study.yaml_file import read_yaml


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, required=True, help="results folder of the study or import")
    parser.add_argument("--study", required=True, help="YAML file of the study or import, or the same as JSON")
    parser.add_argument("--law", choices=sorted(LAWS), help="the one with the smallest error on hidden schedules")
    parser.add_argument("--schedules", nargs="*", default=[], help="names in the configuration; all of them")
    parser.add_argument(
        "--tokens-per-parameter",
        type=float,
        nargs="*",
        default=[],
        help="horizons; those of the grid and the target, or of the imported runs",
    )
    parser.add_argument("--output", type=Path, required=True, help="curve_predictions.parquet")


def main(args: argparse.Namespace) -> None:
    """Raises ValueError for a study whose laws of loss curves were not fitted."""
    study = configured(args.study)
    law = args.law or best_law(law_scores(args.results))
    runs = read_result(tables.RUNS, args.results)
    settings = Settings(
        study.analysis.reference_schedule or "",
        study.analysis.ci_level,
        study.analysis.bootstrap_samples,
        study.analysis.seed,
    )
    parts = [tables.empty(tables.CURVE_PREDICTIONS)]
    refusals: dict[str, str] = {}
    for group in groups_of(curves_of(read_tables_of(args.results)).runs):
        if isinstance(study, ImportConfig):
            asked, refused = asked_of_imports(study, group, args.tokens_per_parameter, args.schedules)
        else:
            horizons = args.tokens_per_parameter or horizons_of(study)
            asked, refused = asked_runs(study, int(runs["vocab_size"].iloc[0]), group, horizons, args.schedules)
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


def configured(text: str) -> StudyConfig | ImportConfig:
    """The study or import in a file, or given as JSON by a rule."""
    data, origin = (
        (json.loads(text), "given as JSON") if text.startswith("{") else (read_yaml(Path(text), "study"), text)
    )
    return parse_imports(data, origin) if isinstance(data, dict) and "imports" in data else parse_study(data, origin)


def horizons_of(study: StudyConfig) -> list[float]:
    """Of the grid and the target [tokens per parameter]."""
    grid = {horizon for block in study.grid for horizon in block.tokens_per_parameter}
    return sorted(grid | {study.target.tokens_per_parameter})


def asked_of_imports(
    config: ImportConfig, group: Group, horizons: Sequence[float], names: Sequence[str]
) -> tuple[list[RunCurve], dict[str, str]]:
    """Runs of a configuration's schedules, as long as the group's runs are, or with `horizons` [tokens per parameter];
    less those that the group has; and by schedule why it has none. Raises ValueError for horizons of runs without a
    size, and for no schedules."""
    unknown = [name for name in names if name not in config.schedules]
    if unknown or not config.schedules:
        raise ValueError(
            f"schedules has {', '.join(config.schedules) or 'no entry'}: add to the configuration "
            f"{', '.join(unknown) or 'those whose curves you want'}"
        )
    longest = max(group.open, key=lambda run: run.total_steps)
    steps = sorted({run.total_steps for run in group.open})
    if horizons:
        if not longest.tokens_per_parameter > 0:
            raise ValueError(f"--tokens-per-parameter: the size of {group.model} is not known. Give n_params in runs")
        steps = [round(longest.total_steps * horizon / longest.tokens_per_parameter) for horizon in horizons]
    trained = {(run.schedule, run.total_steps) for run in group.runs}
    found: list[RunCurve] = []
    refused: dict[str, str] = {}
    for name in names or config.schedules:
        schedule = config.schedules[name]
        if schedule.kind in MORE_THAN_A_PATH or schedule.batch is not None:
            refused[name] = "its state is more than a path of learning rates, or its batch changes"
            continue
        for total_steps in steps:
            try:
                lr = of_schedule(
                    schedule,
                    peak_lr=group.peak_lr,
                    warmup_steps=longest.curve.warmup_steps,
                    total_steps=total_steps,
                    batch_tokens=longest.batch_tokens or 1,
                    weight_decay=0.0,
                    where=f"{group.model} with the schedule {name}",
                ).lr
            except ValueError as refusal:
                refused[name] = str(refusal)
                continue
            if (name, total_steps) not in trained:
                found.append(asked_like(longest, name, schedule.kind, lr))
    return found, refused


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
