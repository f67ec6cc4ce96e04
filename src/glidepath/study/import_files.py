"""The files that an import reads."""

from __future__ import annotations

import re
from glob import glob
from pathlib import Path

from glidepath.study.import_config import ImportConfig
from glidepath.study.import_sources import Source
from glidepath.study.section import StudyError


def log_files(config: ImportConfig, base: Path) -> list[str]:
    """Every file that the import depends on, relative to `base`: logs, what stands beside them, learning rates.

    Raises StudyError for a pattern that nothing matches.
    """
    found: dict[str, None] = {}
    for source in config.sources:
        for name in files_of(source, base):
            found[name] = None
            found.update(dict.fromkeys(beside(template, name) for template in source.beside.values()))
    for lr in (*(source.lr for source in config.sources), *(entry.lr for entry in config.runs)):
        if lr is not None and lr.kind == "table":
            found[lr.path] = None
    return list(found)


def files_of(source: Source, base: Path) -> list[str]:
    """The logs of a source, as paths relative to `base`, in the order of their names with numbers read as numbers.

    Raises StudyError for a pattern that nothing matches.
    """
    found: dict[str, None] = {}
    for pattern in source.paths:
        # Path.glob knows no pattern that is absolute.
        names = glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207
        matching = [name for name in names if (base / name).is_file()]
        if not matching:
            raise StudyError(
                f"The source {source.name}: paths has {pattern!r}, which matches no file in {base.resolve()}. Correct "
                "it; it is relative to the working directory"
            )
        found.update(dict.fromkeys(matching))
    return sorted(found, key=_natural)


def _natural(name: str) -> list[tuple[int, str, float]]:
    return [(0, "", float(part)) if part.isdigit() else (1, part, 0.0) for part in re.split(r"(\d+)", name)]


def beside(template: str, name: str) -> str:
    """Path of a file beside a log."""
    path = Path(name)
    return str(path.parent / template.replace("{stem}", path.stem))
