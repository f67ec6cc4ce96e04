"""The critical batch of sweeps, by both definitions (`science.critical_batch`), beside the gradient noise scale.

A critical batch is measured by training; the noise scale by gradients. They are different quantities: their ratio has
an interval, and no definition is better than the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from glidepath.laws.steps_to_loss import StepsToLoss
from glidepath.science.critical_batch import (
    MIN_BATCHES,
    OVERHEAD,
    Estimate,
    Front,
    SizeLaw,
    StepNoise,
    definition_name,
    fit_front,
    fit_size_law,
)
from glidepath.science.replicates import replicate_noise

DEFINITIONS = (None, OVERHEAD)
"""As overheads; None is the trade-off of steps and data."""
NOISE_GROUPS = ("total", "body", "norm")
"""Groups of gradients whose noise scale stands beside it."""
UNKNOWN: Estimate = (np.nan, np.nan, np.nan)


def critical_batches(
    steps: pd.DataFrame, reference_batch: float, ci_level: float, overhead: float = OVERHEAD
) -> pd.DataFrame:
    """Critical batches from any team's numbers: a row per model and definition.

    `steps` has the columns model, n_params, batch and steps (updates to the loss that was aimed at), and replicate
    where a batch was trained several times. Batches, examples and critical batches are in the unit of `batch`.

    Raises ValueError for a column that is missing, and as `fit_front` does, naming the model.
    """
    missing = [name for name in ("model", "n_params", "batch", "steps") if name not in steps]
    if missing:
        raise ValueError(f"steps to a loss without {', '.join(missing)}: add the column to the frame")
    rows = []
    for (model, n_params), of_model in steps.groupby(["model", "n_params"], sort=False):
        try:
            front = _front_of_frame(of_model, ci_level)
        except ValueError as refusal:
            raise ValueError(f"model {model}: {refusal}") from refusal
        for definition in (None, overhead):
            value = front.critical_batch(reference_batch, definition)
            rows.append(
                {
                    "model": model,
                    "n_params": n_params,
                    "definition": definition_name(definition),
                    "reference_batch": reference_batch,
                    **_named("critical_batch", value),
                    **_of_front(front, value),
                    "ci_level": ci_level,
                }
            )
    return pd.DataFrame(rows)


def _front_of_frame(steps: pd.DataFrame, ci_level: float) -> Front:
    if "replicate" not in steps:
        return fit_front(steps["batch"].to_numpy(), steps["steps"].to_numpy(), ci_level)
    known = steps[np.isfinite(steps["steps"]) & (steps["steps"] > 0)]
    wide = known.pivot_table(index="batch", columns="replicate", values="steps")
    found = replicate_noise(np.log(wide.to_numpy(np.float64)), np.arange(len(wide)))
    return fit_front(wide.index.to_numpy(np.float64), np.exp(found.means), ci_level, found.counts, StepNoise.of(found))


def size_law(
    critical: pd.DataFrame,
    definition: str,
    ci_level: float,
    residuals: Literal["ratios", "differences"] = "ratios",
) -> SizeLaw:
    """critical batch = scale·n_params^exponent through the models of `critical_batches`, one definition.

    Raises ValueError for fewer than two sizes with a finite critical batch of that definition.
    """
    rows = critical[(critical["definition"] == definition) & np.isfinite(critical["critical_batch"])]
    rows = rows[rows["critical_batch"] > 0]
    if rows["n_params"].nunique() < 2:
        raise ValueError(
            f"{rows['n_params'].nunique()} sizes with a critical batch of definition {definition}: a law needs two. "
            "Add sizes, or choose another definition"
        )
    return fit_size_law(rows["n_params"].to_numpy(), rows["critical_batch"].to_numpy(), ci_level, residuals)


def frame(
    found: Sequence[StepsToLoss], noise_scale: pd.DataFrame, reference_batch: int, ci_level: float
) -> pd.DataFrame:
    """Rows of the table `critical_batch`: one per sweep, rule, target and definition."""
    by_cell = {
        (str(cell_id), str(group)): rows.sort_values("tokens_seen")
        for (cell_id, group), rows in noise_scale[noise_scale["group"].isin(NOISE_GROUPS)].groupby(["cell_id", "group"])
    }
    return pd.DataFrame([row for steps in found for row in _rows(steps, by_cell, reference_batch, ci_level)])


def _rows(
    steps: StepsToLoss, by_cell: dict[tuple[str, str], pd.DataFrame], reference_batch: int, ci_level: float
) -> Iterator[dict[str, Any]]:
    context_length = steps.batches[0].batch_tokens / steps.batches[0].batch_sequences
    front = _front(steps, ci_level)
    scales = _noise_scales(steps, by_cell, reference_batch)
    left_out = [str(batch.batch_sequences) for batch in steps.batches if batch.status != "reached"]
    for definition in DEFINITIONS:
        value = front.critical_batch(reference_batch, definition) if front else UNKNOWN
        in_tokens = (value[0] * context_length, value[1] * context_length, value[2] * context_length)
        row = {
            "model": steps.sweep.model,
            "schedule": steps.sweep.schedule,
            "weights": steps.sweep.weights,
            "lr_rule": steps.lr_rule,
            "target_loss": steps.target_loss,
            "target": steps.target,
            "definition": definition_name(definition),
            "reference_batch_sequences": reference_batch,
            **_named("critical_batch_sequences", value),
            **_named("critical_batch_tokens", in_tokens),
            **_of_front(front, value),
            "batches_left_out": " ".join(left_out),
            "edge_of_grid": any(batch.edge_of_grid for batch in steps.reached),
            "ci_level": ci_level,
        }
        for group, (scale, status) in scales.items():
            row |= {
                **_named(f"noise_scale_{group}_tokens", scale),
                f"noise_scale_{group}_status": status,
                **_named(f"over_noise_scale_{group}", _ratio(in_tokens, scale, status)),
            }
        yield row


def _front(steps: StepsToLoss, ci_level: float) -> Front | None:
    reached = steps.reached
    if len(reached) < MIN_BATCHES:
        return None
    return fit_front(
        [batch.batch_sequences for batch in reached],
        [np.exp(batch.ln_tokens) / batch.batch_tokens for batch in reached],
        ci_level,
        [batch.n_replicates for batch in reached],
        steps.noise,
    )


def _of_front(front: Front | None, critical: Estimate) -> dict[str, Any]:
    if front is None:
        reason = f"fewer than {MIN_BATCHES} batches reach the loss within their evaluated training"
        nothing = {**_named("steps_min", UNKNOWN), **_named("examples_min", UNKNOWN)}
        return {
            **nothing, "rms_residual": np.nan, "noise_from": "", "n_batches": 0, "status": "failed", "reason": reason
        }  # fmt: skip
    status, reason = front.judged(critical)
    return {
        **_named("steps_min", front.steps_min),
        **_named("examples_min", front.examples_min),
        "rms_residual": front.rms_residual,
        "noise_from": front.noise_from,
        "n_batches": len(front.batches),
        "status": status,
        "reason": reason,
    }


def _named(name: str, estimate: Estimate) -> dict[str, float]:
    value, low, high = estimate
    return {name: value, f"{name}_ci_low": low, f"{name}_ci_high": high}


def _noise_scales(
    steps: StepsToLoss, by_cell: dict[tuple[str, str], pd.DataFrame], reference_batch: int
) -> dict[str, tuple[Estimate, str]]:
    """By group: noise scale [tokens] and its status where the reference batch crosses the loss.

    Between windows linear in ln tokens, outside them that of the nearest; mean over the replicates that were probed.
    Errors of windows and replicates are independent: distances to the ends of their intervals add in squares.
    `untrusted` if one of the windows is; `none` if nothing was probed.
    """
    crossings = [c for batch in steps.reached if batch.batch_sequences == reference_batch for c in batch.crossings]
    found = {}
    for group in NOISE_GROUPS:
        probed = [(by_cell[cell_id, group], tokens) for cell_id, tokens in crossings if (cell_id, group) in by_cell]
        parts = [part for rows, tokens in probed for part in _weighted_windows(rows, tokens)]
        if not parts:
            found[group] = (UNKNOWN, "none")
            continue
        weights = np.array([weight for weight, _ in parts]) / len(probed)
        windows = pd.DataFrame([window for _, window in parts])
        values = windows["noise_scale_tokens"].to_numpy(np.float64)
        below, above = (
            float(np.linalg.norm(weights * (values - windows[end].to_numpy(np.float64))))
            for end in ("ci_low", "ci_high")
        )
        value = float(weights @ values)
        status = "ok" if (windows["status"] == "ok").all() else "untrusted"
        found[group] = ((value, value - below, value + above), status)
    return found


def _weighted_windows(rows: pd.DataFrame, tokens: float) -> list[tuple[float, pd.Series[Any]]]:
    """The windows of one cell on both sides of some tokens, with weights that add to one."""
    x = np.log(rows["tokens_seen"].to_numpy(np.float64))
    at = float(np.clip(np.log(tokens), x[0], x[-1]))
    after = int(np.searchsorted(x, at))
    if x[after] == at:
        return [(1.0, rows.iloc[after])]
    weight = (at - x[after - 1]) / (x[after] - x[after - 1])
    return [(1.0 - weight, rows.iloc[after - 1]), (weight, rows.iloc[after])]


def _ratio(critical: Estimate, scale: Estimate, status: str) -> Estimate:
    """critical batch/noise scale. In logarithms both errors add in squares on each side (Zou & Donner 2008)."""
    if status != "ok" or not scale[0] > 0:
        return UNKNOWN
    value = critical[0] / scale[0]
    if not (0.0 < value < np.inf):
        return value, np.nan, np.nan
    lowest = np.log(scale[0] / scale[1]) if scale[1] > 0 else np.nan
    below = np.hypot(np.log(critical[0] / critical[1]), np.log(scale[2] / scale[0]))
    above = np.hypot(np.log(critical[2] / critical[0]), lowest)
    return value, float(value * np.exp(-below)), float(value * np.exp(above))


def swept_schedule(critical: pd.DataFrame, schedule: str) -> str:
    """Of rows of `critical_batch`, those of which schedule to tell: the recommended one's, else those of the schedule
    with most batches. The target loss does not choose: a schedule's critical batch is no better for a lower one."""
    if (critical["schedule"] == schedule).any():
        return schedule
    return str(critical.groupby("schedule", sort=False)["n_batches"].max().idxmax())
