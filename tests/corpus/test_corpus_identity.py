"""The address of a corpus follows content and nothing else."""

import json
import os
import time
from pathlib import Path

import pytest
from corpus_texts import BPE, PYTHON, document, files_domain, refusal, validated
from pydantic import ValidationError

from glidepath.study.corpus_files import matched_files
from glidepath.study.corpus_identity import corpus_id, vocab_size_of


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").write_text(document(1))
    (tmp_path / "data/b.txt").write_text(document(2))
    return tmp_path


def test_address_is_kept_by_touch_and_by_moving_the_directory(base: Path, tmp_path_factory):
    config = validated(files_domain("data/*.txt"))
    before = corpus_id(config, base)
    os.utime(base / "data/a.txt", (1, 1))
    assert corpus_id(config, base) == before
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    base.rename(elsewhere)
    assert corpus_id(config, elsewhere) == before


@pytest.mark.parametrize("position", [0, 3_000_000, -1])
def test_address_changes_with_an_edit_that_keeps_the_size(base: Path, position: int):
    """The first, a sampled inner and the last block of a file of 7 MB; an inner one starts at 3/7 of it."""
    content = bytearray(b"x" * (7_000_000 + 65_536))
    (base / "data/large.txt").write_bytes(content)
    config = validated(files_domain("data/*.txt"))
    before = corpus_id(config, base)
    content[position] = ord("y")
    (base / "data/large.txt").write_bytes(content)
    assert corpus_id(config, base) != before


def test_address_changes_with_name_content_and_configuration(base: Path):
    config = validated(files_domain("data/*.txt"))
    addresses = [corpus_id(config, base)]
    addresses.append(corpus_id(validated(files_domain("data/*.txt"), tokenizer=BPE | {"vocab_size": 300}), base))
    (base / "data/a.txt").write_text(document(3))
    addresses.append(corpus_id(config, base))
    (base / "data/b.txt").rename(base / "data/c.txt")
    addresses.append(corpus_id(config, base))
    assert len(set(addresses)) == 4


def test_address_of_the_environment_is_cheap():
    config = validated(PYTHON, {"name": "c", "use": "validation", "source": {"kind": "c_headers"}})
    started = time.process_time()
    address = corpus_id(config, Path())
    assert time.process_time() - started < 0.2
    assert address == corpus_id(config, Path())


def test_address_follows_the_tokenizer_file(base: Path):
    config = validated(files_domain("data/*.txt"), tokenizer={"kind": "file", "path": "tokenizer.json"})
    written = {"model": {"vocab": {"a": 0, "b": 6}}, "added_tokens": [{"id": 9}]}
    (base / "tokenizer.json").write_text(json.dumps(written))
    before = corpus_id(config, base)
    assert vocab_size_of(config, base) == 10
    written["model"] = {"vocab": [["a", 0.0], ["b", -1.0]]}
    written["added_tokens"] = []
    (base / "tokenizer.json").write_text(json.dumps(written))
    assert corpus_id(config, base) != before
    assert vocab_size_of(config, base) == 2


def test_vocabulary_is_declared_for_a_trained_and_for_a_hub_tokenizer():
    hub = {"kind": "hub", "id": "gpt2", "vocab_size": 50257}
    assert vocab_size_of(validated(PYTHON), Path()) == 280
    assert vocab_size_of(validated(PYTHON, tokenizer=hub), Path()) == 50257
    with refusal(ValidationError, "tokenizer.hub.vocab_size", "Field required"):
        validated(PYTHON, tokenizer={"kind": "hub", "id": "gpt2"})


def test_names_are_relative_to_the_base_or_to_the_parent_of_the_fixed_directory(base: Path):
    [inside] = validated(files_domain("data/a.*")).domains
    [outside] = validated(files_domain(str(base / "data" / "*.txt"))).domains
    [above] = validated(files_domain("../data/**/*.txt")).domains
    (base / "below").mkdir()
    assert [file.name for file in matched_files(inside, inside.source, base)] == ["data/a.txt"]
    for domain in (outside, above):
        names = [file.name for file in matched_files(domain, domain.source, base / "below")]
        assert names == ["data/a.txt", "data/b.txt"]


@pytest.mark.parametrize(
    ("domain", "parts"),
    [
        (files_domain("data/*.jsonl"), ("own", "source.paths", "data/*.jsonl", "matches no file", "correct")),
        (files_domain("data/*"), ("own", "source.paths", "notes.md", "endings are .txt, .jsonl", "convert")),
        (
            files_domain("data/*.txt", source={"validation_paths": ["data/a.txt"]}, validation_fraction=None),
            (
                "own",
                "data/a.txt",
                "source.paths",
                "source.validation_paths",
                "must not be in training",
                "narrow",
            ),
        ),
        (
            files_domain("data/c.jsonl", source={"document_separator": "\n\n"}),
            ("own", "document_separator '\\n\\n'", "no .txt", "remove"),
        ),
        (
            {**PYTHON, "source": {"kind": "huggingface", "name": "./nowhere"}},
            ("python", "source.name './nowhere'", "is not a directory", "correct"),
        ),
        (
            {**PYTHON, "source": {"kind": "huggingface", "name": "data", "revision": "abc"}},
            ("python", "source.revision 'abc'", "has no revisions", "remove"),
        ),
    ],
)
def test_files_that_are_not_there_are_refused_while_the_workflow_is_parsed(base: Path, domain, parts):
    if domain["source"].get("paths") != ["data/*.jsonl"]:
        (base / "data/c.jsonl").write_text('{"text": "c"}\n')
    (base / "data/notes.md").write_text("notes")
    with refusal(ValueError, *parts):
        corpus_id(validated(domain), base)


@pytest.mark.parametrize(
    ("tokenizer", "content", "parts"),
    [
        ("none.json", None, ("tokenizer.path 'none.json'", "is not a file", "train_bpe")),
        ("tokenizer.json", "{}", ("tokenizer.path 'tokenizer.json'", "KeyError", "Tokenizer.save")),
    ],
)
def test_tokenizer_files_that_are_none_are_refused(base: Path, tokenizer, content, parts):
    if content is not None:
        (base / tokenizer).write_text(content)
    config = validated(files_domain("data/*.txt"), tokenizer={"kind": "file", "path": tokenizer})
    with refusal(ValueError, *parts):
        vocab_size_of(config, base)
