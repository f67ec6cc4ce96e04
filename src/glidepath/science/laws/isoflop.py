"""The size of least loss at equal compute, and how it grows: N* = G_N·C^a, D* = G_D·C^b (Hoffmann et al. 2022, approach
2; Porian et al. 2024).

At every budget C [FLOP] the runs are a profile: loss over ln N. Its minimum is that of Akima's interpolation of ln loss
(which goes through all points and does not overshoot), looked for on a grid 25 times as fine as the points. The
parabola through the points around the lowest is there to be compared: profiles rise more steeply towards small models
or towards large ones, which a parabola cannot follow, and its vertex is off by an amount that depends on where the
points lie. A budget whose lowest loss is its smallest or largest model has no minimum and is left out.

ln N* and ln D* are regressed on ln C, with weights 1/sd² of ln N* among profiles measured anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

REFINEMENT = 25
"""Grid points per interval between two sizes."""
MIN_POINTS = 5
"""Of a profile; Akima's derivative at a point rests on its two neighbours on either side."""
MIN_BUDGETS = 3
PARABOLA_POINTS = 7
SAME_BUDGET = 0.02
"""Runs whose compute is above the least of a budget by no more than this share belong to it."""
LEAST_SD = 1 / 3
"""Of ln N*, in mean steps between the sizes (Porian et al.): where noise hardly moves the optimum, what it is not known
to is how the loss runs between the points."""
MOST_AT_EDGE = 0.5
"""A budget with more of its samples at an edge has no minimum."""
BIASED = 0.05
"""Size of ln(N* of the parabola / N*) from which the parabola is called biased, if noise does not explain it."""
ASYMMETRIC_RISE = 0.5
"""Asymmetry is measured where both sides have risen by so much of the lower of the two rises."""


@dataclass(frozen=True)
class IsoflopLaw:
    """N* = size_coefficient·C^a, D* = horizon_coefficient·C^b; arrays of any common shape."""

    a: Floats
    b: Floats
    size_coefficient: Floats
    """[parameters/FLOP^a]"""
    horizon_coefficient: Floats
    """[tokens/FLOP^b]"""

    def predict(self, train_flops: Floats) -> tuple[Floats, Floats]:
        """Size [parameters] and horizon [tokens] at compute [m], each [..., m]."""
        return (
            np.asarray(self.size_coefficient[..., None] * train_flops ** self.a[..., None], np.float64),
            np.asarray(self.horizon_coefficient[..., None] * train_flops ** self.b[..., None], np.float64),
        )


@dataclass(frozen=True)
class Profile:
    """One budget."""

    train_flops: float
    n_points: int
    n_params: float
    """Of least loss; the best of its points where it has no minimum."""
    tokens: float
    val_loss: float
    ln_n_samples: Floats
    """ln N* of every profile measured anew; NaN where that lies at an edge."""
    ln_sd: float
    """Standard deviation of ln N*."""
    parabola_n_params: float
    """NaN where the parabola does not open upwards."""
    asymmetry: float
    """(r - l)/(r + l) of the distances in ln N to the right and left at which the loss has risen alike; above 0 the
    profile is flatter towards large models."""
    status: Literal["converged", "edge_of_grid", "failed"]


@dataclass(frozen=True)
class IsoflopFit:
    """Profiles and what they make together."""

    profiles: tuple[Profile, ...]
    law: IsoflopLaw
    samples: IsoflopLaw
    """[n_samples]"""
    parabola: IsoflopLaw
    """Of the parabolas' vertices at the same budgets, without weights."""
    parabola_shift: float
    """Mean of ln(N* of the parabola / N*)."""
    parabola_biased: bool
    """Whether that, or its drift over the budgets, is more than noise makes."""
    status: Literal["converged", "not_identified", "failed"]
    """not_identified: two budgets, a line without residual; failed: fewer."""

    @property
    def used(self) -> tuple[Profile, ...]:
        return tuple(profile for profile in self.profiles if profile.status == "converged")


def budgets(train_flops: Floats) -> NDArray[np.int64]:
    """Number of each run's budget, ascending. A budget is at most `SAME_BUDGET` wide, from its least compute on: runs
    that merely lie close together, one after another, are no budget."""
    labels = np.empty(len(train_flops), dtype=np.int64)
    first, label = 0.0, -1
    for i in np.argsort(train_flops, kind="stable"):
        if label < 0 or train_flops[i] > first * (1 + SAME_BUDGET):
            first, label = float(train_flops[i]), label + 1
        labels[i] = label
    return labels


