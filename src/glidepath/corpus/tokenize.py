"""Documents to token files: the training documents in shards and in parallel, the validation documents up to
a count.

Shards go to processes and not to the threads of `tokenizers`, whose number is an environment variable, read
once, and not an argument. A process keeps one piece of a document in memory at a time, whatever the shard;
what it writes depends on the shard alone, so the result does not depend on the number of processes.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from glidepath.corpus.divide import listed, texts
from glidepath.corpus.split import Split
from glidepath.corpus.spool import BUCKET_BITS
from glidepath.corpus.tokenizer import Encoder

SHARD_BYTES = 16 * 2**20
"""Text of one shard [bytes]: small enough that the last shards keep all processes busy."""

COPY_BYTES = 2**20

VALIDATION_DOCUMENTS = 64
"""Validation tokens come from at least so many documents, where there are so many."""


@dataclass(frozen=True)
class ValidationTokens:
    """The evaluated tokens of a domain."""

    ids: NDArray[np.uint32]
    """`validation_tokens` + 1 ids, for inputs and shifted targets."""
    documents: int
    """Documents they come from, the last of which may be cut."""
    target_bytes: int
    """Text of the targets, that is of all ids but the first [bytes]; the end of a document has none."""


@dataclass(frozen=True)
class TrainTokens:
    """What was written as training tokens."""

    tokens_by_domain: dict[int, int]
    sha256: str


def training_texts(directory: Path) -> Iterator[bytes]:
    """All training documents of the spool, in the order of hash."""
    for bucket in range(2**BUCKET_BITS):
        yield from texts(directory, bucket, listed(directory, Split.TRAIN, bucket))


def validation_tokens(directory: Path, encoder: Encoder, domain: int, count: int) -> ValidationTokens | int:
    """`count` + 1 tokens of the held-out documents of a domain, in the order of hash. If there are fewer, their number.

    A document gives at most 1/`VALIDATION_DOCUMENTS` of them, from its start; only where there are too few documents
    for that, more: the tokens of one long document resemble each other, so a loss over few documents is known less
    well than its number of tokens makes believe.
    """
    share = max(1, count // VALIDATION_DOCUMENTS)
    while True:
        found = _first_tokens(directory, encoder, domain, count, share)
        if isinstance(found, ValidationTokens) or share > count:
            return found
        share *= 4


def _first_tokens(directory: Path, encoder: Encoder, domain: int, count: int, share: int) -> ValidationTokens | int:
    """`count` + 1 tokens, at most `share` of each document; if there are fewer, their number."""
    ids: list[NDArray[np.uint32]] = []
    ends: list[NDArray[np.int64]] = []
    tokens = text = 0
    for number, document in enumerate(_validation_texts(directory, domain), start=1):
        left = share
        for piece_ids, piece_ends in encoder.encode_with_ends(document):
            ids.append(piece_ids[:left])
            ends.append(text + piece_ends[:left])
            tokens += len(ids[-1])
            left -= len(ids[-1])
            if tokens > count:
                read = np.concatenate(ends)
                evaluated = np.concatenate(ids)[: count + 1]
                return ValidationTokens(evaluated, number, int(read[count] - read[0]))
            if not left:
                break
        text = int(ends[-1][-1])
    return tokens


def write_training_tokens(
    directory: Path,
    tokenizer: Path,
    encoder: Encoder,
    dtype: np.dtype[Any],
    destination: Path,
    offsets: Path,
    workers: int,
) -> TrainTokens:
    """Encode all training documents of the spool in `directory` into the file `destination`.

    `offsets` becomes an .npy of the starts of documents, and of the end of the last [tokens]. `workers`
    processes encode, with `encoder` as it stands in the file `tokenizer`. Memory grows with their number and
    with the longest document, not with the input.
    """
    n_documents = sum(len(listed(directory, Split.TRAIN, bucket)) for bucket in range(2**BUCKET_BITS))
    tokens_by_domain: Counter[int] = Counter()
    sha256 = hashlib.sha256()
    written = 0
    with destination.open("wb") as tokens_file, offsets.open("wb") as offsets_file:
        np.lib.format.write_array_header_1_0(
            offsets_file, {"descr": "<i8", "fortran_order": False, "shape": (n_documents + 1,)}
        )
        offsets_file.write(np.zeros(1, "<i8").tobytes())
        with _mapper(_Work(directory, dtype), tokenizer, encoder, workers) as encode_all:
            for encoded in encode_all(_shards(directory, SHARD_BYTES)):
                ends = written + np.cumsum(np.fromfile(encoded.lengths, np.int64))
                offsets_file.write(ends.astype("<i8").tobytes())
                written = int(ends[-1])
                _append(encoded.tokens, tokens_file, sha256)
                encoded.lengths.unlink()
                encoded.tokens.unlink()
                tokens_by_domain.update(encoded.tokens_by_domain)
    return TrainTokens(dict(tokens_by_domain), sha256.hexdigest())


def _validation_texts(directory: Path, domain: int) -> Iterator[bytes]:
    for bucket in range(2**BUCKET_BITS):
        heads = listed(directory, Split.VALIDATION, bucket)
        yield from texts(directory, bucket, heads[heads["domain"] == domain])


def _shards(directory: Path, shard_bytes: int) -> Iterator[_Shard]:
    """The training documents in order, cut at the first document that completes `shard_bytes`."""
    for bucket in range(2**BUCKET_BITS):
        lengths = listed(directory, Split.TRAIN, bucket)["length"].astype(np.int64)
        # Equal numbers of whole shards before a document: equal shard.
        shard_of = (np.cumsum(lengths) - lengths) // shard_bytes
        starts = np.flatnonzero(np.diff(shard_of, prepend=-1))
        for start, stop in itertools.pairwise([*starts.tolist(), len(lengths)]):
            yield _Shard(bucket, start, stop)


@dataclass(frozen=True)
class _Shard:
    """Rows `start … stop-1` of the training documents of a bucket."""

    bucket: int
    start: int
    stop: int


@dataclass(frozen=True)
class _Encoded:
    """A shard once it is encoded."""

    tokens: Path
    lengths: Path
    """Tokens of each document."""
    tokens_by_domain: dict[int, int]


@dataclass(frozen=True)
class _Work:
    """What all shards have in common."""

    directory: Path
    dtype: np.dtype[Any]

    def encode(self, encoder: Encoder, shard: _Shard) -> _Encoded:
        heads = listed(self.directory, Split.TRAIN, shard.bucket)[shard.start : shard.stop]
        stem = self.directory / f"{shard.bucket:02}-{shard.start}"
        encoded = _Encoded(stem.with_suffix(".tokens"), stem.with_suffix(".lengths"), {})
        lengths = np.empty(len(heads), np.int64)
        with encoded.tokens.open("wb") as file:
            for row, document in enumerate(texts(self.directory, shard.bucket, heads)):
                lengths[row] = 0
                for ids in encoder.encode_pieces(document):
                    file.write(ids.astype(self.dtype).tobytes())
                    lengths[row] += len(ids)
        lengths.tofile(encoded.lengths)
        for domain in np.unique(heads["domain"]).tolist():
            encoded.tokens_by_domain[domain] = int(lengths[heads["domain"] == domain].sum())
        return encoded


@contextmanager
def _mapper(
    work: _Work, tokenizer: Path, encoder: Encoder, workers: int
) -> Iterator[Callable[[Iterable[_Shard]], Iterator[_Encoded]]]:
    """`map` over shards, here or in `workers` processes; results come in the order of the shards."""
    if workers == 1:
        yield functools.partial(map, functools.partial(work.encode, encoder))
        return
    end_of_document = encoder.tokenizer.id_to_token(encoder.end_of_document)
    # Spawned and not forked: the threads that trained the tokenizer do not survive a fork.
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(work, tokenizer, end_of_document),
    ) as pool:
        yield functools.partial(pool.map, _encode_in_worker)


_worker: Callable[[_Shard], _Encoded]


def _start_worker(work: _Work, tokenizer: Path, end_of_document: str | None) -> None:
    """Load the tokenizer once per process, not once per shard."""
    global _worker
    # One piece at a time leaves nothing to share among threads.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker = functools.partial(work.encode, Encoder.load(tokenizer, end_of_document))


def _encode_in_worker(shard: _Shard) -> _Encoded:
    return _worker(shard)


def _append(source: Path, destination: BinaryIO, sha256: hashlib._Hash) -> None:
    with source.open("rb") as file:
        while block := file.read(COPY_BYTES):
            sha256.update(block)
            destination.write(block)
