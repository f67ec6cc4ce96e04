"""Weights of checkpoints that others have written, read tensor by tensor.

Files are mapped: what is not touched is not read. Safetensors hold numbers and names only. A `pytorch_model.bin` is a
pickle, which can hold a program: it is read with `weights_only`, which refuses everything but tensors.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from glidepath.interop.checkpoint_files import AGAIN, INDEX, weight_files, weight_map

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
OPEN_FILES = 64


@dataclass(frozen=True)
class Parameters:
    """What a model wants of a checkpoint."""

    shapes: Mapping[str, tuple[int, ...]]
    """Of every parameter, a tied one once."""
    other_names: Mapping[str, tuple[str, ...]]
    """Further names of tied parameters."""
    name_of: Callable[[str], str]
    """The model's name of what a file calls otherwise: programs have renamed parameters over the years."""
    ignored: tuple[str, ...]
    """Patterns of names of what is no parameter, such as masks, which older programs saved beside them."""


class Checkpoints:
    """Checkpoints of one training, by updates done. All are looked through at once, without reading their numbers.

    Raises ValueError, naming the file, for a missing, damaged or unreadable one, for a pickle that holds more than
    tensors, for tensors that are not the model's by name, shape or kind, and for a name that occurs twice.
    """

    def __init__(self, folders: Mapping[int, Path], parameters: Parameters) -> None:
        self._folders = dict(folders)
        self._places = {updates: _places(folder, parameters) for updates, folder in folders.items()}

    def tensor(self, updates_done: int, name: str) -> Tensor:
        """One parameter after some updates, as it was stored: float16, bfloat16, float32 or float64."""
        file, stored_name = self._places[updates_done][name]
        return _opened(file).tensor(stored_name)

    def check_finite(self, updates_done: Iterable[int]) -> None:
        """Raises ValueError, naming it, for a tensor with a number that is none; reads all of these checkpoints."""
        for updates in updates_done:
            for name, (_, stored_name) in self._places[updates].items():
                if not bool(torch.isfinite(self.tensor(updates, name)).all()):
                    raise ValueError(
                        f"checkpoint {self._folders[updates]}, after {updates} updates: tensor {stored_name!r} has "
                        "numbers that are infinite or none: such weights have no average and no loss. Leave the "
                        "checkpoint out"
                    )


def _places(folder: Path, parameters: Parameters) -> dict[str, tuple[Path, str]]:
    """File and stored name of every parameter."""
    stored = _stored_names(folder, parameters)
    places: dict[str, tuple[Path, str]] = {}
    for name, shape in parameters.shapes.items():
        there = next((one for one in (name, *parameters.other_names.get(name, ())) if one in stored), None)
        if there is None:
            raise ValueError(
                f"checkpoint {folder} has no tensor {name!r}, which the model of its config.json needs; it has "
                f"{_some(sorted(stored))}. Save it with save_pretrained, under the names of transformers"
            )
        file, stored_name = stored[there]
        found = _opened(file).stored[stored_name]
        if found.shape != shape:
            raise ValueError(
                f"checkpoint {folder}: tensor {stored_name!r} has the shape {found.shape}, the model {shape}: only "
                "checkpoints of one model can be averaged. Leave it out, or give the config.json that belongs to it"
            )
        if not found.is_readable:
            raise ValueError(
                f"checkpoint {folder}: tensor {stored_name!r} holds {found.kind}, which is no weight that can be "
                "averaged: need floating-point numbers of 16 to 64 bits. Save the model without quantisation"
            )
        places[name] = stored[there]
    known = {one for name in places for one in (name, *parameters.other_names.get(name, ()))}
    unknown = [
        name
        for name in sorted(stored)
        if name not in known and not any(re.search(pattern, name) for pattern in parameters.ignored)
    ]
    if unknown:
        raise ValueError(
            f"checkpoint {folder} has tensors that the model of its config.json does not: {_some(unknown)}. Give the "
            "config.json that belongs to the weights"
        )
    return places


def _stored_names(folder: Path, parameters: Parameters) -> dict[str, tuple[Path, str]]:
    """File and stored name of every tensor, by the model's name."""
    stored: dict[str, tuple[Path, str]] = {}
    shards: dict[str, str] = {}
    for file in weight_files(folder):
        if file.name.endswith(INDEX):
            shards = weight_map(file)
            continue
        for stored_name in _opened(file).stored:
            name = parameters.name_of(stored_name)
            place = shards.get(stored_name, file.name)
            if name in stored or place != file.name:
                other = place if place != file.name else " as ".join((stored[name][0].name, repr(stored[name][1])))
                raise ValueError(
                    f"checkpoint {folder}: tensor {stored_name!r} is in {file.name}, and should be in {other} too or "
                    f"instead: it is not known which of them counts; {AGAIN}"
                )
            stored[name] = file, stored_name
    return stored


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@dataclass(frozen=True)
class _Stored:
    """A tensor as a file describes it."""

    shape: tuple[int, ...]
    kind: str
    is_readable: bool


class _Safetensors:
    def __init__(self, path: Path) -> None:
        self._file = _safetensors_file(path)
        parts = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118 - it is no mapping
        self.stored = {
            name: _Stored(tuple(part.get_shape()), part.get_dtype(), part.get_dtype() in ("F16", "BF16", "F32", "F64"))
            for name, part in parts.items()
        }

    def tensor(self, name: str) -> Tensor:
        found: Tensor = self._file.get_tensor(name)
        return found


class _Pickle:
    def __init__(self, path: Path) -> None:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(content, dict) or not all(_is_entry(name, one) for name, one in content.items()):
            raise ValueError(
                f"{path} is no mapping of names to tensors that hold their numbers one by one; save the model's "
                "state_dict, as safetensors"
            )
        # A parameter that was saved with its gradient's mark is numbers like any other.
        self._tensors: dict[str, Tensor] = {name: tensor.detach() for name, tensor in content.items()}
        self.stored = {
            name: _Stored(tuple(tensor.shape), str(tensor.dtype), tensor.dtype in FLOATING)
            for name, tensor in content.items()
        }

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]


def _is_entry(name: object, tensor: object) -> bool:
    """Whether it is a name with a tensor that has its numbers: a sparse one has some of them, one on `meta` none."""
    dense = isinstance(tensor, Tensor) and tensor.layout is torch.strided and tensor.device.type == "cpu"
    return isinstance(name, str) and dense


def _safetensors_file(path: Path) -> Any:
    return safe_open(path, framework="pt")


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path) -> _Safetensors | _Pickle:
    try:
        return _Safetensors(path) if path.suffix == ".safetensors" else _Pickle(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}): it is cut off or damaged; {AGAIN}") from error
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is a pickle that holds more than tensors, which could run a program of its author: it is not "
            "loaded. Get the checkpoint as safetensors"
        ) from error
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}): save it again, as safetensors") from error
