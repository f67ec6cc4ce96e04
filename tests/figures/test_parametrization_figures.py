"""The figures of the coordinate check and of the learning rate's transfer show what was planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath import figures
from glidepath.study import figure_list
from tests.figures import planted, planted_coordinates

Tables = dict[str, pd.DataFrame]


def frame_of(name: str, all_tables: Tables) -> pd.DataFrame:
    return figures.load(name).data({table: all_tables[table] for table in figure_list.entry(name).tables})


def lines_of(ax: Any) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    return [(np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)) for line in ax.get_lines()]


def test_a_panel_per_parametrisation_and_dimension(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("coordinate_check", tables_of("whole"))
    figure = figures.load("coordinate_check").draw(frame)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["sp", "mup", "completep"] * 2
    for ax, (varied, parametrization) in zip(
        figure.axes, [(v, p) for v in ("d_model", "n_layer") for p in ("sp", "mup", "completep")], strict=True
    ):
        sizes = np.array(planted_coordinates.WIDTHS if varied == "d_model" else planted_coordinates.DEPTHS, float)
        for place, level in planted_coordinates.LEVELS.items():
            slope = planted_coordinates.slope(varied, parametrization, place)
            # Replicates are 1 and 1.1 times the level.
            expected = level * np.sqrt(1.1) * (sizes / sizes[0]) ** slope
            assert any(len(x) == 3 and np.allclose(x, sizes) and np.allclose(y, expected) for x, y in lines_of(ax))
            words = [text.get_text() for text in ax.texts]
            assert f"{slope:+.2f} {'▲' if slope else '='}" in words


def test_only_widths_leave_one_row_of_panels(tables_of: Callable[[str], Tables]) -> None:
    tables = dict(tables_of("whole"))
    slopes = tables["coordinate_slopes"]
    tables["coordinate_slopes"] = slopes[slopes["varied"] == "d_model"]
    assert len(figures.load("coordinate_check").draw(frame_of("coordinate_check", tables)).axes) == 3


def test_a_change_of_zero_is_not_drawn_as_a_size(tables_of: Callable[[str], Tables]) -> None:
    tables = dict(tables_of("whole"))
    found = tables["coordinate_check"]
    tables["coordinate_check"] = found.assign(rms_change=found["rms_change"].where(found["place"] != "attention", 0.0))
    frame = frame_of("coordinate_check", tables)
    assert frame.loc[frame["place"] == "attention", "rms_change"].isna().all()
    figures.load("coordinate_check").draw(frame).draw_without_rendering()


def test_a_line_per_width_with_its_optimum(tables_of: Callable[[str], Tables]) -> None:
    tables = tables_of("two_widths")
    frame = frame_of("lr_transfer", tables)
    assert set(frame["size"].dropna()) == {64.0, 128.0}
    groups = list(dict.fromkeys(frame["schedule"]))
    assert groups == ["constant", "linear_zero", "wsd_sqrt"]
    figure = figures.load("lr_transfer").draw(frame)
    for ax, schedule in zip(figure.axes, groups, strict=True):
        runs = tables["runs"]
        for model in ("narrow", "wide"):
            cells = runs[(runs["model"] == model) & (runs["schedule"] == schedule) & (runs["status"] == "completed")]
            means = cells.groupby("peak_lr")["val_loss"].mean()
            assert any(len(x) == len(means) and np.allclose(y, means) for x, y in lines_of(ax))
        optimum = planted.optimum(schedule, 10.0)
        assert sum(bool(len(x) == 1 and np.isclose(x[0], optimum)) for x, _ in lines_of(ax)) == 2
        assert "shift +0.00 ± 0.06" in ax.get_title(loc="left")


def test_a_lost_learning_rate_has_no_point(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("lr_transfer", tables_of("two_widths"))
    constant = frame[frame["schedule"] == "constant"]
    assert set(constant.loc[constant["item"] == "lost", "peak_lr"]) == {planted.PEAKS[-1]}
    assert planted.PEAKS[-1] not in set(constant.loc[constant["item"] == "loss", "peak_lr"])


def test_an_excluded_replicate_takes_its_learning_rate_along(tables_of: Callable[[str], Tables]) -> None:
    """As in the law: the mean of the survivors is no point."""
    tables = dict(tables_of("two_widths"))
    runs = tables["runs"].copy()
    one = (runs["model"] == "wide") & (runs["schedule"] == "linear_zero") & (runs["peak_lr"] == planted.PEAKS[1])
    runs.loc[runs.index[one][0], "status"] = "excluded"
    tables["runs"] = runs
    frame = frame_of("lr_transfer", tables)
    at = frame[(frame["schedule"] == "linear_zero") & (frame["peak_lr"] == planted.PEAKS[1])]
    assert sorted(zip(at["item"], at["size"], strict=True)) == [("loss", 64.0), ("lost", 128.0)]
    figures.load("lr_transfer").draw(frame).draw_without_rendering()


def test_a_title_tells_what_not_all_groups_have_in_common(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("lr_transfer", tables_of("two_widths"))
    for ax in figures.load("lr_transfer").draw(frame).axes:
        assert ax.get_title(loc="left").startswith("mup, n_layer 1, ")
        assert "context" not in ax.get_title(loc="left")
        assert "architecture" not in ax.get_title(loc="left")
    tied = frame.assign(group=frame["group"].str.replace("plain", "tied"))
    titles = [ax.get_title(loc="left") for ax in figures.load("lr_transfer").draw(pd.concat([frame, tied])).axes]
    assert sum("architecture plain" in title for title in titles) == len(titles) / 2
    assert not any("context" in title for title in titles)


@pytest.mark.parametrize("name", ["coordinate_check", "lr_transfer"])
def test_a_study_has_them_where_it_asks(name: str) -> None:
    assert figure_list.entry(name).asked_for is not None
