"""Write recommendation.json: what to launch the target run with, how sure that is, and which rows say so."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import glidepath
from glidepath.laws import batch_advice
from glidepath.laws import target as at_target
from glidepath.laws.averaging import at_cell_ends, at_longest_horizon, half_width, replicate_means
from glidepath.laws.law import EXTRAPOLATION, Floats, Settings
from glidepath.laws.next_cells import FlopsAdded, Trained, next_cells
from glidepath.laws.predictors import SAME_SIZE
from glidepath.science.replicates import interval
from glidepath.stages.compare import comparisons
from glidepath.study import tables
from glidepath.study.added_cells import Costs
from glidepath.study.averaging_config import BEST_WINDOW
from glidepath.study.cells import model_spec, param_counts, peak_weight_decay
from glidepath.study.config import StudyConfig, parse_study
from glidepath.study.final_losses import FinalLosses, final_losses, open_to_fits
from glidepath.study.model_config import OptimizerConfig
from glidepath.study.recommendation import (
    Averaging,
    Estimate,
    Extrapolation,
    LawAtTarget,
    LrMistake,
    Prediction,
    Provenance,
    Recommendation,
    Source,
    TargetRun,
)
from glidepath.study.size_groups import architecture

LOSS_LEVELS = (0.5, 0.9)
N_NEXT = 5
OPTIONAL_TABLES = {
    "averages": tables.AVERAGES,
    "noise-scale": tables.NOISE_SCALE,
    "critical-batch": tables.CRITICAL_BATCH,
    "batch-saving": tables.BATCH_SAVING,
}
PACKAGES = ("numpy", "scipy", "pandas", "pyarrow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study-name", required=True, help="name of the study or the imported runs")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--block-losses", type=Path, help="losses by validation block; imported runs may have none")
    parser.add_argument("--averages", type=Path, help="averages.parquet, if snapshots were averaged")
    parser.add_argument("--noise-scale", type=Path, help="noise_scale.parquet, if gradients were probed")
    parser.add_argument("--critical-batch", type=Path, help="critical_batch.parquet, if the study sweeps batches")
    parser.add_argument("--batch-saving", type=Path, help="batch_saving.parquet, if the study has batch paths")
    parser.add_argument("--target", required=True, help="the target run as JSON")
    parser.add_argument("--optimizer", help="the study's optimizer section as JSON")
    parser.add_argument("--config", help="the validated study as JSON: what further cells cost is then planned")
    parser.add_argument("--next", type=int, default=N_NEXT, help="how many further cells to name")
    parser.add_argument("--reference-schedule", default="")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--bootstrap-samples", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="recommendation.json")


def main(args: argparse.Namespace) -> None:
    given = {name: getattr(args, name.replace("-", "_")) for name in ("runs", "block-losses", *OPTIONAL_TABLES)}
    runs = tables.read(tables.RUNS, args.runs)
    recommendation = recommend(
        args.study_name,
        TargetRun.model_validate_json(args.target),
        runs,
        final_losses(runs, _read_or_empty(tables.BLOCK_LOSSES, args.block_losses)),
        {name: _read_or_empty(table, given[name]) for name, table in OPTIONAL_TABLES.items()},
        Settings(args.reference_schedule, args.ci_level, args.bootstrap_samples, args.seed),
        provenance(path for path in given.values() if path),
        optimizer=OptimizerConfig.model_validate_json(args.optimizer) if args.optimizer else None,
        study=parse_study(json.loads(args.config), "given as JSON") if args.config else None,
        n_next=args.next,
    )
    temporary = args.output.with_name(f".{args.output.name}.partial")
    temporary.write_text(json.dumps(recommendation.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    temporary.replace(args.output)


def _read_or_empty(table: tables.Table, path: Path | None) -> pd.DataFrame:
    return tables.read(table, path) if path else tables.empty(table)


def provenance(files: Iterable[Path]) -> Provenance:
    """Digests of the tables that were read, versions of what read them, and the time."""
    return Provenance(
        tables={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        versions={
            "python": platform.python_version(),
            "glidepath": glidepath.__version__,
            **{name: version(name) for name in PACKAGES},
        },
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def recommend(
    name: str,
    target: TargetRun,
    runs: pd.DataFrame,
    losses: FinalLosses,
    found: dict[str, pd.DataFrame],
    settings: Settings,
    made: Provenance,
    *,
    optimizer: OptimizerConfig | None,
    study: StudyConfig | None,
    n_next: int,
) -> Recommendation:
    """The recommendation for a target from the tables of a study or of imported runs.

    `found` holds the tables of `OPTIONAL_TABLES`, empty where there is none. Without `optimizer` no weight decay is
    recommended; without `study` further runs are priced at 6·N·D. The weight decay is that of a cell with the
    recommended peak learning rate and the target's updates (`study.cells.peak_weight_decay`): most policies make it a
    function of both. Raises ValueError when no cell has the target's batch, or its schedule.
    """
    open_runs = open_to_fits(runs)
    batch_sequences, warnings = _batch(target, open_runs)
    model, kind = _model(target, losses), _architecture(target, study, runs)
    choice = at_target.choose(losses, settings, model, batch_sequences, target.schedule, kind)
    equivalent = _equivalent(losses, choice, batch_sequences, settings.ci_level)
    group: dict[str, str | float | int] = {
        "model": choice.model,
        "schedule": choice.schedule,
        "batch_sequences": batch_sequences,
    }
    lr = at_target.peak_lr(choice, target.n_params_counted, target.token_horizon, settings)
    mistake = at_target.mistake(choice)
    knows_lr = bool(np.isfinite(lr.value))
    launched_at = target.peak_lr or (lr.value if knows_lr else None)
    regret = None
    if mistake and launched_at:
        regret = at_target.regret_of(mistake.sweep, lr, launched_at)
    loss = at_target.loss(choice, losses, settings, target.n_params_counted, target.token_horizon, regret)
    fitted = loss.said[0].points if loss else at_target.loss_points(choice.horizons)
    reached = target.token_horizon / float(fitted.tokens.max())
    batch = batch_advice.advice(
        found["critical-batch"], found["batch-saving"], choice.model, choice.schedule, batch_sequences
    )
    warnings += [*choice.warnings, *(lr.warnings if knows_lr else ()), *(loss.warnings if loss else ())]
    if not knows_lr:
        warnings.append("No learning rate is known of these runs: none is recommended.")
    warnings += _warnings(target, choice, loss, lr, mistake, reached)
    warnings += batch.warnings
    trained, costs = _trained(runs, study, choice.schedule, batch_sequences), _costs(study, runs)
    target = _filled(target, open_runs, choice.schedule, batch_sequences)
    prediction = _prediction(loss) if loss else None
    return Recommendation(
        study=name,
        target=target,
        schedule=choice.schedule,
        equivalent_schedules=equivalent,
        n_schedules_compared=choice.n_schedules,
        ci_level=settings.ci_level,
        chosen_at_model=choice.model,
        chosen_at_tokens_per_parameter=choice.tokens_per_parameter,
        peak_lr=_estimate(lr.value, lr.samples, settings.ci_level, *_lr_sources(lr, group)) if knows_lr else None,
        factor_2_lr_cost=_mistake(mistake, loss, target, group, settings.ci_level) if mistake else None,
        weight_decay=_weight_decay(optimizer, launched_at, target, choice, open_runs),
        batch_tokens=target.batch_tokens,
        noise_scale_tokens=_noise_scale(found["noise-scale"], runs, choice.model, batch_sequences),
        critical_batch_tokens=batch.critical_batch_tokens,
        batch_path=batch.batch_path,
        averaging=_averaging(found["averages"], runs, choice, settings.ci_level),
        predicted_loss=tuple(
            _estimate(loss.value, loss.samples, level, *_loss_sources(loss, group, choice)) for level in LOSS_LEVELS
        )
        if loss
        else (),
        prediction=prediction,
        extrapolation=tuple(_extrapolation(target, choice, loss, open_runs, launched_at)),
        horizon_extrapolation=reached,
        next_cells=next_cells(choice, target, loss, lr, trained, costs, settings, n_next),
        how_sure=(
            *_how_sure(choice, equivalent, reached, losses),
            *(_law_sentences(prediction, loss.said[0].reach) if prediction and loss else ()),
            *_held_out(runs),
        ),
        warnings=tuple(warnings),
        provenance=made,
    )


def _batch(target: TargetRun, open_runs: pd.DataFrame) -> tuple[int, list[str]]:
    """The batch whose runs the laws are fitted to [sequences], and what is doubtful about it.

    The target's own; where the target names none (imported runs), the only one there is, the nearest one to its batch
    in tokens, or that of most runs.
    """
    if target.batch_sequences:
        return target.batch_sequences, []
    counts = open_runs["batch_sequences"].value_counts()
    if len(counts) == 1:
        return int(counts.index[0]), []
    tokens = open_runs.groupby("batch_sequences")["batch_tokens"].median().dropna()
    if target.batch_tokens and len(tokens):
        nearest = int(tokens.index[int(np.abs(np.log(tokens.to_numpy() / target.batch_tokens)).argmin())])
        if abs(np.log(tokens[nearest] / target.batch_tokens)) < SAME_SIZE:
            return nearest, []
        return nearest, [
            f"No run has the target's batch of {target.batch_tokens:,} tokens: everything is that of the nearest one, "
            f"{tokens[nearest]:,.0f} tokens."
        ]
    most = int(counts.index[0])
    return most, [
        f"The target names no batch: everything is that of {most} sequences per update, which most runs have. Give "
        f"batch_tokens."
    ]


def _filled(target: TargetRun, open_runs: pd.DataFrame, schedule: str, batch_sequences: int) -> TargetRun:
    """The target with what it leaves open (of imported runs) as those runs have it that everything rests on."""
    here = open_runs[(open_runs["schedule"] == schedule) & (open_runs["batch_sequences"] == batch_sequences)]

    def told(name: str) -> int | None:
        known = here[name].dropna().unique()
        return int(known[0]) if len(known) == 1 and known[0] > 0 else None

    trained_at = told("batch_tokens")
    batch_tokens = target.batch_tokens or trained_at
    other = batch_tokens and trained_at and abs(np.log(batch_tokens / trained_at)) > SAME_SIZE
    return target.model_copy(
        update={
            "batch_sequences": target.batch_sequences or (0 if other else batch_sequences),
            "batch_tokens": batch_tokens,
            "total_steps": target.total_steps or (round(target.token_horizon / batch_tokens) if batch_tokens else None),
            "context_length": target.context_length or told("context_length"),
        }
    )


def _prediction(loss: at_target.LossAtTarget) -> Prediction:
    """What the laws say of the run that is to be launched: with what its peak learning rate costs in the median."""
    cost, found = loss.value - loss.said[0].value, loss.prediction

    def there(law: LawAtTarget) -> LawAtTarget:
        return law.model_copy(update={"predicted_loss": law.predicted_loss + cost})

    return found.model_copy(
        update={"chosen": there(found.chosen), "others": tuple(there(other) for other in found.others)}
    )


def _held_out(runs: pd.DataFrame) -> Iterator[str]:
    n = int((runs["holdout"] & (runs["status"] == "completed")).sum())
    if n:
        yield (
            f"{n} {'run is' if n == 1 else 'runs are'} held out: nothing here is fitted to them, and none of them is "
            f"named as a further run. Taken out of holdout they sharpen the laws at no cost."
        )


def _model(target: TargetRun, losses: FinalLosses) -> str:
    """The target's model by name, or the trained one of its size."""
    sizes = losses.points.drop_duplicates("model").set_index("model")["n_params_counted"].dropna().astype(float)
    if target.model in sizes.index or sizes.empty:
        return target.model
    off = np.abs(np.log(sizes.to_numpy() / target.n_params_counted))
    return str(sizes.index[int(off.argmin())]) if float(off.min()) < SAME_SIZE else target.model


