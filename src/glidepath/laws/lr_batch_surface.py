"""lr_batch_surface: one quadratic valley in ln LR and ln B whose bottom moves with size and horizon.

Rows over horizons (batch 0) are the law of a schedule and architecture: `alpha, beta, gamma` at a fixed batch,
LR* = C·N^(-alpha)·D^(-beta)·B^gamma; `alpha_at_best_batch, beta_at_best_batch` at the batch that is best for each size
and horizon, B* = C·N^size_exponent·D^horizon_exponent. The two betas differ by gamma·horizon_exponent and often in
sign (`science.laws.lr_batch_surface`). Rows of one model and horizon are the valley of that grid alone. Scored on grids
hidden one after another, on the largest size and the longest horizon, in ln LR, ln B and *regret*: the loss measured at
the predicted rate and batch, between the runs of the hidden grid, over its lowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glidepath.laws.law import (
    DECLARED,
    EXTRAPOLATION,
    GRID_POINTS,
    SPANS_HORIZONS,
    Floats,
    LawTables,
    Settings,
)
from glidepath.science.laws.lr_batch_surface import (
    RateGrid,
    SurfaceFit,
    SurfaceLaw,
    fit_surface_law,
    loss_at,
    resampled_laws,
)
from glidepath.science.replicates import interval
from glidepath.study.final_losses import FinalLosses

ALL_MODELS = "all"
ALL_BATCHES = 0
EACH, LONGEST, LARGEST = "one grid after another", "longest horizon", "largest size"
GRIDS = "what the law leaves of runs and of whole (size, horizon) grids"
RUNS = "what the law leaves of runs"


@dataclass(frozen=True)
class Surface:
    """A grid of the study."""

    model: str
    tokens_per_parameter: float
    grid: RateGrid
    fit: SurfaceFit
    """Its own valley."""
    inside: bool
    """Whether the bottom of that lies inside the grid."""


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every schedule and architecture that has grids of learning rate and batch; score what is hidden."""
    out = LawTables(settings, RUNS)
    unseen = _groups(hidden) if hidden else {}
    groups = _groups(losses)
    for schedule in dict.fromkeys(losses.points["schedule"]):
        if all(schedule != told for _, told in groups):
            group = {"model": ALL_MODELS, "schedule": schedule, "batch_sequences": ALL_BATCHES}
            _no_law(out, group, 0, "no run with a known learning rate, batch and context length")
    for (model, schedule), grids in groups.items():
        group = {"model": model, "schedule": schedule, "batch_sequences": ALL_BATCHES}
        told = [(name, tpp, grid) for name, tpp, grid in grids if not grid.refusal]
        if not told:
            _no_law(out, group, 0, grids[0][2].refusal)
            continue
        surfaces = [_surface(out, {**group, "model": name}, name, tpp, grid) for name, tpp, grid in told]
        _fit_group(out, group, surfaces)
        others = [_own(name, tpp, grid) for name, tpp, grid in unseen.get((model, schedule), []) if not grid.refusal]
        if others:
            _score(out, group, DECLARED, [(surfaces, others)])
    return out


def _groups(losses: FinalLosses) -> dict[tuple[str, str], list[tuple[str, float, RateGrid]]]:
    """Model names, tokens per parameter and grids by label of the architecture and schedule.

    Runs without a known learning rate, batch or context length take no part.
    """
    points = losses.points.dropna(subset=["peak_lr", "context_length"])
    points = points[(points["batch_sequences"] > 0) & (points["peak_lr"] > 0)]
    points = points.assign(architecture=points["architecture"].fillna("not known").replace("", "not known"))
    kinds = points.groupby("schedule")["architecture"].nunique()
    found: dict[tuple[str, str], list[tuple[str, float, RateGrid]]] = {}
    for _, cells in points.groupby(["architecture", "schedule", "model", "tokens_per_parameter"], sort=False):
        first = cells.iloc[0]
        schedule = str(first["schedule"])
        grid = RateGrid(
            n_params=float(first["n_params_counted"]),
            # Batches round the horizon to their own updates.
            tokens=float(cells["token_horizon"].median()),
            peak_lrs=cells["peak_lr"].to_numpy(np.float64),
            batch_tokens=(cells["batch_sequences"] * cells["context_length"]).to_numpy(np.float64),
            losses=cells["val_loss"].to_numpy(np.float64),
        )
        label = ALL_MODELS if kinds[schedule] == 1 else f"architecture {first['architecture']}"
        of_group = found.setdefault((label, schedule), [])
        of_group.append((str(first["model"]), float(first["tokens_per_parameter"]), grid))
    return found


