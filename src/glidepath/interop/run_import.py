"""An import: logs in, tables out, run by run, so that no more than one run is held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.interop.run_assembly import NO_EVALUATION, ImportedRun, assemble
from glidepath.interop.run_audit.fault import Fault
from glidepath.interop.run_audit.whole_runs import Evaluated, unequal_evaluations
from glidepath.interop.run_lr import LrTables
from glidepath.interop.run_rows import Logs, read_logs
from glidepath.study import tables
from glidepath.study.exclusion import SWEEP, with_exclusions
from glidepath.study.import_config import ImportConfig
from glidepath.study.section import StudyError

PART_ROWS = 200_000
"""Rows of a table that are written together."""
UNKNOWN_SCHEDULE = "unknown"
"""Name of the schedule of runs that have none."""
ALIKE = ["model", "schedule", "batch_sequences", "token_horizon", "peak_lr", "unique_tokens"]
"""Runs that agree in these are one point to all laws: replicates of each other."""
OTHERWISE = ("batch_tokens", "weight_decay", "warmup_steps", "context_length")
"""What they may differ in all the same."""


@dataclass(frozen=True)
class Imported:
    """What an import came to."""

    runs: pd.DataFrame
    findings: pd.DataFrame
    provenance: dict[str, Any]


class Parts:
    """Rows of one table, gathered over runs until there are enough of them."""

    def __init__(self, table: tables.Table, append: Callable[[pd.DataFrame], None]) -> None:
        self.table, self._append = table, append
        self._held: list[dict[str, Any]] = []
        self._count = 0

    def add(self, columns: dict[str, Any], **constant: str | None) -> None:
        """Columns by name; those that are None or missing are null."""
        n = next((len(values) for values in columns.values() if values is not None), 0)
        if n:
            self._held.append({**columns, **{name: _repeated(value, n) for name, value in constant.items()}, "": n})
            self._count += n
            if self._count >= PART_ROWS:
                self.flush()

    def flush(self) -> None:
        if not self._held:
            return
        frame = {
            column.name: np.concatenate([_filled(held.get(column.name), held[""], column.type) for held in self._held])
            for column in self.table.columns
        }
        self._append(pd.DataFrame(frame))
        self._held, self._count = [], 0


def _repeated(value: str | None, n: int) -> Any:
    return None if value is None else np.full(n, value, dtype=object)


def _filled(values: Any, n: int, kind: str) -> Any:
    if values is None:
        return np.full(n, None, dtype=object) if kind == "string" else np.full(n, np.nan)
    return values


def import_runs(config: ImportConfig, base: Path, output: Path) -> Imported:
    """Read all logs of a configuration and write runs, updates, evaluations, (empty) block_losses, imported_rows and
    findings to `output`.

    Raises StudyError for what cannot be read, or where the configuration lacks a fact that it needs.
    """
    findings: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    evaluated: list[Evaluated] = []
    lr: dict[str, str] = {}
    without_lr: list[str] = []
    lr_tables = LrTables(base)
    with read_logs(config, base, output) as logs, ExitStack() as stack:
        parts = {
            table.name: Parts(table, stack.enter_context(tables.writer(table, output / f"{table.name}.parquet")))
            for table in (tables.IMPORTED_ROWS, tables.UPDATES, tables.EVALUATIONS)
        }
        _refuse_patterns(config, logs.runs.texts)
        findings += [_finding("", source, fault) for source, fault in logs.faults]
        primary: str | None = None
        for number in range(len(logs.runs.texts)):
            run = assemble(number, logs, config, lr_tables, primary)
            if primary is None and run.evaluated is not None:
                primary = run.evaluated.domains[0] if not run.evaluations else str(run.evaluations["domain"][0])
            _add(parts, run)
            records.append(run.record)
            findings += [_finding(run.name, source, fault) for source, fault in run.faults]
            if run.evaluated is not None:
                evaluated.append(run.evaluated)
            if run.lr:
                lr[run.name] = run.lr
            elif run.updates and not any(fault.kind == "missing_lr" for _, fault in run.faults):
                without_lr.append(run.name)
        for part in parts.values():
            part.flush()
        files = _files(config, logs)
    if without_lr:
        detail = f"the learning rate of {len(without_lr)} runs is not known: {', '.join(without_lr[:5])}"
        done = "laws that read the learning rate leave them out; see lr"
        findings.append(_finding("", "", Fault("missing_lr", np.nan, np.nan, len(without_lr), detail, done)))
    unevaluated = [record["cell_id"] for record in records if record["reason"] == NO_EVALUATION]
    if unevaluated:
        detail = f"{len(unevaluated)} runs have no validation loss: {', '.join(unevaluated[:5])}"
        done = "they are excluded; map val_loss to the training loss too, if that is what is to be compared"
        findings.append(_finding("", "", Fault("no_evaluation", np.nan, np.nan, len(unevaluated), detail, done)))
    sets = list(dict.fromkeys(domain for run in evaluated for domain in run.domains))
    if len(sets) > 1:
        detail = f"losses are on {len(sets)} evaluation sets: {', '.join(sets[:5])}"
        done = f"runs are compared and laws fitted by {primary}, the first one"
        findings.append(_finding("", "", Fault("evaluation_sets", np.nan, np.nan, len(sets), detail, done)))
    findings += [_finding("", "", fault) for fault in unequal_evaluations(evaluated)]
    runs = _runs(config, records, findings)
    _refuse_schedules(config, runs)
    tables.write(tables.RUNS, runs, output / "runs.parquet")
    tables.write(tables.BLOCK_LOSSES, tables.empty(tables.BLOCK_LOSSES), output / "block_losses.parquet")
    listed = pd.DataFrame(findings, columns=tables.FINDINGS.names[1:])
    listed.insert(0, "number", np.arange(len(listed)))
    tables.write(tables.FINDINGS, listed, output / "findings.parquet")
    return Imported(runs, listed, {"files": files, "learning_rates": lr})


def _refuse_patterns(config: ImportConfig, runs: Sequence[str]) -> None:
    """Raises StudyError for what names runs and is about none of them."""
    for i, entry in enumerate(config.runs):
        if not any(entry.names(run) for run in runs):
            key = "match" if entry.match is not None else "regex"
            raise _matches_no_run(f"runs.{i}.{key}", entry.match or entry.regex or "", runs)
    for i, pattern in enumerate(config.holdout):
        if not any(fnmatchcase(run, pattern) for run in runs):
            raise _matches_no_run(f"holdout.{i}", pattern, runs)


def _matches_no_run(key: str, pattern: str, runs: Sequence[str]) -> StudyError:
    return StudyError(f"{key} = {pattern!r} matches none of {len(runs)} runs. {_nearest(pattern, runs)}. Correct it")


def _nearest(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, 3, 0.4) or list(names)[:3]
    return f"The nearest names are {', '.join(map(repr, near))}"


def _refuse_schedules(config: ImportConfig, runs: pd.DataFrame) -> None:
    """Raises StudyError for a schedule that conclusions are asked about and that nothing has."""
    known = [str(name) for name in runs["schedule"].unique()]
    asked = {"analysis.reference_schedule": (config.analysis.reference_schedule, known)}
    if config.target is not None:
        asked["target.schedule"] = (config.target.schedule, list(dict.fromkeys([*known, *config.schedules])))
    for key, (name, names) in asked.items():
        if name is not None and name not in names:
            raise StudyError(f"{key} = {name!r} is the schedule of no run. {_nearest(name, names)}. Correct it")


def _add(parts: dict[str, Parts], run: ImportedRun) -> None:
    for rows in run.rows:
        parts["imported_rows"].add(rows)
    parts["updates"].add(run.updates, cell_id=run.name)
    parts["evaluations"].add(run.evaluations, cell_id=run.name, eval_set="full")


def _finding(run: str, source: str, fault: Fault) -> dict[str, Any]:
    return {
        "run": run,
        "source": source,
        "finding": fault.kind,
        "first_update": fault.first,
        "last_update": fault.last,
        "count": fault.count,
        "detail": fault.detail,
        "done": fault.done,
    }


def _files(config: ImportConfig, logs: Logs) -> list[dict[str, Any]]:
    return [
        {
            "source": config.sources[file.source].name,
            "file": file.name,
            "bytes": file.size,
            "sha256": file.sha256,
            "rows": file.rows,
        }
        for file in logs.files
    ]


def _runs(config: ImportConfig, records: Sequence[dict[str, Any]], findings: list[dict[str, Any]]) -> pd.DataFrame:
    """The table of runs: names where none are given, what is counted over runs, and the rule of exclusion."""
    runs = pd.DataFrame(records)
    counted = f"n_params_{config.tokens_per_parameter_uses}"
    numbers = {
        name: pd.to_numeric(runs[name]).astype("float64")
        for name in (counted, "n_params_total", "n_params_non_embedding", "token_horizon", "unique_tokens")
    }
    runs["n_params_counted"] = numbers[counted]
    runs["tokens_per_parameter"] = numbers["token_horizon"] / numbers[counted]
    runs["epochs"] = numbers["token_horizon"] / numbers["unique_tokens"]
    runs["train_flops_6nd"] = 6.0 * numbers["n_params_non_embedding"] * numbers["token_horizon"]
    size = numbers[counted].fillna(numbers["n_params_total"]).fillna(numbers["n_params_non_embedding"])
    derived = [f"n{value:.0f}" if np.isfinite(value) else "unknown" for value in size]
    runs["model"] = runs["model"].where(runs["model"].notna(), derived)
    runs["schedule"] = runs["schedule"].where(runs["schedule"].notna(), UNKNOWN_SCHEDULE)
    if config.analysis.pool_batches:
        runs["batch_sequences"] = 0
    _count_parameters(runs, counted, findings)
    _count_batches(config, runs, findings)
    _number_replicates(runs, findings)
    # A shorter run, or one whose text was repeated more often, is no worse choice of a sweep.
    lengths = [f" {horizon} {epochs}" for horizon, epochs in zip(runs["token_horizon"], runs["epochs"], strict=True)]
    sweep = runs.assign(schedule=runs["schedule"] + lengths)
    judged = with_exclusions(sweep.assign(**{name: sweep[name].fillna(-1.0) for name in SWEEP if name not in TEXT}))
    runs["status"], runs["reason"] = judged["status"], judged["reason"]
    whole = [column.name for column in tables.RUNS.columns if column.type == "int64"]
    missing = [name for name in tables.RUNS.names if name not in runs]
    runs = runs.assign(**dict.fromkeys(missing, None))[tables.RUNS.names]
    for column in tables.RUNS.columns:
        if column.name in whole or column.type == "float64":
            runs[column.name] = pd.to_numeric(runs[column.name]).astype("float64")
    return runs.assign(**{name: runs[name].round().astype("Int64") for name in whole})


TEXT = ("model", "schedule")


def _count_parameters(runs: pd.DataFrame, counted: str, findings: list[dict[str, Any]]) -> None:
    without = runs["n_params_counted"].isna()
    if without.any():
        other = "n_params_total" if counted == "n_params_non_embedding" else "n_params_non_embedding"
        has = int(runs.loc[without, other].notna().sum())
        detail = f"{int(without.sum())} runs have no {counted}, which tokens_per_parameter_uses" + (
            f"; {has} of them have {other}" if has else ""
        )
        done = "laws in size and tokens per parameter leave them out"
        findings.append(_finding("", "", Fault("no_n_params", np.nan, np.nan, int(without.sum()), detail, done)))


def _count_batches(config: ImportConfig, runs: pd.DataFrame, findings: list[dict[str, Any]]) -> None:
    """Batches that differ and that no context tells in sequences, by which runs are grouped."""
    pooled = runs[runs["batch_sequences"] == 0]
    if not config.analysis.pool_batches and pooled["batch_tokens"].nunique() > 1:
        detail = f"{len(pooled)} runs have {pooled['batch_tokens'].nunique()} batches in tokens and no whole sequences"
        done = "laws take them as one group; give context_length, or say analysis.pool_batches if that is meant"
        findings.append(_finding("", "", Fault("batches_pooled", np.nan, np.nan, len(pooled), detail, done)))


def _number_replicates(runs: pd.DataFrame, findings: list[dict[str, Any]]) -> None:
    """Numbers runs that are alike in the order in which they come, where no number was given."""
    alike = runs.groupby(ALIKE, dropna=False, sort=False)
    given = pd.to_numeric(runs["replicate"]).astype("float64")
    if given.isna().any():
        size = alike["cell_id"].transform("size")
        runs["replicate"] = given.fillna(alike.cumcount().astype("float64"))
        many = int(((size > 1) & given.isna()).sum())
        if many:
            detail = f"{many} runs have another one of the same {', '.join(ALIKE)}"
            done = "they are taken as replicates and numbered; if they differ, give model or schedule a name for each"
            findings.append(_finding("", "", Fault("alike", np.nan, np.nan, many, detail, done)))
            findings.extend(_differing(runs.groupby(ALIKE, dropna=False, sort=False)))
    twice = runs.duplicated([*ALIKE, "replicate"])
    if twice.any():
        first = runs.loc[twice, "cell_id"].iloc[0]
        detail = f"{int(twice.sum())} runs have the number of a replicate that another run like them has, as {first}"
        done = "laws refuse them; correct replicate"
        findings.append(_finding("", "", Fault("replicate_twice", np.nan, np.nan, int(twice.sum()), detail, done)))


def _differing(alike: Any) -> list[dict[str, Any]]:
    """A finding per quantity in which runs that are taken as replicates differ."""
    found = []
    for name in OTHERWISE:
        differ = int((alike[name].nunique() > 1).sum())
        if differ:
            detail = f"{differ} groups of replicates differ in {name}"
            done = "they stay replicates; give model or schedule a name for each value, to tell them apart"
            found.append(_finding("", "", Fault("differ_otherwise", np.nan, np.nan, differ, detail, done)))
    return found
