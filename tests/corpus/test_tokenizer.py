"""Round trips, pieces that change nothing, and tokenizers from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from corpus_texts import BPE, document, documents, files_domain, refusal, validated
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from glidepath.corpus import tokenizer as module
from glidepath.corpus.tokenizer import END_OF_DOCUMENT, Encoder, obtain, pieces, train_bpe

TEXTS = [text.encode() for text in documents(40)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "tokenizer.json"
    train_bpe(TEXTS, 300, 10**6).save(str(path))
    return path


@pytest.fixture(scope="module")
def encoder(trained: Path) -> Encoder:
    return Encoder.load(trained, END_OF_DOCUMENT)


def ids_of(encoder: Encoder, text: bytes) -> list[int]:
    return np.concatenate(list(encoder.encode_pieces(text))).tolist()


def ids_and_ends_of(encoder: Encoder, text: bytes) -> tuple[list[int], list[int]]:
    ids, ends = zip(*encoder.encode_with_ends(text), strict=True)
    return np.concatenate(ids).tolist(), np.concatenate(ends).tolist()


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_comes_back(encoder: Encoder, text: str):
    ids = ids_of(encoder, text.encode())
    assert ids[-1] == encoder.end_of_document == 0
    assert encoder.tokenizer.decode(ids[:-1], skip_special_tokens=False) == text


def test_an_end_that_is_spelled_out_in_a_document_stays_text(encoder: Encoder):
    text = f"before{END_OF_DOCUMENT}after"
    ids = ids_of(encoder, text.encode())
    assert ids.count(encoder.end_of_document) == 1
    assert encoder.tokenizer.decode(ids[:-1], skip_special_tokens=False) == text


def test_pieces_change_no_token(tmp_path: Path, monkeypatch):
    """Lines, indented lines, empty lines and trailing blanks, in pieces of 1 kB and whole.

    The tokenizer has merged blanks and line ends, so that a cut among them would show.
    """
    text = "".join(document(i) + "    indented  \n\n\n\tx = 1 \n" for i in range(60)).encode()
    train_bpe([text], 325, 10**6).save(str(tmp_path / "t.json"))
    encoder = Encoder.load(tmp_path / "t.json", END_OF_DOCUMENT)
    whole = ids_of(encoder, text)
    monkeypatch.setattr(module, "PIECE_BYTES", 1024)
    monkeypatch.setattr(module, "_CUT_WINDOW_BYTES", 512)
    cut = list(pieces(text))
    assert len(cut) > 20
    assert "".join(cut).encode() == text
    assert ids_of(encoder, text) == whole
    with_ends, ends = ids_and_ends_of(encoder, text)
    assert with_ends == whole
    assert ends[-1] == len(text)
    assert (np.diff(ends) >= 0).all()


def test_a_text_without_lines_is_cut_between_characters(monkeypatch):
    monkeypatch.setattr(module, "PIECE_BYTES", 10)
    monkeypatch.setattr(module, "_CUT_WINDOW_BYTES", 5)
    assert "".join(pieces("山é🜁".encode() * 20)) == "山é🜁" * 20


def test_ends_count_the_bytes_that_were_read(encoder: Encoder):
    text = "naïve 山 café".encode()
    ids, ends = ids_and_ends_of(encoder, text)
    read = [encoder.tokenizer.decode(ids[: k + 1]) for k in range(len(ids))]
    whole = [k for k, prefix in enumerate(read) if "\ufffd" not in prefix]
    assert [ends[k] for k in whole] == [len(read[k].encode()) for k in whole]
    assert ends[-1] == len(text)


def test_ends_count_blanks_that_a_post_processor_trims(trained: Path, tmp_path: Path):
    """As in the tokenizer.json of GPT-2."""
    tokenizer = Tokenizer.from_file(str(trained))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.save(str(tmp_path / "t.json"))
    encoder = Encoder.load(tmp_path / "t.json", None)
    ids, ends = ids_and_ends_of(encoder, b"x \n\t ")
    assert ends[-2] == 5
    assert len(ids) == len(ends)


def test_training_uses_the_first_bytes_only_and_is_repeatable(tmp_path: Path):
    """Also with one thread, in a process of its own: threads are fixed when they first start."""
    first = train_bpe(TEXTS, 280, sum(map(len, TEXTS[:20])))
    assert first.to_str() == train_bpe(TEXTS[:20], 280, 10**9).to_str()
    assert first.to_str() != train_bpe(TEXTS, 280, 10**9).to_str()
    code = (
        "import sys; from corpus_texts import documents; from glidepath.corpus.tokenizer import train_bpe\n"
        "texts = [text.encode() for text in documents(20)]\n"
        "train_bpe(texts, 280, 10**9).save(sys.argv[1])"
    )
    environment = os.environ | {"RAYON_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code, tmp_path / "t.json"], check=True, env=environment)
    assert Tokenizer.from_file(str(tmp_path / "t.json")).to_str() == first.to_str()


def test_a_vocabulary_that_the_text_does_not_give_is_refused():
    with refusal(ValueError, "vocab_size 5000", "ends at", "set vocab_size to at most", "train_bytes"):
        train_bpe([b"abc abc"], 5000, 100)


def foreign(path: Path, *special: str) -> Path:
    """A word-level tokenizer with truncation, padding, a template and the special tokens given."""
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "a", "b", *special])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    if special:
        template = processors.TemplateProcessing(f"{special[0]} $A", None, [(special[0], 3)])
        tokenizer.post_processor = template
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(path))
    return path


def test_a_foreign_tokenizer_encodes_text_and_nothing_else(tmp_path: Path):
    encoder = Encoder.load(foreign(tmp_path / "t.json", "</s>"), None)
    assert ids_of(encoder, b"a b a b a") == [1, 2, 1, 2, 1, 3]
    assert encoder.vocab_size == 4
    assert ids_and_ends_of(encoder, b"a bb a ")[1] == [1, 4, 6, 7]


@pytest.mark.parametrize(
    ("special", "declared", "parts"),
    [
        ((), None, ("end_of_document is not given", "0 of the usual", "</s>", "set end_of_document")),
        (("</s>", "<eos>"), None, ("2 of the usual", "['</s>', '<eos>']", "set end_of_document")),
        (("</s>",), "<end>", ("end_of_document '<end>'", "not in the vocabulary of 4", "name one")),
    ],
)
def test_the_end_of_a_document_is_found_or_asked_for(tmp_path: Path, special, declared, parts):
    with refusal(ValueError, *parts):
        Encoder.load(foreign(tmp_path / "t.json", *special), declared)


def test_a_declared_end_is_used(tmp_path: Path):
    assert Encoder.load(foreign(tmp_path / "t.json", "</s>", "<eos>"), "<eos>").end_of_document == 4


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path):
    (tmp_path / "t.json").write_text("{}")
    with refusal(ValueError, "'t.json' cannot be read", "Tokenizer.save"):
        Encoder.load(tmp_path / "t.json", None)


HUB_CODE = """
import sys
from pathlib import Path
from corpus_texts import files_domain, validated
from glidepath.corpus.tokenizer import obtain
choice = {"kind": "hub", "id": sys.argv[1], "vocab_size": int(sys.argv[2])}
config = validated(files_domain("a.txt"), tokenizer=choice)
print(obtain(config, Path(), [], Path(sys.argv[3])).end_of_document)
"""


def test_a_tokenizer_of_the_hub_is_read_through_its_cache_and_its_size_checked(tmp_path: Path):
    """Offline, from a cache as the Hub client lays it out; in processes that read its settings afresh."""
    cached = tmp_path / "hub/models--own--words"
    commit = "0" * 40
    (cached / "snapshots" / commit).mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(commit)
    foreign(cached / "snapshots" / commit / "tokenizer.json", "</s>")
    environment = os.environ | {
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).parent),
    }

    def ask(name: str, vocab_size: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", HUB_CODE, name, str(vocab_size), str(tmp_path / "copy.json")]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    assert ask("own/words", 4).stdout == "3\n"
    assert "vocab_size 5 is not that of the tokenizer" in ask("own/words", 5).stderr
    missing = ask("own/none", 4).stderr
    assert "tokenizer.id 'own/none', revision main, cannot be had" in missing
    assert "use kind: file" in missing


def test_obtaining_a_file_copies_it(tmp_path: Path, trained: Path):
    (tmp_path / "own.json").write_bytes(trained.read_bytes())
    config = validated(files_domain("a.txt"), tokenizer={"kind": "file", "path": "own.json"})
    encoder = obtain(config, tmp_path, [], tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_bytes() == trained.read_bytes()
    assert (encoder.vocab_size, encoder.end_of_document) == (300, 0)
    assert BPE["vocab_size"] != encoder.vocab_size
