"""What the report says of transfer is what was planted, and it says nothing where nothing was asked."""

from __future__ import annotations

import pandas as pd
import pytest

from glidepath.report.transfer import transfer
from tests.figures import planted
from tests.figures.conftest import CASES


@pytest.fixture(scope="module")
def two_widths() -> dict[str, pd.DataFrame]:
    return CASES["two_widths"]()


def test_the_shift_is_given_with_its_interval(two_widths: dict[str, pd.DataFrame]) -> None:
    first, *_ = transfer(two_widths, "linear_zero")
    assert first.text.startswith("mup, n_layer 1, d_head 1, context 64, architecture plain: per doubling of the width")
    assert "moves by 0.00 [−0.10, 0.10]; 0 is transfer" in first.text
    (row,) = first.rows
    assert len(two_widths[row.table.removesuffix(".parquet")].query(row.filter)) == 1


def test_every_panel_of_the_check_is_put_into_words(two_widths: dict[str, pd.DataFrame]) -> None:
    _, *checks = transfer(two_widths, "linear_zero")
    assert len(checks) == 6
    words = {evidence.text.split("against ")[1].split(":")[0]: evidence.text for evidence in checks}
    sp, completep = words["width under sp"], words["depth under completep"]
    assert sp.endswith("stable: embedding; grows: attention, feed-forward, residual, logits.")
    assert completep.endswith("stable: embedding, attention, feed-forward, residual, logits.")
    for evidence in checks:
        (row,) = evidence.rows
        assert len(two_widths["coordinate_slopes"].query(row.filter)) == 5


def test_nothing_is_said_where_nothing_was_asked() -> None:
    assert list(transfer({}, "linear_zero")) == []
    assert list(transfer(planted.empty_tables(), "linear_zero")) == []
