"""loss_size_horizon: val_loss = E + A·N^(-alpha) + B·D^(-beta) over all sizes and horizons of a schedule (Hoffmann et
al. 2022).

N is the study's parameter count, D the token horizon, the loss that at each cell's optimal learning rate.
"""

from __future__ import annotations

import numpy as np

from glidepath.laws.law import DECLARED, SPANS_HORIZONS, Floats, LawTables, Settings, Sweep, hidden_sweeps, sweeps
from glidepath.science.laws.horizon import fit_size_horizon_law
from glidepath.study.final_losses import FinalLosses

PARAMETERS = ("E", "A", "B", "alpha", "beta")
ALL_MODELS = "all"
HOLDOUT = "largest size"


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every schedule and batch with at least three sizes and horizons; score by hiding the largest size, and on
    what is declared hidden."""
    out = LawTables(settings, losses.resampling_unit)
    unseen = hidden_sweeps(hidden, settings)
    groups: dict[tuple[str, int], list[Sweep]] = {}
    for sweep in sweeps(losses, settings):
        groups.setdefault((sweep.group["schedule"], sweep.group["batch_sequences"]), []).append(sweep)
    for (schedule, batch), members in groups.items():
        group = {"model": ALL_MODELS, "schedule": schedule, "batch_sequences": batch}
        seen = {(sweep.n_params_counted, sweep.token_horizon) for sweep in members}
        of_group = [
            sweep
            for sweep in unseen
            if (sweep.group["schedule"], sweep.group["batch_sequences"]) == (schedule, batch)
            and (sweep.n_params_counted, sweep.token_horizon) not in seen
        ]
        _fit_group(out, group, members, of_group)
    return out


def _points(members: list[Sweep]) -> tuple[Floats, Floats, Floats]:
    """Sizes, horizons and best losses."""
    rows = [(float(s.n_params_counted), s.token_horizon, s.optimum.val_loss) for s in members]
    n, d, values = np.array(rows).T
    return n, d, values


def _fit_group(out: LawTables, group: dict[str, object], members: list[Sweep], unseen: list[Sweep]) -> None:
    n, d, values = _points(members)
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
    if unseen:
        at_n, at_d, observed = _points(unseen)
        distance = np.log(at_n[:, None] / n) ** 2 + np.log(at_d[:, None] / d) ** 2
        out.score(group, DECLARED, "val_loss", law.predict(at_n, at_d), observed, values[distance.argmin(1)])


def _score(out: LawTables, group: dict[str, object], n: Floats, d: Floats, values: Floats) -> None:
    rest = n < n.max()
    try:
        law = fit_size_horizon_law(n[rest], d[rest], values[rest])
    except ValueError:
        sizes = len(set(n.tolist()))
        out.not_scored(
            group, HOLDOUT, "val_loss", f"{sizes} sizes: four are needed to hide the largest and fit the rest"
        )
        return
    next_size = n == n[rest].max()
    order = np.argsort(d[next_size])
    nearest = np.interp(np.log(d[~rest]), np.log(d[next_size][order]), values[next_size][order])
    out.score(group, HOLDOUT, "val_loss", law.predict(n[~rest], d[~rest]), values[~rest], nearest)