def best_of_sizes(n_params: Floats, losses: Floats) -> NDArray[np.int64]:
    """Which runs of a budget are the best of their size, by ascending size."""
    order = np.lexsort((losses, n_params))
    return np.asarray(order[np.unique(n_params[order], return_index=True)[1]], np.int64)


def scattered(losses: Floats, noise_sd: Floats | float, n_samples: int, seed: int) -> Floats:
    """Losses [n_samples, n] as they could have been measured with normal noise of `noise_sd` [nat/token]."""
    noise = np.random.default_rng(seed).standard_normal((n_samples, len(losses)))
    drawn: Floats = losses + noise_sd * noise
    return drawn


def fit_isoflop(
    train_flops: Floats, n_params: Floats, tokens: Floats, losses: Floats, samples: Floats, *, weighted: bool = True
) -> IsoflopFit:
    """Profiles of all budgets of runs [n], and the law through their minima.

    samples [n_samples, n] are the same losses measured anew: from replicates, or `scattered` by a model of the noise.
    Of several runs of one size at a budget the best counts. Raises ValueError when no budget has five sizes.
    """
    labels = budgets(train_flops)
    profiles = tuple(
        _profile(float(np.exp(np.log(train_flops[of]).mean())), n_params[of], tokens[of], losses[of], samples[:, of])
        for of in (np.flatnonzero(labels == label) for label in np.unique(labels))
    )
    if all(profile.status == "failed" for profile in profiles):
        raise ValueError(
            f"none of {len(profiles)} budgets has {MIN_POINTS} sizes: train {MIN_POINTS} or more at equal compute "
            f"(within {SAME_BUDGET:.0%})"
        )
    used = tuple(profile for profile in profiles if profile.status == "converged")
    law, resampled = law_through(used, weighted=weighted)
    ln_c, ln_n, ln_d = _logs(used)
    with np.errstate(invalid="ignore"):
        vertices = np.log([profile.parabola_n_params for profile in used])
    parabola = _law(ln_c, vertices, ln_d - (vertices - ln_n), np.ones(len(used)))
    shift = vertices - ln_n
    noise = np.array([profile.ln_sd for profile in used])
    biased = bool(
        np.isfinite(shift).any()
        and abs(float(np.nanmean(shift))) > max(BIASED, 2 * float(np.sqrt((noise**2).sum()) / max(len(used), 1)))
    )
    return IsoflopFit(
        profiles,
        law,
        resampled,
        parabola,
        float(np.nanmean(shift)) if np.isfinite(shift).any() else np.nan,
        biased,
        "converged" if len(used) >= MIN_BUDGETS else "not_identified" if len(used) == 2 else "failed",
    )


def law_through(used: Sequence[Profile], *, weighted: bool = True) -> tuple[IsoflopLaw, IsoflopLaw]:
    """The law through the minima of profiles, and through those of every profile measured anew [n_samples]."""
    ln_c, ln_n, ln_d = _logs(used)
    weights = np.array([profile.ln_sd**-2 if weighted else 1.0 for profile in used])
    drawn = np.stack([profile.ln_n_samples for profile in used], axis=1) if used else np.empty((0, 0))
    # Along a profile the tokens follow from the size.
    return _law(ln_c, ln_n, ln_d, weights), _law(ln_c, drawn, ln_d - (drawn - ln_n), weights)


def _logs(used: Sequence[Profile]) -> tuple[Floats, Floats, Floats]:
    """ln of compute, size and horizon."""
    rows = [(profile.train_flops, profile.n_params, profile.tokens) for profile in used]
    ln_c, ln_n, ln_d = np.log(np.array(rows, dtype=np.float64).reshape(len(rows), 3)).T
    return ln_c, ln_n, ln_d


def akima_minimum(ln_n: Floats, losses: Floats) -> tuple[Floats, Floats, Bools]:
    """ln N* and least loss of rows [..., n] over ascending ln N [n], and whether it lies at an end, each [...]."""
    grid = np.linspace(ln_n[0], ln_n[-1], (len(ln_n) - 1) * REFINEMENT + 1)
    curves = Akima1DInterpolator(ln_n, np.log(np.moveaxis(losses, -1, 0)))(grid)
    lowest = curves.argmin(0)
    return grid[lowest], np.exp(curves.min(0)), (lowest == 0) | (lowest == len(grid) - 1)


