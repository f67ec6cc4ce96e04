"""The files of a checkpoint as transformers writes them, looked at without loading anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIG = "config.json"
INDEX = ".index.json"
LAYOUTS = ("model.safetensors", "pytorch_model.bin")
"""Names of a whole file, in the order in which they are looked for; that of a sharded one ends with `INDEX`."""
AGAIN = "download or save the checkpoint again"


def read_json(folder: Path) -> dict[str, Any]:
    """The configuration of a checkpoint.

    Raises ValueError for a file that is none, and for one that asks for code of its own or has quantised weights.
    """
    path = folder / CONFIG
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["model_type"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{path} is no configuration of a model ({type(error).__name__}: {error}): it must name a model_type, as "
            "save_pretrained writes it. Correct the checkpoint"
        ) from error
    if "auto_map" in content:
        raise ValueError(
            f"{path}: auto_map {content['auto_map']} asks for code that comes with the checkpoint, and such code is "
            "not run. Convert the model to an architecture of transformers and remove auto_map"
        )
    if "quantization_config" in content:
        raise ValueError(
            f"{path}: quantization_config says that the weights are quantised, and codes cannot be averaged. Give the "
            "checkpoint as it was trained"
        )
    return content


def weight_files(folder: Path) -> list[Path]:
    """The files with a checkpoint's weights, and their index if they are several.

    Raises ValueError if there are none, or if one that the index names is missing.
    """
    for name in LAYOUTS:
        whole, index = folder / name, folder / f"{name}{INDEX}"
        if whole.is_file():
            return [whole]
        if index.is_file():
            shards = [folder / shard for shard in sorted(set(_weight_map(index).values()))]
            missing = [shard.name for shard in shards if not shard.is_file()]
            if missing:
                raise ValueError(
                    f"checkpoint {folder}: {index.name} names {missing}, which is missing: all {len(shards)} shards "
                    f"are needed; {AGAIN}"
                )
            return [index, *shards]
    known = " or ".join(f"{name} or {name}{INDEX}" for name in LAYOUTS)
    raise ValueError(f"checkpoint {folder} has no weights: it needs {known}; give a directory of save_pretrained")


def _weight_map(index: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        wrong = [name for name in found.values() if Path(name).name != name]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards ({type(error).__name__}: {error}); {AGAIN}") from error
    if wrong:
        raise ValueError(f"{index} names {wrong[0]!r}: shards lie beside their index; {AGAIN}")
    return found
