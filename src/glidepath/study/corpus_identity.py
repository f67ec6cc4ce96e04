"""The content address of the text that a corpus names, and the size of its vocabulary.

Both are needed while a Snakefile is parsed, so nothing here reads a corpus: files are known by name, size and
a few sampled blocks, the running environment by its versions. The text itself is read by `glidepath.corpus`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
import platform
from pathlib import Path
from typing import Any

from glidepath.study.corpus_config import Domain, Files, HuggingFace, Texts, TokenizerChoice, TokenizerFile
from glidepath.study.corpus_files import dataset_directory, matched_files
from glidepath.study.identity import digest, fingerprint

CORPUS_VERSION = 1
"""Raised by hand when the same configuration and the same text would give other tokens."""

RUNTIME_PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "torch",
    "pyarrow",
    "matplotlib",
    "pydantic",
    "jinja2",
    "snakemake",
)
"""The packages that make up the environment corpora. A fixed list, so that installing an extra changes no
corpus.
"""


def corpus_id(corpus: Texts, base: Path) -> str:
    """Content address of the tokens that `corpus` asks for; `base` is the directory relative paths start
    from.

    Files are known by name, size and sampled content, so a touched file keeps the address. An edit that keeps
    the size of a file above half a megabyte and falls between the sampled blocks goes unnoticed.

    Raises ValueError for a glob that matches nothing, an ending that cannot be read, a missing directory or
    tokenizer, or a runtime package that is not installed.
    """
    return digest(
        {
            "corpus_version": CORPUS_VERSION,
            "corpus": corpus.model_dump(mode="json"),
            "sources": [_source_identity(domain, base) for domain in corpus.domains],
            "tokenizer": _tokenizer_identity(corpus.tokenizer, base),
        }
    )


def vocab_size_of(corpus: Texts, base: Path) -> int:
    """Rows that the model's embedding needs: the largest token id plus one.

    Raises ValueError if the tokenizer file is missing or is not one.
    """
    tokenizer = corpus.tokenizer
    if not isinstance(tokenizer, TokenizerFile):
        return tokenizer.vocab_size
    content = _tokenizer_bytes(tokenizer, base)
    try:
        written = json.loads(content)
        vocabulary = written["model"]["vocab"]
        # BPE, WordPiece and WordLevel write a mapping to ids; Unigram writes a list whose places are the ids.
        ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        added = (token["id"] for token in written.get("added_tokens", ()))
        return 1 + max(int(token_id) for token_id in itertools.chain(ids, added))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"corpus.tokenizer.path '{tokenizer.path}' is not a tokenizer.json ({type(error).__name__}: "
            f"{error}); it must be a file written by the library `tokenizers`: correct the path, "
            "or write the file again with Tokenizer.save(path)"
        ) from error


def runtime_version(package: str) -> str:
    """Installed version of a runtime package without its local part (`2.13.0+cpu` is 2.13.0).

    Raises ValueError if it is not installed.
    """
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(
            f"the package '{package}' is not installed, but a corpus of kind python_environment or c_headers "
            f"is made of the files of {', '.join(RUNTIME_PACKAGES)}: install glidepath with its "
            "dependencies, or use a files source"
        ) from error


def _source_identity(domain: Domain, base: Path) -> Any:
    source = domain.source
    match source:
        case Files():
            return [
                [file.name, file.declared_validation, fingerprint(file.location)]
                for file in matched_files(domain, source, base)
            ]
        case HuggingFace():
            directory = dataset_directory(domain, source, base)
            if directory is None:
                return "hub"
            files = sorted(path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
            return [[path.relative_to(directory).as_posix(), fingerprint(path)] for path in files]
        case _:
            return [platform.python_version(), *(runtime_version(package) for package in RUNTIME_PACKAGES)]


def _tokenizer_identity(tokenizer: TokenizerChoice, base: Path) -> str | None:
    if isinstance(tokenizer, TokenizerFile):
        return hashlib.sha256(_tokenizer_bytes(tokenizer, base)).hexdigest()
    return None


def _tokenizer_bytes(tokenizer: TokenizerFile, base: Path) -> bytes:
    path = base / tokenizer.path
    if not path.is_file():
        raise ValueError(
            f"corpus.tokenizer.path '{tokenizer.path}' is not a file; it must name a tokenizer.json, "
            "relative to the working directory: correct the path, or train a tokenizer with kind: "
            "train_bpe"
        )
    return path.read_bytes()