def _own(model: str, tokens_per_parameter: float, grid: RateGrid) -> Surface:
    fitted = fit_surface_law([grid])
    inside = fitted.status == "converged"
    if inside:
        lr, batch = (float(v[0]) for v in fitted.law.best(*_at([grid])))
        inside = (
            grid.peak_lrs.min() < lr < grid.peak_lrs.max() and grid.batch_tokens.min() < batch < grid.batch_tokens.max()
        )
    return Surface(model, tokens_per_parameter, grid, fitted, inside)


def _at(grids: list[RateGrid]) -> tuple[Floats, Floats]:
    return np.array([grid.n_params for grid in grids]), np.array([grid.tokens for grid in grids])


def _surface(out: LawTables, group: dict[str, Any], model: str, tpp: float, grid: RateGrid) -> Surface:
    """The valley of one grid, and its rows."""
    surface = _own(model, tpp, grid)
    law, status = surface.fit.law, surface.fit.status
    status = "edge_of_grid" if status == "converged" and not surface.inside else status
    samples = resampled_laws(surface.fit, out.settings.n_bootstrap, out.settings.seed)
    at = _at([grid])
    (lr, batch), (lrs, batches) = law.best(*at), samples.best(*at)
    rows = {
        "peak_lr": (float(lr[0]), lrs[:, 0]),
        "batch_tokens": (float(batch[0]), batches[:, 0]),
        "gamma": (float(law.gamma), samples.gamma),
        "lr_curvature": (float(law.curvature[0]), samples.curvature[:, 0]),
        "batch_curvature": (float(law.curvature[2]), samples.curvature[:, 2]),
    }
    for name, (value, drawn) in rows.items():
        told = status if name in ("peak_lr", "batch_tokens") else _without_bottom(surface.fit)
        out.parameter(group, tpp, name, value, drawn, surface.fit.n_points, told)
    return surface


def _without_bottom(fitted: SurfaceFit) -> str:
    """Status of what is told of the rate at a given batch: that needs a valley in the rate only. Where the loss falls
    towards the smallest batch trained, as it does far below the critical one, there is no best batch and yet a best
    rate at each."""
    return "converged" if fitted.status == "not_identified" and fitted.law.curvature[0] > 0 else fitted.status


def _fit_group(out: LawTables, group: dict[str, Any], surfaces: list[Surface]) -> None:
    grids = [surface.grid for surface in surfaces]
    try:
        fitted = fit_surface_law(grids)
    except ValueError as refusal:
        _no_law(out, group, len(grids), str(refusal))
        return
    out.resampling_unit = GRIDS if fitted.resamples_grids else RUNS
    samples = resampled_laws(fitted, out.settings.n_bootstrap, out.settings.seed)
    exponents, drawn = fitted.law.exponents(), samples.exponents()
    status, at_fixed = fitted.status, _without_bottom(fitted)
    fixed = {"alpha": _several(grids, "n_params"), "beta": _several(grids, "tokens")}
    fixed |= {"size_exponent_of_batch": fixed["alpha"], "horizon_exponent_of_batch": fixed["beta"]}
    for name, value in exponents.items():
        varied = fixed.get(name.removesuffix("_at_best_batch"), True)
        out.parameter(
            group, SPANS_HORIZONS, name, float(value) if varied else np.nan, drawn[name] if varied else np.empty(0),
            fitted.n_points, "not_identified" if not varied else status if "batch" in name else at_fixed,
        )  # fmt: skip
    for name, column in (("lr_curvature", 0), ("batch_curvature", 2)):
        out.parameter(
            group, SPANS_HORIZONS, name, float(fitted.law.curvature[column]), samples.curvature[:, column],
            fitted.n_points, at_fixed,
        )  # fmt: skip
    out.parameter(group, SPANS_HORIZONS, "n_runs_left_out", fitted.n_left_out, np.empty(0), fitted.n_points, at_fixed)
    _predict(out, group, surfaces, fitted.law, samples)
    _score(out, group, EACH, [(surfaces[:i] + surfaces[i + 1 :], [surfaces[i]]) for i in range(len(surfaces))])
    _score(out, group, LONGEST, _hiding(surfaces, _at_end([grid.tokens for grid in grids])))
    _score(out, group, LARGEST, _hiding(surfaces, _at_end([grid.n_params for grid in grids])))
    out.resampling_unit = RUNS


