"""The files that the sources of a corpus name.

They are looked for while a Snakefile is parsed, and not read: that is done by `glidepath.corpus`.
"""

from __future__ import annotations

import glob
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from glidepath.study.corpus_config import Domain, Files, HuggingFace

FILE_ENDINGS = (".txt", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")


@dataclass(frozen=True)
class MatchedFile:
    """A file of a `files` source."""

    name: str
    """Path relative to `base`, or, for a glob that leaves it, to the parent of the glob's fixed directory."""
    location: Path
    declared_validation: bool


def matched_files(domain: Domain, source: Files, base: Path) -> list[MatchedFile]:
    """The files that the globs of `source` match, by name; those of `validation_paths` after those of
    `paths`.

    Raises ValueError for a glob that matches no file, a file whose ending cannot be read, a file that is
    matched for training and for validation, or a document separator without a .txt file.
    """
    training = _expand(domain, "paths", source.paths, base)
    validation = _expand(domain, "validation_paths", source.validation_paths, base)
    both = sorted(training.keys() & validation.keys())
    if both:
        raise ValueError(
            f"corpus domain '{domain.name}': file '{training[both[0]]}' is matched by source.paths and by "
            "source.validation_paths; a validation document must not be in training: narrow one of the globs"
        )
    names = [*training.values(), *validation.values()]
    if source.document_separator is not None and not any(name.endswith(".txt") for name in names):
        raise ValueError(
            f"corpus domain '{domain.name}': source.document_separator {source.document_separator!r} is "
            "given but no .txt file is matched; a separator divides .txt files only: remove the key"
        )
    return [
        MatchedFile(name, location, declared)
        for files, declared in ((training, False), (validation, True))
        for location, name in sorted(files.items(), key=lambda item: item[1])
    ]


def dataset_directory(domain: Domain, source: HuggingFace, base: Path) -> Path | None:
    """The local directory that `source.name` names, or None if it is a name on the Hub.

    Raises ValueError for a name that can only be a directory and is none, and for a revision of a directory.
    """
    directory = base / source.name
    if directory.is_dir():
        if source.revision is not None:
            raise ValueError(
                f"corpus domain '{domain.name}': source.revision '{source.revision}' is given but "
                f"source.name '{source.name}' is a directory, which has no revisions: remove the key"
            )
        return directory
    if source.name.startswith((".", "/", "~")) or source.name.count("/") > 1:
        raise ValueError(
            f"corpus domain '{domain.name}': source.name '{source.name}' is not a directory; a huggingface "
            "source is a dataset directory, relative to the working directory, or a Hub name such as "
            "'owner/dataset': correct the name"
        )
    return None


def _expand(domain: Domain, key: str, patterns: tuple[str, ...], base: Path) -> dict[Path, str]:
    """Location and name of every file that one of the patterns matches."""
    found: dict[Path, str] = {}
    for pattern in patterns:
        literal = base / pattern
        # Path.glob would refuse an absolute pattern.
        found_names = glob.glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207
        matches = [literal] if literal.is_file() else [base / name for name in found_names]
        files = [path for path in matches if path.is_file()]
        if not files:
            raise ValueError(
                f"corpus domain '{domain.name}': source.{key} '{pattern}' matches no file; globs are "
                "relative to the working directory: correct the path, or remove it"
            )
        root = _root(pattern, base)
        for path in files:
            if not path.name.endswith(FILE_ENDINGS):
                raise ValueError(
                    f"corpus domain '{domain.name}': source.{key} '{pattern}' matches '{path.name}', whose "
                    f"ending cannot be read; the endings are {', '.join(FILE_ENDINGS)}: narrow the glob or "
                    "convert the file"
                )
            absolute = Path(os.path.normpath(path.absolute()))
            found[absolute] = absolute.relative_to(root).as_posix()
    return found


def _root(pattern: str, base: Path) -> Path:
    """The directory that names start from: `base`, or the parent of the fixed directory of a pattern that
    leaves it.
    """
    inside = Path(os.path.normpath(base.absolute()))
    parts = Path(pattern).parts
    fixed_parts = itertools.takewhile(lambda part: not glob.has_magic(part), parts[:-1])
    fixed = Path(os.path.normpath(inside.joinpath(*fixed_parts)))
    return inside if fixed.is_relative_to(inside) else fixed.parent
