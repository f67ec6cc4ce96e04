"""What the laws say about the target run: its schedule, peak learning rate and loss, with bootstrap samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from glidepath.laws.law import Floats, Settings, Sweep, by_group, sweeps
from glidepath.science.laws.horizon import fit_power_law, fit_saturating_law
from glidepath.science.laws.size_horizon import fit_size_horizon_law
from glidepath.science.replicates import single_run_noise
from glidepath.study.final_losses import FinalLosses


@dataclass(frozen=True)
class Choice:
    """The model, horizon and schedule that the recommendation rests on, with all horizons of that schedule."""

    model: str
    tokens_per_parameter: float
    schedule: str
    n_schedules: int
    """Schedules trained there, the chosen one included."""
    horizons: list[Sweep]
    """Ascending."""


MIN_SCHEDULES, MIN_LEARNING_RATES, MIN_HORIZONS = 2, 3, 3
MIN_SIZE_HORIZON_POINTS = 5


def choose(losses: FinalLosses, settings: Settings, model: str, batch_sequences: int) -> Choice:
    """The schedule of lowest loss at the longest horizon with at least two schedules.

    At the target's model if it was studied: two schedules, three learning rates and three horizons at least. Else at
    the largest model that was, since muP carries learning rates over width; else at the target's or the largest model
    trained with that batch. Raises ValueError when nothing was trained with that batch.
    """
    points = losses.points[losses.points["batch_sequences"] == batch_sequences]
    if points.empty:
        raise ValueError(
            f"target.batch_sequences {batch_sequences}: no cell with that batch is completed and open to fits. "
            f"Choose a batch of the grid"
        )
    by_size = [str(name) for name in points.sort_values("n_params_counted")["model"].unique()]
    studied = [name for name in by_size if _studied(points[points["model"] == name])]
    if model not in (studied or by_size):
        model = studied[-1] if studied else by_size[-1]
    points = points[points["model"] == model]
    schedules_at = points.groupby("tokens_per_parameter")["schedule"].nunique()
    compared = schedules_at[schedules_at >= min(2, schedules_at.max())]
    horizon = float(compared.index.max())
    at_horizon = points[points["tokens_per_parameter"] == horizon]
    schedule = str(at_horizon.sort_values("val_loss")["schedule"].iloc[0])
    wanted = {"model": model, "schedule": schedule, "batch_sequences": batch_sequences}
    horizons = next(members for group, members in by_group(sweeps(losses, settings)) if group == wanted)
    return Choice(model, horizon, schedule, at_horizon["schedule"].nunique(), horizons)


def _studied(points: pd.DataFrame) -> bool:
    return bool(
        points["schedule"].nunique() >= MIN_SCHEDULES
        and points["peak_lr"].nunique() >= MIN_LEARNING_RATES
        and points["tokens_per_parameter"].nunique() >= MIN_HORIZONS
    )


@dataclass(frozen=True)
class AtTarget:
    """A value at the target with its samples, and what is doubtful about it."""

    value: float
    samples: Floats
    warnings: tuple[str, ...]
    carried_from: float = 0.0
    """Horizon [tokens per parameter] whose value it is; 0 when a law over horizons says it."""


def peak_lr(choice: Choice, token_horizon: float, seed: int) -> AtTarget:
    """The power law in the horizon through the optima inside their grids, or the last optimum when there is no law.

    The samples also carry what the law was off by when the longest horizon was hidden from it, as a normal error of
    that size in ln peak_lr: resampling assumes the law's form, and this is the only measurement of how wrong the form
    is.
    """
    inside = [sweep for sweep in choice.horizons if sweep.optimum.status == "converged"]
    left_out = len(choice.horizons) - len(inside)
    warnings = []
    if left_out:
        warnings.append(
            f"{left_out} of {len(choice.horizons)} horizons have the optimum of {choice.schedule} at the edge of "
            f"the grid of "
            f"peak learning rates and are left out: extend the grid there."
        )
    if len(inside) < 2:
        last = (inside or choice.horizons)[-1]
        warnings.append(
            f"The peak learning rate is that of {last.tokens_per_parameter:g} tokens per parameter: with fewer "
            f"than two "
            f"optima inside the grid there is no law to carry it to the target's horizon."
        )
        return AtTarget(
            last.optimum.peak_lr, last.lr_samples if inside else np.empty(0), tuple(warnings), last.tokens_per_parameter
        )
    if len(inside) == 2:
        warnings.append(
            "The law of the peak learning rate is a line through two horizons: nothing is left to check its form. "
            "Add a horizon."
        )
    x, at = np.array([sweep.token_horizon for sweep in inside]), np.array([token_horizon])
    optima = np.array([sweep.optimum.peak_lr for sweep in inside])
    law = fit_power_law(x, optima)
    samples = fit_power_law(x, np.stack([sweep.lr_samples for sweep in inside], axis=1)).predict(at)[:, 0]
    if len(inside) > 2:
        missed = float(np.log(fit_power_law(x[:-1], optima[:-1]).predict(x[-1:])[0] / optima[-1]))
        samples = samples * np.exp(missed * np.random.default_rng(seed).standard_normal(len(samples)))
        carried = float(np.log(optima[-2] / optima[-1]))
        if abs(missed) > abs(carried):
            warnings.append(
                f"Hidden from the law, the longest horizon's optimum is missed by a factor "
                f"{np.exp(abs(missed)):.2f}; keeping "
                f"the optimum of the horizon before would have missed it by {np.exp(abs(carried)):.2f}. The interval "
                f"includes that."
            )
    return AtTarget(float(law.predict(at)[0]), samples, tuple(warnings))


def loss(choice: Choice, losses: FinalLosses, tokens_per_parameter: float, seed: int) -> AtTarget | None:
    """The saturating law in the horizon; None below three horizons or where losses rise with the horizon.

    The samples also carry the replicate noise that a single real run has, and what the law was off by when the longest
    horizon was hidden from it (see `peak_lr`).
    """
    if len(choice.horizons) < 3:
        return None
    x, at = np.array([s.tokens_per_parameter for s in choice.horizons]), np.array([tokens_per_parameter])
    observed = np.array([s.optimum.val_loss for s in choice.horizons])
    law = fit_saturating_law(x, observed)
    samples = fit_saturating_law(x, np.stack([s.loss_samples for s in choice.horizons], axis=1)).predict(at)[:, 0]
    if not np.isfinite(law.K):
        return None
    samples = samples + single_run_noise(losses.noise, len(samples), seed)
    warnings = []
    if len(x) == 3:
        warnings.append(
            "The loss is predicted by three parameters through three horizons: nothing is left to check the form "
            "of the law. "
            "Add a horizon."
        )
    else:
        missed = float(fit_saturating_law(x[:-1], observed[:-1]).predict(x[-1:])[0] - observed[-1])
        if np.isfinite(missed):
            samples = samples + missed * np.random.default_rng(seed + 1).standard_normal(len(samples))
            warnings.append(
                f"Hidden from the law, the loss at {x[-1]:g} tokens per parameter is missed by {missed:+.3f} "
                f"nat/token; the "
                f"interval includes that."
            )
    if law.bound_hit:
        warnings.append(
            "The law in the horizon does not identify its irreducible loss: the prediction holds near the "
            "trained horizons "
            "only. Add longer horizons."
        )
    return AtTarget(float(law.predict(at)[0]), samples, tuple(warnings))


def loss_of_another_size(
    choice: Choice, losses: FinalLosses, settings: Settings, n_params: int, token_horizon: float
) -> AtTarget | None:
    """The law in size and horizon of the chosen schedule, for a target whose own model has no law in the horizon.

    None where that law does not hold: fewer than three sizes or horizons, or an exponent at an end of its range.
    """
    batch = choice.horizons[0].group["batch_sequences"]
    members = [
        sweep
        for sweep in sweeps(losses, settings)
        if sweep.group["schedule"] == choice.schedule and sweep.group["batch_sequences"] == batch
    ]
    n = np.array([float(sweep.n_params_counted) for sweep in members])
    d = np.array([sweep.token_horizon for sweep in members])
    if len(set(n.tolist())) < MIN_HORIZONS or len(set(d.tolist())) < MIN_HORIZONS:
        return None
    if len(members) < MIN_SIZE_HORIZON_POINTS:
        return None
    found = fit_size_horizon_law(n, d, np.array([sweep.optimum.val_loss for sweep in members]))
    if found.fit.status != "converged":
        return None
    at = np.array([float(n_params)]), np.array([token_horizon])
    samples = found.resampled(losses=np.stack([s.loss_samples for s in members], axis=1)).predict(*at)[:, 0]
    samples = samples + single_run_noise(losses.noise, len(samples), settings.seed)
    warning = (
        f"The loss is that of the law in size and horizon over {len(set(n.tolist()))} sizes up to {n.max():.3g} "
        f"parameters; "
        f"its form is assumed."
    )
    return AtTarget(float(found.law.predict(*at)[0]), samples, (warning,))


def equivalent(comparisons: pd.DataFrame, choice: Choice, batch_sequences: int) -> tuple[str, ...]:
    """Schedules not resolved against the chosen one, from comparisons whose reference is the chosen one."""
    here = comparisons[
        (comparisons["model"] == choice.model)
        & (comparisons["tokens_per_parameter"] == choice.tokens_per_parameter)
        & (comparisons["batch_sequences"] == batch_sequences)
        & (comparisons["verdict"] == "not resolved")
    ]
    return tuple(here.sort_values("difference")["schedule"])
