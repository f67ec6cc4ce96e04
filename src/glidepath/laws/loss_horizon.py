"""loss_horizon: val_loss = irreducible_loss + K·tokens_per_parameter^(-exponent), at each horizon's optimal learning
rate.

Also the compute that a schedule saves against the reference to reach the same loss (Bergsma et al. 2025), by inverting
the curve through the trained horizons.
"""

from __future__ import annotations

import numpy as np

from glidepath.laws.law import (
    DECLARED,
    EXTRAPOLATION,
    GRID_POINTS,
    SPANS_HORIZONS,
    Floats,
    LawTables,
    Settings,
    Sweep,
    by_group,
    hidden_sweeps,
    sweeps,
)
from glidepath.science.laws.horizon import compute_saving, fit_saturating_law
from glidepath.study.final_losses import FinalLosses

PARAMETERS = ("irreducible_loss", "K", "exponent")


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every group of sweeps with at least three horizons; score by hiding the longest, and on what is declared
    hidden."""
    out = LawTables(settings, losses.resampling_unit)
    groups = list(by_group(sweeps(losses, settings)))
    unseen = hidden_sweeps(hidden, settings)
    references = {
        (group["model"], group["batch_sequences"]): members
        for group, members in groups
        if group["schedule"] == settings.reference_schedule
    }
    for group, members in groups:
        _fit_group(out, group, members)
        _score(out, group, members)
        _score_declared(out, group, members, [sweep for sweep in unseen if sweep.group == group])
        reference = references.get((group["model"], group["batch_sequences"]))
        if reference and group["schedule"] != settings.reference_schedule:
            _savings(out, group, members, reference)
    return out


def _horizons(members: list[Sweep]) -> Floats:
    return np.array([sweep.tokens_per_parameter for sweep in members])


def _losses(members: list[Sweep]) -> Floats:
    return np.array([sweep.optimum.val_loss for sweep in members])


def _samples(members: list[Sweep]) -> Floats:
    return np.stack([sweep.loss_samples for sweep in members], axis=1)


def _fit_group(out: LawTables, group: dict[str, object], members: list[Sweep]) -> None:
    x = _horizons(members)
    if len(x) < 3:
        for name in PARAMETERS:
            out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), len(x), "failed")
        return
    law, resampled = fit_saturating_law(x, _losses(members)), fit_saturating_law(x, _samples(members))
    # Three points determine three parameters exactly: there is no residual, hence nothing that speaks for the form.
    status = (
        "failed"
        if np.isnan(law.K)
        else "not_identified"
        if len(x) == 3
        else "bound_hit"
        if law.bound_hit or resampled.bound_hit.mean() > (1 - out.settings.ci_level) / 2
        else "converged"
    )
    for name in PARAMETERS:
        out.parameter(group, SPANS_HORIZONS, name, float(getattr(law, name)), getattr(resampled, name), len(x), status)
    if status == "failed":
        return
    grid = np.geomspace(x.min(), x.max() * EXTRAPOLATION, GRID_POINTS)
    outside = grid > x.max() * (1 + 1e-9)
    out.prediction(
        group,
        SPANS_HORIZONS,
        "tokens_per_parameter",
        grid,
        "val_loss",
        law.predict(grid),
        resampled.predict(grid),
        outside,
    )


def _score(out: LawTables, group: dict[str, object], members: list[Sweep]) -> None:
    if len(members) < 4:
        reason = f"{len(members)} horizons: four are needed to hide the longest and fit three parameters"
        out.not_scored(group, "longest_horizon", "val_loss", reason)
        return
    x, observed = _horizons(members), _losses(members)
    law = fit_saturating_law(x[:-1], observed[:-1])
    out.score(group, "longest_horizon", "val_loss", law.predict(x[-1:]), observed[-1:], observed[-2:-1])


def _score_declared(out: LawTables, group: dict[str, object], members: list[Sweep], unseen: list[Sweep]) -> None:
    """Best losses of hidden sweeps at horizons that the fit has not seen, against the nearest horizon that it has."""
    x, observed = _horizons(members), _losses(members)
    unseen = [sweep for sweep in unseen if sweep.tokens_per_parameter not in x]
    if not unseen:
        return
    if len(x) < 3:
        out.not_scored(group, DECLARED, "val_loss", f"{len(x)} horizons are open to the fit: three are needed")
        return
    at = _horizons(unseen)
    nearest = np.abs(np.log(at[:, None] / x)).argmin(1)
    out.score(
        group, DECLARED, "val_loss", fit_saturating_law(x, observed).predict(at), _losses(unseen), observed[nearest]
    )


def _savings(out: LawTables, group: dict[str, object], members: list[Sweep], reference: list[Sweep]) -> None:
    """At the horizons that both schedules were trained at."""
    common = sorted(set(_horizons(members).tolist()) & set(_horizons(reference).tolist()))
    if len(common) < 2:
        return
    mine, theirs = (
        [next(sweep for sweep in side if sweep.tokens_per_parameter == x) for x in common]
        for side in (members, reference)
    )
    x = np.array(common)
    values = compute_saving(x, _losses(mine), _losses(theirs))
    samples = compute_saving(x, _samples(mine), _samples(theirs))
    answered = np.isfinite(values)
    out.prediction(
        group,
        SPANS_HORIZONS,
        "tokens_per_parameter",
        x[answered],
        "compute_saving",
        values[answered],
        samples[:, answered],
        np.zeros(int(answered.sum()), dtype=bool),
    )
