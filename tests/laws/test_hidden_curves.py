"""What was hidden from a fit has no part in what the fit says of it."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from glidepath.laws import annealing, multi_power
from glidepath.laws.curve_groups import groups_of
from glidepath.laws.curve_law import fit_group
from glidepath.laws.curves import curves_of
from glidepath.laws.law import Settings
from tests.laws.planted_curves import study

SETTINGS = Settings("linear", 0.9, 100, 0)


def test_what_was_hidden_is_not_remembered() -> None:
    """Constant runs alone say nothing of what a drop is worth, which the fit of all runs knows."""
    found = annealing.fit(study(schedules=("constant", "wsd_50")), SETTINGS)
    status = {row["holdout"]: row["status"] for row in found.scores}
    assert "leave open what the law says of it" in status["schedule wsd_50"]
    assert "wsd_50" not in set(found.curve_scores.loc[found.curve_scores["holdout"] == "schedule", "schedule"])


@pytest.mark.parametrize("law", [annealing, multi_power])
def test_what_was_hidden_changes_no_prediction_of_it(law: ModuleType) -> None:
    """They may be anything."""
    there = study(steps=(400, 800), schedules=("constant", "linear", "wsd_50"), replicates=1)
    evaluations = there["evaluations"]
    hidden = evaluations["cell_id"].str.contains("wsd_50")
    # The median, which is the unit, stays.
    high = hidden & (evaluations["val_loss"] > evaluations["val_loss"].median())
    other = evaluations.assign(val_loss=evaluations["val_loss"].where(~high, evaluations["val_loss"] * 1.1))
    said = []
    for tables_of in (there, {**there, "evaluations": other}):
        (group,) = groups_of(curves_of(tables_of).runs)
        fit = fit_group(law.__name__.rsplit(".", 1)[1], group, SETTINGS)
        said.append(np.concatenate([one.predicted for one in fit.schedules["wsd_50"]]))
    np.testing.assert_allclose(said[0], said[1], rtol=1e-6)