def parabola_vertex(ln_n: Floats, losses: Floats) -> float:
    """ln N of the vertex of the parabola through the `PARABOLA_POINTS` points nearest to the lowest loss."""
    best = int(losses.argmin())
    near = np.argsort(np.abs(ln_n - ln_n[best]), kind="stable")[:PARABOLA_POINTS]
    a, b, _ = np.polyfit(ln_n[near] - ln_n[best], np.log(losses[near]), 2)
    return float(ln_n[best] - b / (2 * a)) if a > 0 else np.nan


def asymmetry(ln_n: Floats, losses: Floats) -> float:
    """(r - l)/(r + l), see `Profile`; NaN where the minimum is at an end."""
    grid = np.linspace(ln_n[0], ln_n[-1], (len(ln_n) - 1) * REFINEMENT + 1)
    curve = Akima1DInterpolator(ln_n, np.log(losses))(grid)
    lowest = int(curve.argmin())
    if lowest in (0, len(grid) - 1):
        return np.nan
    rise = curve - curve[lowest]
    level = ASYMMETRIC_RISE * min(rise[:lowest].max(), rise[lowest:].max())
    left = grid[lowest] - grid[:lowest][rise[:lowest] >= level].max()
    right = grid[lowest:][rise[lowest:] >= level].min() - grid[lowest]
    return float((right - left) / (right + left))


def _profile(budget: float, n_params: Floats, tokens: Floats, losses: Floats, samples: Floats) -> Profile:
    kept = best_of_sizes(n_params, losses)
    ln_n, ln_d = np.log(n_params[kept]), np.log(tokens[kept])
    losses, samples = losses[kept], samples[:, kept]
    best = int(losses.argmin())
    nothing = np.full(len(samples), np.nan)
    if len(kept) < MIN_POINTS:
        at = float(np.exp(ln_n[best])), float(np.exp(ln_d[best])), float(losses[best])
        return Profile(budget, len(kept), *at, nothing, np.nan, np.nan, np.nan, "failed")
    at_n, lowest, edge = akima_minimum(ln_n, losses)
    usable = (np.isfinite(samples) & (samples > 0)).all(1)
    if usable.any():
        drawn, _, drawn_edge = akima_minimum(ln_n, samples[usable])
        nothing[usable] = np.where(drawn_edge, np.nan, drawn)
    inside = nothing[np.isfinite(nothing)]
    step = (ln_n[-1] - ln_n[0]) / (len(ln_n) - 1)
    sd = max(float(inside.std()) if len(inside) else 0.0, LEAST_SD * step)
    lost = 1 - len(inside) / max(int(usable.sum()), 1)
    status: Literal["converged", "edge_of_grid"] = (
        "edge_of_grid" if bool(edge) or (usable.any() and lost > MOST_AT_EDGE) else "converged"
    )
    return Profile(
        train_flops=budget,
        n_points=len(kept),
        n_params=float(np.exp(at_n)),
        tokens=float(np.exp(np.interp(at_n, ln_n, ln_d))),
        val_loss=float(lowest),
        ln_n_samples=nothing,
        # As Porian et al.: samples without a minimum are doubt, too.
        ln_sd=sd / max(1 - lost, MOST_AT_EDGE) if usable.any() else sd,
        parabola_n_params=float(np.exp(parabola_vertex(ln_n, losses))),
        asymmetry=asymmetry(ln_n, losses),
        status=status,
    )


def _law(ln_c: Floats, ln_n: Floats, ln_d: Floats, weights: Floats) -> IsoflopLaw:
    """Weighted regression of rows [..., budgets]; rows leave out the budgets at which they are NaN."""
    a, size = _line(ln_c, ln_n, weights)
    b, horizon = _line(ln_c, ln_d, weights)
    with np.errstate(over="ignore"):
        return IsoflopLaw(a, b, np.exp(size), np.exp(horizon))


def _line(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Slope and intercept of rows of y; NaN with fewer than two points."""
    known = np.isfinite(y)
    w = weights * known
    y = np.where(known, y, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = w.sum(-1)
        mean_x, mean_y = (w * x).sum(-1) / total, (w * y).sum(-1) / total
        centred = x - np.asarray(mean_x)[..., None]
        slope = (w * centred * y).sum(-1) / (w * centred**2).sum(-1)
    enough = known.sum(-1) >= 2
    slope = np.where(enough, slope, np.nan)
    return np.asarray(slope, np.float64), np.asarray(np.where(enough, mean_y - slope * mean_x, np.nan), np.float64)
