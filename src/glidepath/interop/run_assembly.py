"""One imported run: from the rows of its logs to rows of the tables, with everything found on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glidepath.interop.run_applied_lr import applied_lr
from glidepath.interop.run_audit.fault import Fault
from glidepath.interop.run_audit.losses import implausible_losses, not_finite
from glidepath.interop.run_audit.row_order import gaps
from glidepath.interop.run_audit.tokens import (
    batches_between,
    changed_batch,
    falling_tokens,
    inconsistent_tokens,
    non_monotone_tokens,
)
from glidepath.interop.run_audit.whole_runs import Evaluated, short_of_horizon
from glidepath.interop.run_columns import evaluation_columns, row_columns, update_columns
from glidepath.interop.run_facts import facts_of
from glidepath.interop.run_lr import AppliedLr, LrTables
from glidepath.interop.run_rows import Logs, Rows
from glidepath.interop.run_series import (
    METRICS,
    ONLY_DOMAIN,
    Mapped,
    Series,
    beside,
    finite,
    mapped_rows,
    merged,
    series_of,
    shifted,
    source_of,
    tokens_at,
)
from glidepath.study.import_config import ImportConfig

NO_EVALUATION = "no validation loss is logged"
LAST_SHARE = 0.05
"""The last part of the logged updates over which `runs.train_loss` is a mean, as in a study."""


@dataclass
class ImportedRun:
    """Everything about one run."""

    name: str
    record: dict[str, Any]
    """Its row of `runs`, as far as it is known by itself."""
    updates: dict[str, Any]
    evaluations: dict[str, Any]
    rows: list[dict[str, Any]]
    """Its rows of `imported_rows`, by source."""
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    """By name of the source, empty where it is about several."""
    evaluated: Evaluated | None = None
    lr: str = ""
    """How the learning rate of every update is known, in words; empty where it is not."""


def assemble(number: int, logs: Logs, config: ImportConfig, tables: LrTables, primary: str | None) -> ImportedRun:
    """A run's rows of every table; `primary` is the evaluation set whose losses are compared (None: this run's first).

    Raises StudyError where the configuration lacks a fact that it needs.
    """
    run = logs.runs.texts[number]
    rows = logs.of_run(number)
    names = logs.names.texts
    given = config.facts_of(run)
    told = {key: value for key, value in given.items() if key not in ("lr", "holdout", "excluded")}
    facts, faults = facts_of(run, rows, names, told)
    mapped = [mapped_rows(run, one, facts, faults) for one in rows]
    points = [one for one in mapped if one.source.rows == "points"]
    finals = [one for one in mapped if one.source.rows == "runs"]
    faults += _same_run_in_files(run, rows, logs)
    series = {name: series_of(points, name, faults) for name in METRICS if name != "val_loss"}
    diverged = _diverged(series["train_loss"], points, faults)
    series["train_loss"] = finite(series["train_loss"], points)
    evaluations, ended = _evaluations(points, names, faults)
    if diverged is None and ended is not None and not (series["train_loss"].at >= ended).any():
        diverged = ended
    last = max((float(one.at[-1]) for one in (series["train_loss"], *evaluations.values()) if len(one)), default=0.0)
    if diverged is not None:
        last = max(last, diverged)
    _batch(facts, series, faults)
    _horizon(facts, last, series)
    losses = [series["train_loss"], *evaluations.values()]
    lr = applied_lr(run, config, given.get("lr"), points, facts, series["lr"], losses, int(last), tables, faults)
    domain = primary if primary is not None else next(iter(evaluations), ONLY_DOMAIN)
    record = _record(run, facts, given, series, lr, diverged)
    _judge(record, facts, evaluations.get(domain), series["train_loss"], last, diverged, faults)
    _finals(record, finals, faults)
    if given.get("excluded"):
        record |= {"status": "excluded", "reason": given["excluded"]}
    return ImportedRun(
        run,
        record,
        update_columns(series, facts, lr, int(last)) if points else {},
        evaluation_columns(evaluations, points, facts, series["tokens_seen"], record if finals else None),
        [row_columns(run, one, logs, names) for one in mapped],
        faults,
        _evaluated(run, evaluations, points, facts),
        "" if lr is None else lr[1],
    )


def _same_run_in_files(run: str, rows: Sequence[Rows], logs: Logs) -> list[tuple[str, Fault]]:
    found = []
    for one in rows:
        files = np.unique(one.file)
        if len(files) > 1:
            named = ", ".join(logs.files[int(i)].name for i in files[:3])
            detail = f"rows of {run} are in {len(files)} files: {named}" + (" and more" if len(files) > 3 else "")
            done = "they are read one after another, as pieces of one run"
            found.append((one.source.name, Fault("several_files", np.nan, np.nan, len(files), detail, done)))
    return found


def _diverged(train: Series, points: Sequence[Mapped], faults: list[tuple[str, Fault]]) -> float | None:
    """Where the run has diverged [updates done], and what is wrong with its training losses."""
    if not len(train):
        return None
    source = source_of(train, points)
    found, diverged = not_finite(train.at, train.values, "train_loss")
    found += implausible_losses(train.at, train.values, "train_loss")
    found += gaps(train.at)
    faults += [(source, fault) for fault in found]
    return diverged


def _evaluations(
    points: Sequence[Mapped], names: Sequence[str], faults: list[tuple[str, Fault]]
) -> tuple[dict[str, Series], float | None]:
    """Validation losses by evaluation set, in the order in which they come; and from where on [updates done] one of
    them was finite no more, having been so throughout: NaN between finite losses stands for what was not evaluated."""
    codes = [one.domain[one.entries("val_loss")] for one in points]
    found: dict[str, Series] = {}
    ends: list[float] = []
    for code in dict.fromkeys(int(code) for part in codes for code in dict.fromkeys(part.tolist())):
        chosen = [
            np.flatnonzero(one.entries("val_loss") & (one.domain == code) & (one.position - shifted(one) >= 0))
            for one in points
        ]
        series = merged(points, "val_loss", chosen, 1, faults)
        if not len(series):
            continue
        name = ONLY_DOMAIN if code < 0 else names[code]
        what = "val_loss" if code < 0 else f"val_loss on {name}"
        problems, ended = not_finite(series.at, series.values, what)
        if ended is not None and np.isfinite(series.values[series.at < ended]).all():
            ends.append(ended)
        problems += implausible_losses(series.at, series.values, what)
        source = source_of(series, points)
        faults += [(source, fault) for fault in problems]
        found[name] = finite(series, points)
    return {name: series for name, series in found.items() if len(series)}, min(ends, default=None)


def _batch(facts: dict[str, Any], series: dict[str, Series], faults: list[tuple[str, Fault]]) -> None:
    """Tokens per update, from whatever tells them, and what is wrong with them."""
    logged, tokens = series["batch_tokens"], series["tokens_seen"]
    found: list[Fault] = []
    if len(tokens):
        found += non_monotone_tokens(tokens.at, tokens.values)
        good = np.isfinite(tokens.values) & ~falling_tokens(tokens.values)
        origin = (tokens.origin[0][good], tokens.origin[1][good])
        tokens = series["tokens_seen"] = Series(tokens.at[good], tokens.values[good], origin)
    if len(logged):
        found += changed_batch(logged.at, logged.values)
        if not len(tokens):
            # A logged batch is that of the updates since the row before.
            since = np.diff(logged.at, prepend=0.0)
            series["tokens_seen"] = Series(logged.at, np.cumsum(since * logged.values), logged.origin)
        facts.setdefault("batch_tokens", int(logged.values[-1]))
    elif len(tokens) > 1:
        mean = (tokens.values[-1] - tokens.values[0]) / (tokens.at[-1] - tokens.at[0])
        straight = tokens.values[0] + mean * (tokens.at - tokens.at[0])
        # Rounded tokens are no change of the batch.
        if np.abs(tokens.values - straight).max() > 2 * mean:
            found += changed_batch(tokens.at, batches_between(tokens.at, tokens.values))
            between = batches_between(tokens.at, tokens.values)[-1]
            facts.setdefault("batch_tokens", round(between))
        elif "batch_tokens" in facts:
            found += inconsistent_tokens(tokens.at, tokens.values, float(facts["batch_tokens"]))
        elif mean > 0:
            facts["batch_tokens"] = round(mean)
    faults += [("", fault) for fault in found]
    context = facts.get("context_length")
    if context and facts.get("batch_tokens") and not facts["batch_tokens"] % context:
        facts.setdefault("batch_sequences", facts["batch_tokens"] // context)


def _horizon(facts: dict[str, Any], last: float, series: Mapping[str, Series]) -> None:
    """Length of the run in updates and tokens, as far as it can be known; `declared_steps` if it was told."""
    batch = facts.get("batch_tokens")
    if "total_steps" in facts:
        facts["declared_steps"] = facts["total_steps"]
    elif "token_horizon" in facts and batch and not len(series["batch_tokens"]):
        facts["total_steps"] = facts["declared_steps"] = max(1, round(facts["token_horizon"] / batch))
    elif last:
        facts["total_steps"] = int(last)
    if "token_horizon" not in facts and "total_steps" in facts:
        tokens = tokens_at(np.array([float(facts["total_steps"])]), series["tokens_seen"], batch)[0]
        if np.isfinite(tokens):
            facts["token_horizon"] = round(tokens)


def _record(
    run: str,
    facts: Mapping[str, Any],
    given: Mapping[str, Any],
    series: Mapping[str, Series],
    lr: tuple[AppliedLr, str] | None,
    diverged: float | None,
) -> dict[str, Any]:
    """The run's row of `runs`, but for losses and what is counted over runs."""
    train = series["train_loss"].values
    peak = facts.get("peak_lr", None if lr is None else float(lr[0].lr.max()))
    decays = series["weight_decay"].values
    return {
        "cell_id": run,
        **{
            name: facts.get(name)
            for name in (
                *("model", "n_layer", "d_model", "context_length", "n_params_total", "n_params_non_embedding"),
                *("schedule", "schedule_kind", "final_lr_fraction", "decay_shape", "warmup_steps", "decay_steps"),
                *("batch_tokens", "total_steps", "token_horizon", "replicate"),
            )
        },
        "peak_lr": peak,
        "weight_decay": facts.get("weight_decay", float(decays[-1]) if len(decays) else None),
        "batch_sequences": facts.get("batch_sequences", 0),
        "holdout": bool(given.get("holdout", False)),
        "probed": False,
        "trunk_id": facts.get("trunk"),
        "train_flops_exact": facts.get("train_flops"),
        "unique_tokens": facts.get("unique_tokens"),
        "status": "completed",
        "reason": "",
        "train_loss": float(np.mean(train[-max(1, round(LAST_SHARE * len(train))) :])) if len(train) else None,
        "val_loss": None,
        "val_loss_sem": None,
        "n_eval_tokens": None,
        "diverged_step": None if diverged is None else int(diverged) - 1,
        "last_finite_loss": None if diverged is None or not len(train) else float(train[-1]),
        "device": None,
    }


