"""A tokenizer: trained here, read from a file or from the Hub; and text to token ids through it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from glidepath.study.corpus_config import Texts, TokenizerFile, TokenizerHub, TrainBPE
from glidepath.study.corpus_identity import vocab_size_of

END_OF_DOCUMENT = "<|endoftext|>"
"""Ends a document of a tokenizer trained here; its id is 0."""

USUAL_END_OF_DOCUMENT = (END_OF_DOCUMENT, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]")

PIECE_BYTES = 2**18
"""Text that is encoded at once: the encoder keeps some 100 bytes per token [bytes]."""

# Byte-level pre-tokenizers (of GPT-2, GPT-4, Llama 3, Qwen) begin a token at a letter that opens a line, so a
# document cut there has the same tokens.
_SAFE_CUT = re.compile(rb"(?<=[!-~]\n)(?=[A-Za-z])")
_CUT_WINDOW_BYTES = 2**14


@dataclass(frozen=True)
class Encoder:
    """Text to ids, document by document."""

    tokenizer: Tokenizer
    end_of_document: int
    vocab_size: int
    """Largest token id plus one."""

    @classmethod
    def load(cls, path: Path, end_of_document: str | None) -> Encoder:
        """The tokenizer of a tokenizer.json; without `end_of_document` the usual names are tried.

        Raises ValueError if the file cannot be read or no single end-of-document token is found.
        """
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # `tokenizers` raises no type of its own
            raise ValueError(
                f"corpus.tokenizer: '{path.name}' cannot be read ({error}); it must be a tokenizer.json that "
                "the installed library `tokenizers` understands: save it again with Tokenizer.save(path)"
            ) from error
        # Text is encoded as it stands and whole. A special token spelled out in a document stays text, so
        # that only the end of a document reads as one.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
        return cls(tokenizer, _end_of_document(vocabulary, end_of_document), 1 + max(vocabulary.values()))

    def encode_pieces(self, document: bytes) -> Iterator[NDArray[np.uint32]]:
        """Ids of a document, piece by piece, and of its end."""
        for piece in pieces(document):
            encoding = self.tokenizer.encode_batch_fast([piece], add_special_tokens=False)[0]
            yield np.array(encoding.ids, np.uint32)
        yield np.array([self.end_of_document], np.uint32)

    def encode_with_ends(self, document: bytes) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        """As `encode_pieces`, and how many bytes of the document are read once each token is [bytes]."""
        before = 0
        for piece in pieces(document):
            encoding = self.tokenizer.encode(piece, add_special_tokens=False)
            ends = np.array([end for _, end in encoding.offsets], np.intp)
            yield np.array(encoding.ids, np.uint32), before + _bytes_before(piece)[ends]
            before += len(piece.encode())
        yield np.array([self.end_of_document], np.uint32), np.array([len(document)])


def obtain(corpus: Texts, base: Path, training_documents: Iterable[bytes], destination: Path) -> Encoder:
    """Train, copy or download the tokenizer to `destination` and load it from there.

    Raises ValueError if it cannot be had, or if its vocabulary is not of the size that the model was given.
    """
    choice = corpus.tokenizer
    match choice:
        case TrainBPE():
            train_bpe(training_documents, choice.vocab_size, choice.train_bytes).save(str(destination))
            return Encoder.load(destination, END_OF_DOCUMENT)
        case TokenizerFile():
            destination.write_bytes((base / choice.path).read_bytes())
        case TokenizerHub():
            _download(choice).save(str(destination))
    encoder = Encoder.load(destination, choice.end_of_document)
    declared = vocab_size_of(corpus, base)
    if encoder.vocab_size != declared:
        raise ValueError(
            f"corpus.tokenizer.vocab_size {declared} is not that of the tokenizer, whose largest token id "
            f"plus one is {encoder.vocab_size}; the model's embedding has exactly vocab_size rows: set "
            f"vocab_size: {encoder.vocab_size}"
        )
    return encoder


def train_bpe(documents: Iterable[bytes], vocab_size: int, train_bytes: int) -> Tokenizer:
    """A byte-level BPE with the pre-tokenizer of GPT-2, trained on the first `train_bytes` of the documents.

    The same documents give the same tokenizer, whatever the number of threads.

    Raises ValueError if the text has too few distinct pairs for `vocab_size`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_DOCUMENT],
        # Sorted: the library's own order of the alphabet is that of a hash set.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_first_bytes(documents, train_bytes), trainer)
    trained: int = tokenizer.get_vocab_size()
    if trained != vocab_size:
        raise ValueError(
            f"corpus.tokenizer.vocab_size {vocab_size} is more than the training text gives: merging every "
            f"pair that occurs twice ends at {trained} tokens; the model's embedding has exactly vocab_size "
            f"rows: set vocab_size to at most {trained}, or give more text or a larger train_bytes"
        )
    return tokenizer


def pieces(document: bytes) -> Iterator[str]:
    """A document in parts of about `PIECE_BYTES`, cut where no token of a byte-level tokenizer straddles the
    cut.

    A document without any line that opens with a letter for 16 KiB is cut between two characters; that one
    place may get other tokens than the uncut document would.
    """
    start = 0
    while len(document) - start > PIECE_BYTES:
        stop = start + PIECE_BYTES
        cut = _SAFE_CUT.search(document, stop - _CUT_WINDOW_BYTES, stop)
        stop = cut.start() if cut else _character_start(document, stop)
        yield document[start:stop].decode()
        start = stop
    yield document[start:].decode()


def _character_start(document: bytes, position: int) -> int:
    while document[position] & 0b1100_0000 == 0b1000_0000:
        position -= 1
    return position


def _first_bytes(documents: Iterable[bytes], limit: int) -> Iterator[str]:
    used = 0
    for document in documents:
        for piece in pieces(document):
            if used >= limit:
                return
            used += len(piece.encode())
            yield piece


def _bytes_before(text: str) -> NDArray[np.int64]:
    """Length in UTF-8 of the first k characters, k = 0 … len(text) [bytes]."""
    code_points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    widths = 1 + sum((code_points > last).astype(np.int64) for last in (0x7F, 0x7FF, 0xFFFF))
    return np.concatenate([[0], np.cumsum(widths)])


def _end_of_document(vocabulary: dict[str, int], declared: str | None) -> int:
    if declared is not None:
        if declared not in vocabulary:
            raise ValueError(
                f"corpus.tokenizer.end_of_document '{declared}' is not in the vocabulary of "
                f"{len(vocabulary)} tokens; documents need a token that ends them: name one that the "
                "tokenizer has"
            )
        return vocabulary[declared]
    found = [token for token in USUAL_END_OF_DOCUMENT if token in vocabulary]
    if len(found) != 1:
        raise ValueError(
            f"corpus.tokenizer.end_of_document is not given and {len(found)} of the usual tokens "
            f"({', '.join(USUAL_END_OF_DOCUMENT)}) are in the vocabulary: {found}; documents need one token "
            "that ends them: set end_of_document to it"
        )
    return vocabulary[found[0]]


def _download(choice: TokenizerHub) -> Tokenizer:
    try:
        return Tokenizer.from_pretrained(choice.id, revision=choice.revision or "main")
    except Exception as error:  # of the hub client, of the network or of the file, with no common type
        raise ValueError(
            f"corpus.tokenizer.id '{choice.id}', revision {choice.revision or 'main'}, cannot be had from "
            f"the Hub ({error}); it must name a repository with a tokenizer.json: correct it, or download "
            "the file and use kind: file"
        ) from error
