"""lr_optimum: val_loss = val_loss_optimal + curvature·(ln peak_lr - ln peak_lr_optimal)², one parabola per sweep.

Parameters: `peak_lr` (the optimum), `val_loss` (at it), `curvature` [nat/token per (ln LR)²], `factor_2_cost`
[nat/token].
"""

from __future__ import annotations

import numpy as np

from glidepath.laws.law import DECLARED, GRID_POINTS, Floats, LawTables, Settings, Sweep, hidden_sweeps, sweeps
from glidepath.science.optimum import LN_2_SQUARED, MIN_POINTS, used_points, vertices
from glidepath.study.final_losses import FinalLosses


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every sweep; score each by hiding inner learning rates one after another, and on what is declared hidden."""
    out = LawTables(settings, losses.resampling_unit)
    unseen = hidden_sweeps(hidden, settings)
    for sweep in sweeps(losses, settings):
        _parameters(out, sweep)
        _predictions(out, sweep)
        _score(out, sweep)
        for other in unseen:
            if (other.group, other.tokens_per_parameter) == (sweep.group, sweep.tokens_per_parameter):
                _score_declared(out, sweep, other)
    return out


def _parameters(out: LawTables, sweep: Sweep) -> None:
    best = sweep.optimum
    values = {
        "peak_lr": (best.peak_lr, sweep.lr_samples),
        "val_loss": (best.val_loss, sweep.loss_samples),
        "curvature": (best.curvature, sweep.curvature_samples),
        "factor_2_cost": (best.factor_2_cost, sweep.curvature_samples * LN_2_SQUARED),
    }
    for name, (value, samples) in values.items():
        out.parameter(sweep.group, sweep.tokens_per_parameter, name, value, samples, len(best.used), best.status)


def _predictions(out: LawTables, sweep: Sweep) -> None:
    """The parabola over the grid, where it has an optimum."""
    if sweep.optimum.status != "converged":
        return
    x = np.geomspace(sweep.peak_lrs.min(), sweep.peak_lrs.max(), GRID_POINTS)
    used = sweep.peak_lrs[sweep.optimum.used]

    def curve(vertex: Floats, lowest: Floats, curvature: Floats) -> Floats:
        # A bootstrap parabola that is nearly flat has its vertex at zero or infinity: no curve.
        vertex = np.where((vertex > 0) & np.isfinite(vertex), vertex, np.nan)
        values: Floats = lowest[..., None] + curvature[..., None] * np.log(x / vertex[..., None]) ** 2
        return values

    values = curve(*vertices(used, sweep.losses[sweep.optimum.used]))
    samples = curve(*vertices(used, sweep.samples[:, sweep.optimum.used]))
    outside = (x < used.min() * (1 - 1e-9)) | (x > used.max() * (1 + 1e-9))
    out.prediction(sweep.group, sweep.tokens_per_parameter, "peak_lr", x, "val_loss", values, samples, outside)


def _score(out: LawTables, sweep: Sweep) -> None:
    """Hide each inner learning rate in turn: an end would be an extrapolation, which the law does not claim."""
    n = len(sweep.peak_lrs)
    holdout = f"inner learning rates, {sweep.tokens_per_parameter:g} tokens per parameter"
    if n <= MIN_POINTS:
        out.not_scored(
            sweep.group, holdout, "val_loss", f"{n} learning rates: hiding one needs at least {MIN_POINTS + 1}"
        )
        return
    x = np.log(sweep.peak_lrs)
    predicted, baseline = [], []
    for i in range(1, n - 1):
        rest = np.delete(np.arange(n), i)
        # Points chosen as the law chooses them, or the score would be that of another law.
        used = rest[used_points(sweep.peak_lrs[rest], sweep.losses[rest])]
        predicted.append(np.polyval(np.polyfit(x[used], sweep.losses[used], 2), x[i]))
        baseline.append(np.interp(x[i], x[rest], sweep.losses[rest]))
    observed = sweep.losses[1:-1]
    out.score(sweep.group, holdout, "val_loss", np.array(predicted), observed, np.array(baseline))


def _score_declared(out: LawTables, sweep: Sweep, unseen: Sweep) -> None:
    """Hidden learning rates of a sweep, inside its grid as the law claims, against interpolation in ln LR."""
    holdout = f"{DECLARED}, {sweep.tokens_per_parameter:g} tokens per parameter"
    within = (unseen.peak_lrs > sweep.peak_lrs.min()) & (unseen.peak_lrs < sweep.peak_lrs.max())
    if not within.any() or sweep.optimum.status != "converged":
        reason = f"{int(within.sum())} hidden learning rates inside the grid, whose optimum is {sweep.optimum.status}"
        out.not_scored(sweep.group, holdout, "val_loss", reason)
        return
    best, at, x = sweep.optimum, np.log(unseen.peak_lrs[within]), np.log(sweep.peak_lrs)
    predicted = best.val_loss + best.curvature * (at - np.log(best.peak_lr)) ** 2
    out.score(sweep.group, holdout, "val_loss", predicted, unseen.losses[within], np.interp(at, x, sweep.losses))