def _judge(
    record: dict[str, Any],
    facts: Mapping[str, Any],
    validation: Series | None,
    train: Series,
    last: float,
    diverged: float | None,
    faults: list[tuple[str, Fault]],
) -> None:
    """Final loss and status. The final loss is the last evaluation, if no more than the distance of the last two
    evaluations is trained behind it."""
    if not last:
        return
    if diverged is not None:
        record |= {"status": "diverged", "reason": f"the loss is not finite from update {diverged:g} on"}
        return
    spacing = max((float(one.at[-1] - one.at[-2]) for one in (train, validation) if one and len(one) > 1), default=1.0)
    early = short_of_horizon(last, spacing, facts["declared_steps"]) if "declared_steps" in facts else []
    faults += [("", fault) for fault in early]
    if early:
        record |= {"status": "excluded", "reason": early[0].detail}
    if validation is None:
        if not early:
            record |= {"status": "excluded", "reason": NO_EVALUATION}
        return
    between = float(validation.at[-1] - validation.at[-2]) if len(validation) > 1 else 0.0
    if validation.at[-1] + between >= last:
        record["val_loss"] = float(validation.values[-1])
    elif not early:
        detail = f"the last evaluation is after update {validation.at[-1]:g} of {last:g}"
        done = "the run has no final loss and is excluded"
        faults.append(("", Fault("no_final_evaluation", float(validation.at[-1]), last, 1, detail, done)))
        record |= {"status": "excluded", "reason": detail}


