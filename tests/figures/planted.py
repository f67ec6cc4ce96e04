"""A small study whose tables are computed from planted numbers, so that figures and report can be checked
against them.

Loss at the end of a cell [nat/token]:
    2 + 4·tpp^(-0.3) + offset(schedule)·sqrt(tpp/20) + 0.03·ln(peak_lr / optimum)² + seed + noise,
    optimum = optimum_at_10(schedule)·(tpp/10)^(-0.4).
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws import lr_transfer
from glidepath.laws.comparison import compared
from glidepath.science.ema_view import update_coefficients
from glidepath.study import figure_list, tables
from glidepath.study.size_groups import size_groups
from tests.figures.planted_batch_paths import saving_tables
from tests.figures.planted_batches import sweep_tables
from tests.figures.planted_coordinates import coordinate_tables
from tests.figures.planted_features import feature_rows
from tests.figures.planted_large_lr import large_lr_tables, spike_tables
from tests.figures.planted_rates import rate_tables
from tests.figures.planted_worth import worth_tables

N_PARAMS = 100_000
CONTEXT = 64
BATCH = 8
PEAKS = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)
HORIZONS = (5.0, 10.0, 20.0)
TARGET = 80.0
LEVEL = 0.9
REFERENCE = "cosine_10"
PROBED = ("wsd_sqrt", "cosine_zero")
TO_NORM = {"norm": 1.0, "attention": 0.8, "feed_forward": 1.1, "embedding": 2.0, "head": 2.5, "body": 0.9, "total": 1.4}
"""Noise scale of a layer type over that of the norm layers."""
EXPONENT = 0.4
LAWS = ("lr_optimum", "lr_horizon", "loss_horizon", "lr_transfer", "loss_size_horizon", "isoflop")
# kind, final_lr_fraction, decay_shape, decay fraction, offset, optimum at 10 tokens/parameter
SCHEDULES: dict[str, tuple[str, float, str, float, float, float]] = {
    "constant": ("constant", 1.0, "none", 0.0, 0.060, 2.2e-3),
    "cosine_10": ("cosine", 0.1, "cosine", 0.9, 0.0, 4.0e-3),
    "cosine_zero": ("cosine", 0.0, "cosine", 0.9, -0.012, 4.6e-3),
    "linear_zero": ("linear", 0.0, "linear", 0.9, -0.015, 5.0e-3),
    "wsd_linear": ("wsd", 0.0, "linear", 0.2, 0.001, 3.0e-3),
    "wsd_sqrt": ("wsd", 0.0, "one_minus_sqrt", 0.2, -0.006, 3.2e-3),
}
COOLDOWNS = ("wsd_linear", "wsd_sqrt")
# kind, checkpoints (None: as many as there are), length and mean age over the training so far (None: half the
# length, less half a spacing), share of the gap closed
AVERAGES: dict[str, tuple[str, int | None, float, float | None, float]] = {
    "window_10": ("window", None, 0.1, None, 0.45),
    "window_20": ("window", None, 0.2, None, 0.6),
    "window_40": ("window", None, 0.4, None, 0.5),
    "five_of_10": ("window", 5, 0.1, None, 0.4),
    "five_of_20": ("window", 5, 0.2, None, 0.55),
    "five_of_40": ("window", 5, 0.4, None, 0.45),
    "lawa_4": ("lawa", 4, 0.04, None, 0.2),
    "lawa_4_disjoint": ("lawa", 4, 0.04, 0.04, 0.1),
    "ema_5": ("ema", 60, 1.0, 0.05, 0.5),
    "ema_10": ("ema", 60, 1.0, 0.1, 0.58),
    "like_linear_20": ("emulated_decay", 13, 0.2, 0.07, 0.56),
    "best_window": ("best_window", 13, 0.2, 0.1, 0.6),
}
FILL: dict[str, Any] = {"string": "", "int64": 1, "float64": 1.0, "float32": 1.0, "bool": False}


def optimum(schedule: str, tpp: float) -> float:
    """Planted optimal peak learning rate."""
    return SCHEDULES[schedule][5] * (tpp / 10.0) ** -EXPONENT


def best_loss(schedule: str, tpp: float) -> float:
    """Planted loss at the optimum [nat/token]."""
    return 2.0 + 4.0 * tpp**-0.3 + SCHEDULES[schedule][4] * math.sqrt(tpp / 20.0)


def filled(table: tables.Table, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows with every column of the schema, in its types."""
    if not rows:
        return tables.empty(table)
    frame = pd.DataFrame(rows)
    for column in table.columns:
        if column.name not in frame:
            frame[column.name] = FILL[column.type]
        if column.type == "int64":
            frame[column.name] = frame[column.name].astype("Int64" if frame[column.name].isna().any() else "int64")
    return frame[table.names]


