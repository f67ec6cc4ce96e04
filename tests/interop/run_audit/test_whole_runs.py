"""Runs that end early, evaluations that differ between runs, facts that change."""

from __future__ import annotations

import numpy as np

from glidepath.interop.run_audit.whole_runs import Evaluated, changing_facts, short_of_horizon, unequal_evaluations
from tests.interop.run_audit.arrays import floats, only


def test_a_run_that_ends_early() -> None:
    fault = only(short_of_horizon(800, 10, 1000))
    assert (fault.kind, fault.first, fault.last) == ("ends_early", 800, 1000)
    assert short_of_horizon(990, 10, 1000) == []
    assert short_of_horizon(1000, 0, 1000) == []


def evaluated(run: str, **change: object) -> Evaluated:
    whole = {"horizon": 100.0, "domains": ("web",), "n_eval_tokens": (1e6,), "first": 10.0, "last": 100.0, "count": 10}
    return Evaluated(run, **{**whole, **change})  # type: ignore[arg-type]


def test_evaluations_that_differ_between_runs() -> None:
    alike = [evaluated(name) for name in "abc"]
    assert unequal_evaluations(alike) == []
    for change, words in (
        ({"domains": ("code",)}, "evaluation sets"),
        ({"n_eval_tokens": (2e6,)}, "n_eval_tokens"),
        ({"last": 90.0}, "evaluated last"),
        ({"count": 20}, "other grids"),
    ):
        fault = only(unequal_evaluations([*alike, evaluated("odd", **change)]))
        assert fault.kind == "unequal_evaluations"
        assert words in fault.detail
    # Another length has another grid.
    assert unequal_evaluations([*alike, evaluated("long", horizon=200.0, last=200.0, count=20)]) == []


def test_facts_that_change() -> None:
    fault = only(changing_facts({"peak_lr": floats(1, 2, 2), "n_layer": floats(3, 3, np.nan)}))
    assert fault.kind == "fact_changes"
    assert "peak_lr is 1 first" in fault.detail