def _architecture(target: TargetRun, study: StudyConfig | None, runs: pd.DataFrame) -> str:
    """Of a target that is one of the study's models, trained or not; else empty."""
    if study is None or target.model not in study.models:
        return ""
    return architecture(model_spec(study.models[target.model], int(runs["vocab_size"].iloc[0])))


def _equivalent(losses: FinalLosses, choice: at_target.Choice, batch: int, level: float) -> tuple[str, ...]:
    """Schedules that are not told from the chosen one where it was chosen."""
    if losses.blocks.shape[1] > 1:
        return at_target.equivalent(comparisons(losses, choice.schedule, level), choice, batch)
    # Imported runs have no losses by block to pair: replicates alone tell, and without them nothing does.
    points = losses.points
    here = points[
        (points["model"] == choice.model)
        & (points["tokens_per_parameter"] == choice.tokens_per_parameter)
        & (points["batch_sequences"] == batch)
    ]
    best = here.groupby("schedule")["val_loss"].min().sort_values()
    noise = losses.noise
    sd = np.hypot(noise.own_sd, noise.position_sd) if noise.degrees_of_freedom else np.inf
    away = (best - best[choice.schedule]).abs() < 2 * np.sqrt(2) * sd
    return tuple(str(name) for name in best.index[away] if name != choice.schedule)


