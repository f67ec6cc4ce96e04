"""The token store: a directory of memory-mapped tokens, their tokenizer, and a manifest of where they come
from.

    train.bin               training tokens; a document, its end, the next document, in the order of hash
    train_documents.npy     starts of the documents in train.bin, and its length [tokens]
    validation-<domain>.bin `validation_tokens` + 1 tokens: inputs are all but the last, targets all but the
    first tokenizer.json files.parquet           a row per file that was read manifest.json           counts,
    hashes, versions and the configuration
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from glidepath.corpus.split import Split
from glidepath.study.corpus_identity import CORPUS_VERSION

if TYPE_CHECKING:
    # Every training job reads a store; few write one.
    from glidepath.corpus.divide import Division
    from glidepath.corpus.ingest import Origin

Tokens = NDArray[np.uint16] | NDArray[np.uint32]

TRAIN = "train.bin"
TRAIN_DOCUMENTS = "train_documents.npy"
TOKENIZER = "tokenizer.json"
FILES = "files.parquet"
MANIFEST = "manifest.json"

FILES_SCHEMA = pa.schema(
    [
        pa.field("domain", pa.string(), False, {"meaning": "domain of the corpus"}),
        pa.field("path", pa.string(), False, {"meaning": "path relative to the root of its source"}),
        pa.field("bytes", pa.int64(), False, {"meaning": "size of the file", "unit": "bytes"}),
        pa.field("sha256", pa.string(), False, {"meaning": "SHA-256 of the file"}),
        pa.field("split", pa.string(), False, {"meaning": "train, validation, duplicate, unused or mixed"}),
        pa.field("reason", pa.string(), False, {"meaning": "why a file is unused"}),
        *(pa.field(f"{split.name.lower()}_documents", pa.int64(), False, {"unit": "documents"}) for split in Split),
        pa.field("empty_documents", pa.int64(), False, {"unit": "documents"}),
        pa.field("licence", pa.string(), False, {"meaning": "licence as declared by the source"}),
    ]
)


def validation_name(domain: str) -> str:
    """File name of the evaluated tokens of a domain."""
    return f"validation-{domain}.bin"


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smaller of uint16 and uint32 that holds every id below `vocab_size`, little-endian.

    Raises ValueError if neither does.
    """
    for dtype in (np.dtype("<u2"), np.dtype("<u4")):
        if vocab_size - 1 <= np.iinfo(dtype).max:
            return dtype
    raise ValueError(
        f"corpus.tokenizer has token ids up to {vocab_size - 1:,}; tokens are stored in at most 32 bits, "
        f"which hold ids up to {np.iinfo(np.uint32).max:,}: choose a tokenizer with a smaller vocabulary"
    )


