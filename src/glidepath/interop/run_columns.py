"""Columns of the tables from what is known along a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glidepath.interop.run_lr import AppliedLr
from glidepath.interop.run_rows import Logs
from glidepath.interop.run_series import (
    ONLY_DOMAIN,
    Mapped,
    Series,
    beside,
    tokens_at,
)

Floats = NDArray[np.float64]


def update_columns(
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


def evaluation_columns(
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
            columns[name] = beside(series, points, name)
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


def row_columns(run: str, one: Mapped, logs: Logs, names: Sequence[str]) -> dict[str, Any]:
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