def _lr_sources(lr: at_target.LrAtTarget, group: dict[str, str | float | int]) -> list[Source]:
    if not lr.said:
        key = {**group, "tokens_per_parameter": lr.carried_from, "parameter": "peak_lr"}
        return [Source(table="laws/lr_optimum/parameters", key=key)]
    return _sources(lr.said[0].predictor.source, group)


def _loss_sources(
    loss: at_target.LossAtTarget, group: dict[str, str | float | int], choice: at_target.Choice
) -> list[Source]:
    predictor = loss.said[0].predictor
    return _sources(predictor.source, group if predictor.one_size else {**group, "model": choice.part})


def _sources(source: tuple[str, str] | None, group: dict[str, str | float | int]) -> list[Source]:
    if source is None:
        return []
    table, parameter = source
    key = {**group, "tokens_per_parameter": 0.0, "parameter": parameter}
    return [Source(table=table, key=key)]


def _weight_decay(
    optimizer: OptimizerConfig | None,
    peak_lr: float | None,
    target: TargetRun,
    choice: at_target.Choice,
    open_runs: pd.DataFrame,
) -> float | None:
    """By the study's policy; of imported runs, that of the chosen schedule's runs if they all have one."""
    if optimizer is not None and peak_lr is not None and target.total_steps is not None:
        return peak_weight_decay(optimizer, peak_lr, target.total_steps)
    used = open_runs.loc[open_runs["schedule"] == choice.schedule, "weight_decay"].dropna().unique()
    return float(used[0]) if len(used) == 1 else None


