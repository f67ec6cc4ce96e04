"""A copy of the project in which the smoke study is run once, for real, for all tests of the workflow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
COPIED = (
    "Snakefile",
    "workflow",
    "config",
    "profiles",
    "examples",
    "src",
    "tests",
    "pyproject.toml",
    "requirements.lock",
    "Makefile",
    "README.md",
)


@dataclass(frozen=True)
class Workplace:
    """A copy of the project, with its own store and results."""

    root: Path

    def snakemake(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run snakemake on the smoke study, or on the one that the arguments name."""
        study = () if "--configfile" in arguments else ("--configfile", "config/smoke.yaml")
        command = [sys.executable, "-m", "snakemake", *study, "--cores", "2", *arguments]
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, "XDG_CACHE_HOME": str(self.root / ".cache"), **environment},
            capture_output=True,
            text=True,
            timeout=500,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
        return done

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs by rule that a dry run plans; empty when there is nothing to be done."""
        done = self.snakemake("--dry-run", *arguments)
        text = done.stdout + done.stderr
        if "Nothing to be done" in text:
            return {}
        table = re.search(r"Job stats:\n(.*?)\n\n", text, re.DOTALL)
        assert table, text
        rows = [line.split() for line in table[1].splitlines()[2:]]
        return {name: int(count) for name, count in rows if name != "total"}

    def study(self, name: str, **changes: object) -> str:
        """Write the smoke study with some top-level keys changed; returns the path for --configfile."""
        data = yaml.safe_load((self.root / "config/smoke.yaml").read_text()) | changes
        path = self.root / f"config/{name}.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return str(path.relative_to(self.root))

    def copy(self, to: Path) -> Workplace:
        """A copy with everything computed so far; times are kept, as the engine looks at them."""
        shutil.copytree(self.root, to, symlinks=True)
        return Workplace(to)


def copy_of_project(to: Path) -> Workplace:
    to.mkdir(parents=True)
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.exists():
            shutil.copy2(source, to / name)
    return Workplace(to)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The smoke study, run to its end."""
    workplace = copy_of_project(tmp_path_factory.mktemp("workflow") / "project")
    workplace.snakemake()
    return workplace


@pytest.fixture
def untouched(tmp_path: Path) -> Workplace:
    """A copy of the project in which nothing has run."""
    return copy_of_project(tmp_path / "project")
