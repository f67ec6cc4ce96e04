"""lr_transfer: log2 peak_lr_optimal = constant + shift·log2 size, size = width at fixed depth or depth at fixed width.

`shift` [log2 of the factor per doubling] is 0 where the learning rate transfers. Under `sp` with Adam the largest
stable rate falls as 1/width, a shift of -1; `mup` makes it 0 in width (Yang et al. 2022, Tensor Programs V, figure 1),
`completep` in depth too (Dey et al. 2025). Optima at the edge of their grid take no part.
"""

from __future__ import annotations

import numpy as np

from glidepath.laws.law import GRID_POINTS, SPANS_HORIZONS, Floats, LawTables, Settings, Sweep, sweeps
from glidepath.science.laws.horizon import fit_power_law
from glidepath.study.final_losses import FinalLosses
from glidepath.study.size_groups import SizeGroup, size_groups

SHIFT = {"d_model": "log2_shift_per_width_doubling", "n_layer": "log2_shift_per_depth_doubling"}
HOLDOUT = "largest size"


def fit(losses: FinalLosses, settings: Settings, _hidden: FinalLosses | None = None) -> LawTables:
    """Fit every group of models that differ in width or in depth alone; score by hiding the largest size.

    Cells that are declared hidden are not used: this law is about optima.
    """
    out = LawTables(settings, losses.resampling_unit)
    by_key = {_key(sweep.group, sweep.tokens_per_parameter): sweep for sweep in sweeps(losses, settings)}
    for group in size_groups(losses.points):
        found = []
        for model, size, tpp in group.members[["model", "size", "tokens_per_parameter"]].itertuples(index=False):
            shared = {"schedule": group.schedule, "batch_sequences": group.batch_sequences}
            found.append((float(size), by_key[_key({"model": model, **shared}, tpp)]))
        _fit_group(out, group, [(size, sweep) for size, sweep in found if sweep.optimum.status == "converged"])
    return out


def _key(group: dict[str, object], tokens_per_parameter: float) -> tuple[object, ...]:
    return group["model"], group["schedule"], group["batch_sequences"], tokens_per_parameter


def _fit_group(out: LawTables, group: SizeGroup, inside: list[tuple[float, Sweep]]) -> None:
    names = {"model": group.label, "schedule": group.schedule, "batch_sequences": group.batch_sequences}
    sizes = np.array([size for size, _ in inside])
    if len(set(sizes.tolist())) < 2:
        out.parameter(names, SPANS_HORIZONS, SHIFT[group.varied], np.nan, np.empty(0), len(inside), "edge_of_grid")
        reason = f"{len(inside)} of {len(group.members)} sizes have their optimum inside the grid: two are needed"
        out.not_scored(names, HOLDOUT, "peak_lr", reason)
        return
    optima = np.array([sweep.optimum.peak_lr for _, sweep in inside])
    law = fit_power_law(sizes, optima)
    resampled = fit_power_law(sizes, np.stack([sweep.lr_samples for _, sweep in inside], axis=1))
    # The power law is written with a falling exponent.
    shift, samples = -float(law.exponent), -resampled.exponent
    out.parameter(names, SPANS_HORIZONS, SHIFT[group.varied], shift, samples, len(inside), "converged")
    grid = np.geomspace(sizes.min(), sizes.max(), GRID_POINTS)
    within = np.zeros(len(grid), dtype=bool)
    out.prediction(
        names, SPANS_HORIZONS, group.varied, grid, "peak_lr", law.predict(grid), resampled.predict(grid), within
    )
    _score(out, names, sizes, optima)


def _score(out: LawTables, names: dict[str, object], sizes: Floats, optima: Floats) -> None:
    """The largest size's optimum from the others, against carrying the next smaller one over, which is transfer."""
    rest = sizes < sizes.max()
    if len(set(sizes[rest].tolist())) < 2:
        out.not_scored(names, HOLDOUT, "peak_lr", "two sizes: three are needed to hide the largest")
        return
    predicted = fit_power_law(sizes[rest], optima[rest]).predict(sizes[~rest])
    nearest = optima[rest][int(sizes[rest].argmax())]
    out.score(names, HOLDOUT, "peak_lr", predicted, optima[~rest], np.full(int((~rest).sum()), nearest))