def runs(
    *,
    schedules: tuple[str, ...] = tuple(SCHEDULES),
    models: dict[str, int] | None = None,
    widths: dict[str, int] | None = None,
    horizons: tuple[float, ...] = HORIZONS,
    replicates: int = 2,
    batches: tuple[int, ...] = (BATCH,),
    diverge_from: float = 16e-3,
    noise: float = 0.0008,
) -> pd.DataFrame:
    """A row per cell; constant and cosine_10 diverge at `diverge_from` and above."""
    generator = np.random.default_rng(7)
    rows = []
    sizes = models or {"small": N_PARAMS}
    for model, batch, tpp, schedule, peak, replicate in product(
        sizes, batches, horizons, schedules, PEAKS, range(replicates)
    ):
        n_params = sizes[model]
        kind, final, shape, decay, _, _ = SCHEDULES[schedule]
        steps = round(tpp * n_params / (batch * CONTEXT))
        own = steps if kind in ("cosine", "linear") else round(decay * steps)
        diverged = kind == "constant" and peak >= diverge_from
        loss = (
            best_loss(schedule, tpp)
            - 0.12 * math.log(n_params / N_PARAMS)
            + 0.004 * math.log2(batch / BATCH) ** 2
            + 0.03 * math.log(peak / optimum(schedule, tpp)) ** 2
            + (0.0, 0.006, -0.004, 0.002)[replicate]
            + noise * generator.standard_normal()
        )
        rows.append(
            {
                "cell_id": f"{model}-{schedule}-lr{peak:g}-tpp{tpp:g}-b{batch}-r{replicate}",
                "model": model,
                "d_model": (widths or {}).get(model, 64),
                "parametrization": "mup",
                "architecture": "plain",
                "n_params_total": n_params + 32_000,
                "n_params_non_embedding": n_params,
                "n_params_counted": n_params,
                "context_length": CONTEXT,
                "vocab_size": 512,
                "schedule": schedule,
                "schedule_kind": kind,
                "final_lr_fraction": final,
                "decay_shape": shape,
                "peak_lr": peak,
                "warmup_steps": round(0.1 * steps),
                "decay_steps": round(decay * steps),
                "batch_sequences": batch,
                "batch_tokens": batch * CONTEXT,
                "total_steps": steps,
                "token_horizon": steps * batch * CONTEXT,
                "tokens_per_parameter": tpp,
                "replicate": replicate,
                "probed": schedule in PROBED,
                "trunk_id": f"{model}-b{batch}-lr{peak:g}-r{replicate}",
                "own_steps": own,
                "n_segments": 1 if own == steps else 2,
                "train_flops_exact": 7.0 * n_params * steps * batch * CONTEXT,
                "train_flops_6nd": 6.0 * n_params * steps * batch * CONTEXT,
                "status": "diverged" if diverged else "completed",
                "reason": "the training loss is not finite" if diverged else "",
                "diverged_step": 40 if diverged else None,
                "last_finite_loss": 8.0 if diverged else None,
                "n_loss_spikes": 2 if diverged else int(peak >= 8e-3),
                "largest_loss_spike": 1.5 if diverged else 0.4 * (peak >= 8e-3),
                "val_loss": None if diverged else loss,
                "val_loss_sem": 0.01,
                "bits_per_byte": None if diverged else loss / math.log(2) / 3.0,
                "train_seconds": 0.02 * steps,
                "own_train_seconds": 0.02 * own,
                "epochs": 0.5,
            }
        )
    return filled(tables.RUNS, rows)


