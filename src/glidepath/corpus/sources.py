"""The documents of each kind of source, streamed: one document and one read buffer in memory."""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import json
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from glidepath.study.corpus_config import CHeaders, Domain, Files, HuggingFace, PythonEnvironment
from glidepath.study.corpus_files import MatchedFile, dataset_directory, matched_files
from glidepath.study.corpus_identity import RUNTIME_PACKAGES, runtime_version

MAX_DOCUMENT_BYTES = 256 * 2**20
"""A document is read whole, hashed and held out or trained on whole, so its size bounds the memory [bytes].
"""

READ_BYTES = 2**20
PARQUET_ROWS = 256

STDLIB_LEFT_OUT = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "distutils", "ensurepip"}
    | {"site-packages", "dist-packages", "__pycache__"}
)
"""Directories that some distributions of Python ship apart or not at all: with them, equal versions would not
be equal text. For the same reason the headers of Python itself are not part of `c_headers`.
"""

USERS_OWN = "the user's own text; its licence is not known to glidepath"


@dataclass(frozen=True)
class SourceFile:
    """A file, or a split of a dataset, and how to read its documents."""

    name: str
    """Path relative to its root, never an absolute path of the machine."""
    licence: str
    location: Path | None
    """None for a dataset, which is no single file."""
    declared_validation: bool
    """Whether all its documents are validation documents because the user says so."""
    skip_undecodable: bool
    """Whether a file that is not UTF-8 is left out and counted; a file that the user names is refused
    instead.
    """
    documents: Callable[[], Iterator[bytes]]
    """The documents in order, as bytes; those of the user's own files are checked to be UTF-8."""


def source_files(domain: Domain, base: Path) -> Iterator[SourceFile]:
    """The files of a domain in a fixed order; `base` is the directory that relative paths start from.

    Raises ValueError, here or while documents are read, for text that is not as the configuration says.
    """
    match domain.source:
        case PythonEnvironment():
            yield from _standard_library(domain)
            yield from _package_files(domain, (".py",))
        case CHeaders():
            yield from _package_files(domain, (".h", ".hpp", ".cuh"))
        case Files():
            yield from _users_files(domain, domain.source, base)
        case HuggingFace():
            yield from _dataset_splits(domain, domain.source, base)


def _standard_library(domain: Domain) -> Iterator[SourceFile]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        # `_sysconfigdata` and `config-*` record how and where this Python was built.
        built = any(part.startswith(("_sysconfigdata", "config-")) for part in inside.parts)
        if not built and STDLIB_LEFT_OUT.isdisjoint(inside.parts):
            yield _environment_file(domain, f"stdlib/{inside.as_posix()}", "PSF-2.0", path)


def _package_files(domain: Domain, endings: tuple[str, ...]) -> Iterator[SourceFile]:
    for package in RUNTIME_PACKAGES:
        runtime_version(package)
        distribution = importlib.metadata.distribution(package)
        if distribution.files is None:
            raise ValueError(
                f"corpus domain '{domain.name}': the package '{package}' was installed without the list of "
                f"its files (RECORD), which kind {domain.source.kind} reads; install it with pip, or use a "
                "files source"
            )
        licence = _licence(distribution)
        for file in sorted(distribution.files, key=str):
            path = Path(str(distribution.locate_file(file)))
            if file.suffix in endings and ".." not in file.parts and path.is_file():
                yield _environment_file(domain, file.as_posix(), licence, path)


def _environment_file(domain: Domain, name: str, licence: str, path: Path) -> SourceFile:
    return SourceFile(
        name=name,
        licence=licence,
        location=path,
        declared_validation=domain.use == "validation",
        skip_undecodable=True,
        documents=lambda: iter((path.read_bytes(),)),
    )


def _licence(distribution: importlib.metadata.Distribution) -> str:
    """The licence a package declares: an SPDX expression, one line, or its classifiers."""
    metadata = distribution.metadata
    for key in ("License-Expression", "License"):
        expression = str(metadata[key]) if key in metadata else ""
        if expression and "\n" not in expression:
            return expression
    classifiers = metadata.get_all("Classifier") or []
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::")]
    return ", ".join(named) or "see the licence file of the package"


def _users_files(domain: Domain, source: Files, base: Path) -> Iterator[SourceFile]:
    for file in matched_files(domain, source, base):
        yield SourceFile(
            name=file.name,
            licence=USERS_OWN,
            location=file.location,
            declared_validation=domain.use == "validation" or file.declared_validation,
            skip_undecodable=False,
            documents=partial(_documents_of, domain, source, file),
        )


def _documents_of(domain: Domain, source: Files, file: MatchedFile) -> Iterator[bytes]:
    where = f"corpus domain '{domain.name}': file '{file.name}'"
    if file.name.endswith(".parquet"):
        yield from _parquet(where, file.location, source.text_column)
    elif file.name.endswith(".txt"):
        yield from _plain_text(where, file.location, source.document_separator)
    else:
        with _opened(file.location) as stream:
            yield from _json_lines(where, stream, source.text_column)


def _plain_text(where: str, path: Path, separator: str | None) -> Iterator[bytes]:
    """A file as one document, or the texts between separators without the newlines next to these."""
    with path.open("rb") as file:
        if separator is None:
            _check_size(where, path.stat().st_size)
            yield _decodable(where, file.read())
            return
        for document in _between(where, file, separator.encode()):
            yield _decodable(where, document.strip(b"\r\n"))


def _between(where: str, file: BinaryIO, separator: bytes) -> Iterator[bytes]:
    rest = bytearray()
    while block := file.read(READ_BYTES):
        # A separator may straddle two blocks, but none ends in what was already searched.
        searched = max(0, len(rest) - len(separator) + 1)
        rest += block
        start = 0
        while (found := rest.find(separator, max(start, searched))) >= 0:
            yield bytes(rest[start:found])
            start = found + len(separator)
        del rest[:start]
        _check_size(where, len(rest))
    yield bytes(rest)


