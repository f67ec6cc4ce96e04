"""One imported run: from the rows of its logs to rows of the tables, with everything found on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glidepath.interop import run_audit as audit
from glidepath.interop.run_audit import Evaluated, Fault
from glidepath.interop.run_facts import factor, facts_of, in_nats
from glidepath.interop.run_lr import AppliedLr, LrTables, interpolated, of_schedule
from glidepath.interop.run_rows import Logs, Rows
from glidepath.study.import_columns import LOSSES
from glidepath.study.import_config import ImportConfig
from glidepath.study.import_sources import LrKnown, LrTable, Source
from glidepath.study.section import StudyError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rank = NDArray[np.int64]

MOST_UPDATES = 20_000_000
"""Of one run whose learning rate is known at every update."""
NO_EVALUATION = "no validation loss is logged"
ONLY_DOMAIN = "validation"
"""Name of an evaluation set that the log does not name."""
METRICS = ("train_loss", "val_loss", "lr", "grad_norm", "weight_decay", "batch_tokens", "tokens_seen")
LAST_SHARE = 0.05
"""The last part of the logged updates over which `runs.train_loss` is a mean, as in a study."""


@dataclass
class Mapped:
    """Rows of one source in the tables' units."""

    source: Source
    rows: Rows
    position: Floats
    """Updates done when the row was logged, training's update included; NaN if not known."""
    values: dict[str, Floats]
    domain: NDArray[np.int32]
    void: dict[str, Mask]
    """Values that a restart made void, by quantity."""
    reason: NDArray[np.object_]
    used: Mask
    repeated: Mask
    """Rows of which a later row has the same step and quantity."""
    not_finite: Mask

    def entries(self, name: str) -> Mask:
        """Rows that have a value of a quantity that counts."""
        values = self.values.get(name)
        if values is None:
            return np.zeros(len(self.position), dtype=np.bool_)
        there: Mask = ~np.isnan(values) & ~self.void[name] & (self.reason == "")
        return there


@dataclass(frozen=True)
class Series:
    """A quantity along a run: one value per place, places rising."""

    at: Floats
    """Updates done."""
    values: Floats
    origin: tuple[Rank, Rank]
    """Number of the source's rows, and of the row in them."""

    def __len__(self) -> int:
        return len(self.at)


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
    mapped = [_mapped(run, one, facts, faults) for one in rows]
    points = [one for one in mapped if one.source.rows == "points"]
    finals = [one for one in mapped if one.source.rows == "runs"]
    faults += _same_run_in_files(run, rows, logs)
    series = {name: _series(points, name, faults) for name in METRICS if name != "val_loss"}
    diverged = _diverged(series["train_loss"], points, faults)
    series["train_loss"] = _finite(series["train_loss"], points)
    evaluations = _evaluations(points, names, faults)
    last = max((float(one.at[-1]) for one in (series["train_loss"], *evaluations.values()) if len(one)), default=0.0)
    if diverged is not None:
        last = max(last, diverged)
    _batch(facts, series, faults)
    _horizon(facts, last, series)
    lr = _applied_lr(run, config, given.get("lr"), points, facts, series["lr"], int(last), tables, faults)
    domain = primary if primary is not None else next(iter(evaluations), ONLY_DOMAIN)
    record = _record(run, facts, given, series, lr, diverged)
    _judge(record, facts, evaluations.get(domain), series["train_loss"], last, diverged, faults)
    _finals(record, finals, faults)
    if given.get("excluded"):
        record |= {"status": "excluded", "reason": given["excluded"]}
    return ImportedRun(
        run,
        record,
        _updates(series, facts, lr, int(last)) if points else {},
        _evaluation_rows(evaluations, points, facts, series["tokens_seen"], record if finals else None),
        [_row_columns(run, one, logs, names) for one in mapped],
        faults,
        _evaluated(run, evaluations, points, facts),
        "" if lr is None else lr[1],
    )


