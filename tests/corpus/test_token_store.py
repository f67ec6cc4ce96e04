"""From text to the store and back, whatever the format and the number of workers."""

from __future__ import annotations

import argparse
import gzip
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_texts import (
    BPE,
    corpus,
    document,
    documents,
    files_domain,
    refusal,
    tokenized,
    training_texts,
    write_jsonl,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from glidepath.corpus import store as store_module
from glidepath.corpus import tokenize as tokenize_module
from glidepath.corpus.store import TokenStore, token_dtype
from glidepath.stages import tokenize

TEXTS = documents(60)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "a.jsonl", TEXTS)
    return tmp_path


def read_all(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_training_documents_come_back_and_the_others_are_held_out(base: Path):
    store = tokenized(base, files_domain("a.jsonl"))
    trained = training_texts(store)
    counts = store.manifest["domains"]["own"]["documents"]
    assert counts == {"train": len(trained), "validation": 60 - len(trained), "duplicate": 0, "unused": 0}
    assert 30 <= len(trained) < 60
    assert len(set(trained)) == len(trained)
    held_out = sorted(set(TEXTS) - set(trained))
    tokenizer = Tokenizer.from_file(str(store.directory / "tokenizer.json"))
    evaluated = tokenizer.decode(store.validation("own").tolist(), skip_special_tokens=False)
    for part in evaluated.split("<|endoftext|>")[:-1]:
        assert part in held_out
    assert set(TEXTS) >= set(trained)


def test_every_format_gives_the_same_tokens(base: Path):
    content = (base / "a.jsonl").read_bytes()
    (base / "a.jsonl.gz").write_bytes(gzip.compress(content))
    (base / "a.jsonl.zst").write_bytes(pa.compress(content, codec="zstd", asbytes=True))
    pq.write_table(pa.table({"text": TEXTS}), base / "a.parquet")
    tokens = {
        name: tokenized(base, files_domain(name)).train.tobytes()
        for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet")
    }
    assert len(set(tokens.values())) == 1
    pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    (base / "dataset").mkdir()
    (base / "dataset/train.jsonl").write_bytes(content)
    hub = {**files_domain("a.jsonl"), "source": {"kind": "huggingface", "name": "dataset"}}
    assert tokenized(base, hub).train.tobytes() == tokens["a.jsonl"]


def test_order_and_names_of_files_change_no_token(base: Path):
    write_jsonl(base / "b1.jsonl", TEXTS[40:])
    write_jsonl(base / "b2.jsonl", TEXTS[:40][::-1])
    one, two = (tokenized(base, files_domain(name)) for name in ("a.jsonl", "b*.jsonl"))
    assert one.train.tobytes() == two.train.tobytes()


def test_same_bytes_whatever_the_workers_and_the_shards(base: Path, monkeypatch):
    alone = read_all(tokenized(base, files_domain("a.jsonl"), name="one").directory)
    assert read_all(tokenized(base, files_domain("a.jsonl"), workers=2, name="two").directory) == alone
    monkeypatch.setattr(tokenize_module, "SHARD_BYTES", 300)
    assert read_all(tokenized(base, files_domain("a.jsonl"), name="small").directory) == alone


def test_files_are_listed_with_what_became_of_them(base: Path):
    (base / "data").mkdir()
    for name, text in {"1": TEXTS[0], "2": TEXTS[0], "3": "", "4": TEXTS[1]}.items():
        (base / f"data/{name}.txt").write_text(text)
    store = tokenized(base, files_domain("a.jsonl", "data/*.txt"))
    rows = {row["path"]: row for row in pq.read_table(store.directory / "files.parquet").to_pylist()}
    assert list(rows) == ["a.jsonl", *(f"data/{i}.txt" for i in "1234")]
    assert rows["a.jsonl"]["split"] == "mixed"
    assert rows["a.jsonl"]["train_documents"] + rows["a.jsonl"]["validation_documents"] == 60
    assert [rows[f"data/{i}.txt"]["split"] for i in "124"] == ["duplicate"] * 3
    assert (rows["data/3.txt"]["split"], rows["data/3.txt"]["reason"]) == ("unused", "empty")
    assert rows["data/1.txt"]["sha256"] == rows["data/2.txt"]["sha256"]
    assert rows["data/1.txt"]["bytes"] == len(TEXTS[0].encode())
    assert store.manifest["domains"]["own"]["documents"]["duplicate"] == 3
    assert str(base) not in json.dumps(store.manifest) + json.dumps(list(rows.values()))


@pytest.fixture
def two_letters(tmp_path: Path) -> dict[str, str]:
    """Tokens "ab" (2 bytes), "a", "b", "c" (1 byte) and the end of a document (none)."""
    tokenizer = Tokenizer(models.BPE({"</s>": 0, "a": 1, "b": 2, "c": 3, "ab": 4}, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "t.json"))
    return {"kind": "file", "path": "t.json"}


def own_validation(path: str, n_tokens: int) -> dict:
    return files_domain(
        "train.txt", source={"validation_paths": [path]}, validation_fraction=None, validation_tokens=n_tokens
    )


def test_bytes_per_token_by_hand(tmp_path: Path, two_letters):
    """The first token is an input only, so its bytes do not count."""
    (tmp_path / "train.txt").write_text("abab")
    (tmp_path / "val.txt").write_text("abcabccab")
    store = tokenized(tmp_path, own_validation("val.txt", 6), tokenizer=two_letters)
    assert store.validation("own").tolist() == [4, 3, 4, 3, 3, 4, 0]
    assert store.bytes_per_token("own") == 7 / 6
    assert store.bits_per_byte("own", math.log(2)) == 6 / 7
    assert store.train.tolist() == [4, 4, 0]
    assert store.train_documents.tolist() == [0, 3]
    assert (store.vocab_size, store.end_of_document, store.n_train_tokens) == (5, 0, 3)
    shorter = tokenized(tmp_path, own_validation("val.txt", 2), tokenizer=two_letters)
    assert shorter.validation("own").tolist() == [4, 3, 4]
    assert shorter.bytes_per_token("own") == 3 / 2


def test_bytes_per_token_over_two_documents_by_hand(tmp_path: Path, two_letters):
    """Whichever document comes first: 7 bytes in all, less those of the first token."""
    (tmp_path / "train.txt").write_text("abab")
    write_jsonl(tmp_path / "val.jsonl", ["abcc", "abb"])
    store = tokenized(tmp_path, own_validation("val.jsonl", 6), tokenizer=two_letters)
    assert sorted(store.validation("own").tolist()) == [0, 0, 2, 3, 3, 4, 4]
    assert store.bytes_per_token("own") == 5 / 6


def test_a_validation_document_that_is_in_training_is_refused(base: Path):
    write_jsonl(base / "val.jsonl", [*documents(20, first=100), TEXTS[7]])
    own = files_domain("a.jsonl", source={"validation_paths": ["val.jsonl"]}, validation_fraction=None)
    with refusal(ValueError, "in training (domain 'own', 'a.jsonl')", "'val.jsonl'", "must not be", "remove"):
        tokenized(base, own)
    other = files_domain("val.jsonl", name="other", use="validation", validation_fraction=None)
    train_all = files_domain("a.jsonl", validation_fraction=1e-9, validation_tokens=1)
    with refusal(ValueError, "(domain 'own', 'a.jsonl')", "(domain 'other', 'val.jsonl')", "remove"):
        tokenized(base, other, train_all)
    assert not any(path.name.startswith("store") for path in base.iterdir())


def test_a_document_of_two_training_domains_belongs_to_the_first(base: Path):
    write_jsonl(base / "b.jsonl", [*TEXTS, *documents(60, first=100)])
    store = tokenized(base, files_domain("a.jsonl"), files_domain("b.jsonl", name="other"))
    trained = training_texts(store)
    assert len(set(trained)) == len(trained)
    described = store.manifest["domains"]
    assert described["own"]["documents"]["duplicate"] == 0
    assert described["other"]["documents"]["duplicate"] == 60
    assert sum(described[name]["train_tokens"] for name in described) == store.n_train_tokens
    assert store.domains == ["own", "other"]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"validation_tokens": 10**6},
            ("'own'", "validation_tokens 1,000,000", "have ", "lower", "validation_fraction, now 0.3"),
        ),
        (
            {"max_bytes": 10},
            ("'own'", "no document is left to train on", "60 are beyond max_bytes 10", "larger max_bytes"),
        ),
        ({"source": {"paths": ["empty.txt"]}}, ("'own'", "1 files and no document with text", "check")),
    ],
)
def test_too_little_text_is_refused(base: Path, changes, parts):
    (base / "empty.txt").write_text("")
    with refusal(ValueError, *parts):
        tokenized(base, files_domain("a.jsonl", **changes))
    assert not (base / "store.partial").exists()


