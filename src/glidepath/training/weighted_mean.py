"""A running weighted mean of snapshots, out of core.

The mean lives in the tensors of the model that will be evaluated, in float32, and what rounding takes from it in a
second buffer of the same size: two copies of the model, whatever is averaged, and together about 48 significant bits.
Sums go through float64 in pieces that stay in the processor's cache, so that memory is read and written once per step
and not once per snapshot.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glidepath.science.averaging import Step

PIECE = 1 << 15
"""Numbers handled together: 256 KiB in float64."""
LIBC = ctypes.CDLL(None)
ADVICE_BYTES = 1 << 22
"""What the system reads at once of what it is told to expect, at most."""
DIGITS = 13
"""Shares that agree to so many digits are one: their snapshots are added up before they are multiplied."""

Part = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.float64] | NDArray[np.uint16]
"""Numbers of one snapshot as they are stored; integers are bfloat16, which NumPy has no name for."""
Group = tuple[float, list[Part], list[Part]]
"""A share, the snapshots that it is added of, and those that it is taken away of."""


class Snapshots(Protocol):
    """Where weights are read from."""

    def tensor(self, updates_done: int, name: str) -> Tensor:
        """One parameter after some updates, on the CPU, of any floating type; not written to."""
        ...


class WeightedMean:
    """mean ← keep·mean + Σ share·snapshot, in place in a model's weights.

    `weights` are the model's own tensors by name, float32 and contiguous, each once: a tied one has one name.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._rest = {name: np.zeros(w.numel(), np.float32) for name, w in weights.items()}
        self._sum, self._term = np.empty(PIECE), np.empty(PIECE)

    def step(self, step: Step, updates_done: Sequence[int], snapshots: Snapshots) -> None:
        """Take one step; its shares are of the snapshots after `updates_done`.

        Raises ValueError, naming it, for a snapshot of another shape than the model's.
        """
        names = list(self._weights)
        with ThreadPoolExecutor(1) as ahead:
            upcoming = self._parts(names[0], step, updates_done, snapshots)
            expected = ahead.submit(_expect, upcoming)
            for name, following in zip(names, [*names[1:], None], strict=True):
                parts = upcoming
                if following:
                    # One parameter ahead and no more: who reads far ahead loses what was read again.
                    expected.result()
                    upcoming = self._parts(following, step, updates_done, snapshots)
                    expected = ahead.submit(_expect, upcoming)
                weight = self._weights[name]
                mean = weight.cpu()
                self._add(mean.view(-1).numpy(), self._rest[name], step.keep, _grouped(parts))
                if mean is not weight:
                    weight.copy_(mean)

    def _parts(
        self, name: str, step: Step, updates_done: Sequence[int], snapshots: Snapshots
    ) -> list[tuple[float, Part]]:
        """One parameter in all snapshots of a step, with their shares."""
        shape, parts = self._weights[name].shape, []
        for i, share in step.shares:
            part = snapshots.tensor(updates_done[i], name)
            if part.shape != shape:
                raise ValueError(
                    f"{name} has the shape {tuple(part.shape)} after {updates_done[i]} updates, the model has "
                    f"{tuple(shape)}: only checkpoints of one model can be averaged"
                )
            parts.append((share, _numbers(part)))
        return parts

    def _add(self, mean: NDArray[np.float32], rest: NDArray[np.float32], keep: float, groups: list[Group]) -> None:
        for begin in range(0, len(mean), PIECE):
            piece = slice(begin, min(begin + PIECE, len(mean)))
            total, term = self._sum[: piece.stop - begin], self._term[: piece.stop - begin]
            if keep:
                np.add(mean[piece], rest[piece], out=total, dtype=np.float64)
                if keep != 1.0:
                    total *= keep
            else:
                total[:] = 0.0
            for share, added, taken in groups:
                _difference(added, taken, piece, term)
                term *= share
                total += term
            mean[piece] = total
            np.subtract(total, mean[piece], out=rest[piece], casting="same_kind")


def _difference(added: list[Part], taken: list[Part], piece: slice, out: NDArray[np.float64]) -> None:
    """Σ added - Σ taken of one piece; a pair in one pass, which is what a window that moves has."""
    if added and taken:
        np.subtract(_floats(added[0][piece]), _floats(taken[0][piece]), out=out, dtype=np.float64)
    elif added:
        out[:] = _floats(added[0][piece])
    else:
        np.negative(_floats(taken[0][piece]), out=out, dtype=np.float64)
    for part in added[1:]:
        np.add(out, _floats(part[piece]), out=out)
    for part in taken[1:]:
        np.subtract(out, _floats(part[piece]), out=out)


def _floats(numbers: Part) -> Part:
    """Numbers that can be calculated with: bfloat16 is the upper half of float32."""
    if numbers.dtype != np.uint16:
        return numbers
    bits = numbers.astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)


def _numbers(tensor: Tensor) -> Part:
    """The numbers of a tensor in one row, where they lie: nothing is copied."""
    flat = tensor.reshape(-1)
    array: Part = (flat.view(torch.uint16) if flat.dtype == torch.bfloat16 else flat).numpy()
    return array


def _expect(parts: Iterable[tuple[float, Part]]) -> None:
    """Have a parameter read from disk while something else is done: the system's advice that mapped memory will be
    needed, which means nothing for other memory. It heeds little of it at a time."""
    for _, part in parts:
        begin, end = part.ctypes.data, part.ctypes.data + part.nbytes
        for address in range(begin // mmap.PAGESIZE * mmap.PAGESIZE, end, ADVICE_BYTES):
            size = min(ADVICE_BYTES, end - address)
            LIBC.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), mmap.MADV_WILLNEED)


def _grouped(parts: Iterable[tuple[float, Part]]) -> list[Group]:
    """Snapshots with the same share, or its negative, together."""
    groups: dict[float, Group] = {}
    for share, part in parts:
        size = float(f"{abs(share):.{DIGITS}g}")
        _, added, taken = groups.setdefault(size, (size, [], []))
        (added if share > 0 else taken).append(part)
    return list(groups.values())
