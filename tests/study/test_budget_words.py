"""The printed budget."""

from __future__ import annotations

from glidepath.study.budget_words import described
from tests.study.test_budget import budget_of


def test_the_table_is_aligned() -> None:
    first, *table = described(budget_of()).splitlines()
    assert first.startswith("good: 12 cells, ")
    assert len({len(line) for line in table}) == 1
    assert [line.split()[0] for line in table] == ["stage", "tokenize", "train", "average", "analysis", "total"]
