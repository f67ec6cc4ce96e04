"""Every format gives the same documents, and what is not as configured is refused with the place named."""

import gzip
import importlib.util
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_texts import documents, files_domain, refusal, validated, write_jsonl

from glidepath.corpus import sources
from glidepath.corpus.sources import source_files
from glidepath.study.corpus_identity import RUNTIME_PACKAGES

TEXTS = [*documents(5), "", "two\n\nparagraphs", "\u2028 ünïcode 🜁"]


def zst(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


def read(base: Path, domain: dict) -> list[str]:
    [validated_domain] = validated(domain).domains
    return [text.decode() for file in source_files(validated_domain, base) for text in file.documents()]


def test_txt_is_one_document_or_divided_by_a_separator(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one\n\n\ntwo\n\n\n\nthree\n")
    assert read(tmp_path, files_domain("a.txt")) == ["one\n\n\ntwo\n\n\n\nthree\n"]
    divided = files_domain("a.txt", source={"document_separator": "\n\n\n"})
    assert read(tmp_path, divided) == ["one", "two", "three"]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
def test_a_separator_is_found_across_the_blocks_that_are_read(tmp_path: Path, monkeypatch, block: int):
    monkeypatch.setattr(sources, "READ_BYTES", block)
    text = "aa<||>b<|<||><||>c<||"
    (tmp_path / "a.txt").write_text(text)
    assert read(tmp_path, files_domain("a.txt", source={"document_separator": "<||>"})) == text.split("<||>")


def test_jsonl_plain_and_compressed(tmp_path: Path):
    write_jsonl(tmp_path / "a.jsonl", TEXTS, "body")
    content = (tmp_path / "a.jsonl").read_bytes() + b"\n"
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    half = content.index(b"\n") + 1
    frames = [zst(content[:half]), zst(content[half:])]
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(frames))
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        assert read(tmp_path, files_domain(name, source={"text_column": "body"})) == TEXTS


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet(tmp_path: Path, kind: pa.DataType):
    table = pa.table({"id": range(len(TEXTS)), "text": pa.array(TEXTS).cast(kind)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    assert read(tmp_path, files_domain("a.parquet")) == TEXTS


def dataset(**changes) -> dict:
    source = {"kind": "huggingface", "name": "dataset", **changes}
    return {"name": "hub", "source": source, "validation_fraction": 0.1, "validation_tokens": 64}


@pytest.fixture
def datasets():
    return pytest.importorskip("datasets", reason="the extra `hf` is not installed")


@pytest.mark.usefixtures("datasets")
def test_dataset_directory_of_data_files(tmp_path: Path):
    (tmp_path / "dataset").mkdir()
    write_jsonl(tmp_path / "dataset/train.jsonl", TEXTS)
    write_jsonl(tmp_path / "dataset/test.jsonl", ["held out"])
    assert read(tmp_path, dataset()) == TEXTS
    own_validation = {**dataset(validation_split="test"), "validation_fraction": None}
    [domain] = validated(own_validation).domains
    files = list(source_files(domain, tmp_path))
    assert [(file.name, file.declared_validation) for file in files] == [
        ("dataset/train", False),
        ("dataset/test", True),
    ]
    assert list(files[1].documents()) == [b"held out"]


def test_dataset_directory_saved_to_disk(tmp_path: Path, datasets):
    splits = {
        "train": datasets.Dataset.from_dict({"text": TEXTS}),
        "test": datasets.Dataset.from_dict({"text": ["t"]}),
    }
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "dataset"))
    assert read(tmp_path, dataset()) == TEXTS
    assert read(tmp_path, dataset(split="test")) == ["t"]
    with refusal(ValueError, "hub", "split 'dev'", "cannot be opened", "correct"):
        read(tmp_path, dataset(split="dev"))


@pytest.mark.usefixtures("datasets")
def test_dataset_stream_is_read_no_further_than_max_bytes(tmp_path: Path):
    (tmp_path / "dataset").mkdir()
    write_jsonl(tmp_path / "dataset/train.jsonl", ["12345", "12345", "12345", "1"])
    assert read(tmp_path, {**dataset(), "max_bytes": 12}) == ["12345", "12345"]


@pytest.mark.usefixtures("datasets")
def test_dataset_refusals_name_the_remedy(tmp_path: Path):
    (tmp_path / "dataset").mkdir()
    write_jsonl(tmp_path / "dataset/train.jsonl", TEXTS)
    with refusal(ValueError, "hub", "['text']", "no column 'body'", "set text_column"):
        read(tmp_path, dataset(text_column="body"))
    with refusal(ValueError, "hub", "split 'dev'", "cannot be opened", "correct"):
        read(tmp_path, dataset(split="dev"))


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.txt", b"caf\xe9", ("'a.txt'", "not UTF-8", "byte 3", "iconv")),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', ("'a.jsonl', line 2", "not JSON", "correct")),
        ("a.jsonl", b'{"body": "x"}\n', ("line 1", "['body']", "no key 'text'", "set text_column")),
        ("a.jsonl", b'["x"]\n', ("line 1", "a list", "no key 'text'")),
        ("a.jsonl", b'{"text": null}\n', ("line 1", "'text' is None", "strings only", "remove")),
        ("a.jsonl", b'{"text": "\\ud800"}\n', ("line 1", "surrogate", "remove")),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 9)[:-9], ("'a.jsonl.gz'", "decompressed", "again")),
        (
            "a.jsonl.zst",
            zst(b'{"text": "x"}\n' * 10**6)[:-40],
            ("'a.jsonl.zst'", "decompressed", "Truncated", "again"),
        ),
        ("a.jsonl.zst", b"no zstd", ("'a.jsonl.zst'", "decompressed", "again")),
        ("a.parquet", b"no parquet", ("'a.parquet'", "not a Parquet file", "rename")),
    ],
)
def test_content_that_is_not_as_configured_is_refused(tmp_path: Path, name: str, content: bytes, parts):
    (tmp_path / name).write_bytes(content)
    with refusal(ValueError, "domain 'own'", *parts):
        read(tmp_path, files_domain(name))