def _warnings(
    target: TargetRun,
    choice: at_target.Choice,
    loss: at_target.LossAtTarget | None,
    lr: at_target.LrAtTarget,
    mistake: at_target.Mistake | None,
    reached: float,
) -> Iterator[str]:
    if np.isfinite(lr.value) and abs(np.log(choice.n_params / target.n_params_counted)) > SAME_SIZE:
        name = target.model or f"A model of {target.n_params_counted:.3g} parameters"
        carried = (
            "which muP carries over width but nothing carries over depth"
            if choice.parametrization in at_target.CARRYING
            else "and nothing carries learning rates over sizes but the laws fitted to several of them"
        )
        yield (
            f"{name} was not studied with this batch (two schedules, three learning rates and three horizons): "
            f"schedule and learning rate are those of {choice.model}, {carried}. Train that model too."
        )
    if loss is None:
        yield (
            "No loss is predicted: that needs the target's model at three horizons, or three sizes at three "
            "horizons (not all at one number of tokens per parameter, unless the target has it too), with losses "
            "that fall. Add horizons or sizes."
        )
    if reached > EXTRAPOLATION:
        yield (
            f"The target's horizon is {reached:.3g} times the longest one trained: treat everything here as a guess."
        )
    if target.peak_lr and np.isfinite(lr.value) and mistake:
        off = float(np.log(target.peak_lr / lr.value))
        if abs(off) > np.log(1.1) and loss is not None:
            yield (
                f"The target's peak learning rate {target.peak_lr:g} is {np.exp(off):.2g} times the best one found; "
                f"the predicted loss includes {loss.regret:.2g} nat/token for it."
            )
    if target.peak_lr and not mistake and loss is not None:
        yield (
            f"The predicted loss is that of runs as they are swept here: no sweep has its optimum inside its grid, so "
            f"what the target's peak learning rate {target.peak_lr:g} costs is not known."
        )


