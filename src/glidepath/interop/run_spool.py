"""Rows of all logs on disk while they are sorted by run: a file of plain numbers per quantity, mapped into memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


class Names:
    """Texts as numbers, in the order in which they come."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    @property
    def texts(self) -> list[str]:
        return list(self.numbers)


class Spool:
    """Rows that are appended by columns, and later taken by run."""

    def __init__(self, folder: Path, columns: Mapping[str, Any]) -> None:
        self.folder, self.types = folder, dict(columns)
        self.n_rows = 0
        self._files: dict[str, BinaryIO] = {name: (folder / name).open("wb") for name in columns}

    def append(self, columns: Mapping[str, NDArray[Any]]) -> None:
        for name, file in self._files.items():
            np.ascontiguousarray(columns[name], dtype=self.types[name]).tofile(file)
        self.n_rows += len(next(iter(columns.values())))

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def columns(self) -> dict[str, NDArray[Any]]:
        """All rows, read from disk where they are looked at."""
        self.close()
        if not self.n_rows:
            return {name: np.empty(0, dtype=kind) for name, kind in self.types.items()}
        return {name: np.memmap(self.folder / name, dtype=kind, mode="r") for name, kind in self.types.items()}


@contextmanager
def spool(beside: Path, columns: Mapping[str, Any]) -> Iterator[Spool]:
    """A spool in a folder of its own below `beside`, which is removed at the end."""
    beside.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".rows-", dir=beside))
    try:
        made = Spool(folder, columns)
        try:
            yield made
        finally:
            made.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rows_of_each(codes: NDArray[np.int32], n: int) -> Sequence[NDArray[np.int64]]:
    """Row numbers of each code 0 … n-1, in the order of the rows."""
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(n + 1))
    return [order[a:b] for a, b in pairwise(edges)]
