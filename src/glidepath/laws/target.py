"""What the laws say about the target run: its schedule, peak learning rate and loss, with bootstrap samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

from glidepath.laws.law import FRESH_EPOCHS, Floats, Settings, Sweep, by_group, fresh_sweeps, sweeps
from glidepath.laws.predictors import (
    LOSS_PREDICTORS,
    LR_PREDICTORS,
    SAME_SIZE,
    Error,
    Points,
    Predictor,
    Said,
    error_at_target,
    half_width,
    law_error_draws,
    predictions,
)
from glidepath.laws.size_points import architectures_of, parts
from glidepath.science.optimum import LN_2_SQUARED
from glidepath.science.replicates import single_run_noise
from glidepath.study.final_losses import FinalLosses
from glidepath.study.recommendation import LawAtTarget, LossUncertainty, OutOfSample, Prediction


@dataclass(frozen=True)
class Choice:
    """The model, horizon and schedule that the recommendation rests on, with all horizons of that schedule."""

    model: str
    n_params: int
    tokens_per_parameter: float
    schedule: str
    n_schedules: int
    """Schedules trained there, the chosen one included."""
    horizons: list[Sweep]
    """Ascending."""
    all_sizes: list[Sweep]
    """Every sweep of that schedule and batch, and of models that differ from the chosen one in size alone."""
    part: str
    """What laws over sizes call those models (`size_points.parts`)."""
    parametrization: str | None
    warnings: tuple[str, ...]
    """What is doubtful about the runs that everything rests on."""


SATURATING, WITHOUT_ASYMPTOTE = "loss_horizon", "power_law_in_horizon"
MIN_SCHEDULES, MIN_LEARNING_RATES, MIN_HORIZONS, MIN_SIZES = 2, 3, 3, 3


def choose(
    losses: FinalLosses,
    settings: Settings,
    model: str,
    batch_sequences: int,
    wanted: str | None = None,
    architecture: str = "",
) -> Choice:
    """The schedule of lowest loss at the longest horizon with at least two schedules, or the one that is wanted.

    At the target's model if it was studied: two schedules, three learning rates and three horizons at least. Else at
    the largest model that was, since muP carries learning rates over width; else at the target's or the largest model
    trained with that batch. Models of the target's architecture (empty: not known) come before others.

    Sweeps of more than `FRESH_EPOCHS` are left out where a schedule has others: the laws know nothing of repetition.
    Raises ValueError when nothing was trained with that batch, or with the schedule wanted, or no size is known.
    """
    points = losses.points[losses.points["batch_sequences"] == batch_sequences]
    if points.empty:
        raise ValueError(
            f"target.batch_sequences {batch_sequences}: no cell with that batch is completed and open to fits. "
            f"Choose a batch that was trained"
        )
    if wanted is not None and wanted not in set(points["schedule"]):
        raise ValueError(
            f"target.schedule {wanted!r}: no run with that schedule is completed and open to fits, there are "
            f"{', '.join(map(repr, sorted(points['schedule'].unique())))}. Name one of them or leave it out"
        )
    points = points[points["n_params_counted"].notna() & points["tokens_per_parameter"].notna()]
    if points.empty or (wanted is not None and wanted not in set(points["schedule"])):
        raise ValueError(
            "the size of no run in question is known, and the laws of final losses go by size and horizon. Give "
            "n_params_total or n_params_non_embedding of the runs"
        )
    fresh = ~(points["epochs"].astype("float64") > FRESH_EPOCHS)
    points = points[fresh | ~fresh.groupby(points["schedule"]).transform("any")]
    of_wanted = points if wanted is None else points[points["schedule"] == wanted]
    same = of_wanted["architecture"].isin([architecture] if architecture else [])
    of_wanted = of_wanted[same] if same.any() else of_wanted
    by_size = [str(name) for name in of_wanted.sort_values("n_params_counted")["model"].unique()]
    studied = [name for name in by_size if _studied(points[points["model"] == name])]
    if model not in (studied or by_size):
        model = studied[-1] if studied else by_size[-1]
    points = points[points["model"] == model]
    of_wanted = points if wanted is None else points[points["schedule"] == wanted]
    schedules_at = points.groupby("tokens_per_parameter")["schedule"].nunique()
    schedules_at = schedules_at[schedules_at.index.isin(of_wanted["tokens_per_parameter"])]
    compared = schedules_at[schedules_at >= min(2, schedules_at.max())]
    horizon = float(compared.index.max())
    at_horizon = points[points["tokens_per_parameter"] == horizon]
    schedule = wanted or str(at_horizon.sort_values("val_loss")["schedule"].iloc[0])
    group = {"model": model, "schedule": schedule, "batch_sequences": batch_sequences}
    of_schedule = [
        sweep
        for sweep in sweeps(losses, settings)
        if (sweep.group["schedule"], sweep.group["batch_sequences"]) == (schedule, batch_sequences)
    ]
    found, n_repeated = fresh_sweeps(of_schedule)
    horizons = next(members for key, members in by_group(found) if key == group)
    architectures = architectures_of(losses)
    part, alike = next(
        (label, kinds) for label, kinds in parts(found, architectures).items() if architectures[model] in kinds
    )
    warnings = []
    if n_repeated:
        warnings.append(
            f"{n_repeated} of {len(of_schedule)} sweeps of {schedule} repeat their text more than {FRESH_EPOCHS:g} "
            f"times and are left out: the laws take every token for a fresh one."
        )
    others = sorted({str(s.group["model"]) for s in found if architectures[s.group["model"]] not in alike})
    if others:
        warnings.append(
            f"{', '.join(others)}: of another architecture than {model}. Laws over sizes are fitted without them."
        )
    parametrization = points["parametrization"].iloc[0]
    return Choice(
        model,
        int(points["n_params_counted"].iloc[0]),
        horizon,
        schedule,
        at_horizon["schedule"].nunique(),
        horizons,
        [sweep for sweep in found if architectures[sweep.group["model"]] in alike],
        part,
        None if pd.isna(parametrization) else str(parametrization),
        tuple(warnings),
    )


def _studied(points: pd.DataFrame) -> bool:
    return bool(
        points["schedule"].nunique() >= MIN_SCHEDULES
        and points["peak_lr"].nunique() >= MIN_LEARNING_RATES
        and points["tokens_per_parameter"].nunique() >= MIN_HORIZONS
    )


NO_ERROR = Error(0.0, 0.0, "not known")
CARRYING = ("mup", "completep")
"""Parametrizations that carry learning rates from one size to another."""


@dataclass(frozen=True)
class LrAtTarget:
    """The peak learning rate at the target with its samples, and what is doubtful about it."""

    value: float
    samples: Floats
    """Of ln peak_lr, exponentiated; empty where there are none."""
    warnings: tuple[str, ...]
    carried_from: float = 0.0
    """Horizon [tokens per parameter] whose value it is; 0 when a law says it."""
    said: tuple[Said, ...] = ()
    """What the laws say, the believed one first, of ln peak_lr."""
    error: Error = NO_ERROR


def peak_lr(choice: Choice, n_params: float, token_horizon: float, settings: Settings) -> LrAtTarget:
    """The power law in the horizon through the optima inside their grids, or the last optimum when there is no law.

    A size that was not trained takes the law of the chosen model under muP, which carries learning rates over width;
    else, with three sizes, a power law in size and horizon. The samples also carry what the law was off by when the
    longest horizons (or largest sizes) were hidden from it, as far as the target lies (`predictors`): resampling
    assumes the law's form, and this is the only measurement of how wrong the form is.
    """
    inside = [sweep for sweep in choice.horizons if sweep.optimum.status == "converged"]
    left_out = len(choice.horizons) - len(inside)
    warnings = []
    if left_out and any(len(sweep.peak_lrs) > 1 for sweep in choice.horizons):
        warnings.append(
            f"{left_out} of {len(choice.horizons)} horizons have the optimum of {choice.schedule} at the edge of "
            f"the grid of peak learning rates and are left out: add lower or higher ones there."
        )
    everywhere = [sweep for sweep in choice.all_sizes if sweep.optimum.status == "converged"]
    sizes = {sweep.n_params_counted for sweep in everywhere}
    unseen = abs(np.log(n_params / choice.n_params)) > SAME_SIZE
    by_size = unseen and choice.parametrization not in CARRYING and len(sizes) >= MIN_SIZES
    last = (inside or choice.horizons)[-1]
    where = f"The peak learning rate is that of {last.tokens_per_parameter:g} tokens per parameter of {choice.model}"

    def carry(why: str) -> LrAtTarget:
        samples = last.lr_samples if inside else np.empty(0)
        told = (*warnings, f"{where}: {why}.")
        return LrAtTarget(last.optimum.peak_lr, samples, told, last.tokens_per_parameter)

    if len(inside) < 2 and not by_size:
        return carry("with fewer than two optima inside the grid there is no law to carry it to the target's horizon")
    used, at_size = (everywhere, n_params) if by_size else (inside, float(choice.n_params))
    points = lr_points(used)
    laws = [law for law in LR_PREDICTORS if law.one_size != by_size]
    said = predictions(laws, points, at_size, token_horizon, settings.n_bootstrap, settings.seed)
    if not said:
        return carry(
            "the optima of all sizes lie on one line in ln N and ln D, as at one tokens_per_parameter, and tell "
            "nothing of a target off it. Vary size or horizon by itself"
            if by_size
            else "no law goes through the optima"
        )
    if by_size:
        warnings.append(
            f"The peak learning rate is that of a power law in size and horizon over {len(sizes)} sizes up to "
            f"{max(sizes):.3g} parameters."
        )
    elif len(inside) == 2:
        warnings.append(
            "The law of the peak learning rate is a line through two horizons: nothing is left to check its form. "
            "Add a horizon."
        )
    first, error = said[0], error_at_target(said)
    if first.doubt:
        warnings.append(f"The law of the peak learning rate does not identify {first.doubt}.")
    samples = np.empty(0)
    if first.samples is not None:
        draws = law_error_draws(error, len(first.samples), settings.seed)
        with np.errstate(over="ignore"):
            samples = np.exp(first.samples + error.sd * draws)
    if not by_size and len(inside) > 2:
        missed, carried = _missed_longest(first.predictor, points)
        if abs(missed) > abs(carried):
            warnings.append(
                f"Hidden from the law, the longest horizon's optimum is missed by a factor "
                f"{np.exp(abs(missed)):.2f}; keeping the optimum of the horizon before would have missed it by "
                f"{np.exp(abs(carried)):.2f}. The interval includes that."
            )
    return LrAtTarget(float(np.exp(first.value)), samples, tuple(warnings), 0.0, tuple(said), error)


def _missed_longest(law: Predictor, points: Points) -> tuple[float, float]:
    """Predicted less observed value at the longest horizon, of the law and of the horizon before it."""
    longest = points.tokens == points.tokens.max()
    seen, last = points.where(~longest), points.where(longest)
    predicted = law.fit(seen).curve(last.n_params, last.tokens)
    return float(predicted[0] - last.values[0]), float(seen.values[seen.tokens.argmax()] - last.values[0])


def lr_points(found: Sequence[Sweep]) -> Points:
    """ln of the optima of sweeps, with samples at -∞ or ∞ where a bootstrap optimum lies far off its grid."""
    with np.errstate(divide="ignore"):
        samples = np.log(np.stack([sweep.lr_samples for sweep in found], axis=1))
    return Points(
        np.array([float(sweep.n_params_counted) for sweep in found]),
        np.array([sweep.token_horizon for sweep in found]),
        np.log([sweep.optimum.peak_lr for sweep in found]),
        None if np.isnan(samples).all() else samples,
    )


def loss_points(found: Sequence[Sweep]) -> Points:
    """Best losses of sweeps."""
    samples = np.stack([sweep.loss_samples for sweep in found], axis=1)
    return Points(
        np.array([float(sweep.n_params_counted) for sweep in found]),
        np.array([sweep.token_horizon for sweep in found]),
        np.array([sweep.optimum.val_loss for sweep in found]),
        None if np.isnan(samples).all() else samples,
    )


@dataclass(frozen=True)
class LossAtTarget:
    """The loss of a single run at the target, what the laws say of it, and what is doubtful about it."""

    value: float
    samples: Floats
    """Of a single run; empty where neither replicates nor residuals tell how much runs differ."""
    said: tuple[Said, ...]
    """What the laws say, the believed one first."""
    error: Error
    run_sd: float | None
    regret: float
    """Median of what the peak learning rate costs, part of `value`."""
    regret_sd: float
    evaluation_sd: float | None
    warnings: tuple[str, ...]

    @property
    def prediction(self) -> Prediction:
        """For the recommendation."""
        values = [said.value for said in self.said]
        first = self.said[0]
        return Prediction(
            chosen=_at_target(first),
            others=tuple(_at_target(said) for said in self.said[1:]),
            spread=max(values) - min(values),
            uncertainty=LossUncertainty(
                parameters=_finite(half_width(first.samples)) if first.samples is not None else None,
                run=self.run_sd,
                evaluation=self.evaluation_sd,
                law=self.error.sd,
                peak_lr=self.regret_sd,
            ),
            law_error_from=self.error.origin,
        )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _at_target(said: Said) -> LawAtTarget:
    errors, reaches = said.back_tests.errors, said.back_tests.reaches
    known = len(errors) > 0
    return LawAtTarget(
        law=said.predictor.name,
        predicted_loss=said.value,
        out_of_sample=OutOfSample(
            n_hidden=len(errors),
            root_mean_square_error=float(np.sqrt((errors**2).mean())) if known else None,
            worst_error=float(errors[np.abs(errors).argmax()]) if known else None,
            farthest_factor=float(np.exp(reaches.max())) if known else None,
        ),
        law_error_sd=said.law_error_sd,
    )


def loss(
    choice: Choice,
    losses: FinalLosses,
    settings: Settings,
    n_params: float,
    token_horizon: float,
    regret: Regret | None = None,
) -> LossAtTarget | None:
    """The law with the least expected error at the target, and the samples of one run there.

    The samples carry the law's parameters (with the validation text), its error out of sample carried to the target
    (`predictors`), the noise of a single run, and `regret`: what a peak learning rate that is not quite the best
    costs. There are none where that is not known. None where neither a law in the horizon nor one in size and horizon
    holds: below three horizons, or where losses rise with the horizon.
    """
    points = loss_points(choice.all_sizes)
    said = predictions(LOSS_PREDICTORS, points, n_params, token_horizon, settings.n_bootstrap, settings.seed)
    if all(each.predictor.name == WITHOUT_ASYMPTOTE for each in said):
        return None
    if any(each.predictor.name == SATURATING and each.law_error_sd is None for each in said):
        # Three horizons: nothing can be hidden from the law with an asymptote, one from the law without. At equal
        # horizons the former is several times nearer to curves that bend; how far the latter lies off stands in.
        said.sort(key=lambda each: each.predictor.name == WITHOUT_ASYMPTOTE)
    first, error = said[0], error_at_target(said)
    replicated, seed, n = bool(losses.noise.degrees_of_freedom), settings.seed, settings.n_bootstrap
    # Without replicates the law's residuals tell what one run differs by.
    run = (
        single_run_noise(losses.noise, n, seed + 1, float(losses.noise_ratio(np.array(first.value))))
        if replicated
        else np.zeros(n)
        if first.run_samples is None
        else first.run_samples
    )
    spent = np.zeros(n) if regret is None else np.resize(regret.samples, n)
    cost = float(np.median(spent))
    samples = np.empty(0)
    if first.samples is not None and (regret is None or regret.measured):
        samples = first.samples + error.sd * law_error_draws(error, n, seed + 2) + run + spent
    blocks = losses.blocks
    return LossAtTarget(
        first.value + cost,
        samples,
        tuple(said),
        error,
        half_width(run) if replicated else first.run_sd,
        cost,
        half_width(spent),
        float((blocks.std(1, ddof=1) / np.sqrt(blocks.shape[1])).mean()) if blocks.shape[1] > 1 else None,
        (*_loss_warnings(first, error, points), *(() if regret is None or regret.measured else (NOT_MEASURED,))),
    )


def _loss_warnings(first: Said, error: Error, points: Points) -> list[str]:
    warnings = []
    name, horizons = first.predictor.name, len(set(first.points.tokens.tolist()))
    if name == SATURATING and horizons == 3:
        warnings.append(
            "The loss is predicted by three parameters through three horizons: nothing is left to check the form "
            "of the law. Add a horizon."
        )
    elif name == "loss_size_horizon":
        sizes = np.unique(points.n_params)
        warnings.append(
            f"The loss is that of the law in size and horizon over {len(sizes)} sizes up to {sizes.max():.3g} "
            f"parameters; its form is assumed."
        )
    if error.origin == "spread of laws":
        warnings.append(
            f"No point can be hidden from the law: how far the laws lie apart, {error.sd:.2g} nat/token, stands in for "
            f"its error."
        )
    elif error.origin == "not known":
        warnings.append("No point can be hidden from the law: the interval takes its form for granted.")
    if first.doubt:
        warnings.append(f"The law does not identify {first.doubt}.")
    if first.points.samples is None:
        warnings.append(
            "There are no replicates: what one run may differ by is taken from the law's residuals."
            if first.run_sd is not None
            else "There are neither replicates nor residuals: the predicted loss has no interval."
        )
    return warnings


@dataclass(frozen=True)
class Regret:
    """What a run loses by a peak learning rate that is not the best one [nat/token]."""

    samples: Floats
    """Of the best rate, one if it has none."""
    measured: bool
    """Whether learning rates so far off the best one were trained."""


NOT_MEASURED = (
    "The run's peak learning rate is farther from the best one than any that was trained: what it costs is not known. "
    "The predicted loss includes what the farthest one costs, at least, and has no interval."
)


def regret_of(sweep: Sweep, lr: LrAtTarget, launched_at: float) -> Regret | None:
    """Of training at one peak learning rate where the best one is a sample's, by the valley of the nearest sweep.

    At x = ln launched_at - ln sample it is the parabola's curvature·x² where that was fitted, and beyond, up to the
    ends of the sweep, what was measured there over the optimum (monotone cubic between). Up to one step of the sweep
    beyond an end it is the larger of the end's and the parabola; beyond that, the same at that step. None without a
    best rate or a parabola.
    """
    best = sweep.optimum
    if not np.isfinite(lr.value) or best.status != "converged" or not best.curvature > 0:
        return None
    x, order = np.log(sweep.peak_lrs / best.peak_lr), np.argsort(sweep.peak_lrs)
    step = float(np.median(np.diff(x[order])))
    low, high = float(x.min()), float(x.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.log(launched_at) - np.log(lr.samples if len(lr.samples) else np.array([lr.value]))
    off = np.clip(np.where(np.isnan(off), np.inf, off), low - step, high + step)
    parabola = best.curvature * off**2
    measured = PchipInterpolator(x[order], (sweep.losses - best.val_loss)[order])(np.clip(off, low, high))
    fitted = (off >= x[best.used].min()) & (off <= x[best.used].max())
    within = (off >= low) & (off <= high)
    cost = np.where(fitted, parabola, np.where(within, measured, np.maximum(measured, parabola)))
    known = low - step <= np.log(launched_at / lr.value) <= high + step
    return Regret(np.asarray(cost, np.float64), bool(known))


@dataclass(frozen=True)
class Mistake:
    """What half and twice the best peak learning rate cost [nat/token], with samples."""

    sweep: Sweep
    shape: Literal["parabola", "cubic"]
    half: float
    double: float
    half_samples: Floats
    double_samples: Floats


MIN_CUBIC_POINTS = 5


def mistake(choice: Choice) -> Mistake | None:
    """At the longest horizon whose optimum lies inside its grid; None without one.

    With five learning rates in the fit, a cubic in ln peak_lr tells half from double, if both lie within them: too
    high usually costs more than too low. Else the parabola, for which they are the same.
    """
    inside = [sweep for sweep in choice.horizons if sweep.optimum.status == "converged"]
    if not inside:
        return None
    sweep = inside[-1]
    used = sweep.optimum.used
    x = np.log(sweep.peak_lrs[used] / sweep.optimum.peak_lr)
    if len(x) >= MIN_CUBIC_POINTS and x.min() <= -np.log(2) and x.max() >= np.log(2):
        solve = np.linalg.pinv(np.vander(x, 4, increasing=True))
        half, double = _cubic_costs(sweep.losses[used] @ solve.T)
        if half > 0 and double > 0:
            return Mistake(sweep, "cubic", float(half), float(double), *_cubic_costs(sweep.samples[:, used] @ solve.T))
    cost, samples = sweep.optimum.factor_2_cost, sweep.curvature_samples * LN_2_SQUARED
    return Mistake(sweep, "parabola", cost, cost, samples, samples)


def _cubic_costs(coefficients: Floats) -> tuple[Floats, Floats]:
    """p(x0 - ln 2) - p(x0) and p(x0 + ln 2) - p(x0) at the minimum x0 of cubics [..., 4]; NaN without a minimum."""
    _, b, c, d = np.moveaxis(coefficients, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        lowest = -b / (c + np.sqrt(c**2 - 3 * b * d))

        def rise(step: float) -> Floats:
            at = lowest + step
            return np.asarray(b * step + c * (at**2 - lowest**2) + d * (at**3 - lowest**3), np.float64)

    return rise(-float(np.log(2))), rise(float(np.log(2)))


TOKEN_SHARES = np.geomspace(0.02, 1.0, 120)


def tokens_fraction(found: LossAtTarget, costs: Floats, n_params: float, token_horizon: float) -> Floats | None:
    """Share of the target's tokens that a loss is worth: 1 - D'/D with loss(D') = loss(D) + cost.

    costs [0] is of the fit, the others of its samples; NaN where the law is never as high within fifty times fewer
    tokens. None where the law has no samples.
    """
    first = found.said[0]
    if first.curves is None:
        return None
    n, d = np.full(len(TOKEN_SHARES), n_params), TOKEN_SHARES * token_horizon
    rows = np.vstack([first.curve(n, d)[None], first.curves(n, d)])
    shares = np.full(len(costs), np.nan)
    for i, (row, cost) in enumerate(zip(rows, costs, strict=True)):
        wanted = row[-1] + cost
        if np.isfinite(row).all() and np.isfinite(wanted) and wanted <= row[0] and (np.diff(row) < 0).all():
            shares[i] = 1.0 - float(np.interp(-wanted, -row, TOKEN_SHARES))
    return shares


def equivalent(comparisons: pd.DataFrame, choice: Choice, batch_sequences: int) -> tuple[str, ...]:
    """Schedules not resolved against the chosen one, from comparisons whose reference is the chosen one."""
    here = comparisons[
        (comparisons["model"] == choice.model)
        & (comparisons["tokens_per_parameter"] == choice.tokens_per_parameter)
        & (comparisons["batch_sequences"] == batch_sequences)
        & (comparisons["verdict"] == "not resolved")
    ]
    return tuple(here.sort_values("difference")["schedule"])
