"""Which cells stand for their schedules, and that the drawn weights are those of the definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glidepath import figures
from glidepath.figures import update_coefficients as figure
from tests.figures import planted

STEPS = 1953


def whole_record(schedules: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Tables of a small study in which every update of one horizon is logged."""
    runs = planted.runs(schedules=schedules, horizons=(10.0,), replicates=1)
    return planted.study_tables(runs) | {"updates": planted.updates(runs[runs["peak_lr"] == 2e-3], every=1)}


def test_weights_are_the_product_of_what_later_updates_leave() -> None:
    """By the definition, for the hidden matrices: α = lr/2 · 0.1·2, c_i = α_i·Π_{j>i}(1 - α_j)."""
    tables = whole_record(("constant", "linear_zero"))
    frame = figures.load("update_coefficients").data(tables)
    assert frame["schedule"].unique().tolist() == ["constant", "linear_zero"]
    assert frame.groupby("schedule").size().tolist() == [figure.MOST_POINTS] * 2
    runs = tables["runs"].set_index("cell_id")
    for cell_id, rows in frame.groupby("cell_id"):
        lr = planted.lr_array(runs.loc[str(cell_id)])
        alpha = lr / 2 * 0.2
        for _, row in rows.iloc[::50].iterrows():
            i = int(row["step"])
            assert row["lr"] == lr[i] / 2
            weight = alpha[i] * np.prod(1 - alpha[i + 1 :])
            assert row["log10_coefficient"] == pytest.approx(np.log10(weight), rel=1e-9)
        assert rows["step"].iloc[[0, -1]].tolist() == [0, STEPS - 1]


def test_a_study_with_many_schedules_gets_a_row_of_panels_per_family() -> None:
    frame = figures.load("update_coefficients").data(whole_record(tuple(planted.SCHEDULES)))
    together = figure.draw(frame)
    assert len(together.axes) == 2
    more = [frame.assign(schedule=frame["schedule"] + suffix) for suffix in ("", "_again")]
    apart = figure.draw(pd.concat(more))
    titles = [ax.get_title(loc="left") for ax in apart.axes[::2]]
    assert titles == ["constant", "cosine", "linear", "wsd"]
    for left, right in zip(apart.axes[::2], apart.axes[1::2], strict=True):
        assert (
            len(left.lines)
            == len(right.lines)
            == 2 * frame.loc[frame["schedule_kind"] == left.get_title(loc="left"), "schedule"].nunique()
        )
        assert right.get_yscale() == "log"


def test_cells_without_weight_decay_are_not_drawn_as_averages() -> None:
    tables = whole_record(("constant",))
    tables["ema_view"] = tables["ema_view"].assign(status="no weight decay")
    frame = figures.load("update_coefficients").data(tables)
    assert frame.empty
    words = " ".join(text.get_text() for text in figure.draw(frame).axes[0].texts)
    assert "Without weight decay" in words
