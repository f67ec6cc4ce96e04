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
    "attention from elsewhere": (
        lambda f: edit_config(f, attn_implementation="kernels-community/flash-attn2"),
        r"attn_implementation 'kernels-community/flash-attn2' may name code .* one of eager, sdpa.* Remove the key",
    ),
    "attention under its old name": (
        lambda f: edit_config(f, _attn_implementation="owner/name"),
        "_attn_implementation 'owner/name' may name code",
    ),
    "attention of a part": (
        lambda f: edit_config(f, text_config={"attn_implementation": "owner/name@main:f"}),
        "attn_implementation 'owner/name@main:f' may name code",
    ),
    "attention part by part": (
        lambda f: edit_config(f, attn_implementation={"": "owner/name"}),
        "attn_implementation {'': 'owner/name'} may name code",
    ),
    "experts from elsewhere": (
        lambda f: edit_config(f, experts_implementation="deepgemm"),
        "experts_implementation 'deepgemm' may name code",
    ),
    "attention under a name of one's own": (
        lambda f: edit_config(f, attribute_map={"x": "".join(("_attn", "_implementation"))}, x="owner/name"),
        "attribute_map .* says how the program works, not what the model is.* Remove it",
    ),
    "attributes of the program": (
        lambda f: edit_config(f, __dict__={"hidden_size": 32}),
        "__dict__ .* says how the program works",
    ),
    "outputs that are no flag": (
        lambda f: edit_config(f, output_hidden_states="all"),
        "output_hidden_states 'all' says how the program works",
    ),
    "outputs without names": (lambda f: edit_config(f, return_dict=False), "return_dict False says how the program"),
    "a list of types": (
        lambda f: edit_config(f, model_type=["gpt_neox"]),
        r"model_type \['gpt_neox'\] with .* must be a name and a list of names",
    ),
    "a number of architectures": (lambda f: edit_config(f, architectures=5), "architectures 5: they must be a name"),
    "a size in words": (
        lambda f: edit_config(f, hidden_size="32"),
        r"config.json: transformers can make no model of it \(Strict.* expected int, got str.* Correct config.json",
    ),
    "no heads": (lambda f: edit_config(f, num_attention_heads=0), r"can make no model of it \(ZeroDivisionError"),
    "numbers of no kind": (
        lambda f: edit_config(f, dtype="nope"),
        r"can make no model of it \(AttributeError: .*has no attribute 'nope'",
    ),
    "quantised": (lambda f: edit_config(f, quantization_config={"bits": 4}), r"quantization_config .* Give the"),
    "unknown": (lambda f: edit_config(f, model_type="mine"), r"model_type 'mine' .* such as gpt_neox or llama"),
    "another head": (
        lambda f: edit_config(f, architectures=["GPTNeoXModel"]),
        r"for gpt_neox that is GPTNeoXForCausalLM",
    ),
    "no configuration": (lambda f: (f / "config.json").unlink(), r"is no configuration of a model \(FileNotFoundError"),
}


UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "an activation": ({"hidden_act": "nope"}, "KeyError: 'nope'"),
    "positions": ({"rope_parameters": {"rope_type": "nope", "rope_theta": 1e4}}, "KeyError: 'nope'"),
    "a part that has no class": ({"text_config": {"hidden_size": 32}}, "AttributeError: 'dict' object"),
    "a token for padding": ({"pad_token_id": 10**6}, "AssertionError: Padding_idx must be within"),
}


@pytest.mark.parametrize("fault", UNKNOWN)
def test_a_configuration_that_no_model_can_be_made_of_is_refused(fault: str, tmp_path: Path) -> None:
    changes, reason = UNKNOWN[fault]
    folders = saved(tmp_path, "rounded_and_tied", (10,))
    edit_config(folders[10], **changes)
    with pytest.raises(ValueError, match=rf"transformers can make no model of it \({reason}"):
        opened(folders)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_that_transformers_brings_may_be_chosen(attention: str, sharded: dict[int, Path]) -> None:
    for folder in sharded.values():
        edit_config(folder, attn_implementation=attention)
    assert opened(sharded)[0]._model.config._attn_implementation == attention


def first_weight(content: dict[Any, Any]) -> str:
    return next(name for name, tensor in content.items() if tensor.is_floating_point())


PICKLED: dict[str, Callable[[dict[Any, Any]], object]] = {
    "a number for a name": lambda t: t.update({3: torch.ones(4)}),
    "a sparse tensor": lambda t: t.update({first_weight(t): t[first_weight(t)].to_sparse()}),
    "a tensor without numbers": lambda t: t.update({first_weight(t): t[first_weight(t)].to("meta")}),
    "more than tensors": lambda t: t.update(step=3),
}


@pytest.mark.parametrize("fault", PICKLED)
def test_a_pickle_of_anything_else_is_refused(fault: str, tmp_path: Path) -> None:
    folders = saved(tmp_path, "pickled", (10,))
    path = folders[10] / "pytorch_model.bin"
    state = dict(torch.load(path, weights_only=True))
    PICKLED[fault](state)
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"pytorch_model.bin is no mapping of names to tensors that hold"):
        opened(folders)


def test_pickled_parameters_are_read_as_numbers(tmp_path: Path) -> None:
    folders = saved(tmp_path, "pickled", (10, 20))
    path = folders[10] / "pytorch_model.bin"
    state = dict(torch.load(path, weights_only=True))
    name = first_weight(state)
    torch.save({**state, name: torch.nn.Parameter(state[name])}, path)
    model, checkpoints = opened(folders)
    WeightedMean(model.weights).step(cheapest_step(np.zeros(2), [1.0, 0.0]), (10, 20), checkpoints)
    assert torch.equal(model.weights[name], state[name])


def test_weights_that_are_no_numbers_are_named(sharded: dict[int, Path]) -> None:
    names: list[str] = []

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        names.append(name_of_a(tensors))
        tensors[names[0]].view(-1)[1] = torch.nan

    edit_shard(sharded[20], spoil)
    _, checkpoints = opened(sharded)
    checkpoints.check_finite([10])
    with pytest.raises(ValueError, match=rf"step20, after 20 updates: tensor '{names[0]}' has numbers .* Leave the"):
        checkpoints.check_finite([10, 20])


def test_a_tensor_in_two_shards_is_refused(sharded: dict[int, Path]) -> None:
    """Which of them counts, the index says; but who wrote the other one meant something by it."""
    shards = sorted(sharded[20].glob("model-*.safetensors"))
    name = name_of_a(load_file(shards[0]))
    save_file({**load_file(shards[1]), name: torch.zeros(3)}, shards[1], {"format": "pt"})
    with pytest.raises(ValueError, match=rf"tensor '{name}' is in {shards[1].name}, and should be in {shards[0].name}"):
        opened(sharded)


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
