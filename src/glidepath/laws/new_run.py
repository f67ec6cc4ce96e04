"""What one new run could come to where a law is asked: the law's samples, the noise of a run, and what the law misses.

The bootstrap of a law's parameters knows nothing of its form being wrong. What it misses among the points that it was
fitted to is their lack of fit; what it misses beyond them is told by points that are hidden from it in turn, as in the
recommendation (`laws.back_tests`).
"""

from __future__ import annotations

import numpy as np

from glidepath.laws.back_tests import REACH_POWER, back_tests, half_width, law_error_draws, reach_of
from glidepath.laws.law import Floats, Settings
from glidepath.laws.predictors import Points, Predictor
from glidepath.science.replicates import interval, single_run_noise
from glidepath.study.final_losses import FinalLosses


def law_errors(
    predictor: Predictor, points: Points, n_params: Floats, tokens: Floats, settings: Settings, *, axis: Floats
) -> Floats:
    """Draws of the law's error at sizes and horizons [m], shape [n_samples, m], told by points hidden along an axis
    [n], or along compute where that hides none.

    On the points of Hoffmann et al. what was hidden by size told 0.8 of the error at larger sizes, what was hidden by
    compute 0.3. NaN beyond the points where nothing can be hidden: an interval is then not known. (How far another law
    lies says little: through three horizons a power law and a saturating one were often the same, and both off.) A law
    that is too low is so everywhere: one draw is for all. Among its points the error is lack of fit (`new_runs`).
    """
    reach = reach_of(n_params, tokens, points)
    rates = (back_tests(predictor, points, along, float(reach.max())).rate for along in (axis, points.compute))
    rate = next((rate for rate in rates if rate is not None), None)
    sd = np.where(reach > 0, np.nan if rate is None else rate * reach**REACH_POWER, 0.0)
    draws = law_error_draws("hidden points", settings.n_bootstrap, settings.seed + 7)
    return np.asarray(sd * draws[:, None], np.float64)


def new_runs(
    samples: Floats,
    predicted: Floats,
    errors: Floats,
    residuals: Floats,
    measured: Floats | None,
    n_parameters: int,
    losses: FinalLosses,
    settings: Settings,
) -> Floats:
    """Losses that one new run at each of m points could have, [n_samples, m].

    samples [n_samples, m] are the law's, errors those of `law_errors`. Noise is that of a single run at the predicted
    loss, from replicates. Where residuals (ln, [n], with n/(n - p) for p parameters) are larger than what the points
    themselves are not known to (`measured` anew [n_samples, n]; None without replicates), draws of them make up the
    difference.
    """
    n_samples, m = samples.shape
    ratios = losses.noise_ratio(predicted)
    noise = [single_run_noise(losses.noise, n_samples, settings.seed + 1 + i, float(ratios[i])) for i in range(m)]
    drawn = samples + errors + np.stack(noise, axis=1)
    degrees = len(residuals) - n_parameters
    scale = float(np.sqrt((residuals**2).mean()))
    if degrees < 1 or scale == 0:
        return drawn
    variance = float((residuals**2).sum()) / degrees * predicted**2
    unexplained = np.sqrt(np.maximum(variance - _known_variance(measured), 0.0))
    draws = np.random.default_rng(settings.seed).choice(residuals, size=(n_samples, m))
    return np.asarray(drawn + unexplained * draws / scale, np.float64)


def _known_variance(measured: Floats | None) -> float:
    """Mean variance of points measured anew [n_samples, n], less what moves all alike: a law follows that."""
    if measured is None or measured.shape[1] < 2:
        return 0.0
    own = measured - measured.mean(1, keepdims=True)
    known = np.array([half_width(column) for column in own.T])
    n = measured.shape[1]
    return float((known**2).mean()) * n / (n - 1) if np.isfinite(known).all() else 0.0


def intervals(samples: Floats, level: float) -> tuple[Floats, Floats]:
    """Ends of the percentile interval of every column."""
    ends = np.array([interval(column, level) for column in samples.T])
    return ends[:, 0], ends[:, 1]