def _no_law(out: LawTables, group: dict[str, Any], n_grids: int, reason: str) -> None:
    for name in ("C", "alpha", "beta", "gamma"):
        out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), n_grids, "not_identified")
    out.not_scored(group, EACH, "regret", reason)


def _several(grids: list[RateGrid], name: str) -> bool:
    return len({getattr(grid, name) for grid in grids}) > 1


def _at_end(values: list[float]) -> NDArray[np.bool_]:
    return np.asarray(np.array(values) == max(values), dtype=np.bool_)


def _hiding(surfaces: list[Surface], hide: NDArray[np.bool_]) -> list[tuple[list[Surface], list[Surface]]]:
    seen, hidden = ([s for s, h in zip(surfaces, hide, strict=True) if h == want] for want in (False, True))
    return [(seen, hidden)]


def _predict(
    out: LawTables, group: dict[str, Any], surfaces: list[Surface], law: SurfaceLaw, samples: SurfaceLaw
) -> None:
    """The best rate over the batch of every grid, and the best rate and batch of every size along the horizon."""
    for surface in surfaces:
        batches = np.geomspace(surface.grid.batch_tokens.min(), surface.grid.batch_tokens.max(), GRID_POINTS)
        n, d = (np.full(GRID_POINTS, v) for v in (surface.grid.n_params, surface.grid.tokens))
        out.prediction(
            {**group, "model": surface.model}, surface.tokens_per_parameter, "batch_tokens", batches, "peak_lr",
            law.peak_lr(n, d, batches), samples.peak_lr(n, d, batches), np.zeros(GRID_POINTS, dtype=bool),
        )  # fmt: skip
    tokens = [surface.grid.tokens for surface in surfaces]
    if len(set(tokens)) < 2:
        return
    for model in dict.fromkeys(surface.model for surface in surfaces):
        of_model = [surface.grid for surface in surfaces if surface.model == model]
        x = np.geomspace(min(grid.tokens for grid in of_model), max(tokens) * EXTRAPOLATION, GRID_POINTS)
        n = np.full(GRID_POINTS, of_model[0].n_params)
        for quantity, values, drawn in zip(
            ("peak_lr_at_best_batch", "best_batch_tokens"), law.best(n, x), samples.best(n, x), strict=True
        ):
            out.prediction(
                {**group, "model": model}, SPANS_HORIZONS, "token_horizon", x, quantity, values, drawn,
                x > max(tokens) * (1 + 1e-9),
            )  # fmt: skip


