"""Text to tokens: reads the corpus a study names and writes its token store (see `corpus.store`)."""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from glidepath.corpus import store
from glidepath.corpus.divide import Division, divide
from glidepath.corpus.ingest import Origin, ingest, sha256_of
from glidepath.corpus.split import Split
from glidepath.corpus.tokenize import (
    TrainTokens,
    ValidationTokens,
    training_texts,
    validation_tokens,
    write_training_tokens,
)
from glidepath.corpus.tokenizer import Encoder, obtain
from glidepath.study.corpus_config import CorpusConfig, Domain, Texts, ValidationCorpus

log = logging.getLogger(__name__)


def run(corpus_json: str, base: Path, output: Path, workers: int) -> None:
    """Write the token store of the corpus to the directory `output`, by one rename once it is complete.

    `corpus_json` is the JSON of the section `corpus:`, `base` the directory that its relative paths start
    from, `workers` the number of encoding processes, which changes no byte of the output. A copy of the text
    that is read lies beside `output` while this runs.

    Raises ValueError for text or a tokenizer that is not as configured, for a validation document that is
    also in training, for too few validation tokens, and for an `output` that holds something else than a
    token store.
    """
    if workers < 1:
        raise ValueError(f"--workers {workers} cannot encode; it must be at least 1: give the number of cores")
    corpus: Texts = TypeAdapter[Texts](CorpusConfig | ValidationCorpus).validate_json(corpus_json)
    _refuse_foreign_output(output)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    spool = partial / "spool"
    spool.mkdir(parents=True)
    try:
        _write_store(corpus, base, spool, partial, workers)
        shutil.rmtree(spool)
        shutil.rmtree(output, ignore_errors=True)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `python -m glidepath tokenize`."""
    parser.add_argument("--corpus", required=True, metavar="JSON", help="the section `corpus:` as JSON")
    parser.add_argument("--base", required=True, type=Path, help="directory that relative paths start from")
    parser.add_argument("--output", required=True, type=Path, help="directory of the token store")
    parser.add_argument("--workers", required=True, type=int, help="encoding processes [cores]")


def main(args: argparse.Namespace) -> None:
    """Run the stage as the command line asks."""
    # Read once, by the threads that train a tokenizer, when these first start.
    os.environ["RAYON_NUM_THREADS"] = str(args.workers)
    run(args.corpus, args.base, args.output, args.workers)


def _write_store(corpus: Texts, base: Path, spool: Path, directory: Path, workers: int) -> None:
    """The story: read, divide, tokenize, describe. What can fail comes before what takes long."""
    origins = ingest(corpus, base, spool)
    log.info("read %d files, %d bytes", len(origins), sum(origin.bytes for origin in origins))
    division = divide(corpus, origins, spool)
    encoder = obtain(corpus, base, training_texts(spool), directory / store.TOKENIZER)
    dtype = store.token_dtype(encoder.vocab_size)
    log.info("tokenizer of %d tokens, stored as %s", encoder.vocab_size, dtype.name)
    sha256: dict[str, str] = {}
    evaluated = [_evaluated(spool, encoder, number, domain) for number, domain in enumerate(corpus.domains)]
    for domain, tokens in zip(corpus.domains, evaluated, strict=True):
        path = directory / store.validation_name(domain.name)
        tokens.ids.astype(dtype).tofile(path)
        sha256[path.name] = sha256_of(path)
    train = write_training_tokens(
        spool,
        directory / store.TOKENIZER,
        encoder,
        dtype,
        directory / store.TRAIN,
        directory / store.TRAIN_DOCUMENTS,
        workers,
    )
    log.info("wrote %d training tokens", sum(train.tokens_by_domain.values()))
    sha256[store.TRAIN] = train.sha256
    sha256 |= {name: sha256_of(directory / name) for name in (store.TRAIN_DOCUMENTS, store.TOKENIZER)}
    store.write_files_table(directory / store.FILES, origins, division)
    store.write_manifest(
        directory,
        sha256,
        {
            "dtype": dtype.str,
            "vocab_size": encoder.vocab_size,
            "end_of_document": encoder.end_of_document,
            "n_train_tokens": sum(train.tokens_by_domain.values()),
            "domains": {
                domain.name: _described(number, domain, origins, division, evaluated[number], train)
                for number, domain in enumerate(corpus.domains)
            },
            "corpus": corpus.model_dump(mode="json"),
            "versions": {
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in ("glidepath", "numpy", "tokenizers")},
            },
        },
    )


def _evaluated(spool: Path, encoder: Encoder, number: int, domain: Domain) -> ValidationTokens:
    tokens = validation_tokens(spool, encoder, number, domain.validation_tokens)
    if isinstance(tokens, int):
        remedy = (
            "give more text"
            if domain.validation_fraction is None
            else f"raise validation_fraction, now {domain.validation_fraction}, or give more text"
        )
        raise ValueError(
            f"corpus domain '{domain.name}': validation_tokens {domain.validation_tokens:,} need one token "
            f"more than that, for inputs and shifted targets, but the held-out documents have {tokens:,}: "
            f"lower validation_tokens, {remedy}, or raise max_bytes, now {domain.max_bytes}"
        )
    return tokens


def _described(
    number: int,
    domain: Domain,
    origins: Sequence[Origin],
    division: Division,
    evaluated: ValidationTokens,
    train: TrainTokens,
) -> dict[str, Any]:
    """What the manifest says about a domain."""
    rows = [row for row, origin in enumerate(origins) if origin.domain == domain.name]
    own = [origins[row] for row in rows]

    def by_split(counts: NDArray[np.int64]) -> dict[str, int]:
        return {split.name.lower(): int(counts[rows, split].sum()) for split in Split}

    return {
        "use": domain.use,
        "licences": sorted({origin.licence for origin in own}),
        "files": len(own),
        "files_not_utf8": sum(not origin.decodable for origin in own),
        "empty_documents": sum(origin.empty_documents for origin in own),
        "documents": by_split(division.documents),
        "bytes": by_split(division.bytes),
        "train_tokens": train.tokens_by_domain.get(number, 0),
        "validation_tokens": domain.validation_tokens,
        "validation_documents_evaluated": evaluated.documents,
        "validation_target_bytes": evaluated.target_bytes,
        "bytes_per_token": evaluated.target_bytes / domain.validation_tokens,
    }


def _refuse_foreign_output(output: Path) -> None:
    """An existing output is replaced only if it is empty or a token store."""
    if output.exists() and not (output / store.MANIFEST).is_file() and any(output.iterdir()):
        raise ValueError(
            f"--output '{output}' holds files but no {store.MANIFEST}, so it is not a token store and is not "
            "replaced: choose another directory, or empty this one"
        )
