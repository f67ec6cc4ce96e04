"""Weights at many updates in one safetensors file: `u{updates_done:08d}/{parameter}`, float32, read tensor by
tensor.

While a segment runs every snapshot is a file of its own, so that memory holds one and a killed job loses
none. At the end they are joined by copying bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glidepath.training.files import written_atomically
from glidepath.training.state import train_again
from glidepath.training.tensor_files import CHECKSUM, data_of, read_header, save_tensors, verify, write

GO_BACK = "run again; training goes back to before it"
"""Remedy for a damaged part: who resumes checks the parts that its progress counts on."""


def part_path(folder: Path, updates_done: int) -> Path:
    """Where the snapshot of one update waits until the segment ends."""
    return folder / f"snapshot-{updates_done:08d}.safetensors"


def parts_in(folder: Path) -> dict[int, Path]:
    """The snapshots that wait in a folder, by update, ascending."""
    return {int(path.stem.removeprefix("snapshot-")): path for path in sorted(folder.glob("snapshot-*.safetensors"))}


def save_part(folder: Path, updates_done: int, weights: dict[str, Tensor]) -> None:
    """Write one snapshot atomically."""
    arrays = {f"u{updates_done:08d}/{name}": w.cpu().numpy() for name, w in weights.items()}
    save_tensors(part_path(folder, updates_done), arrays, {})


def checksum(part: Path) -> str:
    """What a part says its checksum is. Raises DamagedFileError if its header cannot be read."""
    text: str = read_header(part, GO_BACK)[0]["__metadata__"][CHECKSUM]
    return text


def join(parts: Sequence[Path], path: Path, metadata: dict[str, str]) -> None:
    """Join snapshot files into one, atomically; of no parts, a file with metadata only.

    Raises DamagedFileError if a part is not what was written, OSError if there is no room.
    """
    entries: dict[str, Any] = {}
    data_starts: list[int] = []
    size = 0
    for part in parts:
        verify(part, GO_BACK)
        header, data_start = read_header(part, GO_BACK)
        data_starts.append(data_start)
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                entries[name] = {**entry, "data_offsets": [size + begin, size + end]}
        size += part.stat().st_size - data_start

    def data() -> Iterator[memoryview]:
        for part, data_start in zip(parts, data_starts, strict=True):
            yield from data_of(part, data_start)

    with written_atomically(path) as temporary:
        write(temporary, entries, metadata, data())


class SnapshotFile:
    """Reads a snapshot file. Tensors are views of the mapped file: what is not touched is not read.

    Raises DamagedFileError if the file is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self.metadata = verify(path, train_again(path))
        header, start = read_header(path, train_again(path))
        with path.open("rb") as file:
            # Mapped for private writes only because torch wants writable memory; nobody writes.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        mapped.madvise(mmap.MADV_SEQUENTIAL)
        data = np.frombuffer(mapped, np.uint8)[start:]
        self._tensors: dict[int, dict[str, Tensor]] = {}
        for key in sorted(header.keys() - {"__metadata__"}):
            updates, name = key.split("/", 1)
            begin, end = header[key]["data_offsets"]
            array = data[begin:end].view(np.float32).reshape(header[key]["shape"])
            self._tensors.setdefault(int(updates[1:]), {})[name] = torch.from_numpy(array)

    @property
    def updates_done(self) -> list[int]:
        """The updates of which there are snapshots, ascending."""
        return sorted(self._tensors)

    def weights(self, updates_done: int) -> dict[str, Tensor]:
        """All parameters at one update, float32.

        Raises KeyError, listing what there is, if that update has no snapshot.
        """
        if updates_done not in self._tensors:
            raise KeyError(f"no snapshot after {updates_done} updates; there are {self.updates_done}")
        return self._tensors[updates_done]


class SnapshotsOfChain:
    """The snapshots of a chain of segments. A segment's first update belongs to the segment before it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files: dict[int, SnapshotFile] = {}
        for path in paths:
            file = SnapshotFile(path)
            self._files.update(dict.fromkeys(file.updates_done, file))

    @property
    def updates_done(self) -> list[int]:
        """The updates of which there are snapshots, ascending."""
        return sorted(self._files)

    def weights(self, updates_done: int) -> dict[str, Tensor]:
        """All parameters at one update, float32."""
        return self._files[updates_done].weights(updates_done)

    def tensor(self, updates_done: int, name: str) -> Tensor:
        """One parameter at one update, float32."""
        return self.weights(updates_done)[name]