def _score(
    out: LawTables, group: dict[str, Any], holdout: str, splits: list[tuple[list[Surface], list[Surface]]]
) -> None:
    """Grids hidden in each split, predicted from the others; pooled into one row per quantity."""
    rows: list[tuple[float, ...]] = []
    outside, refusal = 0, "no grid is left when one is hidden"
    for seen, hidden in splits:
        try:
            predictions = _predicted(out.settings, seen, hidden)
        except ValueError as reason:
            refusal = str(reason)
            continue
        for surface, prediction in zip(hidden, predictions, strict=True):
            nearest = _nearest(seen, surface)
            (at_predicted, inside), (at_carried, _) = (
                loss_at(surface.grid, lr, batch)
                for lr, batch in ((prediction[0], prediction[3]), (nearest[0], nearest[1]))
            )
            outside += not inside
            own = [float(v[0]) for v in surface.fit.law.best(*_at([surface.grid]))] if surface.inside else [np.nan] * 2
            rows.append((*prediction, *own, *nearest, at_predicted, surface.grid.losses.min(), at_carried))
    if not rows:
        out.not_scored(group, holdout, "regret", refusal)
        return
    table = np.array(rows)
    out.score(group, holdout, "regret", table[:, 10], table[:, 11], table[:, 12])
    out.scores[-1]["r_squared"] = np.nan
    if outside:
        out.scores[-1]["status"] = f"scored; {outside} predictions are outside their grid and count as its end"
    known = np.isfinite(table[:, 6])
    for quantity, first, observed, carried in (("ln_peak_lr", 0, 6, 8), ("ln_batch_tokens", 3, 7, 9)):
        if not known.any():
            out.not_scored(group, holdout, quantity, "no hidden grid has its own optimum inside")
            continue
        with np.errstate(divide="ignore"):
            columns = np.log(table[known][:, [first, observed, carried, first + 1, first + 2]]).T
        out.score(group, holdout, quantity, *columns[:3], low=columns[3], high=columns[4])
        # A share of a logarithm means nothing.
        out.scores[-1] |= {"mean_relative_error": np.nan, "worst_relative_error": np.nan}


def _predicted(settings: Settings, seen: list[Surface], hidden: list[Surface]) -> list[list[float]]:
    """Rate, its interval, batch, its interval, for every hidden grid.

    The interval is for what the grid itself would say: the law's, and how far the grids fitted are aside of the law.
    Raises ValueError where those seen make no law for those hidden.
    """
    if not seen:
        raise ValueError("no grid is left when these are hidden")
    for name, word in (("n_params", "size"), ("tokens", "horizon")):
        left = {getattr(surface.grid, name) for surface in seen}
        if len(left) == 1 and {getattr(surface.grid, name) for surface in hidden} != left:
            raise ValueError(f"one {word} is left when these are hidden: two are needed to predict another")
    fitted = fit_surface_law([surface.grid for surface in seen])
    if fitted.status != "converged":
        raise ValueError(f"the valley of the grids that are left is {fitted.status}")
    at = _at([surface.grid for surface in hidden])
    samples = resampled_laws(fitted, settings.n_bootstrap, settings.seed).best(*at)
    beside = _beside(fitted, seen)
    found = []
    random = np.random.default_rng(settings.seed + 1)
    for best, drawn, aside in zip(fitted.law.best(*at), samples, beside, strict=True):
        # Student's draws by the number of grids that tell how far grids are aside.
        moved = drawn * np.exp(aside * random.standard_t(max(len(seen) - 3, 1), drawn.shape))
        found.append(np.column_stack([best, [interval(column, settings.ci_level) for column in moved.T]]))
    return np.hstack(found).tolist()  # type: ignore[no-any-return]


def _beside(fitted: SurfaceFit, seen: list[Surface]) -> tuple[float, float]:
    """Standard deviation of ln LR* and ln B* of grids about the law, over the grids whose own optimum is inside."""
    inside = [surface for surface in seen if surface.inside]
    if not inside:
        return 0.0, 0.0
    law = fitted.law.best(*_at([surface.grid for surface in inside]))
    own = np.array([[float(v[0]) for v in s.fit.law.best(*_at([s.grid]))] for s in inside]).T
    degrees = max(len(inside) - 3, 1)
    lr, batch = (float(np.sqrt((np.log(o / p) ** 2).sum() / degrees)) for o, p in zip(own, law, strict=True))
    return lr, batch


def _nearest(seen: list[Surface], surface: Surface) -> tuple[float, float]:
    """Rate and batch of the best run of the nearest grid: what is done without a law."""

    def distance(other: Surface) -> float:
        return float(
            np.log(other.grid.n_params / surface.grid.n_params) ** 2
            + np.log(other.grid.tokens / surface.grid.tokens) ** 2
        )

    grid = min(seen, key=distance).grid
    return float(grid.peak_lrs[grid.lowest]), float(grid.batch_tokens[grid.lowest])
