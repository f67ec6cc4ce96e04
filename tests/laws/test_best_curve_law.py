"""The best law is the one whose error on common hidden curves is the smallest."""

from __future__ import annotations

import pytest

from glidepath.laws import annealing
from glidepath.laws.best_curve_law import best_law, mean_errors
from glidepath.laws.law import Settings
from glidepath.study import tables
from tests.laws.planted_curves import study

SETTINGS = Settings("linear", 0.9, 100, 0)


def test_laws_are_compared_where_all_were_scored() -> None:
    found = annealing.fit(study(steps=(200, 400), replicates=1), SETTINGS)
    scores = found.frames()[tables.LAW_SCORES]
    worse = scores.assign(mean_absolute_error=2 * scores["mean_absolute_error"]).iloc[:4]
    errors = mean_errors({"worse": worse, "better": scores})
    assert list(errors) == ["better", "worse"]
    assert errors["worse"] == pytest.approx(2 * errors["better"])
    assert best_law({"worse": worse, "better": scores}) == "better"
    with pytest.raises(ValueError, match="has predicted a hidden curve"):
        best_law({"none": scores.iloc[:0]})
