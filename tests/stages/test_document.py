"""Generated documentation: in step with the code, and complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from glidepath.__main__ import main
from glidepath.manual.places import places_of_a_study, places_of_checkpoints, places_of_imports
from glidepath.stages.document import documents
from glidepath.study.figure_list import CHECKPOINT_FIGURES, FIGURES
from glidepath.study.tables import CHECKPOINT_TABLES, IMPORT_TABLES, LAW_TABLES, TABLES

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("name", documents())
def test_committed_files_are_what_the_code_says(name: str) -> None:
    committed = REPOSITORY / name
    assert committed.is_file(), f"{name} is missing: run `make document`"
    assert committed.read_text(encoding="utf-8") == documents()[name], f"{name} is stale: run `make document`"


def test_the_command_writes_every_document(tmp_path: Path) -> None:
    assert main(["document", "--output", str(tmp_path)]) == 0
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")} == set(documents())


def test_checking_writes_nothing_and_names_what_is_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["document", "--output", str(tmp_path), "--check"]) == 2
    assert not list(tmp_path.iterdir())
    main(["document", "--output", str(tmp_path)])
    assert main(["document", "--output", str(tmp_path), "--check"]) == 0
    (tmp_path / "docs/tables.md").write_text("edited by hand")
    capsys.readouterr()
    assert main(["document", "--output", str(tmp_path), "--check"]) == 2
    message = capsys.readouterr().err
    assert "docs/tables.md" in message
    assert "config/README.md" not in message
    assert "make document" in message


def test_every_key_is_in_the_readme_and_the_schema() -> None:
    texts = documents()
    schemas = [json.loads(texts[f"config/{kind}.schema.json"]) for kind in ("study", "checkpoints", "imports")]
    known = {key for schema in schemas for part in (schema, *schema["$defs"].values()) for key in part["properties"]}
    for place in (*places_of_a_study(), *places_of_checkpoints(), *places_of_imports()):
        for key in place.model.model_fields:
            assert f"| `{key}` |" in texts["config/README.md"]
            assert key in known


def test_every_column_is_in_the_data_dictionary() -> None:
    text = documents()["docs/tables.md"]
    for table in (
        *TABLES,
        *CHECKPOINT_TABLES,
        *IMPORT_TABLES,
        *LAW_TABLES,
        *(entry.table for entry in (*FIGURES, *CHECKPOINT_FIGURES)),
    ):
        assert f"### `{table.name}`" in text
        for column in table.columns:
            assert f"| `{column.name}` | {column.type} | {column.unit} |" in text


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_configurations_name_their_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    kinds = ("checkpoints", "imports")
    kind = next((kind for kind in kinds if kind in yaml.safe_load(text)), "study")
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={kind}.schema.json"