def _finals(record: dict[str, Any], finals: Sequence[Mapped], faults: list[tuple[str, Fault]]) -> None:
    """Losses of rows that are finished runs; of several the last."""
    for one in finals:
        good = np.flatnonzero(one.reason == "")
        if not len(good):
            record |= {"status": "excluded", "reason": "its row cannot be read"}
            continue
        row = int(good[-1])
        others = good[:-1]
        if len(others):
            losses = one.values.get("val_loss", one.values.get("train_loss"))
            assert losses is not None
            same = bool(np.all(losses[others] == losses[row]))
            detail = f"{len(good)} rows of the same finished run, " + ("equal" if same else "with different losses")
            kind = "duplicated" if same else "conflicting"
            faults.append((one.source.name, Fault(kind, np.nan, np.nan, len(others), detail, "the last one counts")))
            one.repeated[others] = True
        one.used[row] = True
        for name in ("val_loss", "val_loss_sem", "n_eval_tokens", "train_loss", "weight_decay"):
            if name in one.values and not np.isnan(one.values[name][row]):
                record[name] = float(one.values[name][row])
        if "lr" in one.values and record["peak_lr"] is None and np.isfinite(one.values["lr"][row]):
            record["peak_lr"] = float(one.values["lr"][row])
        loss = one.values["val_loss"][row] if "val_loss" in one.values else one.values["train_loss"][row]
        if "val_loss" in one.values and np.isnan(loss):
            one.used[row] = False
            record |= {"status": "excluded", "reason": "its row has no val_loss"}
        elif not np.isfinite(loss):
            one.used[row], one.not_finite[row] = False, True
            record |= {"status": "diverged", "reason": "its final loss is not finite", "val_loss": None}
        elif "val_loss" in one.values and record["reason"] == NO_EVALUATION:
            record |= {"status": "completed", "reason": ""}
        for name in ("val_loss", "train_loss"):
            if record[name] is not None and not np.isfinite(record[name]):
                record[name] = None


def _evaluated(
    run: str, evaluations: Mapping[str, Series], points: Sequence[Mapped], facts: Mapping[str, Any]
) -> Evaluated | None:
    if not evaluations:
        return None
    sizes = {
        float(size) for series in evaluations.values() for size in np.unique(beside(series, points, "n_eval_tokens"))
    }
    first = next(iter(evaluations.values()))
    return Evaluated(
        run,
        float(facts["total_steps"]),
        tuple(sorted(evaluations)),
        tuple(sorted(size for size in sizes if np.isfinite(size))),
        float(first.at[0]),
        float(first.at[-1]),
        len(first),
    )
