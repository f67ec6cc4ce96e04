"""What the report says about cost."""

from __future__ import annotations

import pandas as pd
import pytest

from glidepath.report.cost import cost
from glidepath.stages.spending import Job, spending_frame
from tests.figures import planted

BUDGET = planted.budget()


def done(core_seconds: float | None, ended: float | None) -> Job:
    return Job(core_seconds, ended, None)


def spending(train: list[Job]) -> pd.DataFrame:
    return spending_frame(
        BUDGET, {"tokenize": [done(20.0, 1100.0)], "train": train, "average": [], "analysis": [done(60.0, 1900.0)]}
    )


@pytest.mark.parametrize(("seconds", "verdict"), [(460.0, "1.08 times"), (300.0, "0.76 times"), (600.0, "1.36 times")])
def test_the_verdict_is_that_of_the_numbers(seconds: float, verdict: str) -> None:
    """Predicted were 20, 400, 20 and 60 s: with the 80 s beside training, 500 in all."""
    found = cost(BUDGET, spending([done(seconds / 2, 1500.0), done(seconds / 2, 1600.0)]))
    assert verdict in found.sentences[0]
    assert ("within the 15" in found.sentences[0]) == (seconds == 460.0)
    assert [row.stage for row in found.rows] == ["tokenize", "train", "average", "analysis", "total"]
    assert (found.rows[1].predicted, found.rows[1].ratio) == ("7 min", f"{seconds / 400:.2f}")
    assert len(found.sentences) == 2


def test_what_is_not_known_is_said_to_be_so() -> None:
    found = cost(BUDGET, spending([done(None, None), done(1.0, 1600.0)]))
    assert "the time of 1 of 4 jobs is not known" in found.sentences[0]
    assert (found.rows[1].measured, found.rows[1].ratio) == ("not known", "")


def test_a_prediction_after_the_event_is_called_one() -> None:
    found = cost(BUDGET, spending([done(100.0, 900.0), done(100.0, 950.0)]))
    assert "2 of 4 jobs had been done before the prediction was made" in found.sentences[1]


def test_sharing_is_told() -> None:
    found = cost(BUDGET, spending([done(100.0, 1500.0)]))
    assert found.sentences[-1] == (
        "Without shared prefixes training would have taken 1.50 times as many FLOPs, by the prediction 3 min more of "
        "core time."
    )
