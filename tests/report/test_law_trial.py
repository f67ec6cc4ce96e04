"""What the laws missed, in words."""

from __future__ import annotations

from glidepath.laws.comparison import compared
from glidepath.report.law_trial import law_trial
from tests.laws.test_comparison import scores


def test_the_best_of_laws_on_the_same_runs_is_marked_and_its_error_has_a_unit() -> None:
    trial = law_trial(compared({"good": scores({"linear": [0.012]}), "poor_one": scores({"linear": [0.05]})}))
    first, second = trial.rows
    assert (first.law, first.error, first.baseline, first.best) == ("good", "0.012 nat/token", "0.1 nat/token", True)
    assert (second.law, second.best, second.covered) == ("poor one", False, "0 %")
    assert first.worst == "0.60 %"
    # The worse law on the same runs is no trial of its own.
    assert "Hidden in 1 ways" in trial.headline
    assert "than to the nearest run in 1" in trial.headline
    assert "Of these losses 100 % lie inside its intervals at 90 %" in trial.headline


def test_a_law_alone_is_not_the_best_of_anything() -> None:
    (row,) = law_trial(compared({"alone": scores({"linear": [0.01]})})).rows
    assert not row.best


def test_nothing_hidden_is_said() -> None:
    assert law_trial(compared({})).headline.startswith("No law of the loss could be tried")


def test_learning_rates_stand_apart_from_losses() -> None:
    rates = scores({"linear": [0.5]}).assign(quantity="peak_lr")
    trial = law_trial(compared({"law": scores({"linear": [0.01]}), "rates": rates}))
    assert [row.quantity for row in trial.rows] == ["final loss"]
    assert [(row.quantity, row.error) for row in trial.others] == [("peak lr", "0.5")]
    assert "Hidden in 1 ways" in trial.headline


def test_points_along_a_curve_are_no_trials() -> None:
    along = scores({"linear": [0.01] * 50}).assign(quantity="loss_curve")
    assert law_trial(compared({"law": along})).headline.startswith("No law of the loss could be tried")
