"""Write recommendation.json: what to launch the target run with, how sure that is, and which rows say so."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws import batch_advice
from glidepath.laws import target as at_target
from glidepath.laws.averaging import at_cell_ends, at_longest_horizon, half_width, replicate_means
from glidepath.laws.law import EXTRAPOLATION, Floats, Settings
from glidepath.science.replicates import interval
from glidepath.stages.compare import comparisons
from glidepath.study import tables
from glidepath.study.averaging_config import BEST_WINDOW
from glidepath.study.cells import peak_weight_decay
from glidepath.study.final_losses import FinalLosses, final_losses
from glidepath.study.model_config import OptimizerConfig
from glidepath.study.recommendation import Averaging, Estimate, Recommendation, Source, TargetRun

LOSS_LEVELS = (0.5, 0.9)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study-name", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--block-losses", type=Path, required=True)
    parser.add_argument("--averages", type=Path, required=True)
    parser.add_argument("--noise-scale", type=Path, required=True)
    parser.add_argument("--critical-batch", type=Path, help="critical_batch.parquet, if the study sweeps batches")
    parser.add_argument("--batch-saving", type=Path, help="batch_saving.parquet, if the study has batch paths")
    parser.add_argument("--target", required=True, help="the target run as JSON")
    parser.add_argument("--optimizer", required=True, help="the study's optimizer section as JSON")
    parser.add_argument("--reference-schedule", required=True)
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--bootstrap-samples", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="recommendation.json")


def main(args: argparse.Namespace) -> None:
    runs = tables.read(tables.RUNS, args.runs)
    losses = final_losses(runs, tables.read(tables.BLOCK_LOSSES, args.block_losses))
    settings = Settings(args.reference_schedule, args.ci_level, args.bootstrap_samples, args.seed)
    recommendation = recommend(
        args.study_name,
        TargetRun.model_validate_json(args.target),
        OptimizerConfig.model_validate_json(args.optimizer),
        runs,
        losses,
        tables.read(tables.AVERAGES, args.averages),
        tables.read(tables.NOISE_SCALE, args.noise_scale),
        _read_or_empty(tables.CRITICAL_BATCH, args.critical_batch),
        _read_or_empty(tables.BATCH_SAVING, args.batch_saving),
        settings,
    )
    temporary = args.output.with_name(f".{args.output.name}.partial")
    temporary.write_text(json.dumps(recommendation.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    temporary.replace(args.output)


def _read_or_empty(table: tables.Table, path: Path | None) -> pd.DataFrame:
    return tables.read(table, path) if path else tables.empty(table)


def recommend(
    study: str,
    target: TargetRun,
    optimizer: OptimizerConfig,
    runs: pd.DataFrame,
    losses: FinalLosses,
    averages: pd.DataFrame,
    noise_scale: pd.DataFrame,
    critical_batch: pd.DataFrame,
    batch_saving: pd.DataFrame,
    settings: Settings,
) -> Recommendation:
    """The recommendation for a target from a study's tables. Raises ValueError when no cell has the target's batch.

    The weight decay is that of a cell with the recommended peak learning rate and the target's updates
    (`study.cells.peak_weight_decay`): most policies make it a function of both.
    """
    choice = at_target.choose(losses, settings, target.model, target.batch_sequences)
    equivalent = at_target.equivalent(
        comparisons(losses, choice.schedule, settings.ci_level), choice, target.batch_sequences
    )
    group: dict[str, str | float | int] = {
        "model": choice.model,
        "schedule": choice.schedule,
        "batch_sequences": target.batch_sequences,
    }
    lr = at_target.peak_lr(choice, target.token_horizon, settings.seed)
    loss_law = Source(
        table="laws/loss_horizon/parameters", key={**group, "tokens_per_parameter": 0.0, "parameter": "K"}
    )
    loss = None
    if choice.model == target.model:
        loss = at_target.loss(choice, losses, target.tokens_per_parameter, settings.seed)
    if loss is None:
        loss = at_target.loss_of_another_size(choice, losses, settings, target.n_params_counted, target.token_horizon)
        key = {**group, "model": "all", "tokens_per_parameter": 0.0, "parameter": "E"}
        loss_law = Source(table="laws/loss_size_horizon/parameters", key=key)
    longest = choice.horizons[-1]
    extrapolation = target.token_horizon / longest.token_horizon
    batch = batch_advice.advice(critical_batch, batch_saving, choice.model, choice.schedule, target.batch_sequences)
    warnings = [*lr.warnings, *(loss.warnings if loss else ())]
    if choice.model != target.model:
        warnings.append(
            f"{target.model} was not studied with this batch (two schedules, three learning rates and three horizons): "
            f"schedule and learning rate are those of {choice.model}, which muP carries over width but nothing carries "
            f"over depth. Add the model to the grid."
        )
    if loss is None:
        warnings.append(
            "No loss is predicted: that needs the target's model at three horizons, or three sizes at three "
            "horizons, with "
            "losses that fall. Add tokens_per_parameter or models."
        )
    if extrapolation > EXTRAPOLATION:
        warnings.append(
            f"The target's horizon is {extrapolation:.3g} times the longest one trained: treat everything here as "
            f"a guess."
        )
    warnings.extend(batch.warnings)
    parabola = Source(
        table="laws/lr_optimum/parameters",
        key={**group, "tokens_per_parameter": longest.tokens_per_parameter, "parameter": "factor_2_cost"},
    )
    cost = longest.optimum.factor_2_cost
    lr_source = (
        Source(
            table="laws/lr_optimum/parameters",
            key={**group, "tokens_per_parameter": lr.carried_from, "parameter": "peak_lr"},
        )
        if lr.carried_from
        else Source(
            table="laws/lr_horizon/parameters", key={**group, "tokens_per_parameter": 0.0, "parameter": "exponent"}
        )
    )
    return Recommendation(
        study=study,
        target=target,
        schedule=choice.schedule,
        equivalent_schedules=equivalent,
        chosen_at_model=choice.model,
        chosen_at_tokens_per_parameter=choice.tokens_per_parameter,
        peak_lr=_estimate(lr.value, lr.samples, settings.ci_level, lr_source),
        factor_2_lr_cost=_estimate(cost, longest.curvature_samples * np.log(2) ** 2, settings.ci_level, parabola)
        if longest.optimum.status == "converged"
        else None,
        weight_decay=peak_weight_decay(optimizer, lr.value, target.total_steps),
        batch_tokens=target.batch_tokens,
        noise_scale_tokens=_noise_scale(noise_scale, runs, choice.model, target.batch_sequences),
        critical_batch_tokens=batch.critical_batch_tokens,
        batch_path=batch.batch_path,
        averaging=_averaging(averages, runs, choice, settings.ci_level),
        predicted_loss=tuple(_estimate(loss.value, loss.samples, level, loss_law) for level in LOSS_LEVELS)
        if loss
        else (),
        horizon_extrapolation=extrapolation,
        how_sure=_how_sure(choice, equivalent, extrapolation, losses),
        warnings=tuple(warnings),
    )


def _estimate(value: float, samples: Floats, level: float, *sources: Source) -> Estimate:
    low, high = interval(samples, level) if len(samples) else (np.nan, np.nan)
    known = np.isfinite(low)
    return Estimate(
        value=value, ci_low=low if known else None, ci_high=high if known else None, ci_level=level, sources=sources
    )


def _symmetric(value: float, half_width: float, level: float, sources: list[Source]) -> Estimate:
    """An interval of equal halves; null ends where the half is not known."""
    known = np.isfinite(half_width)
    return Estimate(
        value=value,
        ci_low=value - half_width if known else None,
        ci_high=value + half_width if known else None,
        ci_level=level,
        sources=tuple(sources),
    )


def _how_sure(
    choice: at_target.Choice, equivalent: tuple[str, ...], extrapolation: float, losses: FinalLosses
) -> tuple[str, ...]:
    """Sentences for a person."""
    where = f"at {choice.tokens_per_parameter:g} tokens per parameter of {choice.model}"
    if equivalent:
        told = f"{choice.schedule} has the lowest loss {where}, but is not resolved from {', '.join(equivalent)}."
    elif choice.n_schedules == 1:
        told = f"{choice.schedule} is the only schedule {where}: nothing was compared."
    else:
        told = f"{choice.schedule} has the lowest loss {where}, resolved from every other schedule trained there."
    reached = (
        f"The target's horizon is {extrapolation:.3g} times the longest one trained."
        if extrapolation > 1
        else "The target's horizon lies within the trained ones."
    )
    noise = losses.noise
    replicates = (
        f"Replicates differ by {np.hypot(noise.own_sd, noise.position_sd):.3f} nat/token beyond what all cells of "
        f"a replicate "
        f"share (one standard deviation, pooled with "
        f"{noise.degrees_of_freedom} degrees of freedom)."
        if noise.degrees_of_freedom
        else "There are no replicates: there are no intervals and no difference is resolved. Add replicates."
    )
    return told, reached, replicates


def _noise_scale(noise_scale: pd.DataFrame, runs: pd.DataFrame, model: str, batch_sequences: int) -> Estimate | None:
    """The last trusted window of the run that was probed longest and, among equals, reached the lowest loss."""
    of_model = runs[(runs["model"] == model) & (runs["batch_sequences"] == batch_sequences) & ~runs["holdout"]]
    total = noise_scale[(noise_scale["group"] == "total") & (noise_scale["status"] == "ok")]
    probed = total.merge(of_model[["cell_id", "val_loss"]], on="cell_id")
    if probed.empty:
        return None
    last = probed.sort_values(["tokens_seen", "val_loss"], ascending=[False, True]).iloc[0]
    source = Source(
        table="noise_scale", key={"cell_id": str(last["cell_id"]), "group": "total", "window": int(last["window"])}
    )
    return Estimate(
        value=float(last["noise_scale_tokens"]),
        ci_low=None if pd.isna(last["ci_low"]) else float(last["ci_low"]),
        ci_high=None if pd.isna(last["ci_high"]) else float(last["ci_high"]),
        ci_level=float(last["ci_level"]),
        sources=(source,),
    )


def _averaging(averages: pd.DataFrame, runs: pd.DataFrame, choice: at_target.Choice, level: float) -> Averaging:
    """The best average of a constant run at the horizon that the report's answer rests on; recommended only where it
    gains and the schedule is that constant."""
    # best_window is not one window: what is recommended has a name in the study.
    rows = at_cell_ends(averages[averages["average"] != BEST_WINDOW], runs)
    same = (rows["model"] == choice.model) & (rows["batch_sequences"] == choice.horizons[0].group["batch_sequences"])
    rows = at_longest_horizon(rows[same & (rows["schedule_kind"] == "constant")])
    nothing = dict.fromkeys(("average", "averaging_scheme", "window_checkpoints", "window_fraction"))
    if rows.empty:
        return Averaging(**nothing, gain=None, gap_to_cooldown=None)
    best = replicate_means(rows).sort_values("averaged", kind="stable").iloc[0]
    setting = ["average", "peak_lr", "tokens_per_parameter"]
    chosen = rows[(rows[setting] == best[setting]).all(axis=1)]
    keys = ("cell_id", "updates_done", "average", "domain")
    sources = [Source(table="averages", key={key: _plain(row[key]) for key in keys}) for _, row in chosen.iterrows()]
    used = best["schedule"] == choice.schedule and best["gain"] > 0
    what = {
        "average": str(best["average"]),
        "averaging_scheme": str(best["averaging_scheme"]),
        "window_checkpoints": round(best["window_checkpoints"]),
        "window_fraction": float(best["window_fraction"]),
    }
    return Averaging(
        **(what if used else nothing),
        gain=_student(best, "gain", level, sources),
        gap_to_cooldown=None if pd.isna(best["gap"]) else _student(best, "gap", level, sources),
    )


def _student(point: pd.Series[Any], name: str, level: float, sources: list[Source]) -> Estimate:
    """A mean over replicates with Student's interval."""
    half = half_width(float(point[f"{name}_se"]), int(point[f"{name}_degrees_of_freedom"]), level)
    return _symmetric(float(point[name]), half, level, sources)


def _plain(value: Any) -> str | float | int:
    """A JSON scalar out of a pandas one."""
    plain: str | float | int = value.item() if isinstance(value, np.generic) else value
    return plain