def test_parquet_without_the_column_or_with_nulls_is_refused(tmp_path: Path):
    pq.write_table(pa.table({"body": ["x"], "text_id": [1]}), tmp_path / "a.parquet")
    with refusal(ValueError, "['body', 'text_id']", "no column 'text'", "set text_column"):
        read(tmp_path, files_domain("a.parquet"))
    with refusal(ValueError, "row 1", "'text_id' is 1, a int", "strings only"):
        read(tmp_path, files_domain("a.parquet", source={"text_column": "text_id"}))


def test_a_document_larger_than_memory_allows_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_DOCUMENT_BYTES", 100)
    monkeypatch.setattr(sources, "READ_BYTES", 64)
    text = "word " * 30
    (tmp_path / "a.txt").write_text(text)
    write_jsonl(tmp_path / "a.jsonl", [text])
    separated = files_domain("a.txt", source={"document_separator": "###"})
    for domain in (files_domain("a.txt"), files_domain("a.jsonl"), separated):
        with refusal(ValueError, "may have 100", "document_separator"):
            read(tmp_path, domain)


def test_environment_is_the_standard_library_and_the_runtime_packages():
    python = {"name": "python", "source": {"kind": "python_environment"}, "validation_fraction": 0.05}
    headers = {"name": "c", "use": "validation", "source": {"kind": "c_headers"}}
    [python, headers] = validated(python, headers).domains
    files = list(source_files(python, Path()))
    names = [file.name for file in files]
    assert len(set(names)) == len(names)
    assert not any(name.startswith("/") or ".." in name for name in names)
    roots = {name.split("/")[0] for name in names}
    assert roots >= {"stdlib", *RUNTIME_PACKAGES}
    assert "stdlib/heapq.py" in names
    assert not any(name.startswith(("stdlib/test/", "stdlib/site-packages/")) for name in names)
    assert importlib.util.find_spec("pytest") is not None
    assert "pytest" not in roots
    assert all(file.licence and len(file.licence) < 200 for file in files)
    heapq = files[names.index("stdlib/heapq.py")]
    assert b"def heappush(" in next(iter(heapq.documents()))
    endings = {Path(file.name).suffix for file in source_files(headers, Path())}
    assert endings <= {".h", ".hpp", ".cuh"}
    assert ".h" in endings


def test_lines_without_text_are_no_documents(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text("\n" + json.dumps({"text": "x"}) + "\n\n")
    assert read(tmp_path, files_domain("a.jsonl")) == ["x"]