def _mapped(run: str, rows: Rows, facts: Mapping[str, Any], faults: list[tuple[str, Fault]]) -> Mapped:
    source = rows.source
    n = len(rows.row)
    values: dict[str, Floats] = {}
    for name, column in rows.values.items():
        if name in LOSSES:
            values[name] = in_nats(source, name, column)
        elif name in ("tokens_seen", "batch_tokens", "n_eval_tokens", "step"):
            scale = factor(run, source, name, facts)
            values[name] = column if scale == 1.0 else column * scale
        elif name in ("time", *METRICS):
            values[name] = column
    reason = np.full(n, "", dtype=object)
    reason[rows.wrong] = "a number of it cannot be read"
    position = _position(run, source, values, facts, n)
    mapped = Mapped(
        source,
        rows,
        position,
        values,
        rows.texts.get("domain", np.full(n, -1, dtype=np.int32)),
        {name: np.zeros(n, dtype=np.bool_) for name in values},
        reason,
        *(np.zeros(n, dtype=np.bool_) for _ in range(3)),
    )
    if source.rows == "points":
        _place(mapped, faults)
    return mapped


def _position(run: str, source: Source, values: Mapping[str, Floats], facts: Mapping[str, Any], n: int) -> Floats:
    if "step" in values:
        return values["step"] + (0.0 if source.step_counts == "updates_done" else 1.0)
    if source.rows == "runs":
        return np.full(n, float(facts.get("total_steps") or np.nan))
    if not facts.get("batch_tokens"):
        raise StudyError(
            f"The run {run}: the source {source.name} has tokens_seen and no step, and batch_tokens is not known, so "
            "that updates cannot be counted. Give columns.step, or batch_tokens in runs"
        )
    return np.asarray(values["tokens_seen"] / facts["batch_tokens"], dtype=np.float64)


def _place(one: Mapped, faults: list[tuple[str, Fault]]) -> None:
    """Whole updates, and what restarts made void."""
    position = one.position
    known = np.isfinite(position)
    one.reason[~known & (one.reason == "")] = "no step"
    rounded = np.rint(position)
    off = known & (np.abs(position - rounded) > 0.01)
    if off.any():
        where = position[off]
        detail = f"{int(off.sum())} steps are no whole numbers, the first is {where[0]:.10g}"
        fault = Fault("fractional_steps", float(where.min()), float(where.max()), int(off.sum()), detail, "rounded")
        faults.append((one.source.name, fault))
    one.position = rounded
    early = known & (rounded < 1) & ~np.isnan(one.values.get("train_loss", np.full(len(rounded), np.nan)))
    if early.any():
        detail = "a training loss before the first update: steps may be counted from 0"
        done = "it is not used; see step_counts"
        faults.append((one.source.name, Fault("step_zero", 0.0, 0.0, int(early.sum()), detail, done)))
    order = _order(one)
    rows_with = {
        name: order[(~np.isnan(one.values[name]) & (one.reason == ""))[order]] for name in METRICS if name in one.values
    }
    for mine in rows_with.values():
        steps = one.position[mine]
        if audit.is_unsorted(steps):
            back = int(audit.going_back(steps).sum())
            detail = f"the step goes back {back} times in {len(steps)} rows: they are in no order of training"
            fault = Fault("unsorted", float(steps.min()), float(steps.max()), back, detail, "sorted by step")
            faults.append((one.source.name, fault))
            return
    told = False
    for name, mine in rows_with.items():
        steps = one.position[mine]
        void = audit.superseded(steps)
        one.void[name][mine] |= void
        if void.any() and not told:
            faults.extend((one.source.name, fault) for fault in audit.restarts(steps))
            told = True
        if name == "train_loss" and void.any() and "val_loss" in one.values:
            _void_evaluations(one, order, mine)
    _say_superseded(one)


def _order(one: Mapped) -> Rank:
    """Rows in the order in which they were logged: by time, where that is known, else as the files have them."""
    time = one.values.get("time")
    if time is None or not np.isfinite(time).all() or bool(np.all(np.diff(time) >= 0)):
        return np.arange(len(one.position))
    return np.argsort(time, kind="stable")


