"""What the laws of loss curves share: hidden runs first, then bands, then the fit of everything.

A law is fitted per model, batch and peak learning rate, over all schedules and horizons; one with the size in it over
models too (laws/curve_groups.py). Over several peaks at once it fails: the laws know the learning rate by its sum, as
if twice the rate were twice the speed, and on schedules hidden from them they missed 8 % instead of 1.5 % of the loss
in one study of tiny models and 7 instead of 1 % in another. Points before `EARLY` of the longest run are left out like
the warm-up: the laws are of the falling part.

The interval of a single new run rests on runs that were hidden. With r the mean square error of ln loss on hidden
schedules, less what the parameters' uncertainty explains of it, and u the updates over those of the longest fitted run,

    half width = √(t_s²·(r² + p²) + t_h²·growth²·(ln u)²)    of ln loss,

p the standard deviation of the prediction over bootstrap samples of the parameters, growth what the law missed per
unit of ln u where longer horizons were hidden, t_s and t_h Student's quantiles for the schedules less one and for the
horizons that were hidden: all runs of a longer horizon are missed alike. r holds the noise of a run, and what the law
gets wrong.

Of a size larger than all fitted ones no interval is given: what a law misses there was never seen. Of a size known by
one schedule alone r is that of smaller sizes, and the interval somewhat narrow: on published curves of 400M parameters,
with those of 25M and 100M, 90 % intervals held 79 % of the hidden points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from glidepath.laws.curve_groups import (
    LARGEST_SIZE,
    REST_OF_LARGEST_SIZE,
    Group,
    Split,
    groups_of,
    groups_over_sizes,
    horizon_ranks,
    size_splits,
)
from glidepath.laws.curves import Curves, RunCurve, curves_of, distinct, keys_of, nearest_run
from glidepath.laws.law import DECLARED, SPANS_HORIZONS, LawTables, Settings
from glidepath.science.autocorrelation import block_length
from glidepath.science.laws.annealing import fit_annealing
from glidepath.science.laws.convex_bound import fit_convex_bound
from glidepath.science.laws.curve import Curve
from glidepath.science.laws.curve_fit import CurveFit, fits_of_some
from glidepath.science.laws.multi_power import fit_multi_power
from glidepath.study import tables

Floats = NDArray[np.float64]
FitLaw = Callable[[Sequence[Curve]], CurveFit[Any]]

LAWS: dict[str, FitLaw] = {
    # As applied: it describes the fitted curves two to three times better than a warm-up counted as if at the peak,
    # published ones and those of tiny models.
    "annealing": partial(fit_annealing, warmup="linear"),
    "multi_power": fit_multi_power,
    "convex_bound": fit_convex_bound,
}
LAWS_OVER_SIZES: dict[str, FitLaw] = {
    "annealing_over_sizes": partial(fit_annealing, warmup="linear", with_size=True),
    "multi_power_over_sizes": partial(fit_multi_power, with_size=True),
}
N_PARAMETERS, N_PARAMETERS_OVER_SIZES = 7, 10
"""Of the largest of them; a fit takes more points than this."""

LEVELS = (0.5, 0.9)
OPEN = 0.1
"""Standard error of ln loss over the points of what is hidden, from which on the shown runs leave it open: 0.02 at most
where they do not, on curves of small models, and above 1 where a coordinate of the law is seen nowhere."""
OWN_SHARE = 0.5
"""Of the squared error on hidden schedules that is the law's own at least, whatever the parameters' uncertainty could
explain: on few runs that estimate is itself rough."""
BOOTSTRAP_SAMPLES = 100
MIN_TRUNKS = 8
"""With fewer independent runs these are not drawn, but blocks of residuals along them."""
SCHEDULE, LONGEST_HORIZON, NONE, NOT_TRAINED = "schedule", "longest_horizon", "none", "not_trained"
CURVE, END = "loss_curve", "loss_curve_end"
"""Quantities of the scores: all hidden points, and the last ones of the curves."""
NOT_HIDDEN = {
    SCHEDULE: "fewer than two schedules with points of their own at this peak_lr, or too few points",
    LONGEST_HORIZON: "one horizon at this peak_lr, or too few points",
    LARGEST_SIZE: "fewer than three sizes are left without the largest",
    REST_OF_LARGEST_SIZE: "the largest size has one schedule",
}
"""Why, where no group says more."""
FEW_POINTS, FEW_SIZES = "too few points are left without it", "fewer than {} sizes are left without it"
LEFT_OPEN = "the runs without it leave open what the law says of it: standard error of ln loss {:.2g}"


@dataclass(frozen=True)
class Fitted:
    """A law through runs, with bootstrap samples of it."""

    runs: tuple[RunCurve, ...]
    """Every point once."""
    found: CurveFit[Any]
    samples: Any
    """The law with a leading axis."""
    reach: int
    """Updates of the longest run."""
    resampling_unit: str

    def predict(self, curve: Curve) -> tuple[Floats, Floats]:
        """Losses at the curve's points and the standard deviation of their logarithm by the parameters alone."""
        predicted = np.asarray(self.found.law.predict(curve), np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = np.log(self.samples.predict(curve))
        # Robust: a few samples in which a parameter ran off must not decide.
        low, high = np.nanquantile(np.where(np.isfinite(drawn), drawn, np.nan), [0.1587, 0.8413], axis=0)
        return predicted, (high - low) / 2

    @cached_property
    def at_points(self) -> dict[str, tuple[float, float]]:
        """The same at every fitted point, by its key, with the standard deviation by least squares."""
        theta = self.found.fit.theta
        predicted = self.found.formula.predict(theta[None])[0]
        sds = _parameter_sd(self, theta, self.found.weights)
        keys = [key for run in self.runs for key in run.keys]
        return dict(zip(keys, zip(predicted.tolist(), sds.tolist(), strict=True), strict=True))


@dataclass(frozen=True)
class HiddenRun:
    """A run that was hidden from a fit, at the points that no fitted run has."""

    run: RunCurve
    predicted: Floats
    parameter_sd: Floats
    """Of ln loss."""
    baseline: Floats
    reach: int
    larger: bool
    """Than every size of that fit."""
    residual: float
    """Root mean square of that fit's residuals, of ln loss."""

    @property
    def observed(self) -> Floats:
        assert self.run.curve.losses is not None
        return self.run.curve.losses

    @property
    def errors(self) -> Floats:
        """ln predicted - ln observed; infinite where the law has no positive loss."""
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = np.log(self.predicted) - np.log(self.observed)
        return np.where(np.isfinite(errors), errors, np.inf)


@dataclass(frozen=True)
class Spread:
    """How far a single run lies from what the law says of it, in ln loss: learnt from hidden runs."""

    sd: float
    degrees: int
    growth: float
    """Per unit of ln(updates over the longest fitted run); NaN where no longer run was hidden."""
    growth_degrees: int

    def half_widths(self, level: float, parameter_sd: Floats, beyond: Floats) -> Floats:
        """Of the interval of ln loss; `beyond` is ln(updates over the longest fitted run), 0 within it. NaN where the
        spread is not known."""
        if self.degrees < 1:
            return np.full(parameter_sd.shape, np.nan)
        inside = _student(level, self.degrees) * np.hypot(self.sd, parameter_sd)
        if not self.growth_degrees:
            return np.where(beyond > 0, np.nan, inside)
        widths: Floats = np.hypot(inside, _student(level, self.growth_degrees) * self.growth * beyond)
        return widths


def _student(level: float, degrees: int) -> float:
    return float(stdtrit(degrees, (1 + level) / 2))


def fitted(law: str, runs: Sequence[RunCurve], n_samples: int, seed: int) -> Fitted | None:
    """The law through runs, every shared point once; None for too few points."""
    once = distinct(runs)
    n_parameters = N_PARAMETERS_OVER_SIZES if law in LAWS_OVER_SIZES else N_PARAMETERS
    if sum(len(run.keys) for run in once) <= n_parameters:
        return None
    found = (LAWS | LAWS_OVER_SIZES)[law]([run.curve for run in once])
    random = np.random.default_rng(seed)
    trunks = [run.trunk for run in once]
    if len(set(trunks)) >= MIN_TRUNKS:
        samples, unit = found.resampled_by_run(trunks, n_samples, random), "trunk"
    else:
        samples, unit = found.resampled_by_blocks(n_samples, random), "blocks of residuals along runs"
    return Fitted(tuple(once), found, samples, max(run.total_steps for run in runs), unit)


def hidden_from(whole: Fitted, splits: Sequence[Split], min_sizes: int = 1) -> tuple[list[list[HiddenRun]], list[str]]:
    """For every split into runs to fit and runs to hide: what the law fitted to the one says of the points of the other
    that it has not seen; and why it says nothing: too few points or sizes are left to fit, or they leave it open.

    All splits are fitted side by side, by weights of 0 on what is hidden, from starts of their own. `whole` lends its
    curves, and the median loss as a unit.
    """
    place = {key: i for i, key in enumerate(key for run in whole.runs for key in run.keys)}
    found, formula = whole.found, whole.found.formula
    shown = np.zeros((len(splits), len(place)))
    for row, (train, _) in zip(shown, splits, strict=True):
        row[[place[key] for key in keys_of(train)]] = 1.0
    sizes = np.array([len({run.curve.n_params for run in train}) for train, _ in splits])
    possible = np.flatnonzero((shown.sum(1) > max(N_PARAMETERS, len(formula.names))) & (sizes >= min_sizes))
    weights = shown[possible] * found.weights
    theta = fits_of_some(formula, found.losses, weights) if len(possible) else np.empty((0, 0))
    said: list[list[HiddenRun]] = [[] for _ in splits]
    unsaid = [FEW_SIZES.format(min_sizes) if n < min_sizes else FEW_POINTS for n in sizes]
    for split, coordinates, used in zip(possible, theta, weights, strict=True):
        train, test = splits[int(split)]
        predicted = formula.predict(coordinates[None])[0]
        sds = _parameter_sd(whole, coordinates, used)
        reach = max(run.total_steps for run in train)
        unseen = distinct(test, keys_of(train))
        error = _standard_error(whole, coordinates, used, [place[key] for run in unseen for key in run.keys])
        unsaid[split] = LEFT_OPEN.format(error) if error > OPEN else ""
        if unsaid[split]:
            continue
        residual = float(np.sqrt(np.average(np.log(found.losses / predicted) ** 2, weights=used)))
        for run in unseen:
            at = [place[key] for key in run.keys]
            baseline = nearest_run(run, train)
            said[split].append(HiddenRun(run, predicted[at], sds[at], baseline, reach, _larger(run, train), residual))
    return said, unsaid


def _standard_error(whole: Fitted, theta: Floats, weights: Floats, points: Sequence[int]) -> float:
    """Of ln predictions at some points (root mean square) by a fit with weights: least squares in every coordinate that
    is not fixed, so that it has no bound where the fit leaves one open that these points need."""
    if not points:
        return 0.0
    formula = whole.found.formula
    free = formula.low < formula.high
    predicted = formula.predict(theta[None])[0]
    J = formula.jacobian(theta[None])[0][:, free] / predicted[:, None]
    scale = np.sqrt((J**2).sum(0))
    J = J / np.where(scale > 0, scale, 1.0)
    inverse = np.linalg.inv(J.T @ (weights[:, None] * J) + 1e-12 * np.eye(J.shape[1]))
    leverage = np.einsum("ij,jk,ik->i", J[points], inverse, J[points])
    squares = weights @ np.log(whole.found.losses / predicted) ** 2
    return float(np.sqrt(np.mean(leverage) * squares / max((weights > 0).sum() - free.sum(), 1)))


def _parameter_sd(whole: Fitted, theta: Floats, weights: Floats) -> Floats:
    """Standard deviation of ln predictions at all points by the parameters alone: least squares with residuals that
    are correlated within a trunk, or within blocks along runs where there are few trunks (sandwich estimate)."""
    formula = whole.found.formula
    predicted = formula.predict(theta[None])[0]
    J = formula.jacobian(theta[None])[0] / predicted[:, None]
    J = J[:, (formula.low < theta) & (theta < formula.high)]
    residuals = np.log(whole.found.losses / predicted)
    scale = np.sqrt(weights @ J**2)
    J = J / np.where(scale > 0, scale, 1.0)
    clusters, index = np.unique(_clusters(whole, residuals), return_inverse=True)
    sums = np.zeros((len(clusters), J.shape[1]))
    np.add.at(sums, index, (weights * residuals)[:, None] * J)
    inverse = np.linalg.pinv(J.T @ (weights[:, None] * J), rcond=1e-8, hermitian=True)
    spread = sums @ inverse
    n = int((np.abs(sums).sum(1) > 0).sum())
    sd: Floats = np.sqrt(((J @ spread.T) ** 2).sum(1) * n / max(n - 1, 1))
    return sd


def _clusters(whole: Fitted, residuals: Floats) -> NDArray[np.object_]:
    """What the residual of every point is correlated with."""
    by_trunk = len({run.trunk for run in whole.runs}) >= MIN_TRUNKS
    names: list[str] = []
    for run in whole.runs:
        n = len(run.keys)
        if by_trunk:
            names += [run.trunk] * n
        else:
            part = residuals[len(names) : len(names) + n]
            names += [f"{run.cell_id} {i // block_length(part)}" if n > 1 else run.cell_id for i in range(n)]
    return np.array(names, dtype=object)


def said_of(law: Fitted, train: Sequence[RunCurve], unseen: Sequence[RunCurve]) -> list[HiddenRun]:
    """Predictions of runs that a fit has not seen."""
    residual = float(np.sqrt(np.mean(law.found.residuals**2)))
    return [
        HiddenRun(run, *law.predict(run.curve), nearest_run(run, train), law.reach, _larger(run, train), residual)
        for run in unseen
    ]


def _larger(run: RunCurve, train: Sequence[RunCurve]) -> bool:
    return (run.curve.n_params or 0.0) > max(other.curve.n_params or 0.0 for other in train)


def spread_of(by_schedule: Sequence[Sequence[HiddenRun]], by_horizon: Sequence[Sequence[HiddenRun]]) -> Spread:
    """From runs hidden schedule by schedule, and horizon by horizon with only shorter ones fitted; each schedule counts
    once, of the horizons the one that was missed most.

    No spread is below the residuals of these fits. Not known for fewer than two schedules.
    """
    found = [one for one in by_schedule if one]
    missed = np.mean([np.mean([np.mean(one.errors**2) for one in group]) for group in found]) if found else np.nan
    known_of = np.mean([np.mean([np.mean(one.parameter_sd**2) for one in group]) for group in found]) if found else 0.0
    floor = float(np.mean([one.residual for group in found for one in group])) if found else 0.0
    sd = max(float(np.sqrt(max(missed - known_of, OWN_SHARE * missed))), floor)
    growths = [_growth(group, sd) for group in by_horizon]
    known = [growth for growth in growths if growth is not None]
    growth = max(known) if known else np.nan
    return Spread(sd, len(found) - 1, growth, len(known))


def _growth(hidden: Sequence[HiddenRun], sd: float) -> float | None:
    """Error per unit of ln updates beyond the longest fitted run; None where no point is beyond."""
    far = [(one.errors, beyond(one.run.curve.updates_done, one.reach)) for one in hidden]
    distances = sum(float((x**2).sum()) for _, x in far)
    excess = sum(float((np.maximum(e**2 - sd**2, 0.0))[x > 0].sum()) for e, x in far)
    return float(np.sqrt(excess / distances)) if distances > 0 else None


def beyond(updates_done: NDArray[np.int64], reach: int) -> Floats:
    """ln of updates over the longest fitted run's, 0 within."""
    return np.log(np.maximum(updates_done / reach, 1.0))


@dataclass(frozen=True)
class GroupFit:
    """All that a law says of a group."""

    group: Group
    law: str
    whole: Fitted | None
    schedules: dict[str, list[HiddenRun]]
    """Runs of every schedule, hidden together."""
    horizons: list[list[HiddenRun]]
    """Runs of every horizon but the shortest, with only shorter ones fitted."""
    declared: list[HiddenRun]
    sizes: dict[str, list[HiddenRun]] = field(default_factory=dict)
    """By holdout: runs of the largest size."""
    unsaid: dict[str, str] = field(default_factory=dict)
    """By holdout, why it is predicted by no fit."""

    @cached_property
    def spread(self) -> Spread:
        """For runs that were not made."""
        return spread_of(list(self.schedules.values()), self.horizons)

    def _spread_without(self, schedule: str) -> Spread:
        """From what the other schedules were missed by; all but one of the fits that missed them have seen this one."""
        others = [runs for name, runs in self.schedules.items() if name != schedule]
        return spread_of(others, self.horizons)

    @property
    def _spread_of_shorter(self) -> Spread:
        """For the longest horizon: the growth from shorter ones alone, the rest from shorter runs of hidden schedules,
        whose fits have seen long runs of the other schedules."""
        ranks = horizon_ranks(self.group.open)
        longest = max(ranks.values())
        shorter = [[one for one in runs if ranks[one.run.cell_id] < longest] for runs in self.schedules.values()]
        return spread_of(shorter, self.horizons[:-1])

    @property
    def _spread_of_smaller(self) -> Spread:
        """For other schedules of the largest size, from smaller sizes alone."""
        largest = max(run.curve.n_params or 0.0 for run in self.group.open)
        smaller = [[one for one in runs if one.run.curve.n_params != largest] for runs in self.schedules.values()]
        return spread_of(smaller, [])

    def scored(self) -> Iterator[tuple[str, list[HiddenRun], Spread]]:
        """Holdout, its runs, and a spread that has not seen them."""
        for schedule, runs in self.schedules.items():
            if runs:
                yield f"{SCHEDULE} {schedule}", runs, self._spread_without(schedule)
        if self.horizons and self.horizons[-1]:
            yield LONGEST_HORIZON, self.horizons[-1], self._spread_of_shorter
        for holdout, runs in self.sizes.items():
            if runs:
                yield holdout, runs, self._spread_of_smaller
        if self.declared:
            yield DECLARED, self.declared, self.spread


@dataclass
class CurveLawTables(LawTables):
    """The tables of all laws, and those of laws of curves."""

    curve_predictions: pd.DataFrame = field(default_factory=lambda: tables.empty(tables.CURVE_PREDICTIONS))
    curve_scores: pd.DataFrame = field(default_factory=lambda: tables.empty(tables.CURVE_SCORES))

    def frames(self) -> dict[tables.Table, pd.DataFrame]:
        return super().frames() | {
            tables.CURVE_PREDICTIONS: self.curve_predictions,
            tables.CURVE_SCORES: self.curve_scores,
        }


def fit_curve_law(law: str, found: Mapping[str, pd.DataFrame], settings: Settings) -> CurveLawTables:
    """Fit a law to every group of a study's or of imported runs, whose tables are those of LOSS_CURVES."""
    curves = curves_of(found["runs"], found["updates"], found["evaluations"])
    groups = (groups_over_sizes if law in LAWS_OVER_SIZES else groups_of)(curves.runs)
    fits = [fit_group(law, group, settings) for group in groups]
    out = law_tables(fits, settings)
    out.curve_predictions = curve_predictions(fits)
    out.curve_scores = curve_scores(fits)
    return out


def curves_and_groups(found: Mapping[str, pd.DataFrame]) -> tuple[Curves, list[Group]]:
    """Curves of the tables RUNS, UPDATES and EVALUATIONS, by name, and their groups."""
    curves = curves_of(found["runs"], found["updates"], found["evaluations"])
    return curves, groups_of(curves.runs)


def fit_group(law: str, group: Group, settings: Settings) -> GroupFit:
    """Hide, predict, then fit all."""
    runs, seed = group.open, settings.seed
    whole = None if group.refusal else fitted(law, runs, min(settings.n_bootstrap, BOOTSTRAP_SAMPLES), seed)
    if whole is None:
        return GroupFit(group, law, None, {}, [], [])
    names = sorted({run.schedule for run in runs})
    names = names if len(names) > 1 else []
    ranks = horizon_ranks(runs)
    longer = range(1, max(ranks.values()) + 1)
    by_schedule = [([r for r in runs if r.schedule != x], [r for r in runs if r.schedule == x]) for x in names]
    by_horizon = [
        ([r for r in runs if ranks[r.cell_id] < x], [r for r in runs if ranks[r.cell_id] == x]) for x in longer
    ]
    by_size = size_splits(group)
    said, unsaid = hidden_from(whole, [*by_schedule, *by_horizon, *by_size.values()], group.min_sizes)
    # The last of the horizons is the longest.
    holdouts = [*(f"{SCHEDULE} {x}" for x in names), *[LONGEST_HORIZON] * len(by_horizon), *by_size]
    unseen = distinct([run for run in group.runs if run.holdout], keys_of(runs))
    return GroupFit(
        group,
        law,
        whole,
        schedules=dict(zip(names, said, strict=False)),
        horizons=said[len(names) : len(names) + len(by_horizon)],
        declared=said_of(whole, runs, unseen),
        sizes=dict(zip(by_size, said[len(names) + len(by_horizon) :], strict=True)),
        unsaid={holdout: why for holdout, why in dict(zip(holdouts, unsaid, strict=True)).items() if why},
    )


def law_tables(fits: Sequence[GroupFit], settings: Settings) -> CurveLawTables:
    """Parameters and scores as all laws have them."""
    units = {fit.whole.resampling_unit for fit in fits if fit.whole}
    out = CurveLawTables(settings, " and ".join(sorted(units)) or "none: nothing was fitted")
    for fit in fits:
        _parameters(out, fit)
        _scores(out, fit)
        _ends(out, fit)
    return out


def _parameters(out: LawTables, fit: GroupFit) -> None:
    if fit.whole is None:
        return
    found = fit.whole.found
    for name, value in _named(found.law):
        samples = np.asarray(getattr(fit.whole.samples, name), np.float64)
        out.parameter(fit.group.key, SPANS_HORIZONS, name, value, samples, found.fit.n_points, str(found.fit.status))


def _named(law: Any) -> Iterator[tuple[str, float]]:
    for one in fields(law):
        value = getattr(law, one.name)
        if value is not None and not isinstance(value, (str, bool)):
            yield one.name, float(value)


def _scores(out: LawTables, fit: GroupFit) -> None:
    scored = {holdout.split(" ", 1)[0] for holdout, _, _ in fit.scored()}
    by_size = (LARGEST_SIZE, REST_OF_LARGEST_SIZE) if fit.law in LAWS_OVER_SIZES else ()
    for holdout, why in fit.unsaid.items():
        out.not_scored(fit.group.key, holdout, CURVE, why)
    told = scored | {holdout.split(" ", 1)[0] for holdout in fit.unsaid}
    for holdout in (SCHEDULE, LONGEST_HORIZON, *by_size):
        if holdout not in told:
            out.not_scored(fit.group.key, holdout, CURVE, fit.group.refusal or NOT_HIDDEN[holdout])
    for holdout, hidden, spread in fit.scored():
        low, high = zip(*(interval(one, spread, out.settings.ci_level) for one in hidden), strict=True)
        columns = [
            [one.predicted for one in hidden],
            [one.observed for one in hidden],
            [one.baseline for one in hidden],
            list(low),
            list(high),
        ]
        for quantity, pick in ((CURVE, slice(None)), (END, slice(-1, None))):
            predicted, observed, baseline, lows, highs = (
                np.concatenate([part[pick] for part in parts]) for parts in columns
            )
            out.score(fit.group.key, holdout, quantity, predicted, observed, baseline, low=lows, high=highs)


def _ends(out: LawTables, fit: GroupFit) -> None:
    """Predicted loss at the end of every schedule and horizon of the group."""
    if fit.whole is None:
        return
    seen = set()
    for run in fit.group.open:
        place = (run.model, run.schedule, run.tokens_per_parameter)
        if place in seen or not np.isfinite(run.tokens_per_parameter):
            continue
        seen.add(place)
        row = bands(fit, run.points(run.curve.updates_done == run.curve.updates_done[-1]), (out.settings.ci_level,))
        out.predictions.append(
            {
                "model": run.model,
                "schedule": run.schedule,
                "batch_sequences": fit.group.batch_sequences,
                "x_name": "peak_lr",
                "x": fit.group.peak_lr,
                "quantity": END,
                "tokens_per_parameter": run.tokens_per_parameter,
                "value": float(row["predicted"][0]),
                "ci_low": float(row["low"][0][0]),
                "ci_high": float(row["high"][0][0]),
                "ci_level": out.settings.ci_level,
                "extrapolated": False,
            }
        )


def interval(one: HiddenRun, spread: Spread, level: float) -> tuple[Floats, Floats]:
    """Ends of the interval at a hidden run's points; NaN for a size larger than all that were fitted."""
    if one.larger:
        return np.full_like(one.predicted, np.nan), np.full_like(one.predicted, np.nan)
    half = spread.half_widths(level, one.parameter_sd, beyond(one.run.curve.updates_done, one.reach))
    return one.predicted * np.exp(-half), one.predicted * np.exp(half)


def bands(fit: GroupFit, run: RunCurve, levels: Sequence[float] = LEVELS) -> dict[str, Any]:
    """predicted [n], low and high (one [n] per level) and extrapolated [n] at the points of a run, fitted or not made.

    Raises ValueError for a group without a fit.
    """
    if fit.whole is None:
        raise ValueError(f"{fit.law} was not fitted to {fit.group.key}: too few points")
    known = fit.whole.at_points
    if all(key in known for key in run.keys):
        predicted, parameter_sd = np.array([known[key] for key in run.keys]).T
    else:
        predicted, parameter_sd = fit.whole.predict(run.curve)
    further = beyond(run.curve.updates_done, fit.whole.reach)
    halves = [fit.spread.half_widths(level, parameter_sd, further) for level in levels]
    return {
        "predicted": predicted,
        "low": [predicted * np.exp(-half) for half in halves],
        "high": [predicted * np.exp(half) for half in halves],
        "extrapolated": further > 0,
    }


def curve_predictions(fits: Sequence[GroupFit], asked: Sequence[RunCurve] = ()) -> pd.DataFrame:
    """`CURVE_PREDICTIONS`: hidden runs, all fitted runs, and the runs of `asked`, which were not made."""
    rows: list[pd.DataFrame] = []
    for fit in fits:
        for holdout, hidden, spread in fit.scored():
            for one in hidden:
                ends = [interval(one, spread, level) for level in LEVELS]
                frame = _rows(fit, one.run, holdout.split(" ", 1)[0])
                rows.append(
                    _with_bands(frame, one.predicted, [low for low, _ in ends], [high for _, high in ends]).assign(
                        val_loss=one.observed,
                        baseline=one.baseline,
                        hidden=True,
                        extrapolated=beyond(one.run.curve.updates_done, one.reach) > 0,
                    )
                )
        if fit.whole is None:
            continue
        made = [(run, NONE) for run in fit.group.open]
        for run, holdout in [*made, *((run, NOT_TRAINED) for run in asked if _belongs(run, fit.group))]:
            said = bands(fit, run)
            frame = _rows(fit, run, holdout)
            rows.append(
                _with_bands(frame, said["predicted"], said["low"], said["high"]).assign(
                    val_loss=np.nan if run.curve.losses is None else run.curve.losses,
                    baseline=np.nan,
                    hidden=holdout == NOT_TRAINED,
                    extrapolated=said["extrapolated"],
                )
            )
    return pd.concat(rows, ignore_index=True) if rows else tables.empty(tables.CURVE_PREDICTIONS)


def curve_scores(fits: Sequence[GroupFit]) -> pd.DataFrame:
    """`CURVE_SCORES` of every hidden curve."""
    rows = []
    for fit in fits:
        for holdout, hidden, spread in fit.scored():
            for one in hidden:
                errors, observed = one.predicted - one.observed, one.observed
                around = float(((observed - observed.mean()) ** 2).sum())
                covered = [_covered(observed, *interval(one, spread, level)) for level in LEVELS]
                rows.append(
                    _run_columns(fit, one.run)
                    | {
                        "holdout": holdout.split(" ", 1)[0],
                        "n_points": len(errors),
                        "r_squared": 1 - float((errors**2).sum()) / around if around > 0 else np.nan,
                        "mean_absolute_error": float(np.abs(errors).mean()),
                        "root_mean_square_error": float(np.sqrt((errors**2).mean())),
                        "mean_relative_error": float((np.abs(errors) / observed).mean()),
                        "worst_relative_error": float((np.abs(errors) / observed).max()),
                        "baseline_mean_absolute_error": float(np.abs(one.baseline - observed).mean()),
                        "end_error": float(errors[-1]),
                        "covered_50": covered[0],
                        "covered_90": covered[1],
                    }
                )
    return pd.DataFrame(rows, columns=tables.CURVE_SCORES.names)


def _run_columns(fit: GroupFit, run: RunCurve) -> dict[str, Any]:
    return {
        "law": fit.law,
        "cell_id": run.cell_id,
        "model": run.model,
        "schedule": run.schedule,
        "schedule_kind": run.schedule_kind,
        "batch_sequences": run.batch_sequences,
        "peak_lr": run.peak_lr,
        "tokens_per_parameter": run.tokens_per_parameter,
        "total_steps": run.total_steps,
    }


def _rows(fit: GroupFit, run: RunCurve, holdout: str) -> pd.DataFrame:
    at = run.curve.updates_done
    return pd.DataFrame(
        {
            **{name: [value] * len(at) for name, value in _run_columns(fit, run).items()},
            "holdout": holdout,
            "updates_done": at,
            "tokens_seen": pd.array([int(n) * run.batch_tokens or None for n in at], dtype="Int64"),
            "lr": run.curve.lr[at - 1],
        }
    )


def _with_bands(frame: pd.DataFrame, predicted: Floats, low: Sequence[Floats], high: Sequence[Floats]) -> pd.DataFrame:
    return frame.assign(val_loss_predicted=predicted, low_50=low[0], high_50=high[0], low_90=low[1], high_90=high[1])


def _belongs(run: RunCurve, group: Group) -> bool:
    alike = (run.model, run.batch_sequences) == (group.model, group.batch_sequences)
    return alike and bool(np.isclose(run.peak_lr, group.peak_lr, rtol=1e-5))


def _covered(observed: Floats, low: Floats, high: Floats) -> float:
    return float(((low <= observed) & (observed <= high)).mean()) if np.isfinite(low).all() else np.nan
