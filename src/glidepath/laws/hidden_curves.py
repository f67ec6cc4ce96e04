"""What fits say of runs that they have not seen, and why they say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glidepath.laws.curve_groups import Split
from glidepath.laws.curves import RunCurve, distinct, keys_of, nearest_run
from glidepath.laws.fitted_curves import N_PARAMETERS, Fitted
from glidepath.science.laws.curve_fit import fits_of_some

Floats = NDArray[np.float64]

OPEN = 0.1
"""Standard error of ln loss over the points of what is hidden, from which on the shown runs leave it open: 0.02 at most
where they do not, on curves of small models, and above 1 where a coordinate of the law is seen nowhere."""
FEW_POINTS, FEW_SIZES = "too few points are left without it", "fewer than {} sizes are left without it"
LEFT_OPEN = "the runs without it leave open what the law says of it: standard error of ln loss {:.2g}"


@dataclass(frozen=True)
class HiddenRun:
    """A run that was hidden from a fit, at the points that no fitted run has."""

    run: RunCurve
    predicted: Floats
    parameter_sd: Floats
    """Of ln loss."""
    baseline: Floats
    reach: int
    larger: bool
    """Than every size of that fit."""
    residual: float
    """Root mean square of that fit's residuals, of ln loss."""

    @property
    def observed(self) -> Floats:
        assert self.run.curve.losses is not None
        return self.run.curve.losses

    @property
    def errors(self) -> Floats:
        """ln predicted - ln observed; infinite where the law has no positive loss."""
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = np.log(self.predicted) - np.log(self.observed)
        return np.where(np.isfinite(errors), errors, np.inf)


def hidden_from(whole: Fitted, splits: Sequence[Split], min_sizes: int = 1) -> tuple[list[list[HiddenRun]], list[str]]:
    """For every split into runs to fit and runs to hide: what the law fitted to the one says of the points of the other
    that it has not seen; and why it says nothing: too few points or sizes are left to fit, or they leave it open.

    All splits are fitted side by side, by weights of 0 on what is hidden, from starts of their own. `whole` lends its
    curves, and the median loss as a unit.
    """
    place = {key: i for i, key in enumerate(key for run in whole.runs for key in run.keys)}
    found, formula = whole.found, whole.found.formula
    shown = np.zeros((len(splits), len(place)))
    for row, (train, _) in zip(shown, splits, strict=True):
        row[[place[key] for key in keys_of(train)]] = 1.0
    sizes = np.array([len({run.curve.n_params for run in train}) for train, _ in splits])
    possible = np.flatnonzero((shown.sum(1) > max(N_PARAMETERS, len(formula.names))) & (sizes >= min_sizes))
    weights = shown[possible] * found.weights
    theta = fits_of_some(formula, found.losses, weights) if len(possible) else np.empty((0, 0))
    said: list[list[HiddenRun]] = [[] for _ in splits]
    unsaid = [FEW_SIZES.format(min_sizes) if n < min_sizes else FEW_POINTS for n in sizes]
    for split, coordinates, used in zip(possible, theta, weights, strict=True):
        train, test = splits[int(split)]
        predicted = formula.predict(coordinates[None])[0]
        sds = whole.parameter_sd(coordinates, used)
        unseen = distinct(test, keys_of(train))
        error = whole.standard_error(coordinates, used, [place[key] for run in unseen for key in run.keys])
        unsaid[split] = LEFT_OPEN.format(error) if error > OPEN else ""
        if unsaid[split]:
            continue
        residual = float(np.sqrt(np.average(np.log(found.losses / predicted) ** 2, weights=used)))
        for run in unseen:
            at = [place[key] for key in run.keys]
            said[split].append(_hidden(run, train, predicted[at], sds[at], residual))
    return said, unsaid


def said_of(law: Fitted, train: Sequence[RunCurve], unseen: Sequence[RunCurve]) -> list[HiddenRun]:
    """Predictions of runs that a fit has not seen."""
    residual = float(np.sqrt(np.mean(law.found.residuals**2)))
    return [_hidden(run, train, *law.predict(run.curve), residual) for run in unseen]


def _hidden(
    run: RunCurve, train: Sequence[RunCurve], predicted: Floats, parameter_sd: Floats, residual: float
) -> HiddenRun:
    """What a fit to `train` says of a run."""
    reach = max(other.total_steps for other in train)
    larger = (run.curve.n_params or 0.0) > max(other.curve.n_params or 0.0 for other in train)
    return HiddenRun(run, predicted, parameter_sd, nearest_run(run, train), reach, larger, residual)
