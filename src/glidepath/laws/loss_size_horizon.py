"""loss_size_horizon: val_loss = E + A·N^(-alpha) + B·D^(-beta) over all sizes and horizons of a schedule (Hoffmann et al. 2022).

N is the study's parameter count, D the token horizon, the loss that at each cell's optimal learning rate.
"""

from __future__ import annotations

import numpy as np

from glidepath.laws.law import SPANS_HORIZONS, Floats, LawTables, Settings, Sweep, sweeps
from glidepath.science.laws import fit_size_horizon_law
from glidepath.study.final_losses import FinalLosses

PARAMETERS = ("E", "A", "B", "alpha", "beta")
ALL_MODELS = "all"
HOLDOUT = "largest size"


def fit(losses: FinalLosses, settings: Settings) -> LawTables:
    """Fit every schedule and batch with at least three sizes and horizons; score by hiding the largest size."""
    out = LawTables(settings, losses.resampling_unit)
    groups: dict[tuple[str, int], list[Sweep]] = {}
    for sweep in sweeps(losses, settings):
        groups.setdefault((sweep.group["schedule"], sweep.group["batch_sequences"]), []).append(sweep)
    for (schedule, batch), members in groups.items():
        group = {"model": ALL_MODELS, "schedule": schedule, "batch_sequences": batch}
        _fit_group(out, group, members)
    return out


def _fit_group(out: LawTables, group: dict[str, object], members: list[Sweep]) -> None:
    n = np.array([float(sweep.n_params_counted) for sweep in members])
    d = np.array([sweep.token_horizon for sweep in members])
    values = np.array([sweep.optimum.val_loss for sweep in members])
    try:
        law = fit_size_horizon_law(n, d, values)
    except ValueError as refusal:
        for name in PARAMETERS:
            out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), len(n), "not_identified")
        out.not_scored(group, HOLDOUT, "val_loss", str(refusal))
        return
    resampled = fit_size_horizon_law(n, d, np.stack([sweep.loss_samples for sweep in members], axis=1))
    status = "failed" if np.isnan(law.E) else "bound_hit" if law.bound_hit else "converged"
    for name in PARAMETERS:
        out.parameter(group, SPANS_HORIZONS, name, float(getattr(law, name)), getattr(resampled, name), len(n), status)
    for size in sorted(set(n.tolist())):
        of_size = n == size
        model = next(sweep.group["model"] for sweep in members if sweep.n_params_counted == size)
        x = np.sort(d[of_size])
        sizes = np.full(len(x), size)
        out.prediction(
            {**group, "model": model}, SPANS_HORIZONS, "token_horizon", x, "val_loss",
            law.predict(sizes, x), resampled.predict(sizes, x), np.zeros(len(x), dtype=bool),
        )  # fmt: skip
    _score(out, group, n, d, values)


def _score(out: LawTables, group: dict[str, object], n: Floats, d: Floats, values: Floats) -> None:
    rest = n < n.max()
    try:
        law = fit_size_horizon_law(n[rest], d[rest], values[rest])
    except ValueError:
        sizes = len(set(n.tolist()))
        out.not_scored(group, HOLDOUT, "val_loss", f"{sizes} sizes: four are needed to hide the largest and fit the rest")
        return
    next_size = n == n[rest].max()
    order = np.argsort(d[next_size])
    nearest = np.interp(np.log(d[~rest]), np.log(d[next_size][order]), values[next_size][order])
    out.score(group, HOLDOUT, "val_loss", law.predict(n[~rest], d[~rest]), values[~rest], nearest)
