"""The peak learning rate of a run that was not made: the law in the horizon, or in size and horizon, or the last
optimum there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glidepath.advice.choice import CARRYING, Choice
from glidepath.advice.said import Error, Said, error_at_target, points_of, predictions
from glidepath.laws.back_tests import law_error_draws
from glidepath.laws.law import Floats, Settings, Sweep
from glidepath.laws.predictors import LR_PREDICTORS, SAME_SIZE, Points, Predictor

MIN_SIZES = 3
NO_ERROR = Error(0.0, 0.0, "not known")


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

    @property
    def is_known(self) -> bool:
        """False where the runs tell no learning rate."""
        return bool(np.isfinite(self.value))


def lr_at_target(choice: Choice, n_params: float, token_horizon: float, settings: Settings) -> LrAtTarget:
    """The power law in the horizon through the optima inside their grids, or the last optimum when there is no law.

    A size that was not trained takes the law of the chosen model under muP, which carries learning rates over width;
    else, with three sizes, a power law in size and horizon. The samples also carry what the law was off by when the
    longest horizons (or largest sizes) were hidden from it, as far as the target lies (`laws.back_tests`): resampling
    assumes the law's form, and this is the only measurement of how wrong the form is.
    """
    inside = choice.inside
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
        draws = law_error_draws(error.origin, len(first.samples), settings.seed)
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
    return points_of(found, np.log([sweep.optimum.peak_lr for sweep in found]), samples)
