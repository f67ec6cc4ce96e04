"""Small texts, and a corpus of them, tokenized."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from glidepath.corpus.store import TokenStore
from glidepath.stages import tokenize
from glidepath.study.corpus_config import CorpusConfig

WORDS = (
    "the",
    "a",
    "small",
    "river",
    "stone",
    "walks",
    "over",
    "into",
    "7",
    "42",
    "café",
    "—",
    "山",
    "don't",
    "it's",
)
PYTHON = {"name": "python", "source": {"kind": "python_environment"}, "validation_fraction": 0.05}
BPE = {"kind": "train_bpe", "vocab_size": 280}


def document(seed: int, n_words: int = 60) -> str:
    """Words in lines; every seed another text."""
    rng = np.random.default_rng(seed)
    words = [WORDS[i] for i in rng.integers(len(WORDS), size=n_words)]
    lines = [" ".join(words[i : i + 8]) for i in range(0, n_words, 8)]
    return f"Document {seed}\n" + "\n".join(lines) + "\n"


def documents(n: int, first: int = 0) -> list[str]:
    return [document(seed) for seed in range(first, first + n)]


def write_jsonl(path: Path, texts: list[str], column: str = "text") -> None:
    path.write_text("".join(json.dumps({column: text}) + "\n" for text in texts), encoding="utf-8")


def files_domain(*paths: str, **changes: Any) -> dict[str, Any]:
    """A training domain over files; keys of the source are given as `source={...}`."""
    source = {"kind": "files", "paths": list(paths), **changes.pop("source", {})}
    domain = {"name": "own", "validation_fraction": 0.3, "validation_tokens": 64, "source": source, **changes}
    return {key: value for key, value in domain.items() if value is not None}


def corpus(*domains: dict[str, Any], tokenizer: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"domains": list(domains), "tokenizer": tokenizer or BPE}


def validated(*domains: dict[str, Any], tokenizer: dict[str, Any] | None = None) -> CorpusConfig:
    return CorpusConfig.model_validate(corpus(*domains, tokenizer=tokenizer))


def tokenized(
    base: Path,
    *domains: dict[str, Any],
    tokenizer: dict[str, Any] | None = None,
    workers: int = 1,
    name: str = "store",
) -> TokenStore:
    tokenize.run(json.dumps(corpus(*domains, tokenizer=tokenizer)), base, base / name, workers)
    return TokenStore.open(base / name)


def training_texts(store: TokenStore) -> list[str]:
    """The training documents, read back from their tokens."""
    tokenizer = Tokenizer.from_file(str(store.directory / "tokenizer.json"))
    starts = store.train_documents
    assert (store.train[starts[1:] - 1] == store.end_of_document).all()
    return [
        tokenizer.decode(store.train[start : stop - 1].tolist(), skip_special_tokens=False)
        for start, stop in itertools.pairwise(starts.tolist())
    ]


def refusal(expected: type[Exception], *parts: str) -> Any:
    """`pytest.raises` for a one-paragraph message that contains all parts, in this order."""
    return pytest.raises(expected, match="(?s)" + ".*".join(re.escape(part) for part in parts))