@dataclass(frozen=True)
class TokenStore:
    """Reader of a token store. Arrays are memory-mapped and read-only."""

    directory: Path
    manifest: dict[str, Any]
    """Content of manifest.json."""
    train: Tokens
    """All training tokens, none of a corpus for evaluation alone; any prefix is a fair sample of the documents."""
    train_documents: NDArray[np.int64]
    """Where each training document starts, and where the last one ends [tokens]; shape [documents + 1]."""

    @classmethod
    def open(cls, directory: Path) -> TokenStore:
        """The store in `directory`.

        Raises ValueError if it is none, was written by another version, or has files of other sizes than it
        says.
        """
        manifest = _read_manifest(directory)
        for name, expected in manifest["files"].items():
            path = directory / name
            size = path.stat().st_size if path.is_file() else None
            if size != expected["bytes"]:
                found = "is missing" if size is None else f"has {size:,} bytes"
                raise ValueError(
                    f"token store '{directory.name}': {name} {found} where {MANIFEST} says "
                    f"{expected['bytes']:,} bytes; the files must be those that were written together: "
                    "delete the directory and tokenize again"
                )
        return cls(
            directory,
            manifest,
            _mapped(directory / TRAIN, np.dtype(manifest["dtype"])),
            np.load(directory / TRAIN_DOCUMENTS, mmap_mode="r"),
        )

    @property
    def domains(self) -> list[str]:
        """Names of the domains; the validation loss of the first one selects."""
        return list(self.manifest["domains"])

    @property
    def vocab_size(self) -> int:
        """Largest token id plus one: rows of the embedding."""
        return int(self.manifest["vocab_size"])

    @property
    def end_of_document(self) -> int:
        """Id of the token that ends every document."""
        return int(self.manifest["end_of_document"])

    @property
    def n_train_tokens(self) -> int:
        """Training tokens, ends of documents included."""
        return len(self.train)

    def validation(self, domain: str) -> Tokens:
        """The `validation_tokens` + 1 tokens of a domain: inputs are all but the last, targets all but the
        first.
        """
        self._domain(domain)
        return np.memmap(self.directory / validation_name(domain), np.dtype(self.manifest["dtype"]), "r")

    def bytes_per_token(self, domain: str) -> float:
        """Text per target of the validation tokens [bytes/token]."""
        return float(self._domain(domain)["bytes_per_token"])

    def bits_per_byte(self, domain: str, nats_per_token: float) -> float:
        """Loss that does not depend on the tokenizer: nats per token / ln 2 / bytes per token [bits/byte]."""
        return nats_per_token / math.log(2) / self.bytes_per_token(domain)

    def _domain(self, domain: str) -> dict[str, Any]:
        if domain not in self.manifest["domains"]:
            raise ValueError(
                f"token store '{self.directory.name}' has no domain '{domain}'; its domains are "
                f"{self.domains}: name one of them, or add the domain to corpus.domains"
            )
        described: dict[str, Any] = self.manifest["domains"][domain]
        return described


def write_files_table(path: Path, origins: Sequence[Origin], division: Division) -> None:
    """The table of files, see `FILES_SCHEMA`."""
    rows = [
        {
            "domain": origin.domain,
            "path": origin.name,
            "bytes": origin.bytes,
            "sha256": origin.sha256,
            "split": _split_of_file(counts),
            "reason": _reason(origin, counts),
            **{f"{split.name.lower()}_documents": counts[split] for split in Split},
            "empty_documents": origin.empty_documents,
            "licence": origin.licence,
        }
        for origin, counts in zip(origins, division.documents.tolist(), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows, FILES_SCHEMA), path, compression="zstd")


def write_manifest(directory: Path, sha256: dict[str, str], content: dict[str, Any]) -> None:
    """`content`, and the size and SHA-256 of the files that opening checks."""
    files = {name: {"bytes": (directory / name).stat().st_size, "sha256": digest} for name, digest in sha256.items()}
    written = {"corpus_version": CORPUS_VERSION, **content, "files": files}
    (directory / MANIFEST).write_text(json.dumps(written, indent=1) + "\n")


def _split_of_file(counts: Sequence[int]) -> str:
    present = [split.name.lower() for split in Split if counts[split]]
    return present[0] if len(present) == 1 else "mixed" if present else "unused"


def _reason(origin: Origin, counts: Sequence[int]) -> str:
    if not origin.decodable:
        return "not UTF-8"
    if not origin.documents:
        return "empty"
    return "beyond max_bytes" if counts[Split.UNUSED] else ""


def _mapped(path: Path, dtype: np.dtype[Any]) -> Tokens:
    """A file of tokens. Nothing can be mapped of an empty one, which text for evaluation alone has."""
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"'{directory.name}' is not a token store: {MANIFEST} cannot be read ({type(error).__name__}); a "
            "store is the directory that `python -m glidepath tokenize` writes: tokenize the corpus, or "
            "correct the path"
        ) from error
    if manifest.get("corpus_version") != CORPUS_VERSION:
        raise ValueError(
            f"token store '{directory.name}' was written by corpus version {manifest.get('corpus_version')}, "
            f"this is version {CORPUS_VERSION}; the same configuration now gives other tokens: tokenize again"
        )
    return manifest
