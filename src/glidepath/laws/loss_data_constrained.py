"""loss_data_constrained: the law in size and horizon where runs repeat their text (Muennighoff et al. 2023).

Unique tokens are token_horizon/epochs; all seven parameters are fitted together. Without runs of several epochs there
is nothing to fit.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from glidepath.laws.law import DECLARED, SPANS_HORIZONS, Floats, LawTables, Settings
from glidepath.laws.loss_size_horizon import PREDICTOR, axis_of
from glidepath.laws.new_run import law_errors
from glidepath.laws.predictors import Points
from glidepath.laws.size_holdouts import LARGEST_SIZE, LONGEST_HORIZON, MOST_EPOCHS, score_hidden, score_without
from glidepath.laws.size_points import SizePoints, groups_of_points, report_residuals
from glidepath.science.laws.data_constrained import (
    REPETITIONS_HIGH,
    REPETITIONS_LOW,
    DataConstrainedFit,
    DataConstrainedLaw,
    fit_data_constrained_law,
)
from glidepath.study.final_losses import FinalLosses

FRESH = {"E": "E", "A": "alpha", "B": "beta", "alpha": "alpha", "beta": "beta"}
"""Parameters of the law without repetition, and the coordinate whose profile says whether the data identify each."""
REPEATED = ("R_D", "R_N")
PARAMETERS = (*FRESH, *REPEATED)
HOLDOUTS = (LARGEST_SIZE, LONGEST_HORIZON, MOST_EPOCHS)
EPOCHS = np.geomspace(1.0, 256.0, 17)
"""At which the worth of repeated tokens is predicted."""


def fit(losses: FinalLosses, settings: Settings, hidden: FinalLosses | None = None) -> LawTables:
    """Fit every schedule, batch and architecture with repeated text; score by hiding the largest sizes, the longest
    horizons, the most epochs, and what is declared hidden."""
    tables = LawTables(settings, losses.resampling_unit)
    for group, points, unseen in groups_of_points(losses, settings, hidden, fresh=False):
        out = replace(tables, resampling_unit=points.resampling_unit)
        try:
            found = _fitted(points)
        except ValueError as refusal:
            for name in PARAMETERS:
                out.parameter(group, SPANS_HORIZONS, name, np.nan, np.empty(0), len(points), "not_identified")
            for holdout in HOLDOUTS:
                out.not_scored(group, holdout.name, "val_loss", str(refusal))
            continue
        score_on = partial(_score_on, out, group, losses)
        for holdout in HOLDOUTS:
            score_without(out, group, holdout, points, _fitted, score_on)
        samples = found.resampled(losses=points.samples, weights=points.weights)
        _parameters(out, group, found, samples, len(points))
        report_residuals(out, group, points, found.residuals)
        _worth(out, group, points, found.law, samples)
        if unseen:
            score_on(DECLARED, points, unseen, found)
    return tables


def _fitted(points: SizePoints) -> DataConstrainedFit:
    unknown = int(np.isnan(points.unique_tokens).sum())
    if unknown:
        raise ValueError(
            f"the unique tokens of {unknown} of {len(points)} runs are not known: without them nothing says how often "
            f"text was repeated. Give their epochs"
        )
    return fit_data_constrained_law(points.n_params, points.tokens, points.unique_tokens, points.losses)


def _parameters(
    out: LawTables, group: dict[str, Any], found: DataConstrainedFit, samples: DataConstrainedLaw, n: int
) -> None:
    told = {name: _told(found, name, out.settings.ci_level) for name in (*set(FRESH.values()), *REPEATED)}
    for name, coordinate in FRESH.items():
        value, drawn = float(getattr(found.law.fresh, name)), getattr(samples.fresh, name)
        out.parameter(group, SPANS_HORIZONS, name, value, drawn, n, told[coordinate])
    for name in REPEATED:
        drawn = getattr(samples, name)
        # At an end of its range a sample only says that it lies beyond.
        drawn = np.where(drawn >= REPETITIONS_HIGH * (1 - 1e-9), np.inf, drawn)
        drawn = np.where(drawn <= REPETITIONS_LOW * (1 + 1e-9), 0.0, drawn)
        out.parameter(group, SPANS_HORIZONS, name, float(getattr(found.law, name)), drawn, n, told[name])
    condition = found.fit.condition_number
    out.parameter(group, SPANS_HORIZONS, "condition_number", condition, np.empty(0), n, found.fit.status)


def _told(found: DataConstrainedFit, coordinate: str, level: float) -> str:
    """not_identified where the profile likelihood does not close, at a bound of R* too: there it is only known that
    repeating is worth about everything or nothing."""
    if found.fit.status in ("failed", "max_iter"):
        return str(found.fit.status)
    if coordinate in found.fit.at_bound and coordinate not in REPEATED:
        return "bound_hit"
    if found.fit.n_points <= len(PARAMETERS):
        return "not_identified"
    return "converged" if found.profile(coordinate, level).identified else "not_identified"


def _worth(
    out: LawTables, group: dict[str, Any], points: SizePoints, law: DataConstrainedLaw, samples: DataConstrainedLaw
) -> None:
    """Share of a fresh token that a token is worth on average, by epochs."""
    one = np.ones_like(EPOCHS)
    trained = float((points.tokens / points.unique_tokens).max())
    out.prediction(
        group, SPANS_HORIZONS, "epochs", EPOCHS, "worth_of_tokens",
        law.effective_tokens(EPOCHS, one) / EPOCHS, samples.effective_tokens(EPOCHS, one) / EPOCHS,
        trained * (1 + 1e-9) < EPOCHS,
    )  # fmt: skip


def _score_on(
    out: LawTables,
    group: dict[str, Any],
    losses: FinalLosses,
    holdout: str,
    points: SizePoints,
    hidden: SizePoints,
    found: DataConstrainedFit,
) -> None:
    samples = found.resampled(losses=points.samples, weights=points.weights)
    at = hidden.n_params, hidden.tokens, hidden.unique_tokens
    predicted, drawn = found.law.predict(*at), samples.predict(*at)
    # With its worth of repetition given it is the law in size and horizon of what they are worth.
    seen = Points(*_effective(found, points.n_params, points.tokens, points.unique_tokens), points.losses, None)
    errors = law_errors(PREDICTOR, seen, *_effective(found, *at), out.settings, axis=axis_of(holdout, seen))
    score_hidden(
        out, group, holdout, points, hidden, predicted, drawn, errors, found.residuals, len(PARAMETERS), losses
    )


def _effective(
    found: DataConstrainedFit, n_params: Floats, tokens: Floats, unique_tokens: Floats
) -> tuple[Floats, Floats]:
    """Parameters and tokens by what they are worth."""
    law = found.law
    return law.effective_params(n_params, unique_tokens), law.effective_tokens(tokens, unique_tokens)
