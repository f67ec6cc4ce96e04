"""Optima of sweeps without replicates: what their parabolas leave stands in for the noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from glidepath.laws.law import FAR_OFF, Floats, Settings, Sweep
from glidepath.science.optimum import MIN_POINTS, vertices

RESIDUALS = "residuals of the parabolas, pooled over sweeps"


def with_residual_samples(found: list[Sweep], settings: Settings) -> list[Sweep]:
    """The sweeps with samples drawn from the residuals of their parabolas.

    sd² = Σ residual²/Σ (n - 3), pooled over the sweeps that are bracketed, since one sweep has a few degrees of freedom
    at most; normal draws with Student's factors (a residual bootstrap; resampling runs would leave some sweeps of five
    points with three). A valley that is no parabola is counted as noise, which makes intervals too wide. Without any
    degree of freedom the samples stay NaN.
    """
    inside = [sweep for sweep in found if sweep.optimum.status == "converged"]
    degrees = sum(len(sweep.optimum.used) - MIN_POINTS for sweep in inside)
    if not degrees:
        return found
    squares = sum(float((residuals(sweep) ** 2).sum()) for sweep in inside)
    random = np.random.default_rng(settings.seed)
    student = np.sqrt(degrees / random.chisquare(degrees, size=(settings.n_bootstrap, 1)))
    sd = float(np.sqrt(squares / degrees))
    return [
        _sampled(sweep, sd * student * random.standard_normal((settings.n_bootstrap, len(sweep.losses))))
        if sweep.optimum.status == "converged"
        else sweep
        for sweep in found
    ]


def residuals(sweep: Sweep) -> Floats:
    """Losses of the fitted points less the parabola's [nat/token]."""
    best, used = sweep.optimum, sweep.optimum.used
    return sweep.losses[used] - best.val_loss - best.curvature * np.log(sweep.peak_lrs[used] / best.peak_lr) ** 2


def _sampled(sweep: Sweep, noise: Floats) -> Sweep:
    used = sweep.optimum.used
    fitted = sweep.losses.copy()
    fitted[used] -= residuals(sweep)
    samples = fitted + noise
    lr, lowest, curvature = vertices(sweep.peak_lrs[used], samples[:, used])
    low, high = sweep.peak_lrs.min(), sweep.peak_lrs.max()
    falling = np.where(samples[:, -1] < samples[:, 0], np.inf, 0.0)
    beyond = np.where(np.isnan(lr), falling, np.where(lr < low, 0.0, np.inf))
    near = (lr > low / FAR_OFF) & (lr < high * FAR_OFF)
    return replace(
        sweep,
        samples=samples,
        lr_samples=np.where(near, lr, beyond),
        loss_samples=lowest,
        curvature_samples=curvature,
    )
