"""Say what a study will cost, before anything runs: validate it, plan it, measure this machine's speed where it is not
known yet, print the stages and, for the report to compare with, write `budget.parquet`.

With `--next K`, once it has been trained: which K further cells would sharpen its recommendation most for their cost,
and the study that has them too."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from glidepath.study import tables
from glidepath.study.batch_sweeps import no_sweeps
from glidepath.study.budget import Budget, budget
from glidepath.study.budget_words import described
from glidepath.study.config import StudyConfig, parse_study, read_study
from glidepath.study.corpus_identity import corpus_id, vocab_size_of
from glidepath.study.layout import segment_directory
from glidepath.study.segments import Plan, plan
from glidepath.study.speed import Conditions, Speed, gpu_here, keep_speeds, kept_file, read_speeds, runs_warm, workloads
from glidepath.study.spikes import check_spikes
from glidepath.study.target import target_of

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="YAML file of the study, or the validated study as JSON")
    parser.add_argument("--next", type=int, metavar="K", help="name K further cells instead; also of imported runs")
    parser.add_argument("--results", type=Path, help="with --next: the tables to go by; default: results/<study>")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="cores that will be used; default: all")
    parser.add_argument("--no-calibration", action="store_true", help="measure nothing, use the speeds that are known")
    parser.add_argument("--output", type=Path, help="budget.parquet, or with --next a YAML file; else only printed")


def main(args: argparse.Namespace) -> None:
    if args.next is not None:
        # Imported where it is used: it brings the laws.
        from glidepath.stages.next_cells import print_next_cells

        print_next_cells(Path(args.study), args.next, args.results, args.output)
        return
    if args.cores < 1:
        raise ValueError(f"--cores {args.cores} can train nothing: give at least 1")
    study, base = study_of(args.study), Path.cwd()
    vocab_size = vocab_size_of(study.corpus, base)
    planned = plan(study, corpus_id(study.corpus, base), vocab_size)
    check_spikes(study, planned)
    target_of(study, vocab_size)
    conditions = Conditions(cores=args.cores, threads=1, warm=runs_warm(), gpu=gpu_here())
    known = speeds(planned, conditions, calibrate=not args.no_calibration)
    found = budget(study, planned, conditions, known, base)
    if args.output:
        tables.write(tables.BUDGET, budget_frame(found, time.time()), args.output)
    print(described(found))
    for sentence in no_sweeps(study):
        print(sentence)
    there = sum(Path(segment_directory(name), "segment.json").is_file() for name in planned.segments)
    if there:
        print(f"{there} of its {len(planned.segments)} training jobs are done already.")


def study_of(text: str) -> StudyConfig:
    """The study in a file, or given as JSON by a rule."""
    if text.startswith("{"):
        return parse_study(json.loads(text), "given as JSON")
    return read_study(Path(text))


def speeds(planned: Plan, conditions: Conditions, *, calibrate: bool) -> dict[str, Speed]:
    """Kept speeds; with `calibrate`, those that this study needs besides are measured and kept."""
    file = kept_file()
    kept = read_speeds(file)
    wanted = {w.digest: w for several in workloads(planned, conditions).values() for w in several}
    missing = [workload for key, workload in wanted.items() if key not in kept]
    if not (calibrate and missing):
        return kept
    # Imported where it is used: it brings what reads and writes tokens.
    from glidepath.stages.calibrate import measure

    print(f"measuring this machine: {len(missing)} shapes, some seconds each", file=sys.stderr)
    keep_speeds(file, measure(missing))
    return read_speeds(file)


def budget_frame(found: Budget, now: float) -> pd.DataFrame:
    """One row per stage and one for all, with the columns of `tables.BUDGET`; `now` is in seconds since 1970."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "stage": stage.stage,
                "cells": stage.cells,
                "jobs": stage.jobs,
                "tokens": stage.tokens,
                "train_flops_exact": stage.train_flops_exact,
                "unshared_train_flops_exact": stage.unshared_train_flops_exact,
                "sharing_factor": stage.sharing_factor,
                "core_seconds": stage.core_seconds,
                "unshared_core_seconds": stage.unshared_core_seconds,
                "wall_seconds": stage.wall_seconds,
                "disk_bytes": stage.disk_bytes,
                "cores": found.conditions.cores,
                "predicted_at": now,
            }
            for stage in (*found.stages, found.total)
        ],
        columns=tables.BUDGET.names,
    ).astype(dict.fromkeys(("sharing_factor", "core_seconds", "unshared_core_seconds", "wall_seconds"), "float64"))
