"""The loss of a run that was not made: what the laws say of it, and the samples of a single run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glidepath.advice.choice import Choice
from glidepath.advice.regret import NOT_MEASURED, Regret
from glidepath.advice.said import Error, Said, error_at_target, points_of, predictions
from glidepath.laws.back_tests import half_width, law_error_draws
from glidepath.laws.law import Floats, Settings, Sweep
from glidepath.laws.predictors import LOSS_PREDICTORS, Points
from glidepath.science.replicates import single_run_noise
from glidepath.study.final_losses import FinalLosses
from glidepath.study.recommendation import LawAtTarget, LossUncertainty, OutOfSample, Prediction

SATURATING, WITHOUT_ASYMPTOTE = "loss_horizon", "power_law_in_horizon"


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

    def said_by(self, law: Said) -> float:
        """Of the run that is to be launched: with what its peak learning rate costs in the median."""
        return law.value + (self.value - self.said[0].value)

    @property
    def prediction(self) -> Prediction:
        """For the recommendation."""
        values = [said.value for said in self.said]
        first, *others = self.said
        return Prediction(
            chosen=_at_target(first, self.said_by(first)),
            others=tuple(_at_target(other, self.said_by(other)) for other in others),
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


def _at_target(said: Said, predicted_loss: float) -> LawAtTarget:
    errors, reaches = said.back_tests.errors, said.back_tests.reaches
    known = len(errors) > 0
    return LawAtTarget(
        law=said.predictor.name,
        predicted_loss=predicted_loss,
        out_of_sample=OutOfSample(
            n_hidden=len(errors),
            root_mean_square_error=float(np.sqrt((errors**2).mean())) if known else None,
            worst_error=float(errors[np.abs(errors).argmax()]) if known else None,
            farthest_factor=float(np.exp(reaches.max())) if known else None,
        ),
        law_error_sd=said.law_error_sd,
    )


def loss_at_target(
    choice: Choice,
    losses: FinalLosses,
    settings: Settings,
    n_params: float,
    token_horizon: float,
    regret: Regret | None = None,
) -> LossAtTarget | None:
    """The law with the least expected error at the target, and the samples of one run there.

    The samples carry the law's parameters (with the validation text), its error out of sample carried to the target
    (`laws.back_tests`), the noise of a single run, and `regret`: what a peak learning rate that is not quite the best
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
        samples = first.samples + error.sd * law_error_draws(error.origin, n, seed + 2) + run + spent
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


def loss_points(found: Sequence[Sweep]) -> Points:
    """Best losses of sweeps."""
    samples = np.stack([sweep.loss_samples for sweep in found], axis=1)
    return points_of(found, np.array([sweep.optimum.val_loss for sweep in found]), samples)
