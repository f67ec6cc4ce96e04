"""Divides a spool, bucket by bucket, into the documents that are trained on and those that are held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glidepath.corpus.ingest import Origin
from glidepath.corpus.split import Divider, Split, training_documents_held_out
from glidepath.corpus.spool import BUCKET_BITS, HEAD, Heads, read_heads, text_path
from glidepath.study.corpus_config import Texts


@dataclass(frozen=True)
class Division:
    """What became of the documents, counted by the file they come from."""

    documents: NDArray[np.int64]
    """Shape [files, 4], by `Split`."""
    bytes: NDArray[np.int64]
    """Text of these documents, same shape [bytes]."""


def divide(corpus: Texts, origins: Sequence[Origin], directory: Path) -> Division:
    """Decide about every document of the spool in `directory` and write the two lists that tokenisation
    follows.

    Raises ValueError if a validation document is in training, or if a training domain has no training
    document.
    """
    shape = (len(origins), len(Split))
    division = Division(np.zeros(shape, np.int64), np.zeros(shape, np.int64))
    divider = Divider.of(corpus.domains)
    for bucket in range(2**BUCKET_BITS):
        heads = read_heads(directory, bucket)
        splits = divider.divide(heads)
        _refuse_leaks(heads, splits, origins)
        for split in Split:
            chosen = heads[splits == split]
            division.documents[:, split] += np.bincount(chosen["origin"], minlength=len(origins))
            # Sums of lengths stay exact in double precision up to 2⁵³ bytes.
            sums = np.bincount(chosen["origin"], weights=chosen["length"], minlength=len(origins))
            division.bytes[:, split] += sums.astype(np.int64)
        heads[splits == Split.TRAIN].tofile(_list_path(directory, Split.TRAIN, bucket))
        heads[splits == Split.VALIDATION].tofile(_list_path(directory, Split.VALIDATION, bucket))
    _require_training_documents(corpus, origins, division)
    return division


def listed(directory: Path, split: Split, bucket: int) -> Heads:
    """Training or validation documents of a bucket, in the order of hash."""
    return np.fromfile(_list_path(directory, split, bucket), dtype=HEAD)


def texts(directory: Path, bucket: int, heads: Heads) -> Iterator[bytes]:
    """The text of each of these documents."""
    with text_path(directory, bucket).open("rb") as file:
        for offset, length in zip(heads["offset"].tolist(), heads["length"].tolist(), strict=True):
            file.seek(offset)
            yield file.read(length)


def _list_path(directory: Path, split: Split, bucket: int) -> Path:
    return directory / f"{bucket:02}.{split.name.lower()}"


def _refuse_leaks(heads: Heads, splits: NDArray[np.int8], origins: Sequence[Origin]) -> None:
    leaks = training_documents_held_out(heads, splits)
    if not len(leaks):
        return
    trained = heads[leaks[0]]
    twins = (splits == Split.VALIDATION) & (heads["digest"] == trained["digest"]).all(axis=1)
    held_out = heads[twins][0]
    training_file, validation_file = origins[trained["origin"]], origins[held_out["origin"]]
    raise ValueError(
        f"a document of {trained['length']:,} bytes is in training (domain '{training_file.domain}', "
        f"'{training_file.name}') and in validation (domain '{validation_file.domain}', "
        f"'{validation_file.name}'); a validation document must not be in training, or its loss would "
        "measure memory: remove it from one of the two, or give up validation_paths (validation_split) for "
        "a validation_fraction, which is held out after de-duplication"
    )


def _require_training_documents(corpus: Texts, origins: Sequence[Origin], division: Division) -> None:
    for domain in corpus.domains:
        rows = [row for row, origin in enumerate(origins) if origin.domain == domain.name]
        counts = dict(
            zip(
                (split.name.lower() for split in Split),
                division.documents[rows].sum(axis=0).tolist(),
                strict=True,
            )
        )
        if domain.use == "training" and not counts["train"]:
            raise ValueError(
                f"corpus domain '{domain.name}': no document is left to train on; of its documents "
                f"{counts['validation']} are held out (validation_fraction {domain.validation_fraction}), "
                f"{counts['duplicate']} are duplicates and {counts['unused']} are beyond max_bytes "
                f"{domain.max_bytes}: give more or smaller documents (document_separator divides a .txt "
                "file), a validation set of your own, or a larger max_bytes"
            )
