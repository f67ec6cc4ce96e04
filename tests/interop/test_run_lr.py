"""The learning rate of every update, from what is logged of it and from tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glidepath.interop.run_lr import LrTables, interpolated
from glidepath.study.import_sources import LrTable
from glidepath.study.section import StudyError


def test_between_logged_updates_is_a_straight_line_and_behind_them_the_last() -> None:
    found = interpolated(np.array([0, 2, 4]), np.array([0.0, 0.2, 0.1]), 7, None)
    np.testing.assert_allclose(found.lr, [0.0, 0.1, 0.2, 0.15, 0.1, 0.1, 0.1])
    assert found.held == 0


def test_before_the_first_logged_update() -> None:
    steps, lr = np.array([9, 19, 29]), np.array([0.1, 0.2, 0.3])
    # No further than two of them are apart: the line goes on.
    near = interpolated(steps, lr, 30, None)
    np.testing.assert_allclose(near.lr, 0.01 * np.arange(1, 31))
    # Further: nobody knows, and it is said.
    far = interpolated(steps + 100, lr, 130, None)
    assert far.held == 109
    assert (far.lr[:110] == 0.1).all()
    # With the warm-up's length it is known.
    known = interpolated(steps + 100, np.full(3, 0.3), 130, 60)
    assert known.held == 0
    np.testing.assert_allclose(known.lr, 0.3 * np.minimum(np.arange(1, 131) / 60, 1))


def table(path: Path, text: str, **keys: str) -> LrTable:
    path.write_text(text)
    return LrTable.model_validate({"kind": "table", "path": path.name, "of": {"run": "run"}, **keys})


def test_a_table_may_leave_out_what_lies_on_a_line(tmp_path: Path) -> None:
    one = table(tmp_path / "lr.csv", "run,step,lr\na,0,0\na,4,0.4\nb,0,1\na,5,0.1\n")
    tables = LrTables(tmp_path)
    found = tables.lr(one, {"run": "a"})
    assert found is not None
    np.testing.assert_allclose(found.lr, [0, 0.1, 0.2, 0.3, 0.4, 0.1])
    other = tables.lr(one, {"run": "b"})
    assert other is not None
    assert other.lr.tolist() == [1.0]
    assert tables.lr(one, {"run": "c"}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run,step,rate\na,0,1\n", r"lr.path lr.csv has no column 'lr'; it has run, step, rate. Name its columns"),
        ("run,step,lr\na,0,1\na,0,2\n", r"lr.path lr.csv has the update 0 of \['a'\] more than once. Name the columns"),
        ("run,step,lr\na,0,\n", r"lr.path lr.csv has rows without a step or a learning rate. Remove them"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, text: str, message: str) -> None:
    one = table(tmp_path / "lr.csv", text)
    with pytest.raises(StudyError, match=message):
        LrTables(tmp_path).lr(one, {"run": "a"})
    (tmp_path / "lr.csv").unlink()
    with pytest.raises(StudyError, match=r"lr.path lr.csv cannot be read: .*Give a CSV or Parquet file"):
        LrTables(tmp_path).lr(one, {"run": "a"})
