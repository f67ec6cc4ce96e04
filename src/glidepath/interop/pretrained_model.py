"""A causal language model of transformers, as evaluation and averaging want it: named tensors and losses of tokens.

Architectures are those that the installed transformers brings; code that comes with a checkpoint is not run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from glidepath.interop.checkpoint_files import CONFIG, KNOWN_PROGRAMS, read_json
from glidepath.interop.checkpoints import Parameters

if TYPE_CHECKING:
    from transformers import PretrainedConfig

NO_PARAMETERS = (r"(^|\.)rotary_emb\.inv_freq$", r"(^|\.)masked_bias$")
"""Names under which older programs saved constants, whatever the architecture."""
OF_THE_PROGRAM = frozenset({"transformers_version", "dtype", "torch_dtype", "_name_or_path", "use_cache"})
"""Keys of a config.json that say who wrote it and how, not what the model is."""


MEANT_AS_VALUES = frozenset(
    {"model_type", "name_or_path", "num_labels", "output_attentions", "per_layer_config", "rope_scaling", "torch_dtype"}
    | {"_attn_implementation", "_experts_implementation"}
)
"""Keys that stand in a config.json although the class of a configuration has more than a field by that name."""

OUTPUTS: dict[str, list[bool | None]] = {
    "return_dict": [True],
    "output_hidden_states": [True, False, None],
    "output_attentions": [True, False, None],
}
"""What a config.json may say of the form in which a model gives its losses, for them to be found."""


def read_config(folder: Path) -> PretrainedConfig:
    """The configuration of a checkpoint.

    Raises ValueError for what `read_json` refuses, for a key that would replace a part of the program, for values that
    transformers refuses, and for a model that it does not know as a causal language model.
    """
    from transformers import PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    content = read_json(folder)
    path, kind, classes = folder / CONFIG, content["model_type"], content.get("architectures") or []
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    if known is None or known not in classes:
        allowed = f"for {kind} that is {known}" if known else "such as gpt_neox or llama"
        raise ValueError(
            f"{path}: model_type {kind!r} with architectures {classes}: it must be one of transformers' causal "
            f"language models, {allowed}. Convert the checkpoint"
        )
    fields = {field.name for field in dataclasses.fields(PretrainedConfig)}
    # Every key becomes an attribute, and attribute_map, for one, can give another key the meaning of a refused one.
    program = content.keys() & set(dir(PretrainedConfig)) - fields - MEANT_AS_VALUES
    program |= {key for key, allowed in OUTPUTS.items() if key in content and content[key] not in allowed}
    if program:
        key = min(program)
        raise ValueError(
            f"{path}: {key} {content[key]!r} says how the program works, not what the model is, and is nothing that "
            "save_pretrained writes. Remove it"
        )
    with _refusals(str(path)):
        config: PretrainedConfig = CONFIG_MAPPING[kind].from_dict(content)
        config.to_dict()
    return config


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Turn what transformers raises at a configuration into one paragraph."""
    try:
        yield
    except Exception as error:  # of its checks, of its classes or of torch, with no common type
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{what}: transformers can make no model of it ({reason}): every key must have a value that the "
            "architecture allows. Correct config.json, or give the one that belongs to the weights"
        ) from error


def check_same_model(configs: Mapping[Path, PretrainedConfig]) -> None:
    """Raises ValueError if the configurations of some checkpoints' folders are of different models."""
    first = next(iter(configs))
    expected = _of_the_model(configs[first])
    for folder, config in configs.items():
        found = _of_the_model(config)
        for key in sorted(expected.keys() | found.keys()):
            if expected.get(key) != found.get(key):
                raise ValueError(
                    f"{folder / CONFIG}: {key} is {found.get(key)!r}, in {first / CONFIG} it is {expected.get(key)!r}: "
                    "only checkpoints of one model can be averaged. Leave one of them out"
                )


