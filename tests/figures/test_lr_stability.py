"""Final, last finite and excluded losses stand where they belong, and the caption counts them."""

from __future__ import annotations

import math

import pandas as pd

from glidepath.figures import lr_stability, style
from glidepath.study.exclusion import with_exclusions
from tests.figures import planted


def study() -> pd.DataFrame:
    """Constant diverges at 1.6e-2; linear_zero ends 2 nat above its best at 8e-3 in one replicate."""
    runs = planted.runs(schedules=("constant", "linear_zero"), horizons=(10.0, 20.0))
    high = (runs["schedule"] == "linear_zero") & (runs["peak_lr"] == 8e-3) & (runs["replicate"] == 0)
    runs.loc[high, "val_loss"] += 2.0
    return with_exclusions(runs)


def test_diverged_cells_have_their_last_finite_loss_and_all_the_threshold() -> None:
    frame = lr_stability.data({"runs": study()})
    assert set(frame["tokens_per_parameter"]) == {20.0}
    assert (frame["divergence_loss"] == 2 * math.log(512)).all()
    diverged = frame[frame["status"] == "diverged"]
    assert set(zip(diverged["schedule"], diverged["peak_lr"], diverged["loss"], strict=True)) == {
        ("constant", 16e-3, 8.0)
    }
    excluded = frame[frame["status"] == "excluded"]
    assert set(zip(excluded["schedule"], excluded["peak_lr"], strict=True)) == {("linear_zero", 8e-3)}
    assert len(excluded) == 1


def test_marks_and_numbers() -> None:
    figure = lr_stability.draw(lr_stability.data({"runs": study()}))
    constant, linear = figure.axes
    crosses = [line for line in constant.lines if line.get_marker() == "x"]
    assert [(x, y) for line in crosses for x, y in zip(*line.get_data(), strict=True)] == [(16e-3, 8.0)] * 2
    hollow = [line for line in linear.lines if line.get_marker() == "o" and line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[8e-3]]
    # Two replicates with one spike each at 8e-3 and 16e-3, with two each where constant diverged.
    assert [text.get_text() for text in linear.texts] == ["2", "2"]
    assert [text.get_text() for text in constant.texts] == ["2", "4"]
    for ax in figure.axes:
        assert any(line.get_color() == style.ALARM and line.get_ydata()[0] == 2 * math.log(512) for line in ax.lines)
    caption = " ".join(figure.texts[-1].get_text().split())
    assert "2 diverged, 1 excluded" in caption
    assert "more than 1 nat/token above the best of their sweep" in caption


def test_a_cell_that_diverged_at_once_stands_at_the_top_edge() -> None:
    runs = study().assign(last_finite_loss=None)
    figure = lr_stability.draw(lr_stability.data({"runs": runs}))
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in crosses] == [[1.0, 1.0]]
