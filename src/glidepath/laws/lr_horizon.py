"""lr_horizon: peak_lr_optimal = scale·token_horizon^(-exponent) at fixed size, schedule and batch (Bjorck et al. 2024).

Only sweeps whose optimum lies inside their grid take part: an optimum at an edge is a bound, not an estimate. Published
exponents: 0.32 from 760M parameters on, 0.65 to 0.70 at 50M to 125M; a convex bound gives 0.5.
"""

from __future__ import annotations

import numpy as np

from glidepath.laws.law import (
    DECLARED,
    EXTRAPOLATION,
    GRID_POINTS,
    SPANS_HORIZONS,
    LawTables,
    Settings,
    Sweep,
    by_group,
    hidden_sweeps,
    sweeps,
)
from glidepath.science.laws.horizon import fit_power_law
from glidepath.study.final_losses import FinalLosses


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every group of sweeps with at least two optima; score by hiding the longest horizon, and on what is
    declared hidden."""
    out = LawTables(settings, losses.resampling_unit)
    unseen = hidden_sweeps(hidden, settings)
    for group, members in by_group(sweeps(losses, settings)):
        inside = [sweep for sweep in members if sweep.optimum.status == "converged"]
        if len(inside) < 2:
            status = "edge_of_grid" if len(members) > 1 else "failed"
            for name in ("scale", "exponent"):
                out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), len(inside), status)
            out.not_scored(
                group, "longest_horizon", "peak_lr",
                f"{len(inside)} of {len(members)} horizons have their optimum inside the grid: two are needed for "
                f"the law, "
                f"three to score it",
            )  # fmt: skip
            continue
        _fit_group(out, group, inside)
        _score(out, group, inside)
        _score_declared(out, group, inside, [sweep for sweep in unseen if sweep.group == group])
    return out


def _fit_group(out: LawTables, group: dict[str, object], inside: list[Sweep]) -> None:
    x = np.array([sweep.token_horizon for sweep in inside])
    law = fit_power_law(x, np.array([sweep.optimum.peak_lr for sweep in inside]))
    resampled = fit_power_law(x, np.stack([sweep.lr_samples for sweep in inside], axis=1))
    for name in ("scale", "exponent"):
        value = float(getattr(law, name))
        out.parameter(group, SPANS_HORIZONS, name, value, getattr(resampled, name), len(inside), "converged")
    grid = np.geomspace(x.min(), x.max() * EXTRAPOLATION, GRID_POINTS)
    outside = grid > x.max() * (1 + 1e-9)
    out.prediction(
        group, SPANS_HORIZONS, "token_horizon", grid, "peak_lr", law.predict(grid), resampled.predict(grid), outside
    )


def _score(out: LawTables, group: dict[str, object], inside: list[Sweep]) -> None:
    if len(inside) < 3:
        reason = f"{len(inside)} optima inside their grids: three are needed to hide the longest"
        out.not_scored(group, "longest_horizon", "peak_lr", reason)
        return
    *shorter, longest = inside
    x = np.array([sweep.token_horizon for sweep in shorter])
    law = fit_power_law(x, np.array([sweep.optimum.peak_lr for sweep in shorter]))
    predicted = law.predict(np.array([longest.token_horizon]))
    observed, nearest = np.array([longest.optimum.peak_lr]), np.array([shorter[-1].optimum.peak_lr])
    out.score(group, "longest_horizon", "peak_lr", predicted, observed, nearest)


def _score_declared(out: LawTables, group: dict[str, object], inside: list[Sweep], unseen: list[Sweep]) -> None:
    """Optima of hidden sweeps at horizons that the fit has not seen, against the nearest horizon that it has."""
    x, optima = (np.array(v) for v in zip(*((s.token_horizon, s.optimum.peak_lr) for s in inside), strict=True))
    unseen = [sweep for sweep in unseen if sweep.token_horizon not in x and sweep.optimum.status == "converged"]
    if not unseen:
        return
    at = np.array([sweep.token_horizon for sweep in unseen])
    observed = np.array([sweep.optimum.peak_lr for sweep in unseen])
    nearest = np.abs(np.log(at[:, None] / x)).argmin(1)
    out.score(group, DECLARED, "peak_lr", fit_power_law(x, optima).predict(at), observed, optima[nearest])
