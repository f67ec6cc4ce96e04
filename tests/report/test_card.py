"""The card says no more than was measured."""

from __future__ import annotations

from typing import Any

import pytest

from glidepath.report.card import card
from tests.report.conftest import NEXT, PREDICTION, recommended

INSIDE: dict[str, Any] = {"extrapolation": (), "horizon_extrapolation": 1.0}


@pytest.mark.parametrize(
    ("n_schedules", "others", "sure", "words"),
    [
        (1, (), None, "the only one trained there"),
        (3, (), "resolved", "resolved from the others"),
        (3, ("wsd",), "not resolved", "not resolved from wsd"),
    ],
)
def test_one_schedule_is_resolved_from_nothing(
    n_schedules: int, others: tuple[str, ...], sure: str | None, words: str
) -> None:
    found = card(recommended(n_schedules_compared=n_schedules, equivalent_schedules=others, **INSIDE))
    assert found.sure == sure
    assert next(value.detail for value in found.summary if value.name == "Schedule") == words


def test_what_was_missed_stands_beside_what_that_means_at_the_target() -> None:
    """The part of the interval that is the law's form is the same number."""
    believed, other = card(recommended()).laws
    assert (believed.missed, believed.at_target) == ("0.012", "0.010")
    assert PREDICTION.uncertainty.law == PREDICTION.chosen.law_error_sd
    assert (other.missed, other.at_target) == ("not known", "not known")


def test_what_further_runs_cost_is_told_in_its_unit() -> None:
    imported = NEXT.model_copy(update={"train_flops_exact": None, "train_flops_6nd": 2e11, "hours": None})
    ours, theirs = card(recommended(next_cells=(NEXT, imported))).next_rows
    assert ours.cost.replace("\N{NO-BREAK SPACE}", " ").endswith("FLOP (30 min)")
    assert theirs.cost.endswith("FLOP (6ND)")
