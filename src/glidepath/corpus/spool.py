"""Documents out of core, in buckets by the hash of their content.

A bucket holds the documents whose hash starts with the same bits. Buckets one after the other, each sorted,
are all documents in the order of their hash: a shuffle that depends on nothing but content. Equal documents
meet in one bucket, so that de-duplication and the check of the split need the index of one bucket in memory
and no text.
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

BUCKET_BITS = 6
"""64 buckets in two files each: below the open files that any system allows."""

WRITE_BUFFER_BYTES = 65_536

HEAD = np.dtype(
    [
        ("digest", ">u8", 4),  # SHA-256 of the document; big-endian, so that numbers sort as the digests do
        ("domain", "<u2"),
        ("declared_validation", "u1"),
        ("origin", "<u4"),  # row of the table of files
        ("offset", "<u8"),  # in the bucket's text file [bytes]
        ("length", "<u8"),  # [bytes]
    ]
)
_HEAD = struct.Struct("<32sHBIQQ")

Heads = NDArray[np.void]


class Spool:
    """Writer of the buckets under `directory`."""

    def __init__(self, directory: Path) -> None:
        self._files = ExitStack()
        self._heads = [self._open(heads_path(directory, bucket)) for bucket in range(2**BUCKET_BITS)]
        self._texts = [self._open(text_path(directory, bucket)) for bucket in range(2**BUCKET_BITS)]

    def add(self, document: bytes, domain: int, origin: int, declared_validation: bool) -> bytes:
        """Append a document to the bucket of its SHA-256, which is returned."""
        digest = hashlib.sha256(document).digest()
        bucket = digest[0] >> (8 - BUCKET_BITS)
        text = self._texts[bucket]
        self._heads[bucket].write(_HEAD.pack(digest, domain, declared_validation, origin, text.tell(), len(document)))
        text.write(document)
        return digest

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def _open(self, path: Path) -> BinaryIO:
        return self._files.enter_context(path.open("wb", buffering=WRITE_BUFFER_BYTES))


def heads_path(directory: Path, bucket: int) -> Path:
    """The index of a bucket: rows of `HEAD`."""
    return directory / f"{bucket:02}.heads"


def text_path(directory: Path, bucket: int) -> Path:
    """The text of a bucket, document after document."""
    return directory / f"{bucket:02}.text"


def read_heads(directory: Path, bucket: int) -> Heads:
    """The index of a bucket, in the order of hash; equal documents in the order in which a copy is kept."""
    heads = np.fromfile(heads_path(directory, bucket), dtype=HEAD)
    digest = heads["digest"]
    keys = (heads["offset"], heads["origin"], heads["domain"], heads["declared_validation"])
    return heads[np.lexsort((*keys, *(digest[:, word] for word in (3, 2, 1, 0))))]
