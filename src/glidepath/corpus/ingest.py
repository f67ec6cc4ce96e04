"""Reads every source once, into the spool, and notes where its documents come from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from glidepath.corpus.sources import SourceFile, source_files
from glidepath.corpus.spool import Spool
from glidepath.study.corpus_config import Texts


@dataclass(frozen=True)
class Origin:
    """A file as it was read."""

    domain: str
    name: str
    licence: str
    bytes: int
    """Size of the file, or, of a dataset, of its texts [bytes]."""
    sha256: str
    """Of the file, or, of a dataset, of the hashes of its documents."""
    documents: int
    """Documents with text."""
    empty_documents: int
    decodable: bool
    """False for a file that was left out since it is not UTF-8."""


def ingest(corpus: Texts, base: Path, directory: Path) -> list[Origin]:
    """Write all documents of `corpus` to a spool in `directory`; the rows that the spool refers to as
    origins.

    Raises ValueError for a source that cannot be read as configured, and for a domain without any text.
    """
    origins: list[Origin] = []
    with Spool(directory) as spool:
        for number, domain in enumerate(corpus.domains):
            before = len(origins)
            for file in source_files(domain, base):
                origins.append(_read(file, domain.name, spool, number, len(origins)))
            own = origins[before:]
            if not any(origin.documents for origin in own):
                raise ValueError(
                    f"corpus domain '{domain.name}': source of kind {domain.source.kind} has {len(own)} "
                    "files and no document with text; a domain needs at least one: check the files, or "
                    "remove the domain"
                )
    return origins


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(file: SourceFile, domain_name: str, spool: Spool, domain: int, origin: int) -> Origin:
    documents = empty = size = 0
    decodable = True
    digest = b""
    digests = hashlib.sha256()
    for document in file.documents():
        if file.skip_undecodable and not _is_utf8(document):
            decodable = False
        elif not document:
            empty += 1
        else:
            digest = spool.add(document, domain, origin, file.declared_validation)
            digests.update(digest)
            documents += 1
            size += len(document)
    sha256 = digests.hexdigest()
    if file.location is not None:
        file_size = file.location.stat().st_size
        # Most files are one document, whose hash is known.
        sha256 = digest.hex() if documents == 1 and size == file_size else sha256_of(file.location)
        size = file_size
    return Origin(domain_name, file.name, file.licence, size, sha256, documents, empty, decodable)


def _is_utf8(document: bytes) -> bool:
    try:
        document.decode()
    except UnicodeDecodeError:
        return False
    return True
