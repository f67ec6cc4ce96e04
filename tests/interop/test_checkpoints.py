"""Weights of checkpoints that others wrote: read as they are stored, averaged as by hand, or refused with a reason."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, PretrainedConfig

from glidepath.interop.checkpoint_files import read_json, weight_files
from glidepath.interop.checkpoints import Checkpoints
from glidepath.interop.pretrained_model import PretrainedModel, check_same_model, read_config
from glidepath.science.averaging import cheapest_step
from glidepath.training.evaluation import block_losses
from glidepath.training.weighted_mean import WeightedMean
from tests.interop import others_checkpoints as others

CPU = torch.device("cpu")
SAVES: dict[str, tuple[PretrainedConfig, Callable[..., None]]] = {
    "sharded": (others.NEOX, others.save_sharded),
    "pickled": (others.NEOX, others.save_pickled),
    "rounded_and_tied": (others.LLAMA, others.save_rounded),
}
UPDATES = (10, 20, 30)


def random_model(config: PretrainedConfig, seed: int) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for weight in model.parameters():
        weight.data.add_(0.1 * torch.randn_like(weight))
    return model


def saved(folder: Path, kind: str, updates: tuple[int, ...] = UPDATES) -> dict[int, Path]:
    config, save = SAVES[kind]
    folders = {u: folder / f"step{u}" for u in updates}
    for u, to in folders.items():
        save(random_model(config, u), to)
    return folders


def opened(folders: dict[int, Path]) -> tuple[PretrainedModel, Checkpoints]:
    configs = {folder: read_config(folder) for folder in folders.values()}
    check_same_model(configs)
    model = PretrainedModel(next(iter(configs.values())), others.CONTEXT_LENGTH, CPU, torch.float32)
    return model, Checkpoints(folders, model.parameters)


@pytest.fixture
def sharded(tmp_path: Path) -> dict[int, Path]:
    return saved(tmp_path, "sharded", (10, 20))


@pytest.mark.parametrize("kind", SAVES)
def test_averages_are_those_of_whole_models_in_float64(kind: str, tmp_path: Path) -> None:
    folders = saved(tmp_path, kind)
    model, checkpoints = opened(folders)
    assert len(weight_files(folders[10])) == (6 if kind == "sharded" else 1)
    mean, before = WeightedMean(model.weights), np.zeros(3)
    for weights in ([0.5, 0.5, 0.0], [0.0, 0.25, 0.75], [1 / 3, 1 / 3, 1 / 3]):
        mean.step(cheapest_step(before, weights), UPDATES, checkpoints)
        before = np.array(weights)
        expected = others.brute_force(folders, dict(zip(UPDATES, weights, strict=True)))
        for name, weight in model.weights.items():
            assert (weight - expected[name]).abs().max() < 1e-6
    # A tied head is one tensor with the embedding, so its average is the embedding's.
    tied = SAVES[kind][0].tie_word_embeddings
    assert ("lm_head.weight" in model.weights) != tied
    assert (len(model.weights) < len(expected)) == tied


@pytest.mark.parametrize("kind", SAVES)
def test_losses_are_transformers_own(kind: str, tmp_path: Path) -> None:
    folders = saved(tmp_path, kind, (10,))
    model, checkpoints = opened(folders)
    for name, weight in model.weights.items():
        weight.copy_(checkpoints.tensor(10, name))
    tokens = np.random.default_rng(0).integers(0, others.VOCAB_SIZE, 20 * others.CONTEXT_LENGTH + 1).astype(np.uint16)
    expected = others.own_block_losses(others.loaded(folders[10]), tokens)
    assert np.abs(block_losses(model, tokens) - expected).max() < 1e-5
    rounded = PretrainedModel(read_config(folders[10]), others.CONTEXT_LENGTH, CPU, torch.bfloat16)
    for name, weight in rounded.weights.items():
        weight.copy_(model.weights[name])
    difference = np.abs(block_losses(rounded, tokens) - expected).max()
    assert 1e-5 < difference < 0.05


def test_a_pickle_that_runs_code_is_refused_before_it_runs(tmp_path: Path) -> None:
    folders = saved(tmp_path, "pickled", (10, 20))
    target = tmp_path / "was_here"

    class Program:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (target,)

    assert pickle.loads(pickle.dumps(Program())) is None
    assert target.exists(), "the program would run"
    target.unlink()
    state = torch.load(folders[20] / "pytorch_model.bin", weights_only=True)
    torch.save({**state, "extra": Program()}, folders[20] / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model.bin is a pickle that holds more than tensors.*as safetensors"):
        opened(folders)
    assert not target.exists()


def test_safetensors_are_taken_where_there_are_both(tmp_path: Path) -> None:
    folders = saved(tmp_path, "pickled", (10,))
    state = torch.load(folders[10] / "pytorch_model.bin", weights_only=True)
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(state, folders[10] / "model.safetensors", {"format": "pt"})
    (folders[10] / "pytorch_model.bin").write_bytes(b"no pickle")
    opened(folders)


def first_shard(folder: Path) -> Path:
    return sorted(folder.glob("model-00001*.safetensors"))[0]


def edit_shard(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(first_shard(folder))
    change(tensors)
    save_file(tensors, first_shard(folder), {"format": "pt"})


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut_off(folder: Path) -> None:
    whole = first_shard(folder).read_bytes()
    first_shard(folder).write_bytes(whole[: len(whole) // 2])


def name_of_a(tensors: dict[str, torch.Tensor]) -> str:
    return sorted(tensors)[0]


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard is missing": (
        lambda f: first_shard(f).unlink(),
        r"names \['model-00001.*all 5 shards are needed; ",
    ),
    "a shard is cut off": (cut_off, r"cannot be read .*cut off or damaged; download or save"),
    "no weights": (lambda f: [one.unlink() for one in f.glob("model*")], r"has no weights: it needs model.safetensors"),
    "an index out of the folder": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../model.safetensors"}}'),
        r"names '../model.safetensors': shards lie beside",
    ),
    "another shape": (
        lambda f: edit_shard(f, lambda t: t.update({name_of_a(t): torch.ones(3, 3)})),
        r"has the shape \(3, 3\), the model .*only checkpoints of one model",
    ),
    "codes": (
        lambda f: edit_shard(f, lambda t: t.update({name_of_a(t): t[name_of_a(t)].to(torch.int8)})),
        "holds I8, which is no weight that can be averaged",
    ),
    "a tensor too few": (lambda f: edit_shard(f, lambda t: t.pop(name_of_a(t))), r"has no tensor .*which the model"),
    "a tensor too many": (
        lambda f: edit_shard(f, lambda t: t.update(adapter=torch.ones(2))),
        r"tensors that the model of its config.json does not: adapter\. Give the",
    ),
    "another model": (lambda f: edit_config(f, layer_norm_eps=1e-3), r"layer_norm_eps is 0.001, in .*step10.*1e-05"),
    "code of its own": (
        lambda f: edit_config(f, auto_map={"AutoModelForCausalLM": "modeling.Mine"}),
        r"auto_map .* such code is not run. Convert",
    ),
    "quantised": (lambda f: edit_config(f, quantization_config={"bits": 4}), r"quantization_config .* Give the"),
    "unknown": (lambda f: edit_config(f, model_type="mine"), r"model_type 'mine' .* such as gpt_neox or llama"),
    "another head": (
        lambda f: edit_config(f, architectures=["GPTNeoXModel"]),
        r"for gpt_neox that is GPTNeoXForCausalLM",
    ),
    "no configuration": (lambda f: (f / "config.json").unlink(), r"is no configuration of a model \(FileNotFoundError"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_refused(fault: str, sharded: dict[int, Path]) -> None:
    spoil, message = WRONG[fault]
    spoil(sharded[20])
    with pytest.raises(ValueError, match=message):
        opened(sharded)


def test_who_wrote_a_configuration_does_not_matter(sharded: dict[int, Path]) -> None:
    edit_config(sharded[20], transformers_version="4.30.0", use_cache=False, torch_dtype="float16")
    opened(sharded)


def test_a_context_beyond_the_positions_is_refused(sharded: dict[int, Path]) -> None:
    with pytest.raises(ValueError, match=r"context_length 65 is more than the 64 positions"):
        PretrainedModel(read_config(sharded[10]), 65, CPU, torch.float32)


def test_a_model_that_is_not_causal_is_refused(tmp_path: Path) -> None:
    BertConfig(architectures=["BertForMaskedLM"]).save_pretrained(tmp_path)
    assert read_json(tmp_path)["model_type"] == "bert"
    with pytest.raises(ValueError, match="for bert that is BertLMHeadModel"):
        read_config(tmp_path)