def lr_array(run: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Applied learning rates of a run."""
    step = np.arange(run.total_steps)
    u = np.clip((step - (run.total_steps - run.decay_steps)) / max(run.decay_steps, 1), 0.0, 1.0)
    falls = {"cosine": (1 + np.cos(np.pi * u)) / 2, "one_minus_sqrt": 1 - np.sqrt(u)}
    fall = falls.get(run.decay_shape, 1 - u)
    floor = run.final_lr_fraction
    rise = np.minimum(1.0, (step + 1) / max(run.warmup_steps, 1))
    return np.asarray(run.peak_lr * rise * (floor + (1 - floor) * fall))


def updates(cells: pd.DataFrame, every: int = 64) -> pd.DataFrame:
    rows = []
    for run in cells.itertuples():
        lr = lr_array(run)
        for step in sorted({*range(0, run.total_steps, every), run.total_steps - 1}):
            rows.append(
                {
                    "cell_id": run.cell_id,
                    "step": step,
                    "tokens_seen": (step + 1) * run.batch_tokens,
                    "batch_tokens": run.batch_tokens,
                    "lr": lr[step],
                    "weight_decay": 0.1,
                }
            )
    return filled(tables.UPDATES, rows)


def ema_view(cells: pd.DataFrame) -> pd.DataFrame:
    """Hidden matrices at half the learning rate and twice the decay, and norms, which have none."""
    rows = []
    for run in cells.itertuples():
        view = update_coefficients(0.5 * lr_array(run), 0.2)
        numbers = {
            "initial_coefficient": view.initial,
            "effective_updates": view.effective_updates,
            "peak_coefficient": float(view.updates.max()),
            "peak_fraction": (view.peak + 1) / run.total_steps,
            "timescale_fraction": 10.0 / (run.peak_lr * run.total_steps),
        }
        for group, lr, decay in (("matrix", 0.5, 2.0), ("norm", 1.0, 0.0)):
            known = group == "matrix" and run.status == "completed"
            status = "ok" if known else "no weight decay" if run.status == "completed" else "diverged"
            rows.append(
                {
                    "cell_id": run.cell_id,
                    "group": group,
                    "lr_multiplier": lr,
                    "weight_decay_multiplier": decay,
                    **{name: value if known else None for name, value in numbers.items()},
                    "status": status,
                }
            )
    return filled(tables.EMA_VIEW, rows)


def evaluations(cells: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for run in cells[cells["status"] == "completed"].itertuples():
        for fraction in (0.05, 0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0):
            # A constant schedule loses nothing to the horizon; a decay gains in its last part.
            late = max(0.0, 1.0 - fraction) * (0.3 if run.schedule_kind != "constant" else 0.05)
            loss = run.val_loss + 0.9 * (fraction**-0.3 - 1.0) + late * 0.3
            done = round(fraction * run.total_steps)
            rows.append(
                {
                    "cell_id": run.cell_id,
                    "updates_done": done,
                    "tokens_seen": done * run.batch_tokens,
                    "domain": "text",
                    "eval_set": "subset",
                    "val_loss": loss,
                    "bits_per_byte": loss / math.log(2) / 3.0,
                }
            )
    return filled(tables.EVALUATIONS, rows)


def averages(cells: pd.DataFrame) -> pd.DataFrame:
    """Every constant cell along its training: `AVERAGES` say what closes how much of the gap to the best cooldown of
    the trunk, which grows as the root of the tokens; real cooldowns are at the ends of cells. On the domain `code`
    averaging changes nothing."""
    rows = []
    completed = cells[cells["status"] == "completed"]
    ended = {(run.trunk_id, run.schedule, run.total_steps): run for run in completed.itertuples()}
    for run in completed[completed["schedule"] == "constant"].itertuples():
        for steps in sorted({*np.geomspace(run.total_steps / 16, run.total_steps, 9).round().astype(int), *_ends(run)}):
            tpp = run.tokens_per_parameter * steps / run.total_steps
            here = ended.get((run.trunk_id, "constant", steps))
            cooldowns = [ended[key] for name in COOLDOWNS if (key := (run.trunk_id, name, steps)) in ended]
            cooldown = min(cooldowns, key=lambda cell: cell.val_loss, default=None)
            raw = (
                here.val_loss
                if here
                else run.val_loss + best_loss("constant", tpp) - best_loss("constant", run.tokens_per_parameter)
            )
            gap = raw - cooldown.val_loss if cooldown else 0.066 * math.sqrt(tpp / 20.0)
            for (name, (scheme, checkpoints, length, age, closed)), domain in product(
                AVERAGES.items(), ("text", "code")
            ):
                gain = closed * gap if domain == "text" else 0.0
                n = checkpoints or round(64 * length) + steps % 2
                window = length * (n - 1) / n
                rows.append(
                    {
                        "cell_id": run.cell_id, "updates_done": steps, "tokens_seen": steps * run.batch_tokens,
                        "at_end": steps == run.total_steps, "average": name, "averaging_scheme": scheme,
                        "window_checkpoints": n, "window_fraction": window,
                        "window_tokens": round(window * steps * run.batch_tokens),
                        "lag_tokens": (age or window / 2) * steps * run.batch_tokens, "domain": domain,
                        "val_loss_raw": raw, "val_loss_averaged": raw - gain, "gain": gain, "gain_sem": 0.001,
                        "cooldown_cell_id": cooldown.cell_id if cooldown else None,
                        "val_loss_cooldown": cooldown.val_loss if cooldown else None,
                        "gap_to_cooldown": gap - gain if cooldown else None,
                        "gap_to_cooldown_sem": 0.0015 if cooldown else None,
                        "closed_fraction": gain / gap if cooldown else None,
                    }
                )  # fmt: skip
    return filled(tables.AVERAGES, rows)


def _ends(run: Any) -> set[int]:
    """Updates at which the planted horizons end, up to the run's own."""
    return {round(tpp * run.n_params_counted / run.batch_tokens) for tpp in HORIZONS if tpp <= run.tokens_per_parameter}


def noise_scale(cells: pd.DataFrame, windows: int = 8) -> pd.DataFrame:
    """Noise scale of the norm layers growing as tokens^0.7; other layer types are `TO_NORM` times it. The first window
    has no upper bound, the last is untrusted."""
    generator = np.random.default_rng(3)
    rows = []
    probed = cells[(cells["schedule"].isin(PROBED)) & (cells["status"] == "completed")]
    for run in probed.itertuples():
        for window in range(windows):
            tokens = round((window + 0.5) / windows * run.token_horizon)
            norm = 900.0 * (tokens / 1e5) ** 0.7 * math.exp(0.1 * generator.standard_normal())
            for group, times in TO_NORM.items():
                value = times * norm
                rows.append(
                    {
                        "cell_id": run.cell_id,
                        "group": group,
                        "window": window,
                        "tokens_seen": tokens,
                        "noise_scale_tokens": value,
                        "noise_scale_sequences": value / CONTEXT,
                        "noise_scale_tokens_se": 0.2 * value,
                        "ci_low": 0.75 * value,
                        "ci_high": 1.5 * value if window else None,
                        "ci_level": LEVEL,
                        "status": "ok" if window < windows - 1 else "untrusted",
                    }
                )
    return filled(tables.NOISE_SCALE, rows)


def noise_scale_regression(cells: pd.DataFrame) -> pd.DataFrame:
    """Pooled rows: slopes are `TO_NORM`, less what noise takes off where smoothing is short."""
    rows = []
    probed = cells[(cells["schedule"].isin(PROBED)) & (cells["status"] == "completed")]
    for (model, schedule), members in probed.groupby(["model", "schedule"]):
        for smoothing, noise in (("windows", 0.02), ("ema_0.9", 0.12), ("ema_0.95", 0.05), ("ema_0.99", 0.01)):
            for group, times in TO_NORM.items():
                slope = times * (1 - noise)
                row: dict[str, Any] = {"correlation": 0.95 - noise, "detrended_correlation": 0.6 - 2 * noise}
                row |= {
                    f"{name}_ci_{end}": value + by
                    for name, value in row.items()
                    for end, by in (("low", -0.1), ("high", 0.04))
                }
                rows.append(
                    {
                        "model": model,
                        "schedule": schedule,
                        "cell_id": "",
                        "smoothing": smoothing,
                        "group": group,
                        "slope": slope,
                        "slope_ci_low": 0.9 * slope,
                        "slope_ci_high": 1.15 * slope,
                        **row,
                        "ci_level": LEVEL,
                        "n_cells": len(members),
                        "n_points": 8 * len(members),
                        "status": "ok" if smoothing != "ema_0.9" else "untrusted",
                    }
                )
    return filled(tables.NOISE_SCALE_REGRESSION, [row for row in rows if row["group"] != "norm"])


def comparisons(cells: pd.DataFrame, se: float = 0.0015) -> pd.DataFrame:
    rows = []
    done = cells[cells["status"] == "completed"]
    points = done.groupby(
        ["model", "batch_sequences", "tokens_per_parameter", "schedule", "peak_lr"], as_index=False
    ).agg(val_loss=("val_loss", "mean"), n=("val_loss", "size"))
    best = (
        points.sort_values("val_loss")
        .groupby(["model", "batch_sequences", "tokens_per_parameter", "schedule"], as_index=False)
        .first()
    )
    for key, group in best.groupby(["model", "batch_sequences", "tokens_per_parameter"]):
        by = group.set_index("schedule")
        if REFERENCE not in by.index:
            continue
        reference = by.loc[REFERENCE]
        for schedule, row in by.drop(REFERENCE).iterrows():
            difference = row["val_loss"] - reference["val_loss"]
            half = 1.96 * se
            low, high = difference - half, difference + half
            rows.append(
                {
                    "model": key[0],
                    "batch_sequences": key[1],
                    "tokens_per_parameter": key[2],
                    "schedule": schedule,
                    "reference_schedule": REFERENCE,
                    "peak_lr": row["peak_lr"],
                    "reference_peak_lr": reference["peak_lr"],
                    "edge_of_grid": bool(row["peak_lr"] in (PEAKS[0], PEAKS[-1])),
                    "val_loss": row["val_loss"],
                    "reference_val_loss": reference["val_loss"],
                    "difference": difference,
                    "difference_relative": difference / reference["val_loss"],
                    "standard_error": se,
                    "degrees_of_freedom": 4,
                    "n_replicates": int(row["n"]),
                    "minimum_detectable_difference": 2.8 * se,
                    "ci_low": low,
                    "ci_high": high,
                    "ci_level": LEVEL,
                    "verdict": "better" if high < 0 else "worse" if low > 0 else "not resolved",
                }
            )
    return filled(tables.COMPARISONS, rows)


def laws(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Laws as they would be fitted without error, with plausible intervals."""
    parameters: dict[str, list[dict[str, Any]]] = {law: [] for law in LAWS}
    predictions: dict[str, list[dict[str, Any]]] = {law: [] for law in LAWS}
    scores: dict[str, list[dict[str, Any]]] = {law: [] for law in LAWS}
    for (model, schedule, batch), group in cells.groupby(["model", "schedule", "batch_sequences"]):
        if not (group["status"] == "completed").any():
            continue
        base = {"model": model, "schedule": schedule, "batch_sequences": batch, "ci_level": LEVEL}
        fitted = {"status": "converged", "n_bootstrap": 500, "resampling_unit": "replicate", "n_points": 10}
        n_params = int(group["n_params_counted"].iloc[0])
        shift = -0.12 * math.log(n_params / N_PARAMS)
        horizons = sorted(group["tokens_per_parameter"].unique())
        for tpp in horizons:
            at = {**base, "tokens_per_parameter": tpp}
            best = optimum(schedule, tpp)
            parameters["lr_optimum"].append(
                {
                    **at,
                    **fitted,
                    "parameter": "peak_lr",
                    "value": best,
                    "se": 0.08 * best,
                    "ci_low": 0.87 * best,
                    "ci_high": 1.15 * best,
                }
            )
            lowest = {"parameter": "val_loss", "value": best_loss(schedule, tpp) + shift, "se": 0.002}
            parameters["lr_optimum"].append({**at, **fitted, **lowest, "ci_low": None, "ci_high": None})
            for x in np.geomspace(PEAKS[0], PEAKS[-1], 25):
                value = best_loss(schedule, tpp) + shift + 0.03 * math.log(x / best) ** 2
                predictions["lr_optimum"].append(
                    {
                        **at,
                        "x_name": "peak_lr",
                        "x": x,
                        "quantity": "val_loss",
                        "value": value,
                        "ci_low": value - 0.002,
                        "ci_high": value + 0.002,
                        "extrapolated": False,
                    }
                )
        if len(horizons) < 2:
            continue
        whole = {**base, "tokens_per_parameter": 0.0}
        for law, parameter, value in (
            ("lr_horizon", "exponent", EXPONENT),
            ("loss_horizon", "irreducible_loss", 2.0),
        ):
            parameters[law].append(
                {
                    **whole,
                    **fitted,
                    "parameter": parameter,
                    "value": value,
                    "se": 0.06,
                    "ci_low": value - 0.1,
                    "ci_high": value + 0.1,
                }
            )
            scores[law].append(
                {
                    **whole,
                    "holdout": "longest_horizon",
                    "quantity": "val_loss" if law == "loss_horizon" else "peak_lr",
                    "n_hidden": 1,
                    "mean_absolute_error": 0.004,
                    "mean_relative_error": 0.0012,
                    "baseline_mean_absolute_error": 0.08,
                    "hidden": None,
                    "status": "scored",
                }
            )
        for tpp in np.geomspace(horizons[0], TARGET, 20):
            beyond = bool(tpp > horizons[-1] * 1.0001)
            wide = 1.0 + 3.0 * max(0.0, math.log(tpp / horizons[-1]))
            lr = optimum(schedule, float(tpp))
            predictions["lr_horizon"].append(
                {
                    **whole,
                    "x_name": "token_horizon",
                    "x": tpp * n_params,
                    "quantity": "peak_lr",
                    "value": lr,
                    "ci_low": lr * math.exp(-0.06 * wide),
                    "ci_high": lr * math.exp(0.06 * wide),
                    "extrapolated": beyond,
                }
            )
            loss = best_loss(schedule, float(tpp)) + shift
            predictions["loss_horizon"].append(
                {
                    **whole,
                    "x_name": "tokens_per_parameter",
                    "x": tpp,
                    "quantity": "val_loss",
                    "value": loss,
                    "ci_low": loss - 0.004 * wide,
                    "ci_high": loss + 0.004 * wide,
                    "extrapolated": beyond,
                }
            )
        for tpp in horizons:
            saving = -SCHEDULES[schedule][4] * 8.0 * math.sqrt(tpp / 20.0)
            predictions["loss_horizon"].append(
                {
                    **whole,
                    "x_name": "tokens_per_parameter",
                    "x": tpp,
                    "quantity": "compute_saving",
                    "value": saving,
                    "ci_low": saving - 0.04,
                    "ci_high": saving + 0.04,
                    "extrapolated": False,
                }
            )
    for sizes in size_groups(cells[cells["status"] == "completed"]):
        # The planted optimum does not depend on the size.
        parameters["lr_transfer"].append(
            {
                "model": sizes.label, "schedule": sizes.schedule, "batch_sequences": sizes.batch_sequences,
                "tokens_per_parameter": 0.0, "parameter": lr_transfer.SHIFT[sizes.varied], "value": 0.0,
                "se": 0.06, "ci_low": -0.1, "ci_high": 0.1, "ci_level": LEVEL, "status": "converged",
                "n_bootstrap": 500, "resampling_unit": "replicate", "n_points": len(sizes.members),
            }
        )  # fmt: skip
    for law, rows in _laws_over_sizes(cells[cells["status"] == "completed"]).items():
        predictions[law] += rows
    result = {}
    for law in parameters:
        result[f"laws/{law}/parameters"] = filled(tables.LAW_PARAMETERS, parameters[law])
        result[f"laws/{law}/predictions"] = filled(tables.LAW_PREDICTIONS, predictions[law])
        result[f"laws/{law}/scores"] = filled(tables.LAW_SCORES, scores[law])
    result["law_comparison"] = compared({law: result[f"laws/{law}/scores"] for law in parameters})
    return result


def _laws_over_sizes(cells: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Predictions of the laws over sizes: 0.3 % residuals, one of 5 %, and N* = √(C/120) at every compute."""
    found: dict[str, list[dict[str, Any]]] = {"loss_size_horizon": [], "isoflop": []}
    for (schedule, batch), group in cells.groupby(["schedule", "batch_sequences"]):
        base = {"schedule": schedule, "batch_sequences": batch, "ci_level": LEVEL, "extrapolated": False}
        base["tokens_per_parameter"] = 0.0
        points = group.drop_duplicates(["model", "token_horizon"])
        for i, (model, d) in enumerate(zip(points["model"], points["token_horizon"], strict=True)):
            at = {**base, "model": model, "x_name": "token_horizon", "x": float(d), "ci_low": None, "ci_high": None}
            residual = 0.05 if i == 1 else 0.003 * (-1) ** i
            found["loss_size_horizon"].append({**at, "quantity": "residual", "value": residual})
            if i == 1:
                found["loss_size_horizon"].append({**at, "quantity": "outlying_residual", "value": residual})
        trained = 6 * points["n_params_counted"] * points["token_horizon"]
        for flops in np.geomspace(trained.min(), 4 * trained.max(), 8):
            best = math.sqrt(flops / 120)
            at = {**base, "model": "all", "x_name": "train_flops_6nd", "x": float(flops)}
            at |= {"value": best, "ci_low": 0.8 * best, "ci_high": 1.25 * best}
            at["extrapolated"] = bool(flops > trained.max() * 1.0001)
            for law in found:
                found[law].append({**at, "quantity": "n_params_counted"})
            if not at["extrapolated"]:
                found["isoflop"] += [
                    {**at, "quantity": "n_params_of_profile"},
                    {**at, "quantity": "n_params_of_parabola", "value": 1.1 * best, "ci_low": None, "ci_high": None},
                    {**at, "quantity": "val_loss_of_profile", "value": 3.0, "ci_low": None, "ci_high": None},
                ]
    return found


def curve_predictions(cells: pd.DataFrame) -> pd.DataFrame:
    """What a law says of the first completed cell of every schedule, hidden: off by 0.01."""
    done = cells[cells["status"] == "completed"]
    rows = []
    for _, cell in done.drop_duplicates("schedule").iterrows():
        for share in (0.25, 0.5, 1.0):
            loss = float(cell["val_loss"]) + 0.3 * (1 - share)
            bands = {"low_50": loss, "high_50": loss + 0.02, "low_90": loss - 0.02, "high_90": loss + 0.04}
            rows.append(
                {"law": "annealing", "holdout": "schedule", "hidden": True, "val_loss": loss, **bands}
                | {name: cell[name] for name in ("cell_id", "model", "schedule", "schedule_kind", "batch_sequences")}
                | {name: cell[name] for name in ("peak_lr", "tokens_per_parameter", "total_steps")}
                | {"updates_done": round(share * cell["total_steps"]), "val_loss_predicted": loss + 0.01}
                | {"baseline": loss + 0.05}
            )
    return filled(tables.CURVE_PREDICTIONS, rows)


def budget() -> pd.DataFrame:
    """20, 400, 20 and 60 core-seconds on two cores, predicted at second 1000; sharing saves a third of training."""
    seconds = {"tokenize": 20.0, "train": 400.0, "average": 20.0, "analysis": 60.0, "total": 500.0}
    trains = ("train", "total")
    rows = [
        {
            "stage": stage,
            "train_flops_exact": 1e12 if stage in trains else 0.0,
            "unshared_train_flops_exact": 1.5e12 if stage in trains else 0.0,
            "sharing_factor": 1.5 if stage in trains else None,
            "core_seconds": core_seconds,
            "unshared_core_seconds": core_seconds + (200.0 if stage in trains else 0.0),
            "wall_seconds": core_seconds / 2,
            "cores": 2,
            "predicted_at": 1000.0,
        }
        for stage, core_seconds in seconds.items()
    ]
    return filled(tables.BUDGET, rows)


def spending() -> pd.DataFrame:
    """A tenth more than was predicted."""
    rows = [
        {
            "stage": row["stage"],
            "jobs_before_prediction": 0,
            "predicted_core_seconds": row["core_seconds"],
            "core_seconds": 1.1 * row["core_seconds"],
            "core_seconds_ratio": 1.1,
            "predicted_wall_seconds": row["wall_seconds"],
            "wall_seconds": 1.1 * row["wall_seconds"],
            "wall_seconds_ratio": 1.1,
        }
        for _, row in budget().iterrows()
    ]
    return filled(tables.SPENDING, rows)


def study_tables(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All tables that figures and report read."""
    main = cells[cells["model"] == cells["model"].iloc[-1]] if len(cells) else cells
    averaged, evaluated = averages(main), evaluations(main)
    return {
        "plan": cells[tables.PLAN.names],
        "budget": budget(),
        "spending": spending(),
        "runs": cells,
        "updates": updates(main),
        "ema_view": ema_view(cells),
        "evaluations": evaluated,
        **saving_tables(main, evaluated),
        "averages": averaged,
        **worth_tables(main, averaged),
        "noise_scale": noise_scale(main),
        "noise_scale_regression": noise_scale_regression(main),
        "comparisons": comparisons(cells),
        **laws(cells),
        **{name: filled(table, rows) for name, (table, rows) in feature_rows(cells, LEVEL).items()},
        **rate_tables(cells, LEVEL),
        figure_list.CURVES_OF: curve_predictions(main),
        "verify/optimised_schedule": filled(
            tables.OPTIMISED_SCHEDULE,
            [
                {"law": "annealing", "schedule": name, "step": step, "lr": 0.01 - 1e-5 * k * step}
                for k, name in enumerate(("optimised", "wsd_sqrt"))
                for step in range(100)
            ],
        ),
        **coordinate_tables(),
        **large_lr_tables(cells),
        **spike_tables(),
        **sweep_tables(),
    }


def empty_tables() -> dict[str, pd.DataFrame]:
    """The same tables without rows."""
    names = {name for entry in figure_list.FIGURES for name in entry.tables}
    names |= {"plan", "steps_saved", "cooldown_oracle", "cooldown_oracle_scores"}
    names |= {f"laws/{law}/{part}" for law in LAWS for part in ("parameters", "predictions", "scores")}
    return {name: tables.empty(figure_list.table_schema(name)) for name in sorted(names)}
