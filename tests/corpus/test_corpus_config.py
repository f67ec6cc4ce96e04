"""The configuration of a corpus refuses what cannot be meant."""

import pytest
from corpus_texts import BPE, PYTHON, corpus, files_domain, refusal, validated
from pydantic import ValidationError

from glidepath.study.corpus_config import CorpusConfig


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"validation_fraction": None}, ("python", "validation_fraction is None", "at most 0.5", "0.05")),
        ({"validation_fraction": 0.6}, ("python", "validation_fraction is 0.6", "at most 0.5", "0.05")),
        ({"use": "validation"}, ("python", "validation_fraction 0.05", "use: validation", "remove")),
        (
            {"source": {"kind": "files", "paths": ["a.txt"], "validation_paths": ["b.txt"]}},
            ("python", "validation_fraction 0.05", "one way only", "remove"),
        ),
        (
            {
                "use": "validation",
                "validation_fraction": None,
                "source": {"kind": "huggingface", "name": "x", "validation_split": "test"},
            },
            ("python", "every document is held out", "move its validation_paths"),
        ),
        ({"source": {"kind": "files", "paths": []}}, ("paths is empty", "at least one glob", "data/*.txt")),
        (
            {"source": {"kind": "files", "paths": ["a.txt"], "document_separator": ""}},
            ("document_separator is the empty string", "at least one character", "null"),
        ),
        ({"name": "Python 3"}, ("name", "Python 3")),
        ({"max_bytes": 0}, ("max_bytes", "greater than 0")),
        ({"max_byte": 10}, ("max_byte", "Extra inputs")),
        ({"source": {"kind": "web"}}, ("python_environment", "c_headers", "files", "huggingface")),
    ],
)
def test_a_domain_that_cannot_be_meant_is_refused(changes, parts):
    with refusal(ValidationError, *parts):
        validated({**PYTHON, **changes})


def test_a_corpus_that_cannot_be_meant_is_refused():
    headers = {"name": "c", "use": "validation", "source": {"kind": "c_headers"}}
    with refusal(ValidationError, "['python'] occur more than once", "rename"):
        validated(PYTHON, PYTHON)
    with refusal(ValidationError, "['c'] has use: training", "at least one"):
        validated(headers)
    with refusal(ValidationError, "vocab_size 256", "257"):
        validated(PYTHON, tokenizer=BPE | {"vocab_size": 256})


def test_json_round_trip():
    config = validated(PYTHON, files_domain("a.txt"))
    assert CorpusConfig.model_validate_json(config.model_dump_json()) == config
    assert CorpusConfig.model_validate(corpus(PYTHON, files_domain("a.txt"))) == config
