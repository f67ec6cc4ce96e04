"""lm-evaluation-harness runs on an exported model, offline, and measures what we measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer

from tests.corpus.corpus_texts import document
from tests.interop.exported import (
    END_OF_DOCUMENT,
    Weights,
    decoder_of,
    export,
    random_weights,
    spec_of,
    tokenizer_json,
)

pytestmark = pytest.mark.xdist_group("lm_eval")

SPEC = spec_of(feed_forward="gelu", norm="layernorm", parametrization="mup", tied_embeddings=True)
"""All that is folded is folded here."""
BLOCKS = 3
CHOICES = [{"question": "the small river", "choices": ["walks", "stone", "over a"], "answer": i} for i in range(3)]


def ids_of(text: str) -> list[int]:
    ids: list[int] = Tokenizer.from_str(tokenizer_json()).encode(text).ids
    return ids


def text_of(n_tokens: int) -> str:
    """The begin of a document, of so many tokens."""
    text = document(99, 200)
    return next(text[:end] for end in range(len(text)) if len(ids_of(text[:end])) == n_tokens)


def log_likelihoods(weights: Weights, stream: list[int]) -> np.ndarray:
    """Of every token but the first, each block of a context length by itself, as our evaluation does it [nats]."""
    inputs, targets = (torch.tensor(x).view(-1, min(len(x), SPEC.context_length)) for x in (stream[:-1], stream[1:]))
    return -decoder_of(SPEC, weights).token_losses(inputs, targets).double().flatten().numpy()


def task(folder: Path, name: str, documents: list[dict[str, Any]], **fields: Any) -> None:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"validation": str(folder / f"{name}.jsonl")}}}
    (folder / f"{name}.yaml").write_text(
        yaml.safe_dump({"task": name, "validation_split": "validation", **data, **fields})
    )


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The samples of both tasks, as the command line of the harness writes them."""
    root = tmp_path_factory.mktemp("lm_eval")
    torch.set_num_threads(1)
    export(SPEC, random_weights(SPEC), root / "model")
    text = text_of(BLOCKS * SPEC.context_length)
    task(
        root, "held_out", [{"text": text}], output_type="loglikelihood_rolling", doc_to_text="", doc_to_target="text",
        metric_list=[{"metric": "bits_per_byte"}],
    )  # fmt: skip
    task(
        root, "next_word", CHOICES, output_type="multiple_choice", doc_to_text="question", doc_to_choice="choices",
        doc_to_target="answer", metric_list=[{"metric": "acc"}],
    )  # fmt: skip
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={root / 'model'}",
        "--tasks", "held_out,next_word", "--include_path", str(root), "--device", "cpu", "--batch_size", "2",
        "--output_path", str(root / "results"), "--log_samples",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=root, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    assert "bits_per_byte" in done.stdout
    files = {name: next((root / "results").rglob(f"samples_{name}_*.jsonl")) for name in ("held_out", "next_word")}
    return {name: [json.loads(line) for line in path.read_text().splitlines()] for name, path in files.items()}


def test_the_rolling_log_likelihood_is_our_loss(evaluated: dict[str, list[dict[str, Any]]]) -> None:
    (sample,) = evaluated["held_out"]
    stream = [END_OF_DOCUMENT, *ids_of(sample["doc"]["text"])]
    ours = log_likelihoods(random_weights(SPEC), stream)
    assert len(ours) == BLOCKS * SPEC.context_length
    assert float(sample["filtered_resps"][0]) == pytest.approx(ours.sum(), abs=1e-4)


def test_the_choices_have_our_likelihoods(evaluated: dict[str, list[dict[str, Any]]]) -> None:
    question = ids_of(CHOICES[0]["question"])
    ours = [
        log_likelihoods(random_weights(SPEC), ids_of(f"{CHOICES[0]['question']} {choice}"))[len(question) - 1 :].sum()
        for choice in CHOICES[0]["choices"]
    ]
    for sample in evaluated["next_word"]:
        theirs = [float(answer[0]) for answer in sample["filtered_resps"]]
        assert theirs == pytest.approx(ours, abs=1e-4)
        assert sample["acc"] == (sample["doc"]["answer"] == int(np.argmax(ours)))
