"""Gather the averages of checkpoints trained elsewhere: tables as a study has them, steps saved, files, a summary."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from glidepath.laws.steps_saved import steps_saved
from glidepath.report.checkpoint_summary import summary
from glidepath.stages.average_records import CellPoints, cell_points
from glidepath.stages.collect_averages import cell_rows
from glidepath.stages.steps_saved import trajectory
from glidepath.study import tables
from glidepath.study.checkpoint_config import parse_checkpoints
from glidepath.study.checkpoints import EVALUATED, PlannedTrajectory, check_n_params, planned_trajectories, record_path
from glidepath.study.provenance import versions

FLOPS_PER_PARAMETER_AND_TOKEN = 6.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="the validated configuration as JSON")
    parser.add_argument("--corpus-id", required=True, help="identity of the tokenised text")
    parser.add_argument("--store", type=Path, default=Path("store/averages"), help="where the averages are")
    parser.add_argument("--output", type=Path, required=True, help="results folder")


def main(args: argparse.Namespace) -> None:
    config = parse_checkpoints(json.loads(args.config), "given as JSON")
    planned = planned_trajectories(config, args.corpus_id, Path.cwd())
    for one in planned.values():
        for average in one.averages:
            written = json.loads((args.store / average / EVALUATED).read_text(encoding="utf-8"))
            check_n_params(one.config.n_params, written["n_params"])
    points = {name: cell_points(" ".join(one.averages), args.store) for name, one in planned.items()}
    averages = _averages(points)
    saved = _steps_saved(points, planned, config.ci_level)
    checkpoints = pd.DataFrame(_files(planned), columns=tables.CHECKPOINTS.names)
    tables.write(tables.AVERAGES, averages, args.output / "averages.parquet")
    tables.write(tables.CHECKPOINT_STEPS_SAVED, saved, args.output / "checkpoint_steps_saved.parquet")
    tables.write(tables.CHECKPOINTS, checkpoints, args.output / "checkpoints.parquet")
    text = summary(
        config.checkpoints,
        config.description,
        averages,
        saved,
        checkpoints,
        {**versions(), "transformers": version("transformers")},
    )
    (args.output / "summary.md").write_text(text, encoding="utf-8")


def _averages(points: Mapping[str, CellPoints]) -> pd.DataFrame:
    """A trajectory is a cell without cooldowns."""
    runs = tables.empty(tables.RUNS)
    rows = [
        row
        for name, found in points.items()
        for row in cell_rows(
            pd.Series({"cell_id": name, "trunk_id": "", "total_steps": found.losses["updates_done"].max()}),
            runs,
            found,
            {},
        )
    ]
    return pd.DataFrame(rows, columns=tables.AVERAGES.names)


def _steps_saved(
    points: Mapping[str, CellPoints], planned: Mapping[str, PlannedTrajectory], ci_level: float
) -> pd.DataFrame:
    # One by one: the noise of one model's checkpoints says nothing of another's.
    found = [rows for one in points.values() for rows in steps_saved([trajectory([one])], ci_level)]
    parts = [
        rows.assign(
            cell_id=name,
            flops_saved=rows["tokens_saved"] * FLOPS_PER_PARAMETER_AND_TOKEN * planned[name].config.n_params,
            hours_saved=rows["updates_saved"] * (planned[name].config.hours_per_update or float("nan")),
        )[tables.CHECKPOINT_STEPS_SAVED.names]
        for name, rows in zip(points, found, strict=True)
        if len(rows)
    ]
    return pd.concat(parts) if parts else tables.empty(tables.CHECKPOINT_STEPS_SAVED)


def _files(planned: Mapping[str, PlannedTrajectory]) -> Iterator[dict[str, Any]]:
    for name, one in planned.items():
        for updates, spec in one.checkpoints.items():
            record: dict[str, Any] = json.loads(Path(record_path(spec.checkpoint_id)).read_text(encoding="utf-8"))
            files = record.pop("files")
            for file in files:
                yield {
                    "cell_id": name,
                    "updates_done": updates,
                    "tokens_seen": updates * one.config.tokens_per_update,
                    **record,
                    **file,
                }