def test_one_file_without_a_separator_has_nothing_to_hold_out_or_to_train_on(base: Path):
    (base / "a.txt").write_text(document(1))
    with pytest.raises(ValueError, match=r"document_separator|validation_fraction"):
        tokenized(base, files_domain("a.txt"))


def test_ids_are_stored_in_the_smaller_type_that_holds_them():
    assert token_dtype(65_536) == np.dtype("<u2")
    assert token_dtype(65_537) == np.dtype("<u4")
    with refusal(ValueError, "up to 4,294,967,296", "32 bits", "smaller vocabulary"):
        token_dtype(2**32 + 1)


def test_a_large_vocabulary_is_stored_in_32_bits(base: Path):
    """The end of a document has the id 70,000."""
    vocabulary = {character: i for i, character in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(vocabulary | {"</s>": 70_000}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(base / "t.json"))
    store = tokenized(base, files_domain("a.jsonl"), tokenizer={"kind": "file", "path": "t.json"})
    assert store.train.dtype == np.uint32
    assert store.vocab_size == 70_001
    assert store.train[-1] == 70_000
    assert set(training_texts(store)) <= set(TEXTS)


def test_a_store_that_was_tampered_with_is_refused(base: Path):
    directory = tokenized(base, files_domain("a.jsonl")).directory
    with (directory / "train.bin").open("ab") as file:
        file.write(b"x")
    with refusal(ValueError, "'store'", "train.bin has", "manifest.json says", "tokenize again"):
        TokenStore.open(directory)
    (directory / "train.bin").unlink()
    with refusal(ValueError, "'store'", "train.bin is missing", "tokenize again"):
        TokenStore.open(directory)
    manifest = json.loads((directory / store_module.MANIFEST).read_text())
    (directory / store_module.MANIFEST).write_text(json.dumps(manifest | {"corpus_version": 0}))
    with refusal(ValueError, "'store'", "corpus version 0", "tokenize again"):
        TokenStore.open(directory)
    with refusal(ValueError, "'none' is not a token store", "glidepath tokenize"):
        TokenStore.open(base / "none")


def test_an_unknown_domain_is_refused(base: Path):
    store = tokenized(base, files_domain("a.jsonl"))
    for ask in (store.validation, store.bytes_per_token):
        with refusal(ValueError, "no domain 'c'", "['own']", "corpus.domains"):
            ask("c")


def test_command_line_replaces_a_store_and_nothing_else(base: Path, monkeypatch):
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    parser = argparse.ArgumentParser()
    tokenize.add_arguments(parser)
    arguments = [
        "--corpus",
        json.dumps(corpus(files_domain("a.jsonl"))),
        "--base",
        str(base),
        "--workers",
        "1",
    ]
    args = parser.parse_args([*arguments, "--output", str(base / "deep/store")])
    tokenize.main(args)
    tokenize.main(args)
    assert TokenStore.open(base / "deep/store").domains == ["own"]
    assert [path.name for path in (base / "deep").iterdir()] == ["store"]
    with refusal(ValueError, "--output", "no manifest.json", "choose another"):
        tokenize.run(json.dumps(corpus(files_domain("a.jsonl"))), base, base, 1)
    with refusal(ValueError, "--workers 0", "at least 1"):
        tokenize.run(json.dumps(corpus(files_domain("a.jsonl"), tokenizer=BPE)), base, base / "store", 0)
