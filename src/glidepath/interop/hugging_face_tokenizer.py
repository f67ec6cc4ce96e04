"""A corpus' tokenizer as transformers reads it: text gets the ids that training gave it.

Training encodes text as it stands: a special token spelled out in it is text (`split_special_tokens`), nothing is put
around it (no post-processor), and it is neither cut nor padded.
"""

from __future__ import annotations

import json
from typing import Any


def tokenizer_files(tokenizer_json: str, end_of_document: int, vocab_size: int, context_length: int) -> dict[str, str]:
    """tokenizer.json and tokenizer_config.json, by name.

    Raises ValueError if the tokenizer has no token `end_of_document`, or one that the model has no embedding of.
    """
    tokenizer: dict[str, Any] = json.loads(tokenizer_json)
    tokens = tokens_by_id(tokenizer)
    if max(tokens) >= vocab_size or end_of_document not in tokens:
        raise ValueError(
            f"the tokenizer has ids up to {max(tokens)}, the model embeds {vocab_size} and documents end with id "
            f"{end_of_document}: all ids must be below the embedded ones and the end one of them. Give the tokenizer "
            "and the end of document of the corpus that the model was trained on"
        )
    ends = tokens[end_of_document]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": ends,
        "eos_token": ends,
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context_length,
    }
    as_trained = tokenizer | {"post_processor": None, "truncation": None, "padding": None}
    return {
        "tokenizer.json": json.dumps(as_trained, ensure_ascii=False, indent=1) + "\n",
        "tokenizer_config.json": json.dumps(config, ensure_ascii=False, indent=1) + "\n",
    }


def tokens_by_id(tokenizer: dict[str, Any]) -> dict[int, str]:
    """All tokens of the content of a tokenizer.json, those of the model and those added to it."""
    vocabulary = tokenizer["model"]["vocab"]
    # A Unigram model lists (token, score) in the order of ids.
    ids = vocabulary if isinstance(vocabulary, dict) else {entry[0]: i for i, entry in enumerate(vocabulary)}
    added = {entry["content"]: entry["id"] for entry in tokenizer["added_tokens"]}
    return {i: token for token, i in (ids | added).items()}
