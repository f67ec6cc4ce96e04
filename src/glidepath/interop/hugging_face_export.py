"""A directory that transformers, lm-evaluation-harness and what builds on them load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from glidepath.interop.hugging_face_model import Weights, architecture, hugging_face_model
from glidepath.interop.hugging_face_tokenizer import tokenizer_files
from glidepath.interop.model_card import ModelCard
from glidepath.study.specs import ModelSpec


def export_model(
    spec: ModelSpec, weights: Weights, tokenizer_json: str, end_of_document: int, card: ModelCard, output: Path
) -> None:
    """Write model, tokenizer and model card to `output`, which is whole or absent.

    `weights` are float32 by our parameter names; `tokenizer_json` is the text of the corpus' tokenizer.json and
    `end_of_document` its id of the end of a document. Logits are those of `Decoder.logits` but for rounding. Raises
    ValueError if `output` exists, or for what `hugging_face_model` and `tokenizer_files` refuse.
    """
    check_new(output)
    model = hugging_face_model(spec, weights, end_of_document)
    texts = {
        "config.json": _json(model.config),
        "generation_config.json": _json({"bos_token_id": end_of_document, "eos_token_id": end_of_document}),
        **tokenizer_files(tokenizer_json, end_of_document, spec.vocab_size, spec.context_length),
        "README.md": card.text(architecture(spec).name),
    }
    partial = output.with_name(f".{output.name}.partial")
    # What a killed export left under this name is nobody's.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8")
        save_file(model.tensors, partial / "model.safetensors", metadata={"format": "pt"})
        # The library writes for the owner alone.
        (partial / "model.safetensors").chmod((partial / "config.json").stat().st_mode)
        check_new(output)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_new(output: Path) -> None:
    """Raises ValueError if there is something at `output`."""
    if output.exists():
        raise ValueError(f"output {output} exists and is not overwritten: name another directory, or remove it")


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
