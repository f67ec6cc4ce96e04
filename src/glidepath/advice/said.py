"""What several laws say of a run that was not made, how far each is to be trusted there, and which one to believe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glidepath.laws.back_tests import REACH_POWER, BackTests, Origin, back_tests, half_width, inside_sd, reach_of
from glidepath.laws.law import Floats, Sweep
from glidepath.laws.predictors import SAME_SIZE, Curve, Fitted, Points, Predictor, told_at


@dataclass(frozen=True)
class Said:
    """What one law says of the target."""

    predictor: Predictor
    value: float
    samples: Floats | None
    """Of the law's parameters, not of a run; None where neither replicates nor residuals make any."""
    run_sd: float | None
    """Residual standard deviation, where there are no replicates to tell the noise of a run."""
    run_samples: Floats | None
    """What one run differs by, with the same; its standard deviation is that of the sample."""
    reach: float
    """Of the target beyond the points; 0: inside."""
    back_tests: BackTests
    inside_sd: float
    """Error of the law among the points that it was fitted to, beyond their noise."""
    curve: Curve
    curves: Curve | None
    """Of the bootstrap."""
    points: Points
    doubt: str

    @property
    def law_error_sd(self) -> float | None:
        """The law's error at the target; None where nothing could be hidden."""
        rate = self.back_tests.rate
        if rate is None:
            return None
        return float(np.hypot(rate * self.reach**REACH_POWER, self.inside_sd))

    @property
    def expected_error(self) -> float:
        """Of the law's form and its parameters together; infinite where either is not known."""
        if self.law_error_sd is None or self.samples is None:
            return np.inf
        return float(np.hypot(self.law_error_sd, half_width(self.samples)))


def points_of(found: Sequence[Sweep], values: Floats, samples: Floats) -> Points:
    """Values at the sizes and horizons of sweeps, and the same measured anew, shape [samples, sweeps]."""
    return Points(
        np.array([float(sweep.n_params_counted) for sweep in found]),
        np.array([sweep.token_horizon for sweep in found]),
        values,
        None if np.isnan(samples).all() else samples,
    )


def predictions(
    predictors: Sequence[Predictor], points: Points, n_params: float, tokens: float, n_samples: int, seed: int
) -> list[Said]:
    """What the laws that can be fitted say, those with the least expected error at the target first.

    A law in size and horizon fitted to points on one line says nothing of a target off it.
    """
    found = []
    for predictor in predictors:
        used = predictor.used(points, n_params)
        try:
            if len(used.values) < predictor.n_parameters or not _tells(predictor, used, n_params, tokens):
                continue
            fitted = predictor.fit(used)
        except ValueError:
            continue
        said = _said(predictor, fitted, used, n_params, tokens, n_samples, seed)
        if np.isfinite(said.value):
            found.append(said)
    return sorted(found, key=lambda said: said.expected_error)


def _tells(predictor: Predictor, points: Points, n_params: float, tokens: float) -> bool:
    return predictor.one_size or bool(told_at(points, np.array([float(n_params)]), np.array([float(tokens)])).all())


def _said(
    predictor: Predictor, fitted: Fitted, points: Points, n_params: float, tokens: float, n_samples: int, seed: int
) -> Said:
    at = np.array([float(n_params)]), np.array([float(tokens)])
    rows, run_sd, run_samples = points.samples, None, None
    spare = len(points.values) - predictor.n_parameters
    if rows is None and spare > 0:
        # Residuals stand in for replicates: new values around the curve.
        expected = fitted.curve(points.n_params, points.tokens)
        run_sd = float(np.sqrt(((points.values - expected) ** 2).sum() / spare))
        random = np.random.default_rng(seed)
        # Few residuals leave the noise uncertain too: every sample has its own, which makes Student's intervals.
        sds = run_sd * np.sqrt(spare / random.chisquare(spare, n_samples))
        rows = expected + sds[:, None] * random.standard_normal((n_samples, len(expected)))
        run_samples = sds * random.standard_normal(n_samples)
    curves = None if rows is None else fitted.again(rows)
    reach = float(reach_of(*at, points)[0])
    return Said(
        predictor,
        float(fitted.curve(*at)[0]),
        None if curves is None else curves(*at)[:, 0],
        run_sd,
        run_samples,
        reach,
        back_tests(predictor, points, _axis(points, n_params, tokens), reach),
        inside_sd(predictor, points),
        fitted.curve,
        curves,
        points,
        fitted.doubt,
    )


def _axis(points: Points, n_params: float, tokens: float) -> Floats:
    """What points are hidden by: their compute, or their size or horizon where only that of the target is beyond."""
    if float(n_params) * tokens <= points.compute.max():
        for at, values in ((n_params, points.n_params), (tokens, points.tokens)):
            if at > values.max() * (1 + SAME_SIZE):
                return values
    return points.compute


@dataclass(frozen=True)
class Error:
    """The law's error at the target as it enters the interval."""

    sd: float
    rate: float
    """The same at a reach of 1, so that a run nearer by can tell of it (`law_error_draws`)."""
    origin: Origin


def error_at_target(said: Sequence[Said]) -> Error:
    """Of the first law; where nothing can be hidden from it, how far the laws lie apart stands in."""
    first = said[0]
    scale = first.reach**REACH_POWER
    if first.law_error_sd is not None:
        return Error(first.law_error_sd, first.back_tests.rate or 0.0, "hidden points")
    if len(said) > 1:
        spread = max(abs(other.value - first.value) for other in said[1:])
        return Error(spread, spread / scale if scale else 0.0, "spread of laws")
    return Error(0.0, 0.0, "not known")
