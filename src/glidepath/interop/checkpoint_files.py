"""The files of a checkpoint as transformers writes them, looked at without loading anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONFIG = "config.json"
INDEX = ".index.json"
LAYOUTS = ("model.safetensors", "pytorch_model.bin")
"""Names of a whole file, in the order in which they are looked for; that of a sharded one ends with `INDEX`."""
AGAIN = "download or save the checkpoint again"
OWN_CODE = "auto_map"
PROGRAM_CHOICE = "_implementation"
"""How the names of keys end that choose the program of a layer, such as attention: transformers takes the name of a
repository for it, and would fetch and run what is there."""
KNOWN_PROGRAMS = (None, "eager", "sdpa", "grouped_mm", "batched_mm")
"""Those that transformers and torch bring themselves."""


def read_json(folder: Path) -> dict[str, Any]:
    """The configuration of a checkpoint.

    Raises ValueError for a file that is none, and for one that asks for code other than that of transformers, anywhere
    in it, or has quantised weights.
    """
    path = folder / CONFIG
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind, classes = content["model_type"], content.get("architectures") or []
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is no configuration of a model ({type(error).__name__}: {error}): it must name a model_type, as "
            "save_pretrained writes it. Correct the checkpoint"
        ) from error
    if not isinstance(kind, str) or not isinstance(classes, list):
        raise ValueError(
            f"{path}: model_type {kind!r} with architectures {classes!r}: they must be a name and a list of names, as "
            "save_pretrained writes them. Correct the checkpoint"
        )
    for key, value in _entries(content):
        if key == OWN_CODE:
            raise ValueError(
                f"{path}: {key} {value} asks for code that comes with the checkpoint, and such code is not run. "
                f"Convert the model to an architecture of transformers and remove {key}"
            )
        if PROGRAM_CHOICE in key and not (value is None or (isinstance(value, str) and value in KNOWN_PROGRAMS)):
            raise ValueError(
                f"{path}: {key} {value!r} may name code that is not of transformers, and such code is not run: it must "
                f"be one of {', '.join(map(str, KNOWN_PROGRAMS[1:]))}. Remove the key"
            )
    if "quantization_config" in content:
        raise ValueError(
            f"{path}: quantization_config says that the weights are quantised, and codes cannot be averaged. Give the "
            "checkpoint as it was trained"
        )
    return content


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """All keys and values of a JSON text, however deep."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def weight_files(folder: Path) -> list[Path]:
    """The files with a checkpoint's weights, and their index if they are several.

    Raises ValueError if there are none, or if one that the index names is missing.
    """
    for name in LAYOUTS:
        whole, index = folder / name, folder / f"{name}{INDEX}"
        if whole.is_file():
            return [whole]
        if index.is_file():
            shards = [folder / shard for shard in sorted(set(weight_map(index).values()))]
            missing = [shard.name for shard in shards if not shard.is_file()]
            if missing:
                raise ValueError(
                    f"checkpoint {folder}: {index.name} names {missing}, which is missing: all {len(shards)} shards "
                    f"are needed; {AGAIN}"
                )
            return [index, *shards]
    known = " or ".join(f"{name} or {name}{INDEX}" for name in LAYOUTS)
    raise ValueError(f"checkpoint {folder} has no weights: it needs {known}; give a directory of save_pretrained")


def weight_map(index: Path) -> dict[str, str]:
    """Name of the shard of every tensor. Raises ValueError for a file that does not say it."""
    try:
        found: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        wrong = [name for name in found.values() if Path(name).name != name]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards ({type(error).__name__}: {error}); {AGAIN}") from error
    if wrong:
        raise ValueError(f"{index} names {wrong[0]!r}: shards lie beside their index; {AGAIN}")
    return found
