"""What a peak learning rate off the optimum loses, read off the sweeps."""

from __future__ import annotations

import numpy as np

from glidepath.laws.law import Floats, Settings, Sweep
from glidepath.science.laws.lr_size_horizon import off_by_cost


def loss_at(sweep: Sweep, peak_lr: float) -> tuple[float, bool]:
    """Measured loss between the runs of a sweep, linear in ln LR, and whether the rate is inside it.

    Beyond an end it is the loss at that end, a lower bound where the valley rises on.
    """
    order = np.argsort(sweep.peak_lrs)
    ln_lr, x = np.log(sweep.peak_lrs[order]), float(np.log(peak_lr))
    return float(np.interp(x, ln_lr, sweep.losses[order])), bool(ln_lr[0] <= x <= ln_lr[-1])


def factor_2_cost(members: list[Sweep], settings: Settings) -> tuple[float, Floats]:
    """What a factor of 2 off costs at a size and horizon that was not swept [nat/token], with samples of it.

    The geometric mean of the sweeps' own, and how much they differ from one another: that of a new sweep is none that
    is known. NaN samples with one sweep.
    """
    costs = np.log(off_by_cost(np.array([sweep.optimum.curvature for sweep in members]), 2.0))
    n = len(costs)
    if n < 2:
        return float(np.exp(costs.mean())), np.full(settings.n_bootstrap, np.nan)
    random = np.random.default_rng(settings.seed)
    draws = random.standard_t(n - 1, settings.n_bootstrap) * costs.std(ddof=1) * np.sqrt(1 + 1 / n)
    return float(np.exp(costs.mean())), np.exp(costs.mean() + draws)
