"""Which law of loss curves a study's own hidden curves speak for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from glidepath.laws.curve_law import LONGEST_HORIZON, SCHEDULE
from glidepath.laws.curve_tables import CURVE

GROUP = ["model", "schedule", "batch_sequences", "holdout"]


def mean_errors(scores: Mapping[str, pd.DataFrame], holdout: str = SCHEDULE) -> dict[str, float]:
    """Mean absolute error [nat/token] by law, ascending, over hidden points that all of these laws predicted.

    scores: `LAW_SCORES` by law; holdout: `SCHEDULE` or `LONGEST_HORIZON`. Laws without a score are none.
    """
    kinds = {law: _scored(frame, holdout) for law, frame in scores.items()}
    kinds = {law: frame for law, frame in kinds.items() if len(frame)}
    found = [set(frame.index) for frame in kinds.values()]
    common = sorted(set.intersection(*found)) if found else []
    errors = {}
    for law, frame in kinds.items():
        rows = frame.loc[common]
        if len(rows):
            errors[law] = float(np.average(rows["mean_absolute_error"], weights=rows["n_hidden"]))
    return dict(sorted(errors.items(), key=lambda item: item[1]))


def best_law(scores: Mapping[str, pd.DataFrame]) -> str:
    """The law with the smallest error on hidden schedules; where no schedule was hidden, on the hidden horizon.

    Raises ValueError where nothing was hidden from any law.
    """
    for holdout in (SCHEDULE, LONGEST_HORIZON):
        errors = mean_errors(scores, holdout)
        if errors:
            return next(iter(errors))
    raise ValueError(
        f"no law of {', '.join(scores) or 'none'} has predicted a hidden curve: train two schedules at one peak_lr, or "
        "two horizons, and fit these laws"
    )


def _scored(frame: pd.DataFrame, holdout: str) -> pd.DataFrame:
    kind = frame["holdout"].str.split(" ").str[0]
    rows: pd.DataFrame = frame[(kind == holdout) & (frame["quantity"] == CURVE) & (frame["n_hidden"] > 0)]
    known: pd.DataFrame = rows[np.isfinite(rows["mean_absolute_error"])].set_index(GROUP).sort_index()
    return known