def _of_the_model(config: PretrainedConfig) -> dict[str, Any]:
    return {key: value for key, value in config.to_dict().items() if key not in OF_THE_PROGRAM}


def _own(program: str | None) -> str | None:
    """The program of a layer, which `read_json` has seen already; asked again where it is run.

    Raises ValueError for one that transformers does not bring.
    """
    if program not in KNOWN_PROGRAMS:
        raise ValueError(f"{program!r} may be code that is not of transformers, and is not run")
    return program


class PretrainedModel:
    """A model of transformers with weights in float32, whose matrix products take `matmul_dtype`.

    The weights hold anything until all of them are written to: none are drawn. Raises ValueError for a context longer
    than the model has positions, a configuration that no model can be made of, and a model with learned buffers.
    """

    def __init__(
        self, config: PretrainedConfig, context_length: int, device: torch.device, matmul_dtype: torch.dtype
    ) -> None:
        from transformers import AutoModelForCausalLM
        from transformers.initialization import no_init_weights

        positions = getattr(config, "max_position_embeddings", None)
        if positions is not None and context_length > positions:
            raise ValueError(
                f"context_length {context_length} is more than the {positions} positions of the model "
                f"({config.model_type}, max_position_embeddings). Lower it"
            )
        # Drawing random weights of a large model takes minutes, and ties come with it.
        with _refusals(f"configuration of type {config.model_type}"), no_init_weights():
            self._model = AutoModelForCausalLM.from_config(
                config,
                dtype=torch.float32,
                trust_remote_code=False,
                attn_implementation=_own(config._attn_implementation),
                experts_implementation=_own(config._experts_implementation),
            )
            self._model.tie_weights()
        self._model.requires_grad_(False).eval().to(device)
        self._weights = dict(self._model.named_parameters())
        learned = [
            name
            for name, tensor in self._model.state_dict().items()
            if tensor.is_floating_point() and name in dict(self._model.named_buffers())
        ]
        if learned:
            raise ValueError(
                f"a model of type {config.model_type} keeps {learned[0]!r} beside its parameters, and what the average "
                "of such a buffer is worth is not known here. Such models cannot be averaged"
            )
        self._context_length, self._device, self._matmul_dtype = context_length, device, matmul_dtype

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Its own parameters by name, a tied one once."""
        return self._weights

    @property
    def context_length(self) -> int:
        """Tokens per block."""
        return self._context_length

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._device

    @property
    def n_embedded(self) -> int:
        """Token ids that it has an embedding of."""
        rows: int = self._model.get_input_embeddings().weight.shape[0]
        return rows

    @property
    def parameters(self) -> Parameters:
        """What it wants of a checkpoint."""
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming, rename_source_key

        # Of those that also merge or split tensors the names stay unknown, and are refused.
        renamings = [one for one in get_model_conversion_mapping(self._model) if isinstance(one, WeightRenaming)]
        every = dict(self._model.named_parameters(remove_duplicate=False))
        others = {
            name: tuple(other for other, tensor in every.items() if tensor is weight and other != name)
            for name, weight in self._weights.items()
        }
        return Parameters(
            {name: tuple(weight.shape) for name, weight in self._weights.items()},
            {name: names for name, names in others.items() if names},
            lambda name: str(rename_source_key(name, renamings, [])[0]),
            (*NO_PARAMETERS, *sorted(self._model._keys_to_ignore_on_load_unexpected or ())),
        )

    def token_losses(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Loss of every token [nats], shape [B, T]."""
        rounded = self._matmul_dtype is not torch.float32
        with torch.autocast(self._device.type, self._matmul_dtype, enabled=rounded):
            logits_BTV = self._model(input_ids=inputs_BT, use_cache=False).logits
        losses_N = functional.cross_entropy(logits_BTV.float().flatten(0, 1), targets_BT.flatten(), reduction="none")
        return losses_N.view(targets_BT.shape)
