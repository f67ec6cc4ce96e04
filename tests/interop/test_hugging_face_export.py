"""The directory: its tokenizer gives the ids of training, and it is whole or absent."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer

from glidepath.corpus.tokenizer import Encoder
from glidepath.interop.hugging_face_export import export_model
from glidepath.interop.hugging_face_tokenizer import tokenizer_files
from tests.corpus.corpus_texts import document
from tests.interop.exported import (
    END_OF_DOCUMENT,
    VOCAB_SIZE,
    card,
    export,
    random_weights,
    spec_of,
    tokenizer_json,
)

TEXTS = (document(99), "x", " two  spaces\n\n\tand a tab ", "naïve — 山", "<|endoftext|> spelled out", "")


def trained_ids(path: Path, text: str) -> list[int]:
    """As a training corpus would hold the document, without its end."""
    encoder = Encoder.load(path, None)
    *ids, end = np.concatenate(list(encoder.encode_pieces(text.encode()))).tolist()
    assert end == encoder.end_of_document
    return ids


def test_text_gets_the_ids_of_training_and_comes_back(tmp_path: Path) -> None:
    spec = spec_of()
    export(spec, random_weights(spec), tmp_path / "model")
    (tmp_path / "tokenizer.json").write_text(tokenizer_json())
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ids == trained_ids(tmp_path / "tokenizer.json", text)
        assert theirs.decode(ids) == text
    assert theirs.eos_token_id == theirs.bos_token_id == END_OF_DOCUMENT
    assert theirs.model_max_length == spec.context_length


def test_a_tokenizer_that_frames_and_cuts_text_does_so_no_more(tmp_path: Path) -> None:
    """As many from the Hub: it begins texts with a token that training never showed, and cuts them."""
    vocabulary = {"<s>": 0, "</s>": 1, "a": 2, "b": 3}
    hub = Tokenizer(models.WordLevel(vocabulary, unk_token="</s>"))
    hub.pre_tokenizer = pre_tokenizers.Whitespace()
    hub.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    hub.enable_truncation(2)
    hub.save(str(tmp_path / "hub.json"))
    for name, text in tokenizer_files((tmp_path / "hub.json").read_text(), 1, 4, 32).items():
        (tmp_path / name).write_text(text)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs("a b a")["input_ids"] == trained_ids(tmp_path / "hub.json", "a b a") == [2, 3, 2]
    assert theirs.eos_token_id == 1


@pytest.mark.parametrize(("end", "vocab_size"), [(VOCAB_SIZE, VOCAB_SIZE), (0, VOCAB_SIZE - 1)])
def test_a_tokenizer_of_another_model_is_refused(end: int, vocab_size: int) -> None:
    with pytest.raises(
        ValueError, match=f"ids up to 279, the model embeds {vocab_size} and documents end with id {end}"
    ):
        tokenizer_files(tokenizer_json(), end, vocab_size, 32)


def test_a_unigram_tokenizer_has_its_ids_in_order() -> None:
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("a", -1.0)], 0))
    files = tokenizer_files(unigram.to_str(), 1, 3, 32)
    assert json.loads(files["tokenizer_config.json"])["eos_token"] == "</s>"


def test_a_directory_that_exists_is_left_alone(tmp_path: Path) -> None:
    spec = spec_of()
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match="exists and is not overwritten: name another directory"):
        export(spec, random_weights(spec), tmp_path / "model")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    assert list((tmp_path / "model").iterdir()) == []


def test_exporting_needs_neither_torch_nor_transformers() -> None:
    program = "import sys, glidepath.interop.hugging_face_export; print({'torch', 'transformers'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_who_may_read_one_file_may_read_all(tmp_path: Path) -> None:
    spec = spec_of()
    export(spec, random_weights(spec), tmp_path / "model")
    files = {path.name: path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert set(files) == {
        "README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert len(set(files.values())) == 1


@pytest.fixture
def _no_room() -> Iterator[None]:
    """As if the disk were full for any file beyond a kilobyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("_no_room")
def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    spec = spec_of()
    with pytest.raises(OSError, match="File too large"):
        export(spec, random_weights(spec), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_where_the_weights_come_from(tmp_path: Path) -> None:
    """12 updates of a batch that doubles after 6: 6·4 + 6·8 sequences of 32 tokens."""
    spec = spec_of()
    export_model(spec, random_weights(spec), tokenizer_json(), END_OF_DOCUMENT, card(spec), tmp_path / "model")
    text = (tmp_path / "model/README.md").read_text()
    assert "| training tokens | 2,304 |" in text
    assert "`LlamaForCausalLM`" in text
    assert "validation loss" not in text
    assert "license: unknown" in text