def _opened(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix == ".zst":
        # Unlike `zstandard`, Arrow reads on after a frame and tells a cut file from one that ends.
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"), READ_BYTES)
    return path.open("rb")


def _json_lines(where: str, stream: BinaryIO, column: str) -> Iterator[bytes]:
    number = 0
    try:
        while line := stream.readline(MAX_DOCUMENT_BYTES + 1):
            number += 1
            _check_size(where, len(line))
            if line.strip():
                yield _text_of_line(f"{where}, line {number}", line, column)
    except (EOFError, OSError) as error:
        raise ValueError(
            f"{where} cannot be decompressed after line {number} ({error}); a compressed file must be whole: "
            "fetch or compress it again"
        ) from error


def _text_of_line(where: str, line: bytes, column: str) -> bytes:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ValueError(
            f"{where} is not JSON ({error}); every line of a .jsonl file must be one JSON object: correct the line"
        ) from error
    if not isinstance(value, dict) or column not in value:
        has = f"the keys {sorted(value)}" if isinstance(value, dict) else f"a {type(value).__name__}"
        raise ValueError(
            f"{where} has {has} but no key '{column}'; every line must be an object with the text under "
            "source.text_column: set text_column to the key that holds the text"
        )
    return _text(where, value[column], column)


def _parquet(where: str, path: Path, column: str) -> Iterator[bytes]:
    try:
        table = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{where} is not a Parquet file ({error}); its ending says it is: write it again or rename it"
        ) from error
    with table:
        names = table.schema_arrow.names
        if column not in names:
            raise ValueError(
                f"{where} has the columns {names} but no column '{column}', the value of source.text_column: "
                "set text_column to the column that holds the text"
            )
        row = 0
        for batch in table.iter_batches(batch_size=PARQUET_ROWS, columns=[column], use_threads=False):
            for value in batch.column(0):
                row += 1
                yield _text(f"{where}, row {row}", value.as_py(), column)


def _dataset_splits(domain: Domain, source: HuggingFace, base: Path) -> Iterator[SourceFile]:
    splits = [(source.split, domain.use == "validation")]
    if source.validation_split is not None:
        splits.append((source.validation_split, True))
    label = Path(source.name).name if dataset_directory(domain, source, base) else source.name
    for split, declared in splits:
        yield SourceFile(
            name="/".join(filter(None, (label, source.config, split))),
            licence=f"see the dataset card of {label}",
            location=None,
            declared_validation=declared,
            skip_undecodable=False,
            documents=partial(_rows, domain, source, split, base),
        )


def _rows(domain: Domain, source: HuggingFace, split: str, base: Path) -> Iterator[bytes]:
    """The texts of a split; with `max_bytes` the stream is read no further than that."""
    where = f"corpus domain '{domain.name}': dataset '{source.name}', split '{split}'"
    read = 0
    for number, row in enumerate(_dataset(where, domain, source, split, base), start=1):
        if source.text_column not in row:
            raise ValueError(
                f"{where} has the columns {sorted(row)} but no column '{source.text_column}', the value of "
                "source.text_column: set text_column to the column that holds the text"
            )
        document = _text(f"{where}, row {number}", row[source.text_column], source.text_column)
        read += len(document)
        if domain.max_bytes is not None and read > domain.max_bytes:
            return
        yield document


def _dataset(where: str, domain: Domain, source: HuggingFace, split: str, base: Path) -> Iterator[dict[str, object]]:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"{where} needs the library `datasets`, which is not installed; it is an extra of glidepath: "
            "pip install 'glidepath[hf]'"
        ) from error
    directory = dataset_directory(domain, source, base)
    try:
        if directory and any((directory / name).is_file() for name in ("state.json", "dataset_dict.json")):
            if source.config is not None:
                raise ValueError(f"a saved dataset has no configurations, but config is '{source.config}'")
            saved = datasets.load_from_disk(str(directory))
            if isinstance(saved, datasets.DatasetDict):
                saved = saved[split]
            elif saved.split is not None and str(saved.split) != split:
                raise KeyError(f"it was saved from the split '{saved.split}'")
            return iter(saved)
        name = str(directory) if directory else source.name
        return iter(datasets.load_dataset(name, source.config, split=split, revision=source.revision, streaming=True))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{where} cannot be opened ({type(error).__name__}: {error}); source.name, config, split and "
            "revision must name a dataset that this machine can reach: correct them, or download it and "
            "give its directory"
        ) from error


def _text(where: str, value: object, column: str) -> bytes:
    if not isinstance(value, str):
        raise ValueError(
            f"{where}: '{column}' is {value!r:.40}, a {type(value).__name__}; the text column must hold "
            "strings only: set source.text_column to another column, or remove such rows"
        )
    try:
        text = value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: '{column}' holds half of a surrogate pair ({error.reason}), which is not text; "
            "correct or remove the row"
        ) from error
    _check_size(where, len(text))
    return text


def _decodable(where: str, document: bytes) -> bytes:
    try:
        document.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} is not UTF-8: {error.reason} at byte {error.start} of a document; text files must be "
            "UTF-8: convert the file, for example with iconv, or narrow source.paths"
        ) from error
    return document


def _check_size(where: str, size: int) -> None:
    if size > MAX_DOCUMENT_BYTES:
        raise ValueError(
            f"{where} holds a document of {size:,} bytes or more; a document may have "
            f"{MAX_DOCUMENT_BYTES:,}, since it is held in memory whole: divide a .txt file by "
            "source.document_separator, or cut the document"
        )
