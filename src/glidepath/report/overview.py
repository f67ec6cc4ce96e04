"""The study at a glance: what was trained, how it ended, what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures import select
from glidepath.figures.text import compact, learning_rate, scientific, time_unit
from glidepath.report.answer import where
from glidepath.report.numbers import decimals_of, difference, estimate
from glidepath.report.schedule_words import in_words
from glidepath.study.schedule import Schedule
from glidepath.study.segments import Plan


@dataclass(frozen=True)
class Fact:
    """One line of the design: what, and its value in words."""

    name: str
    text: str


@dataclass(frozen=True)
class BestRow:
    """A schedule at its best peak learning rate of one horizon."""

    schedule: str
    peak_lr: str
    edge_of_grid: bool
    n_replicates: int
    val_loss: str
    bits_per_byte: str
    difference: str
    verdict: str


@dataclass(frozen=True)
class BestTable:
    """All schedules at one model, batch and horizon."""

    model: str
    batch_tokens: str
    horizon: str
    reference: str
    rows: tuple[BestRow, ...]


@dataclass(frozen=True)
class Lost:
    """Cells without a final loss: one line per model, schedule, horizon, batch, learning rate and reason."""

    model: str
    schedule: str
    horizon: str
    batch: int
    peak_lr: str
    replicates: str
    status: str
    reason: str


def facts(runs: pd.DataFrame, planned: Plan) -> tuple[Fact, ...]:
    """The design in a dozen lines."""
    status = runs["status"].value_counts()
    counts = [f"{status[name]} {name}" for name in ("completed", "diverged", "excluded") if status.get(name, 0)]
    held = int(runs["holdout"].sum())
    models = runs.drop_duplicates("model").sort_values("n_params_counted")
    schedules = _schedules(planned)
    return (
        Fact("Models", "; ".join(_model(row) for _, row in models.iterrows())),
        Fact("Schedules", "; ".join(f"{name} ({in_words(schedule)})" for name, schedule in schedules.items())),
        Fact("Horizons", f"{_listed(runs['tokens_per_parameter'], '{:g}')} tokens per parameter"),
        Fact("Peak learning rates", _rates(runs["peak_lr"])),
        Fact("Batches", _batches(runs, schedules)),
        Fact(
            "Replicates",
            f"{runs['replicate'].nunique()} (initialisation and data order, the same for all schedules)",
        ),
        Fact("Cells", f"{len(runs)}: {', '.join(counts)}" + (f"; {held} hidden from the fits" if held else "")),
        *_cost(runs, planned),
    )


def _model(row: pd.Series[Any]) -> str:
    return (
        f"{row['model']} ({row['n_layer']} layers × {row['d_model']}, "
        f"{compact(float(row['n_params_counted']))} parameters counted, "
        f"{compact(float(row['n_params_total']))} in all, context {row['context_length']}, "
        f"{row['parametrization']})"
    )


def _schedules(planned: Plan) -> dict[str, Schedule]:
    """The schedules of the grid by name, kinds together."""
    found = {cell.schedule_name: cell.schedule for cell in planned.cells}
    return dict(sorted(found.items(), key=lambda item: (item[1].kind, item[0])))


def _batches(runs: pd.DataFrame, schedules: dict[str, Schedule]) -> str:
    ramped = ", ".join(name for name, schedule in schedules.items() if schedule.batch)
    ends = f", where the ramp ends in {ramped}" if ramped else ""
    return f"{_listed(runs['batch_sequences'], '{:g}')} sequences per update{ends}"


def _listed(values: Iterable[float], form: str) -> str:
    return ", ".join(form.format(value) for value in sorted(set(values)))


def _rates(values: Iterable[float]) -> str:
    return ", ".join(learning_rate(value) for value in sorted(set(values)))


def _cost(runs: pd.DataFrame, planned: Plan) -> tuple[Fact, ...]:
    """Tokens, FLOPs and time, and what sharing saved; the time of shared stretches is counted once by their
    tokens."""
    segments = planned.segments.values()
    tokens = sum(segment.tokens for segment in segments)
    flops = sum(segment.train_flops_exact for segment in segments)
    alone_tokens = sum(cell.token_horizon for cell in planned.cells)
    alone_flops = sum(cell.train_flops_per_token * cell.token_horizon for cell in planned.cells)
    alone_seconds = float(runs["train_seconds"].sum())
    seconds = alone_seconds * flops / alone_flops
    scale, unit = time_unit(seconds)
    return (
        Fact(
            "Trained",
            f"{compact(tokens)} tokens, {scientific(flops)} FLOP (every matrix product), about "
            f"{seconds / scale:.3g} {unit} of training in {len(planned.segments)} jobs",
        ),
        Fact(
            "Saved by sharing",
            f"without shared prefixes {compact(alone_tokens)} tokens and {scientific(alone_flops)} FLOP: "
            f"{alone_flops / flops:.2f} times as much",
        ),
    )


def best_tables(runs: pd.DataFrame, comparisons: pd.DataFrame, reference: str) -> tuple[BestTable, ...]:
    """Every schedule at its best peak learning rate, a table per model, batch and horizon."""
    best = select.at_best_lr(runs)
    if best.empty:
        return ()
    bits = (runs["bits_per_byte"] / runs["val_loss"]).median()
    tables = []
    for _, group in best.groupby(["model", "batch_sequences", "tokens_per_parameter"]):
        first = group.iloc[0]
        paired = where(
            comparisons,
            model=str(first["model"]),
            batch_sequences=int(first["batch_sequences"]),
            tokens_per_parameter=float(first["tokens_per_parameter"]),
            reference_schedule=reference,
        )
        rows = tuple(
            _best_row(row, paired, float(bits), reference) for _, row in group.sort_values("val_loss").iterrows()
        )
        tables.append(
            BestTable(
                str(first["model"]),
                compact(float(first["batch_tokens"])),
                f"{first['tokens_per_parameter']:g}",
                reference,
                rows,
            )
        )
    return tuple(tables)


def _best_row(row: pd.Series[Any], paired: pd.DataFrame, bits_per_nat: float, reference: str) -> BestRow:
    name = str(row["schedule"])
    gap, verdict = "", "reference" if name == reference else "no pair"
    for _, pair in where(paired, schedule=name).iterrows():
        gap, verdict = difference(pair["difference"], pair["standard_error"]), str(pair["verdict"])
    decimals = decimals_of(row["val_loss_se"] * bits_per_nat) if np.isfinite(row["val_loss_se"]) else 3
    return BestRow(
        name,
        learning_rate(row["peak_lr"]),
        bool(row["edge_of_grid"]),
        int(row["n_replicates"]),
        estimate(row["val_loss"], row["val_loss_se"]),
        f"{row['val_loss'] * bits_per_nat:.{decimals}f}" if np.isfinite(bits_per_nat) else "",
        gap,
        verdict,
    )


def lost_cells(runs: pd.DataFrame) -> tuple[Lost, ...]:
    """Diverged and excluded cells; replicates that end alike share a line."""
    lost = runs[runs["status"] != "completed"]
    keys = ["model", "batch_sequences", "schedule", "tokens_per_parameter", "peak_lr", "status"]
    lines = []
    for _, group in lost.groupby(keys):
        first = group.iloc[0]
        lines.append(
            Lost(
                model=str(first["model"]),
                batch=int(first["batch_sequences"]),
                schedule=str(first["schedule"]),
                horizon=f"{first['tokens_per_parameter']:g}",
                peak_lr=learning_rate(first["peak_lr"]),
                status=str(first["status"]),
                replicates=_listed(group["replicate"], "{:g}"),
                reason="; ".join(sorted(set(group["reason"]))),
            )
        )
    return tuple(lines)
