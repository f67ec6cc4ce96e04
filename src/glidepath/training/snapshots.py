"""Weights at many updates in one safetensors file: `u{updates_done:08d}/{parameter}`, float32, read tensor by
tensor.

While a segment runs every snapshot is a file of its own, so that memory holds one and a killed job loses
none. At the end they are joined by copying bytes; the format is a length, a JSON header with offsets, and the
data.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from glidepath.training.files import written_atomically
from glidepath.training.state import save_tensors


def part_path(folder: Path, updates_done: int) -> Path:
    """Where the snapshot of one update waits until the segment ends."""
    return folder / f"snapshot-{updates_done:08d}.safetensors"


def save_part(folder: Path, updates_done: int, weights: dict[str, Tensor]) -> None:
    """Write one snapshot atomically."""
    arrays = {f"u{updates_done:08d}/{name}": w.cpu().numpy() for name, w in weights.items()}
    save_tensors(part_path(folder, updates_done), arrays, {})


def join(parts: Sequence[Path], path: Path, metadata: dict[str, str]) -> None:
    """Join snapshot files into one, atomically; of no parts, a file with metadata only."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    data_starts: list[int] = []
    size = 0
    for part in parts:
        header, data_start = _read_header(part)
        data_starts.append(data_start)
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                entries[name] = {**entry, "data_offsets": [size + begin, size + end]}
        size += part.stat().st_size - data_start
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with written_atomically(path) as temporary, temporary.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for part, data_start in zip(parts, data_starts, strict=True):
            with part.open("rb") as data:
                data.seek(data_start)
                shutil.copyfileobj(data, out)


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    return header, 8 + length


def _opened(path: Path) -> Any:
    return safe_open(path, framework="numpy")


class Snapshots:
    """Reads a snapshot file; tensors come one at a time."""

    def __init__(self, path: Path) -> None:
        self._file = _opened(path)
        self.metadata: dict[str, str] = self._file.metadata()
        self._names: dict[int, list[str]] = {}
        for key in self._file.keys():  # noqa: SIM118
            updates, name = key.split("/", 1)
            self._names.setdefault(int(updates[1:]), []).append(name)

    @property
    def updates_done(self) -> list[int]:
        """The updates of which there are snapshots, ascending."""
        return sorted(self._names)

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters; empty if there is no snapshot."""
        return sorted(next(iter(self._names.values()), []))

    def tensor(self, updates_done: int, parameter: str) -> NDArray[np.float32]:
        """One parameter at one update."""
        array: NDArray[np.float32] = self._file.get_tensor(f"u{updates_done:08d}/{parameter}")
        return array

    def weights(self, updates_done: int) -> dict[str, NDArray[np.float32]]:
        """All parameters at one update.

        Raises KeyError, listing what there is, if that update has no snapshot.
        """
        if updates_done not in self._names:
            raise KeyError(f"no snapshot after {updates_done} updates; there are {self.updates_done}")
        return {name: self.tensor(updates_done, name) for name in self._names[updates_done]}
