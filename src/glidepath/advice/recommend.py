"""The recommendation for a target: everything that is said of it, put together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from glidepath.advice import batch, sentences
from glidepath.advice.at_target import AtTarget, at_target
from glidepath.advice.averaging import averaging
from glidepath.advice.choice import Choice, choose, equivalent
from glidepath.advice.estimates import of_law, of_samples
from glidepath.advice.extrapolation import extrapolation
from glidepath.advice.loss import LossAtTarget, loss_points
from glidepath.advice.lr_mistake import factor_2_lr_cost
from glidepath.advice.next_cells import next_cells
from glidepath.advice.peak_lr import LrAtTarget
from glidepath.advice.target_run import architecture_of, batch_of, filled, model_of, weight_decay_of
from glidepath.advice.trained import trained
from glidepath.laws.law import Settings
from glidepath.study import tables
from glidepath.study.added_cells import Costs
from glidepath.study.config import StudyConfig
from glidepath.study.final_losses import FinalLosses, open_to_fits
from glidepath.study.model_config import OptimizerConfig
from glidepath.study.recommendation import Estimate, Provenance, Recommendation, Source, TargetRun

LOSS_LEVELS = (0.5, 0.9)


@dataclass(frozen=True)
class Basis:
    """What a recommendation is made from: the tables of a study or of imported runs, and the target."""

    name: str
    target: TargetRun
    runs: pd.DataFrame
    losses: FinalLosses
    settings: Settings
    averages: pd.DataFrame = field(default_factory=lambda: tables.empty(tables.AVERAGES))
    noise_scale: pd.DataFrame = field(default_factory=lambda: tables.empty(tables.NOISE_SCALE))
    critical_batch: pd.DataFrame = field(default_factory=lambda: tables.empty(tables.CRITICAL_BATCH))
    batch_saving: pd.DataFrame = field(default_factory=lambda: tables.empty(tables.BATCH_SAVING))
    optimizer: OptimizerConfig | None = None
    """None: no weight decay is recommended but that of the runs."""
    study: StudyConfig | None = None
    """None: further runs are priced at 6·N·D."""


def recommend(basis: Basis, n_next: int, made: Provenance) -> Recommendation:
    """With at most n_next further runs.

    The weight decay is that of a cell with the recommended peak learning rate and the target's updates
    (`study.cells.peak_weight_decay`): most policies make it a function of both. Raises ValueError when no cell has the
    target's batch, or its schedule.
    """
    target, runs, losses, settings, study = basis.target, basis.runs, basis.losses, basis.settings, basis.study
    level, open_runs = settings.ci_level, open_to_fits(runs)
    batch_sequences, doubtful_batch = batch_of(target, open_runs)
    model, kind = model_of(target, losses), architecture_of(target, study, runs)
    choice = choose(losses, settings, model, batch_sequences, target.schedule, kind)
    said = at_target(choice, losses, settings, target.n_params_counted, target.token_horizon, target.peak_lr)
    lr, loss = said.lr, said.loss
    not_told = equivalent(losses, choice, level)
    fitted = loss.said[0].points if loss else loss_points(choice.horizons)
    reached = target.token_horizon / float(fitted.tokens.max())
    of_batch = batch.advice(basis.critical_batch, basis.batch_saving, choice.model, choice.schedule, batch_sequences)
    warnings = (
        *doubtful_batch,
        *choice.warnings,
        *_warnings(said),
        *sentences.warnings(target, choice, said, reached),
        *of_batch.warnings,
    )
    target = filled(target, open_runs, choice.schedule, batch_sequences)
    there = trained(runs, study, choice.schedule, batch_sequences)
    costs = Costs(study, str(runs["corpus_id"].iloc[0]), int(runs["vocab_size"].iloc[0])) if study else None
    return Recommendation(
        study=basis.name,
        target=target,
        schedule=choice.schedule,
        equivalent_schedules=not_told,
        n_schedules_compared=choice.n_schedules,
        ci_level=level,
        chosen_at_model=choice.model,
        chosen_at_tokens_per_parameter=choice.tokens_per_parameter,
        peak_lr=_peak_lr(lr, choice, level) if lr.is_known else None,
        factor_2_lr_cost=factor_2_lr_cost(said.mistake, loss, target, choice, level) if said.mistake else None,
        weight_decay=weight_decay_of(basis.optimizer, said.launched_at, target, choice.schedule, open_runs),
        batch_tokens=target.batch_tokens,
        noise_scale_tokens=batch.noise_scale(basis.noise_scale, runs, choice.model, batch_sequences),
        critical_batch_tokens=of_batch.critical_batch_tokens,
        batch_path=of_batch.batch_path,
        averaging=averaging(basis.averages, runs, choice, level),
        predicted_loss=tuple(_predicted_loss(loss, choice)) if loss else (),
        prediction=loss.prediction if loss else None,
        extrapolation=tuple(extrapolation(target, choice, loss, open_runs, said.launched_at)),
        horizon_extrapolation=reached,
        next_cells=next_cells(choice, target, loss, lr, there, costs, settings, n_next),
        how_sure=(
            *sentences.on_the_choice(choice, not_told, reached, losses),
            *(sentences.on_the_laws(loss) if loss else ()),
            *sentences.on_held_out_runs(runs),
        ),
        warnings=warnings,
        provenance=made,
    )


def _warnings(said: AtTarget) -> Iterator[str]:
    """What is doubtful about the learning rate and the loss."""
    if said.lr.is_known:
        yield from said.lr.warnings
    if said.loss:
        yield from said.loss.warnings
    if not said.lr.is_known:
        yield "No learning rate is known of these runs: none is recommended."


def _peak_lr(lr: LrAtTarget, choice: Choice, level: float) -> Estimate:
    if lr.said:
        sources = of_law(lr.said[0].predictor, choice.group)
    else:
        key = {**choice.group, "tokens_per_parameter": lr.carried_from, "parameter": "peak_lr"}
        sources = [Source(table="laws/lr_optimum/parameters", key=key)]
    return of_samples(lr.value, lr.samples, level, *sources)


def _predicted_loss(loss: LossAtTarget, choice: Choice) -> Iterator[Estimate]:
    law = loss.said[0].predictor
    sources = of_law(law, choice.group if law.one_size else {**choice.group, "model": choice.part})
    for level in LOSS_LEVELS:
        yield of_samples(loss.value, loss.samples, level, *sources)
