"""What the final weights of every cell are an average of, from the learning rates and decays that were applied."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.science.ema_view import shrinkage, timescale_fraction, update_coefficients
from glidepath.study import tables
from glidepath.study.specs import ModelSpec
from glidepath.training.parameters import Multipliers, multipliers, parameters

Groups = dict[str, Multipliers]
"""Multipliers of the parameter kinds that a model has."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--updates", type=Path, required=True)
    parser.add_argument("--models", type=json.loads, required=True, help="model specifications by name, as JSON")
    parser.add_argument("--output", type=Path, required=True, help="ema_view.parquet")


def main(args: argparse.Namespace) -> None:
    groups = {name: groups_of(ModelSpec.model_validate(spec)) for name, spec in args.models.items()}
    frame = ema_view(tables.read(tables.RUNS, args.runs), tables.read(tables.UPDATES, args.updates), groups)
    tables.write(tables.EMA_VIEW, frame, args.output)


def groups_of(spec: ModelSpec) -> Groups:
    """Multipliers of the kinds of parameter that a model has; learning rate and decay are alike within a kind."""
    return {parameter.kind: multipliers(spec, parameter) for parameter in parameters(spec)}


def ema_view(runs: pd.DataFrame, updates: pd.DataFrame, groups: dict[str, Groups]) -> pd.DataFrame:
    """The table: a row per cell and parameter kind; what could not be computed is null, and `status` says why."""
    applied = dict(list(updates.sort_values(["cell_id", "step"]).groupby("cell_id", sort=False)))
    rows = [
        {"cell_id": cell["cell_id"], "group": kind, **row}
        for _, cell in runs.iterrows()
        for kind, row in _rows(cell, applied.get(cell["cell_id"], updates.iloc[:0]), groups[cell["model"]])
    ]
    return pd.DataFrame(rows, columns=tables.EMA_VIEW.names)


def _rows(cell: pd.Series[Any], applied: pd.DataFrame, groups: Groups) -> Iterator[tuple[str, dict[str, Any]]]:
    reason = _unanswerable(cell, applied)
    for kind, times in groups.items():
        row: dict[str, Any] = {
            "lr_multiplier": times.lr,
            "weight_decay_multiplier": times.weight_decay,
            "status": reason or "ok",
        }
        decays = applied["weight_decay"].to_numpy() * times.weight_decay
        if not reason and (decays == 0).all():
            row["status"] = "no weight decay"
        elif not reason:
            row |= _coefficients(cell, applied, applied["lr"].to_numpy() * times.lr, decays)
        yield kind, row


def _unanswerable(cell: pd.Series[Any], applied: pd.DataFrame) -> str:
    """Why a cell's weights have no coefficients; empty if they have."""
    if cell["status"] == "diverged":
        return "diverged"
    if cell["schedule_kind"] == "schedule_free":
        return "schedule-free: its weights are another average"
    if len(applied) != cell["total_steps"]:
        return "not every update was logged"
    return ""


def _coefficients(
    cell: pd.Series[Any], applied: pd.DataFrame, lr: np.ndarray[Any, Any], weight_decay: np.ndarray[Any, Any]
) -> dict[str, Any]:
    try:
        coefficients = update_coefficients(lr, weight_decay)
    except ValueError as refusal:
        return {"status": str(refusal)}
    fastest = int(shrinkage(lr, weight_decay).argmax())
    timescales = timescale_fraction(lr, weight_decay, applied["batch_tokens"].to_numpy(), float(cell["token_horizon"]))
    return {
        "initial_coefficient": coefficients.initial,
        "effective_updates": coefficients.effective_updates,
        "peak_coefficient": float(coefficients.updates.max()),
        "peak_fraction": float(applied["tokens_seen"].iloc[coefficients.peak] / cell["token_horizon"]),
        "timescale_fraction": float(timescales[fastest]),
    }