def _void_evaluations(one: Mapped, order: Rank, trained: Rank) -> None:
    """Evaluations that stand before a restart of training from an earlier step say nothing of what was trained anew."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    back = trained[audit.going_back(one.position[trained])]
    restart = np.full(len(order), np.inf)
    restart[place[back]] = one.position[back]
    later = np.append(np.minimum.accumulate(restart[::-1])[::-1][1:], np.inf)[place]
    one.void["val_loss"] |= one.position >= later


def _say_superseded(one: Mapped) -> None:
    has = np.zeros(len(one.position), dtype=np.bool_)
    left = np.zeros(len(one.position), dtype=np.bool_)
    for name in ("train_loss", "val_loss", "lr", "grad_norm"):
        if name in one.values:
            there = ~np.isnan(one.values[name])
            has |= there
            left |= there & ~one.void[name]
    one.reason[has & ~left & (one.reason == "")] = "superseded by a restart"


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


def _series(points: Sequence[Mapped], name: str, faults: list[tuple[str, Fault]]) -> Series:
    """A quantity over all sources; of several values at one step the last."""
    chosen = [np.flatnonzero(one.entries(name) & (one.position >= 1)) for one in points]
    return _merged(points, name, chosen, 0, faults if name == "train_loss" else None)


def _merged(
    points: Sequence[Mapped],
    name: str,
    chosen: Sequence[Rank],
    shift: int,
    faults: list[tuple[str, Fault]] | None,
) -> Series:
    at = [one.position[rows] - shift * _shifted(one) for one, rows in zip(points, chosen, strict=True)]
    values = [one.values[name][rows] if len(rows) else np.empty(0) for one, rows in zip(points, chosen, strict=True)]
    source = [np.full(len(rows), i) for i, rows in enumerate(chosen)]
    if not any(len(rows) for rows in chosen):
        return Series(np.empty(0), np.empty(0), (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)))
    all_at, all_values, all_source, all_rows = map(np.concatenate, (at, values, source, chosen))
    kept = audit.last_of_each(all_at)
    if faults is not None and len(kept) < len(all_at):
        named = {points[i].source.name for i in np.unique(all_source)}
        where = named.pop() if len(named) == 1 else ""
        faults.extend((where, fault) for fault in audit.duplicates(all_at, all_values, name))
        for i, one in enumerate(points):
            mine = all_rows[all_source == i]
            dropped = np.setdiff1d(mine, all_rows[kept][all_source[kept] == i])
            one.repeated[dropped] = True
    for i, one in enumerate(points):
        mine = kept[all_source[kept] == i]
        one.used[all_rows[mine[np.isfinite(all_values[mine])]]] = True
    return Series(all_at[kept], all_values[kept], (all_source[kept], all_rows[kept]))


def _shifted(one: Mapped) -> int:
    return 1 if one.source.step_counts == "zero_based_evaluated_before" else 0


def _finite(series: Series, points: Sequence[Mapped]) -> Series:
    """Without values that were logged as NaN or infinity, whose rows are flagged."""
    good = np.isfinite(series.values)
    if good.all():
        return series
    for i, one in enumerate(points):
        one.not_finite[series.origin[1][~good & (series.origin[0] == i)]] = True
    origin = (series.origin[0][good], series.origin[1][good])
    return Series(series.at[good], series.values[good], origin)


def _diverged(train: Series, points: Sequence[Mapped], faults: list[tuple[str, Fault]]) -> float | None:
    """Where the run has diverged [updates done], and what is wrong with its training losses."""
    if not len(train):
        return None
    source = _source_of(train, points)
    found, diverged = audit.not_finite(train.at, train.values, "train_loss")
    found += audit.implausible_losses(train.at, train.values, "train_loss")
    found += audit.gaps(train.at)
    faults += [(source, fault) for fault in found]
    return diverged


def _source_of(series: Series, points: Sequence[Mapped]) -> str:
    numbers = np.unique(series.origin[0])
    return points[int(numbers[0])].source.name if len(numbers) == 1 else ""


def _evaluations(points: Sequence[Mapped], names: Sequence[str], faults: list[tuple[str, Fault]]) -> dict[str, Series]:
    """Validation losses by evaluation set, in the order in which they come."""
    codes = [one.domain[one.entries("val_loss")] for one in points]
    found: dict[str, Series] = {}
    for code in dict.fromkeys(int(code) for part in codes for code in dict.fromkeys(part.tolist())):
        chosen = [
            np.flatnonzero(one.entries("val_loss") & (one.domain == code) & (one.position - _shifted(one) >= 0))
            for one in points
        ]
        series = _merged(points, "val_loss", chosen, 1, faults)
        if not len(series):
            continue
        name = ONLY_DOMAIN if code < 0 else names[code]
        what = "val_loss" if code < 0 else f"val_loss on {name}"
        problems, _ = audit.not_finite(series.at, series.values, what)
        problems += audit.implausible_losses(series.at, series.values, what)
        source = _source_of(series, points)
        faults += [(source, fault) for fault in problems]
        found[name] = _finite(series, points)
    return {name: series for name, series in found.items() if len(series)}


def _batch(facts: dict[str, Any], series: dict[str, Series], faults: list[tuple[str, Fault]]) -> None:
    """Tokens per update, from whatever tells them, and what is wrong with them."""
    logged, tokens = series["batch_tokens"], series["tokens_seen"]
    found: list[Fault] = []
    if len(tokens):
        found += audit.non_monotone_tokens(tokens.at, tokens.values)
        good = np.isfinite(tokens.values) & ~audit.falling_tokens(tokens.values)
        origin = (tokens.origin[0][good], tokens.origin[1][good])
        tokens = series["tokens_seen"] = Series(tokens.at[good], tokens.values[good], origin)
    if len(logged):
        found += audit.changed_batch(logged.at, logged.values)
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
            found += audit.changed_batch(tokens.at, audit.batches_between(tokens.at, tokens.values))
            between = audit.batches_between(tokens.at, tokens.values)[-1]
            facts.setdefault("batch_tokens", round(between))
        elif "batch_tokens" in facts:
            found += audit.inconsistent_tokens(tokens.at, tokens.values, float(facts["batch_tokens"]))
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


def tokens_at(updates: Floats, tokens: Series, batch_tokens: float | None) -> Floats:
    """Training tokens after so many updates: those that were logged, straight between them and, behind them, by the
    batch; else updates times batch. NaN where neither is known."""
    if not len(tokens):
        return updates * float(batch_tokens) if batch_tokens else np.full(len(updates), np.nan)
    at, seen = np.append(0.0, tokens.at), np.append(0.0, tokens.values)
    found = np.interp(updates, at, seen)
    behind = updates > at[-1]
    per_update = float(batch_tokens) if batch_tokens else np.nan
    return np.asarray(np.where(behind, seen[-1] + (updates - at[-1]) * per_update, found), dtype=np.float64)


def _applied_lr(
    run: str,
    config: ImportConfig,
    given: LrKnown | LrTable | None,
    points: Sequence[Mapped],
    facts: dict[str, Any],
    logged: Series,
    n_updates: int,
    tables: LrTables,
    faults: list[tuple[str, Fault]],
) -> tuple[AppliedLr, str] | None:
    """Learning rates of all updates, and in words how they are known; None where they are not."""
    if not points or not n_updates:
        return None
    known = [one.source.lr_kind for one in points]
    lr = given or next((one for one in known if one.kind != "unknown"), known[0])
    if lr.kind == "unknown":
        return None
    if n_updates > MOST_UPDATES:
        raise StudyError(
            f"The run {run}: its step reaches {n_updates:,}, and the learning rate of no more than {MOST_UPDATES:,} "
            "updates is held. If the column counts tokens, map it to tokens_seen"
        )
    if lr.kind == "logged":
        steps = logged.at.astype(np.int64) - 1
        if not len(logged) or not np.isfinite(logged.values).all():
            detail = "no learning rate is logged" if not len(logged) else "a learning rate is NaN or infinite"
            faults.append(("", _no_lr(detail)))
            return None
        applied = interpolated(steps, logged.values, n_updates, facts.get("warmup_steps"))
        if applied.held:
            detail = f"the learning rate is not logged before update {applied.held} (counted from 0)"
            done = "the first logged value is held before it; give warmup_steps for a straight rise"
            faults.append(("", Fault("lr_held", 1.0, float(applied.held), applied.held, detail, done)))
        _check_declared(run, config, facts, logged, faults)
        missing = n_updates - len(logged)
        words = "logged at every update" if missing <= 0 else f"logged at {len(logged)} updates, straight between them"
        return applied, words
    if lr.kind == "table":
        assert isinstance(lr, LrTable)
        found = tables.lr(lr, {"run": run, "model": facts.get("model"), "schedule": facts.get("schedule")})
        if found is None or len(found.lr) < n_updates:
            detail = (
                f"{lr.path} has no learning rates of it"
                if found is None
                else f"{lr.path} has its learning rate up to update {len(found.lr)} only, of {n_updates}"
            )
            faults.append(("", _no_lr(detail)))
            return None
        applied, words = AppliedLr(found.lr[:n_updates], found.held), f"from {lr.path}"
    elif lr.kind == "constant":
        applied = AppliedLr(np.full(n_updates, float(_needed(run, "constant", facts, "peak_lr"))))
        words = "constant, as said"
    else:
        applied, words = _of_schedule(run, config, facts, n_updates), f"from the schedule {facts.get('schedule')}"
    if len(logged):
        steps = logged.at.astype(np.int64) - 1
        faults.extend(("", fault) for fault in audit.contradicting_lr(steps, logged.values, applied.lr))
    return applied, words


def _no_lr(detail: str) -> Fault:
    return Fault("missing_lr", np.nan, np.nan, 1, detail, "laws that read the learning rate leave the run out")


def _needed(run: str, kind: str, facts: Mapping[str, Any], name: str) -> Any:
    if facts.get(name) is None:
        raise StudyError(
            f"The run {run}: lr.kind {kind} needs its {name}, which is not known. Give it in columns or in runs"
        )
    return facts[name]


def _of_schedule(run: str, config: ImportConfig, facts: dict[str, Any], n_updates: int) -> AppliedLr:
    name = _needed(run, "schedule", facts, "schedule")
    if name not in config.schedules:
        raise StudyError(
            f"The run {run}: lr.kind schedule, and its schedule {name!r} is not one of schedules "
            f"({', '.join(config.schedules) or 'none'}). Define it there, or say in runs which of them it is"
        )
    schedule = config.schedules[name]
    full = of_schedule(
        schedule,
        peak_lr=_needed(run, "schedule", facts, "peak_lr"),
        warmup_steps=facts.get("warmup_steps", 0),
        total_steps=facts["total_steps"],
        batch_tokens=facts.get("batch_tokens") or 1,
        weight_decay=facts.get("weight_decay") or 0.0,
        where=f"the run {run} with the schedule {name}",
    )
    if len(full.lr) < n_updates:
        raise StudyError(
            f"The run {run}: its log goes on to update {n_updates}, beyond total_steps {facts['total_steps']} of its "
            "schedule. Correct total_steps or token_horizon"
        )
    facts.setdefault("schedule_kind", schedule.kind)
    facts.setdefault("final_lr_fraction", schedule.final_fraction)
    facts.setdefault("decay_shape", schedule.shape)
    facts.setdefault("decay_steps", full.decay_steps)
    return AppliedLr(full.lr[:n_updates], full.held, full.decay_steps)


def _check_declared(
    run: str, config: ImportConfig, facts: dict[str, Any], logged: Series, faults: list[tuple[str, Fault]]
) -> None:
    """Holds logged learning rates against the schedule that the run is said to have."""
    name = facts.get("schedule")
    if name not in config.schedules or facts.get("peak_lr") is None or "declared_steps" not in facts:
        return
    last = int(logged.at[-1])
    if last > facts["total_steps"]:
        return
    declared = _of_schedule(run, config, facts, last).lr
    found = audit.contradicting_lr(logged.at.astype(np.int64) - 1, logged.values, declared)
    faults.extend(
        ("", Fault(f.kind, f.first, f.last, f.count, f.detail, "the logged one counts, as lr says")) for f in found
    )


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
    early = audit.short_of_horizon(last, spacing, facts["declared_steps"]) if "declared_steps" in facts else []
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


def _updates(
    series: Mapping[str, Series],
    facts: Mapping[str, Any],
    lr: tuple[AppliedLr, str] | None,
    last: int,
) -> dict[str, Any]:
    """Columns of `updates`: every update where the learning rate is known, else those that were logged."""
    train, norms, batches = series["train_loss"], series["grad_norm"], series["batch_tokens"]
    steps = np.arange(last) if lr is not None else np.union1d(train.at, norms.at).astype(np.int64) - 1
    done = (steps + 1).astype(np.float64)
    batch: Floats | None = None
    if len(batches):
        after = np.minimum(np.searchsorted(batches.at, done), len(batches) - 1)
        batch = batches.values[after]
    seen = tokens_at(done, series["tokens_seen"], facts.get("batch_tokens"))
    if batch is None and len(series["tokens_seen"]):
        seen_before = tokens_at(done - 1, series["tokens_seen"], facts.get("batch_tokens"))
        batch = seen - seen_before
    decay = facts.get("weight_decay")
    return {
        "step": steps,
        "tokens_seen": np.rint(seen),
        "lr": None if lr is None else lr[0].lr[:last],
        "weight_decay": None if decay is None else np.full(len(steps), float(decay)),
        "batch_tokens": np.rint(batch)
        if batch is not None
        else (np.full(len(steps), float(facts["batch_tokens"])) if facts.get("batch_tokens") else None),
        "train_loss": _scattered(train, steps),
        "grad_norm": _scattered(norms, steps) if len(norms) else None,
    }


def _scattered(series: Series, steps: NDArray[np.int64]) -> Floats:
    """Values at the updates `steps`, rising; NaN where there is none."""
    found = np.full(len(steps), np.nan)
    at = np.searchsorted(steps, series.at.astype(np.int64) - 1)
    inside = at < len(steps)
    found[at[inside]] = series.values[inside]
    return np.where(np.isfinite(found), found, np.nan)


def _evaluation_rows(
    evaluations: Mapping[str, Series],
    points: Sequence[Mapped],
    facts: Mapping[str, Any],
    tokens: Series,
    final: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Columns of `evaluations`."""
    parts: list[dict[str, Any]] = []
    for domain, series in evaluations.items():
        columns: dict[str, Any] = {"updates_done": series.at, "val_loss": series.values}
        columns["tokens_seen"] = np.rint(tokens_at(series.at, tokens, facts.get("batch_tokens")))
        for name in ("val_loss_sem", "n_eval_tokens"):
            columns[name] = _beside(series, points, name)
        columns["domain"] = np.full(len(series), domain, dtype=object)
        parts.append(columns)
    if final is not None and not evaluations and final["val_loss"] is not None and facts.get("total_steps"):
        steps = np.array([float(facts["total_steps"])])
        parts.append(
            {
                "updates_done": steps,
                "val_loss": np.array([final["val_loss"]]),
                "tokens_seen": np.array([float(facts.get("token_horizon") or np.nan)]),
                "val_loss_sem": np.array([final["val_loss_sem"] or np.nan]),
                "n_eval_tokens": np.array([final["n_eval_tokens"] or np.nan]),
                "domain": np.array([ONLY_DOMAIN], dtype=object),
            }
        )
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _beside(series: Series, points: Sequence[Mapped], name: str) -> Floats:
    """Values of another column in the rows of a series."""
    found = np.full(len(series), np.nan)
    for i, one in enumerate(points):
        mine = series.origin[0] == i
        if name in one.values and mine.any():
            found[mine] = one.values[name][series.origin[1][mine]]
    return np.where(np.isfinite(found), found, np.nan)


