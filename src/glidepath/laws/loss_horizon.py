"""loss_horizon: val_loss = irreducible_loss + K·tokens_per_parameter^(-exponent), at each horizon's optimal learning rate.

Also the compute that a schedule saves against the reference to reach the same loss (Bergsma et al. 2025), by inverting the
curve through the trained horizons.
"""

from __future__ import annotations

import numpy as np

from glidepath.laws.law import (
    EXTRAPOLATION,
    GRID_POINTS,
    SPANS_HORIZONS,
    Floats,
    LawTables,
    Settings,
    Sweep,
    by_group,
    sweeps,
)
from glidepath.science.laws import compute_saving, fit_saturating_law
from glidepath.study.final_losses import FinalLosses

PARAMETERS = ("irreducible_loss", "K", "exponent")


def fit(losses: FinalLosses, settings: Settings) -> LawTables:
    """Fit every group of sweeps with at least three horizons; score by hiding the longest."""
    out = LawTables(settings, losses.resampling_unit)
    groups = list(by_group(sweeps(losses, settings)))
    references = {
        (group["model"], group["batch_sequences"]): members
        for group, members in groups
        if group["schedule"] == settings.reference_schedule
    }
    for group, members in groups:
        _fit_group(out, group, members)
        _score(out, group, members)
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
    status = "not_identified" if len(x) == 3 else "bound_hit" if law.bound_hit else "converged"
    for name in PARAMETERS:
        out.parameter(group, SPANS_HORIZONS, name, float(getattr(law, name)), getattr(resampled, name), len(x), status)
    grid = np.geomspace(x.min(), x.max() * EXTRAPOLATION, GRID_POINTS)
    outside = grid > x.max() * (1 + 1e-9)
    out.prediction(
        group, SPANS_HORIZONS, "tokens_per_parameter", grid, "val_loss", law.predict(grid), resampled.predict(grid), outside
    )


def _score(out: LawTables, group: dict[str, object], members: list[Sweep]) -> None:
    if len(members) < 4:
        reason = f"{len(members)} horizons: four are needed to hide the longest and fit three parameters"
        out.not_scored(group, "longest_horizon", "val_loss", reason)
        return
    x, observed = _horizons(members), _losses(members)
    law = fit_saturating_law(x[:-1], observed[:-1])
    out.score(group, "longest_horizon", "val_loss", law.predict(x[-1:]), observed[-1:], observed[-2:-1])


def _savings(out: LawTables, group: dict[str, object], members: list[Sweep], reference: list[Sweep]) -> None:
    """At the horizons that both schedules were trained at."""
    common = sorted(set(_horizons(members).tolist()) & set(_horizons(reference).tolist()))
    if len(common) < 2:
        return
    mine, theirs = (
        [next(sweep for sweep in side if sweep.tokens_per_parameter == x) for x in common] for side in (members, reference)
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
