"""Small models that transformers trains on real text and saves as others do: the checkpoints of somebody else."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PretrainedConfig, PreTrainedModel

from glidepath.corpus.tokenizer import train_bpe

VOCAB_SIZE = 300
CONTEXT_LENGTH = 32
BATCH = 8
EVERY, LAST = 10, 60
UPDATES = tuple(range(EVERY, LAST + 1, EVERY))
SHARD_BYTES = 30_000

NEOX = GPTNeoXConfig(
    vocab_size=VOCAB_SIZE, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    max_position_embeddings=64, bos_token_id=0, eos_token_id=0, hidden_dropout=0.1,
)  # fmt: skip
LLAMA = LlamaConfig(
    vocab_size=VOCAB_SIZE + 4, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
    max_position_embeddings=64, bos_token_id=0, eos_token_id=0, tie_word_embeddings=True,
)  # fmt: skip

SCHEMES: dict[str, dict[str, Any]] = {
    "moving": {"kind": "lawa", "checkpoints": 3, "every_updates": EVERY},
    "disjoint": {"kind": "lawa", "checkpoints": 3, "every_updates": EVERY, "groups": "disjoint"},
    "window_half": {"kind": "window", "fraction": 0.5},
    "ema": {"kind": "ema", "timescale_fraction": 0.2},
}


def write_text(folder: Path) -> None:
    """Real text: for training, for validation, and a tokenizer made of the first."""
    library = Path(sysconfig.get_path("stdlib"))
    folder.mkdir(parents=True)
    for split, names in {"train": ("argparse", "tarfile", "inspect"), "held_out": ("pdb", "pickletools")}.items():
        for name in names:
            text = (library / f"{name}.py").read_text(encoding="utf-8")
            (folder / f"{split}_{name}.txt").write_text(text, encoding="utf-8")
    texts = (path.read_bytes() for path in sorted(folder.glob("train_*.txt")))
    train_bpe(texts, VOCAB_SIZE, 200_000).save(str(folder / "tokenizer.json"))


def trained(config: PretrainedConfig, text: Path) -> Iterator[tuple[int, PreTrainedModel]]:
    """The model after some updates of AdamW at a steady learning rate."""
    from tokenizers import Tokenizer

    written = "".join(path.read_text(encoding="utf-8") for path in sorted(text.glob("train_*.txt")))
    ids = np.array(Tokenizer.from_file(str(text / "tokenizer.json")).encode(written).ids)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.1)
    for update in range(1, LAST + 1):
        starts = rng.integers(0, len(ids) - CONTEXT_LENGTH, BATCH)
        batch = torch.from_numpy(ids[starts[:, None] + np.arange(CONTEXT_LENGTH)])
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if update in UPDATES:
            yield update, model


def save_sharded(model: PreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size=SHARD_BYTES)


def save_rounded(model: PreTrainedModel, folder: Path) -> None:
    """Safetensors in bfloat16."""
    rounded = AutoModelForCausalLM.from_config(model.config, dtype=torch.bfloat16)
    rounded.load_state_dict(model.state_dict())
    rounded.save_pretrained(folder)


def save_pickled(model: PreTrainedModel, folder: Path) -> None:
    """As older programs did, with a mask beside the weights."""
    folder.mkdir(parents=True)
    mask = {"gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 64, 64, dtype=torch.bool).tril()}
    torch.save({**model.state_dict(), **mask}, folder / "pytorch_model.bin")
    content = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")


KINDS: dict[str, tuple[PretrainedConfig, Callable[[PreTrainedModel, Path], None]]] = {
    "neox": (NEOX, save_sharded),
    "llama": (LLAMA, save_rounded),
    "pickled": (NEOX, save_pickled),
}


def build(root: Path, names: tuple[str, ...]) -> None:
    """Text below data/, trajectories below runs/, and config/mine.yaml."""
    text = root / "data/mine"
    write_text(text)
    for name in names:
        model_config, save = KINDS[name]
        for updates, model in trained(model_config, text):
            save(model, root / f"runs/{name}/step{updates}")
    (root / "config").mkdir(exist_ok=True)
    (root / "config/mine.yaml").write_text(yaml.safe_dump(config(names), sort_keys=False), encoding="utf-8")


def config(names: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    """The checkpoints below runs/ as a configuration."""
    return {
        "checkpoints": "mine",
        "corpus": {
            "domains": [
                {
                    "name": "code",
                    "use": "validation",
                    "source": {"kind": "files", "paths": ["data/mine/held_out_*.txt"]},
                    "validation_tokens": 4096,
                }
            ],
            "tokenizer": {"kind": "file", "path": "data/mine/tokenizer.json"},
        },
        "context_length": CONTEXT_LENGTH,
        "trajectories": {name: trajectory(name) for name in names},
        "schemes": SCHEMES,
        **changes,
    }


def trajectory(name: str) -> dict[str, Any]:
    return {
        "source": {"kind": "directories", "pattern": f"runs/{name}/step{{updates}}"},
        "tokens_per_update": BATCH * CONTEXT_LENGTH,
        "n_params": 10_000,
        "hours_per_update": 0.5,
    }


def loaded(folder: Path) -> PreTrainedModel:
    """A checkpoint as transformers itself loads it, in float32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@cache
def state_of(folder: Path) -> dict[str, torch.Tensor]:
    """Its weights."""
    return dict(loaded(folder).state_dict())


def own_block_losses(model: PreTrainedModel, tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Transformers' own loss of every block [nat/token]."""
    n = (len(tokens) - 1) // CONTEXT_LENGTH
    blocks = tokens.astype(np.int64)[np.arange(n)[:, None] * CONTEXT_LENGTH + np.arange(CONTEXT_LENGTH + 1)]
    with torch.no_grad():
        return np.array([model(input_ids=ids[None], labels=ids[None]).loss.item() for ids in torch.from_numpy(blocks)])


def brute_force(folders: Mapping[int, Path], weights: Mapping[int, float]) -> dict[str, torch.Tensor]:
    """The weighted mean of all weights in float64, every checkpoint loaded whole."""
    mean: dict[str, torch.Tensor] = {}
    for updates, weight in weights.items():
        for name, tensor in state_of(folders[updates]).items():
            mean[name] = mean.get(name, 0.0) + weight * tensor.double()
    return mean