def _mistake(
    found: at_target.Mistake,
    loss: at_target.LossAtTarget | None,
    target: TargetRun,
    group: dict[str, str | float | int],
    level: float,
) -> LrMistake:
    """What a factor of 2 costs in loss and, where a loss law has samples, in tokens."""
    horizon = found.sweep.tokens_per_parameter
    source = Source(
        table="laws/lr_optimum/parameters",
        key={**group, "tokens_per_parameter": horizon, "parameter": "factor_2_cost"},
    )

    def in_tokens(cost: float, samples: Floats) -> Estimate | None:
        if loss is None or len(samples) != len(loss.samples):
            return None
        costs = np.concatenate([[cost], samples])
        shares = at_target.tokens_fraction(loss, costs, target.n_params_counted, target.token_horizon)
        return None if shares is None or np.isnan(shares[0]) else _estimate(float(shares[0]), shares[1:], level, source)

    return LrMistake(
        half=_estimate(found.half, found.half_samples, level, source),
        double=_estimate(found.double, found.double_samples, level, source),
        token_horizon=round(found.sweep.token_horizon),
        shape=found.shape,
        half_tokens_fraction=in_tokens(found.half, found.half_samples),
        double_tokens_fraction=in_tokens(found.double, found.double_samples),
    )


def _extrapolation(
    target: TargetRun,
    choice: at_target.Choice,
    loss: at_target.LossAtTarget | None,
    open_runs: pd.DataFrame,
    peak_lr: float | None,
) -> Iterator[Extrapolation]:
    """Every axis that is known of target and runs: sizes and horizons of the law that predicts the loss, peak learning
    rates of the chosen model and schedule, batches and contexts of the chosen schedule."""
    points = loss.said[0].points if loss else at_target.loss_points(choice.all_sizes)
    of_schedule = open_runs[open_runs["schedule"] == choice.schedule]
    rates = np.concatenate([sweep.peak_lrs for sweep in choice.horizons])
    axes: tuple[tuple[Any, float | None, Any], ...] = (
        ("n_params_counted", target.n_params_counted, points.n_params),
        ("token_horizon", target.token_horizon, points.tokens),
        ("batch_tokens", target.batch_tokens, of_schedule["batch_tokens"]),
        ("peak_lr", peak_lr, rates),
        ("context_length", target.context_length, of_schedule["context_length"]),
    )
    for axis, value, trained in axes:
        known = np.asarray(pd.Series(trained).dropna(), dtype=np.float64)
        known = known[known > 0]
        if not value or not len(known):
            continue
        low, high = float(known.min()), float(known.max())
        factor = max(value / high, low / value, 1.0)
        # A horizon rounded to whole updates is no extrapolation.
        inside = factor < 1 + SAME_SIZE / 10
        yield Extrapolation(
            axis=axis,
            target=float(value),
            trained_low=low,
            trained_high=high,
            factor=1.0 if inside else factor,
            verdict="inside" if inside else "above" if value > high else "below",
        )


