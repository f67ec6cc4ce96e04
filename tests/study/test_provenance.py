"""A stage's digest sees what its code means and what it imports, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from glidepath.study import provenance
from glidepath.study.provenance import source_digest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of a stage, what it imports directly, in a function and through another, and a stranger."""
    root = tmp_path / "toy"
    files = {
        "__init__.py": "",
        "stages/__init__.py": "",
        "stages/fit.py": "from toy.science.laws import law\n\n\ndef main():\n    from toy import text\n    law(text)\n",
        "science/__init__.py": "",
        "science/laws.py": '"""Laws."""\n\nimport toy.science.base\n\n\ndef law(x):\n    return x + 1\n',
        "science/base.py": "BASE = 1\n",
        "text/__init__.py": "",
        "text/page.j2": "<p>",
        "stranger.py": "X = 1\n",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def digest(package: Path) -> str:
    provenance._read.cache_clear()
    return source_digest("toy.stages.fit", package)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("science/laws.py", "return x + 1\n", "return x + 1  # a remark\n"),
        ("science/laws.py", '"""Laws."""', '"""The laws, better said."""'),
        ("science/laws.py", "def law(x):\n", 'def law(x):\n    """Add one."""\n'),
        ("science/laws.py", "return x + 1", "return (x +\n        1)"),
        ("science/base.py", "BASE = 1", 'BASE = 1\n"""What it is."""'),
        ("stranger.py", "X = 1", "X = 2"),
    ],
)
def test_words_layout_and_strangers_do_not_count(package: Path, name: str, old: str, new: str) -> None:
    before = digest(package)
    edit(package / name, old, new)
    assert digest(package) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stages/fit.py", "law(text)", "law(law(text))"),
        ("science/laws.py", "x + 1", "x + 2"),
        ("science/base.py", "BASE = 1", "BASE = 2"),
        ("science/__init__.py", "", "X = 1\n"),
        ("text/__init__.py", "", "X = 1\n"),
        ("text/page.j2", "<p>", "<p class='a'>"),
    ],
)
def test_code_and_templates_count_wherever_they_are_imported(package: Path, name: str, old: str, new: str) -> None:
    before = digest(package)
    edit(package / name, old, new)
    assert digest(package) != before


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_module_that_does_not_exist_is_refused(package: Path) -> None:
    with pytest.raises(ValueError, match=r"toy\.stages\.absent is no module of toy"):
        source_digest("toy.stages.absent", package)


def test_the_digest_of_a_real_stage() -> None:
    assert re.fullmatch("[0-9a-f]{12}", source_digest("glidepath.stages.collect"))
    assert source_digest("glidepath.stages.collect") != source_digest("glidepath.stages.plan")


def test_versions_are_plain_data() -> None:
    assert {"python", "glidepath", "torch"} <= set(json.loads(json.dumps(provenance.versions())))
