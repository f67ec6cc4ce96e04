"""The front of updates and tokens: what is drawn is what the tables say, and lies on one hyperbola."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from glidepath import figures
from glidepath.figures import critical_batch as figure_module
from glidepath.figures import style
from glidepath.study import tables
from tests.figures.planted_batches import sweep_tables
from tests.laws.planted_sweeps import CONTEXT, Planted

Tables = dict[str, pd.DataFrame]
FRONT = ["weights", "lr_rule", "target_loss"]


def frame_of(given: Tables) -> pd.DataFrame:
    return figures.load("critical_batch").data({"runs": tables.empty(tables.RUNS), **given})


def drawn_fronts(given: Tables, name: str) -> pd.DataFrame:
    """Rows of raw weights, and of averaged ones re-tuned."""
    table = given[name]
    return table[(table["weights"] == "raw") | (table["lr_rule"] == "re_tuned")]


def test_every_batch_that_is_there_is_a_point() -> None:
    given = sweep_tables()
    frame = frame_of(given)
    there = drawn_fronts(given, "steps_to_loss").query("status == 'reached'")
    there = there[there.groupby(FRONT)["batch_sequences"].transform("size") >= 3]
    points = frame[(frame["item"] == "batch") & (frame["status"] == "reached")]
    assert sorted(points["steps"]) == sorted(there["steps"])
    assert sorted(points["tokens"]) == sorted(there["tokens"])
    panels = points[["weights", "lr_rule"]].drop_duplicates()
    assert [tuple(panel) for panel in panels.to_numpy()] == [
        ("raw", "re_tuned"), ("window", "re_tuned"), ("raw", "none"), ("raw", "sqrt"), ("raw", "linear"),
    ]  # fmt: skip
    for _, here in points.groupby("weights"):
        assert here.groupby("rank")["target_loss"].first().is_monotonic_increasing


def test_marks_are_the_critical_batches_and_lie_on_the_curve() -> None:
    given = sweep_tables()
    frame = frame_of(given)
    critical = drawn_fronts(given, "critical_batch")
    for definition in ("step_data_tradeoff", "fixed_overhead_20pct"):
        marks = frame[frame["item"] == definition].merge(critical[critical["definition"] == definition], on=FRONT)
        assert len(marks) == 13
        np.testing.assert_allclose(marks["batch_sequences"], marks["critical_batch_sequences"])
        np.testing.assert_allclose(marks["batch_low"], marks["critical_batch_sequences_ci_low"])
        np.testing.assert_allclose(marks["batch_high"], marks["critical_batch_sequences_ci_high"])
    once = critical.drop_duplicates(FRONT)
    noise = frame[frame["item"] == "noise_scale"].merge(once, on=FRONT)
    np.testing.assert_allclose(noise["batch_sequences"] * CONTEXT, noise["noise_scale_total_tokens"])
    on_curve = frame[frame["item"].isin(("fit", "step_data_tradeoff", "fixed_overhead_20pct", "noise_scale"))]
    on_curve = on_curve.merge(once, on=FRONT)
    expected = on_curve["steps_min"] + on_curve["examples_min"] / on_curve["batch_sequences"]
    np.testing.assert_allclose(on_curve["steps"], expected)
    np.testing.assert_allclose(on_curve["tokens"], expected * on_curve["batch_sequences"] * CONTEXT)


def test_what_is_not_identified_is_dashed_and_an_edge_hollow() -> None:
    study = Planted(factors=(0.25, 0.5, 1.0, 2.0), lr_exponent=1.0)
    frame = frame_of(sweep_tables(study, (2.9,)))
    figure = figures.load("critical_batch").draw(frame)
    panels = {ax.get_title(loc="left"): ax for ax in figure.axes if ax.get_visible()}
    for rule in ("re_tuned", "sqrt", "linear"):
        ax = panels[figure_module.RULES[rule]]
        here = frame[(frame["lr_rule"] == rule) & (frame["weights"] == "raw")]
        (curve,) = [line for line in ax.get_lines() if len(np.asarray(line.get_xdata())) == figure_module.FIT_POINTS]
        converged = (here.loc[here["item"] == "fit", "status"] == "converged").all()
        assert (curve.get_linestyle() == "-") == converged
        hollow = [line for line in ax.get_lines() if line.get_marker() == "o" and to_hex(line.get_mfc()) == "#ffffff"]
        assert len(hollow) == int((here["edge_of_grid"] & here["steps"].notna()).sum())
    assert not (frame["status"] == "converged").all()
    assert frame["edge_of_grid"].any()


def test_batches_without_a_point_are_named_in_the_note() -> None:
    frame = frame_of(sweep_tables(Planted(), (2.9,)))
    figure = figures.load("critical_batch").draw(frame)
    assert "Batches 64 have no point" in " ".join(" ".join(t.get_text().split()) for t in figure.texts)


def test_of_equal_sweeps_the_largest_is_drawn() -> None:
    given = {name: pd.concat([t.assign(model="large"), t]) for name, t in sweep_tables().items()}
    runs = pd.DataFrame({"model": ["tiny", "large"], "n_params_total": [1, 2]})
    frame = figures.load("critical_batch").data({"runs": runs, **given})
    assert set(frame["model"]) == {"large"}


def test_of_averages_the_one_of_lowest_loss_is_drawn() -> None:
    """A worse one: all its targets lie higher. Without raw weights its panel stands alone."""
    given = {}
    for name, table in sweep_tables().items():
        worse = table[table["weights"] == "window"].assign(weights="worse")
        given[name] = pd.concat([worse.assign(target_loss=worse["target_loss"] + 0.1), table])
    assert set(frame_of(given)["weights"]) == {"raw", "window"}
    averaged = {name: t[t["weights"] != "raw"] for name, t in given.items()}
    alone = frame_of(averaged)
    assert set(alone["weights"]) == {"window"}
    assert set(alone["lr_rule"]) == {"re_tuned"}


@pytest.mark.parametrize("ratio", [0.0, np.inf])
def test_a_bound_has_a_curve_and_no_mark(ratio: float) -> None:
    """Critical batch 0 or infinite: a straight front, and one asymptote."""
    given = sweep_tables()
    critical = given["critical_batch"].assign(
        critical_batch_sequences=ratio, critical_batch_sequences_ci_low=np.nan, critical_batch_sequences_ci_high=np.nan,
        steps_min=0.0 if ratio else 500.0, examples_min=4000.0 if ratio else 0.0, status="bound_hit",
    )  # fmt: skip
    frame = frame_of(given | {"critical_batch": critical})
    assert not frame["item"].isin(("step_data_tradeoff", "fixed_overhead_20pct")).any()
    assert ("steps_min" in set(frame["item"])) == (ratio == 0.0)
    assert ("examples_min" in set(frame["item"])) == (ratio == np.inf)
    with style.look():
        figures.load("critical_batch").draw(frame).draw_without_rendering()