def _trained(runs: pd.DataFrame, study: StudyConfig | None, schedule: str, batch_sequences: int) -> Trained:
    """What the planner of further cells needs to know of the runs."""
    of_runs = runs.drop_duplicates("model").set_index("model")["n_params_counted"].dropna()
    sizes = {str(model): int(n) for model, n in of_runs.items()}
    if study:
        vocab_size = int(runs["vocab_size"].iloc[0])
        for name, config in study.models.items():
            counts = param_counts(model_spec(config, vocab_size))
            sizes[name] = getattr(counts, f"n_params_{study.tokens_per_parameter_uses}")
    timed = runs[(runs["train_seconds"] > 0) & (runs["train_flops_exact"] > 0)]
    speeds = (timed["train_seconds"] / timed["train_flops_exact"]).groupby(timed["model"]).median()
    columns = ["model", "schedule", "peak_lr", "tokens_per_parameter", "batch_sequences", "replicate"]
    alike = runs[runs["holdout"] & (runs["schedule"] == schedule) & (runs["batch_sequences"] == batch_sequences)]
    return Trained(
        cells=frozenset(runs[columns].fillna({"peak_lr": 0.0}).itertuples(index=False, name=None)),
        sizes=sizes,
        seconds_per_flop={str(model): float(speed) for model, speed in speeds.items()},
        hidden=alike[["n_params_counted", "token_horizon", "peak_lr"]].astype("float64").to_numpy(),
    )


def _costs(study: StudyConfig | None, runs: pd.DataFrame) -> FlopsAdded | None:
    if study is None:
        return None
    return Costs(study, str(runs["corpus_id"].iloc[0]), int(runs["vocab_size"].iloc[0]))


def _estimate(value: float, samples: Floats, level: float, *sources: Source) -> Estimate:
    low, high = interval(samples, level) if len(samples) else (np.nan, np.nan)
    known = np.isfinite(low) and np.isfinite(high)
    return Estimate(
        value=value, ci_low=low if known else None, ci_high=high if known else None, ci_level=level, sources=sources
    )


def _symmetric(value: float, half_width: float, level: float, sources: Sequence[Source]) -> Estimate:
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
    choice: at_target.Choice,
    equivalent: tuple[str, ...],
    extrapolation: float,
    losses: FinalLosses,
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
        f"a replicate share (one standard deviation, pooled with {noise.degrees_of_freedom} degrees of freedom)."
        if noise.degrees_of_freedom
        else "There are no replicates: no difference between runs is resolved. Add replicates."
    )
    return told, reached, replicates


def _law_sentences(prediction: Prediction, reach: float) -> Iterator[str]:
    chosen, scored = prediction.chosen, prediction.chosen.out_of_sample
    if scored.root_mean_square_error is not None:
        yield (
            f"The loss is that of the law {chosen.law}, which missed {scored.n_hidden} hidden points, up to "
            f"{scored.farthest_factor:.3g} times beyond what it had seen, by {scored.root_mean_square_error:.2g} "
            f"nat/token (root mean square). {_carried(chosen, reach)}"
        )
    if prediction.others:
        others = ", ".join(f"{other.law} {other.predicted_loss:.3f}" for other in prediction.others)
        yield f"Other laws say {others} nat/token where it says {chosen.predicted_loss:.3f}."


def _carried(law: LawAtTarget, reach: float) -> str:
    """What the misses mean at the target."""
    if law.law_error_sd is None:
        return "What that means at the target is not known."
    where = f"lies {np.exp(reach):.3g} times beyond" if reach > 0 else "lies within what it is fitted to"
    return (
        f"The target {where}: carried to it, that is an error of {law.law_error_sd:.2g} nat/token (one standard "
        f"deviation), which the interval includes."
    )


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