def _evaluated(
    run: str, evaluations: Mapping[str, Series], points: Sequence[Mapped], facts: Mapping[str, Any]
) -> Evaluated | None:
    if not evaluations:
        return None
    sizes = {
        float(size) for series in evaluations.values() for size in np.unique(_beside(series, points, "n_eval_tokens"))
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


def _row_columns(run: str, one: Mapped, logs: Logs, names: Sequence[str]) -> dict[str, Any]:
    """Columns of `imported_rows`."""
    n = len(one.position)
    for mask, reason in (
        (one.not_finite, "the loss is not finite"),
        (one.repeated, "repeated: a later row says the same of it"),
        (~one.used, "nothing in it is read"),
    ):
        one.reason[mask & (one.reason == "")] = reason
    one.reason[one.used] = ""
    files = np.array([file.name for file in logs.files], dtype=object)
    texts = np.array([*names, None], dtype=object)
    return {
        "run": np.full(n, run, dtype=object),
        "source": np.full(n, one.source.name, dtype=object),
        "file": files[one.rows.file],
        "row": one.rows.row,
        "updates_done": one.position,
        **{
            name: np.where(np.isfinite(values := one.values[name]), values, np.nan) if name in one.values else None
            for name in (
                *("tokens_seen", "lr", "weight_decay", "batch_tokens", "train_loss", "grad_norm"),
                *("val_loss", "val_loss_sem", "n_eval_tokens"),
            )
        },
        "domain": texts[one.domain],
        "used": one.used,
        "reason": one.reason,
    }
