"""Imports point one way: science ← study ← what `MAY_IMPORT` has between them ← stages ← service."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "glidepath"

MAY_IMPORT: dict[str, set[str]] = {
    "science": set(),
    "study": {"science"},
    "corpus": {"study", "science"},
    "training": {"study", "science"},
    "interop": {"study", "science"},
    "laws": {"study", "science"},
    "advice": {"study", "science", "laws"},
    "figures": {"study", "science", "laws"},
    "report": {"study", "science", "figures", "laws"},
    "manual": {"study"},
    "stages": {"study", "science", "corpus", "training", "interop", "laws", "advice", "figures", "report", "manual"},
    "service": {"stages", "study", "__main__"},
    "__main__": {"stages", "study"},
    "__init__": set(),
}
"""Folders of the package (or modules at its root) that a folder may import, besides itself and the version in
`glidepath` itself."""

ONLY_UNDER = {
    "torch": {"training", "interop", "stages"},
    "transformers": {"interop"},
    "matplotlib": {"figures", "stages"},
    "jinja2": {"report"},
    "tokenizers": {"corpus"},
    "datasets": {"corpus"},
}
SCIENCE_MAY_USE = {"numpy", "scipy", *sys.stdlib_module_names}


@dataclass(frozen=True)
class Import:
    """One import statement's target, wherever in the file it stands."""

    place: str
    folder: str
    target: str

    @property
    def root(self) -> str:
        return self.target.split(".")[0]

    @property
    def target_folder(self) -> str | None:
        """Folder of the package that is imported; None for another package and for `glidepath` itself."""
        parts = self.target.split(".")
        return parts[1] if self.root == "glidepath" and len(parts) > 1 else None


@cache
def all_imports() -> list[Import]:
    found: list[Import] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        folder = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                found.extend(Import(place, folder, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{place}: imports here are absolute, since provenance.py follows no others"
                assert node.module is not None
                # `from glidepath import figures` names a folder, not the package.
                names = [alias.name for alias in node.names] if node.module == "glidepath" else []
                folders = [name for name in names if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()]
                targets = [f"glidepath.{name}" for name in folders] or [node.module]
                found.extend(Import(place, folder, target) for target in targets)
    return found


def listed(wrong: list[Import]) -> list[str]:
    return [f"{one.place} imports {one.target}" for one in wrong]


def test_every_folder_has_a_rule() -> None:
    assert {one.folder for one in all_imports()} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folders_import_only_what_they_may(folder: str) -> None:
    allowed = MAY_IMPORT[folder] | {folder}
    mine = [one for one in all_imports() if one.folder == folder and one.target_folder is not None]
    assert not listed([one for one in mine if one.target_folder not in allowed])


@pytest.mark.parametrize("library", ONLY_UNDER)
def test_heavy_libraries_stay_in_their_folders(library: str) -> None:
    users = [one for one in all_imports() if one.root == library]
    assert not listed([one for one in users if one.folder not in ONLY_UNDER[library]])


def test_science_needs_numpy_and_scipy_only() -> None:
    mine = [one for one in all_imports() if one.folder == "science" and one.root != "glidepath"]
    assert not listed([one for one in mine if one.root not in SCIENCE_MAY_USE])


def test_nothing_knows_the_workflow_engine() -> None:
    assert not listed([one for one in all_imports() if one.root.startswith("snakemake")])


def parsed_by_the_snakefile() -> list[str]:
    """Modules that the rules import."""
    files = sorted((SOURCE.parent / "workflow/rules").glob("*.smk"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted({line.split()[1] for line in lines if line.startswith("from glidepath")})


def test_the_rules_import_study_only() -> None:
    modules = parsed_by_the_snakefile()
    assert len(modules) > 5
    assert all(module.startswith("glidepath.study.") for module in modules)


def test_parsing_the_snakefile_imports_nothing_heavy() -> None:
    """It happens in every job of a cluster and whenever someone asks what would run."""
    program = f"""
import importlib, sys
for module in {parsed_by_the_snakefile()!r}:
    importlib.import_module(module)
heavy = ("torch", "transformers", "pandas", "pyarrow", "matplotlib", "scipy", "tokenizers", "jinja2", "safetensors",
    "zstandard")
print([name for name in heavy if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=SOURCE)
    assert answer.stdout.strip() == "[]"
