"""Write recommendation.json: what to launch the target run with, how sure that is, and which rows say so."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd

import glidepath
from glidepath.advice.recommend import Basis, recommend
from glidepath.laws.law import Settings
from glidepath.study import tables
from glidepath.study.config import parse_study
from glidepath.study.final_losses import final_losses
from glidepath.study.model_config import OptimizerConfig
from glidepath.study.recommendation import Provenance, TargetRun

N_NEXT = 5
PACKAGES = ("numpy", "scipy", "pandas", "pyarrow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study-name", required=True, help="name of the study or the imported runs")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--block-losses", type=Path, help="losses by validation block; imported runs may have none")
    parser.add_argument("--averages", type=Path, help="averages.parquet, if snapshots were averaged")
    parser.add_argument("--noise-scale", type=Path, help="noise_scale.parquet, if gradients were probed")
    parser.add_argument("--critical-batch", type=Path, help="critical_batch.parquet, if the study sweeps batches")
    parser.add_argument("--batch-saving", type=Path, help="batch_saving.parquet, if the study has batch paths")
    parser.add_argument("--target", required=True, help="the target run as JSON")
    parser.add_argument("--optimizer", help="the study's optimizer section as JSON")
    parser.add_argument("--config", help="the validated study as JSON: what further cells cost is then planned")
    parser.add_argument("--next", type=int, default=N_NEXT, help="how many further cells to name")
    parser.add_argument("--reference-schedule", default="")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--bootstrap-samples", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="recommendation.json")


def main(args: argparse.Namespace) -> None:
    runs = tables.read(tables.RUNS, args.runs)
    basis = Basis(
        name=args.study_name,
        target=TargetRun.model_validate_json(args.target),
        runs=runs,
        losses=final_losses(runs, _read_or_empty(tables.BLOCK_LOSSES, args.block_losses)),
        settings=Settings(args.reference_schedule, args.ci_level, args.bootstrap_samples, args.seed),
        averages=_read_or_empty(tables.AVERAGES, args.averages),
        noise_scale=_read_or_empty(tables.NOISE_SCALE, args.noise_scale),
        critical_batch=_read_or_empty(tables.CRITICAL_BATCH, args.critical_batch),
        batch_saving=_read_or_empty(tables.BATCH_SAVING, args.batch_saving),
        optimizer=OptimizerConfig.model_validate_json(args.optimizer) if args.optimizer else None,
        study=parse_study(json.loads(args.config), "given as JSON") if args.config else None,
    )
    files = (args.runs, args.block_losses, args.averages, args.noise_scale, args.critical_batch, args.batch_saving)
    recommendation = recommend(basis, args.next, provenance(path for path in files if path))
    temporary = args.output.with_name(f".{args.output.name}.partial")
    temporary.write_text(json.dumps(recommendation.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    temporary.replace(args.output)


def _read_or_empty(table: tables.Table, path: Path | None) -> pd.DataFrame:
    return tables.read(table, path) if path else tables.empty(table)


def provenance(files: Iterable[Path]) -> Provenance:
    """Digests of the tables that were read, versions of what read them, and the time."""
    return Provenance(
        tables={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        versions={
            "python": platform.python_version(),
            "glidepath": glidepath.__version__,
            **{name: version(name) for name in PACKAGES},
        },
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
