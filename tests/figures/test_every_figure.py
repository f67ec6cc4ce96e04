"""Every figure draws from every study, from its Parquet alone, and the same bytes each time."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from glidepath import figures
from glidepath.figures import style
from glidepath.stages import figure as figure_stage
from glidepath.study import figure_list, tables
from tests.figures import planted
from tests.figures.conftest import CASES

Tables = dict[str, pd.DataFrame]
NAMES = figure_list.FIGURE_NAMES
# What remains empty in a whole study with one model and one batch, and where it does not.
NEEDS_MORE = {
    "batch_size": "two_models_three_batches",
    "lr_batch_surface": "two_models_three_batches",
    "lr_transfer": "two_widths",
}


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in [*figure.texts, *(t for ax in figure.axes for t in ax.texts)])


def frame_of(name: str, all_tables: Tables) -> pd.DataFrame:
    entry = figure_list.entry(name)
    return figures.load(name).data({table: all_tables[table] for table in entry.tables})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_draws_from_its_parquet(name: str, case: str, tables_of: Callable[[str], Tables], tmp_path: Path) -> None:
    frame = frame_of(name, tables_of(case))
    file = tmp_path / "drawn.parquet"
    tables.write(figure_list.entry(name).table, frame, file)
    read_back = tables.read(figure_list.entry(name).table, file)
    pd.testing.assert_frame_equal(frame, read_back)
    figure = figures.load(name).draw(read_back)
    with style.look():
        figure.draw_without_rendering()
    if frame.empty:
        assert "Nothing to draw" in texts(figure)
    else:
        assert "Nothing to draw" not in texts(figure)


@pytest.mark.parametrize("name", NAMES)
def test_whole_study_fills_every_figure(name: str, tables_of: Callable[[str], Tables]) -> None:
    assert len(frame_of(name, tables_of(NEEDS_MORE.get(name, "whole"))))


@pytest.mark.parametrize("name", ["lr_sweep", "averaging"])
def test_same_tables_give_same_bytes(name: str, tables_of: Callable[[str], Tables], tmp_path: Path) -> None:
    frame = frame_of(name, tables_of("one_cell_each"))
    for prefix in ("first", "second"):
        style.save(figures.load(name).draw(frame), tmp_path / prefix)
    for ending in ("svg", "pdf"):
        assert (tmp_path / f"first.{ending}").read_bytes() == (tmp_path / f"second.{ending}").read_bytes()


def test_stage_writes_three_files(tables_of: Callable[[str], Tables], tmp_path: Path) -> None:
    entry = figure_list.entry("size")
    for name in entry.tables:
        tables.write(figure_list.table_schema(name), tables_of("whole")[name], figure_list.table_path(name, tmp_path))
    parser = ArgumentParser()
    figure_stage.add_arguments(parser)
    prefix = tmp_path / "figures" / "size"
    figure_stage.main(parser.parse_args(["--name", "size", "--results", str(tmp_path), "--output-prefix", str(prefix)]))
    assert sorted(path.suffix for path in prefix.parent.iterdir()) == [".parquet", ".pdf", ".svg"]
    svg = prefix.with_suffix(".svg").read_text()
    assert "validation loss [nat/token]" in svg, "text must stay text, so that it can be searched"
    assert "dc:date" not in svg


def test_list_is_known_without_matplotlib() -> None:
    """The Snakefile reads the list whenever it is parsed, which must not pay for a drawing library."""
    program = "import sys, glidepath.figures, glidepath.study.figure_list; print('matplotlib' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_unknown_figure_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match="choose one of schedules, update_coefficients"):
        figure_list.entry("pie_chart")


def test_every_figure_has_a_module_with_the_same_title_and_a_caption() -> None:
    for entry in figure_list.FIGURES:
        assert entry.title == figures.load(entry.name).TITLE  # type: ignore[attr-defined]
        assert len(entry.table.meaning.split()) > 5


def test_planted_tables_follow_the_schemas(tmp_path: Path) -> None:
    """Or all other tests here would test something else."""
    for name, frame in planted.study_tables(planted.runs(horizons=(10.0,), replicates=1)).items():
        tables.write(figure_list.table_schema(name), frame, tmp_path / f"{name}.parquet")
