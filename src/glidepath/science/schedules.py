"""Schedules as functions of the update index, composed by `join`.

Convention, the one place where it is written. Updates are numbered s = 0 … T-1. A warm-up over W updates has
the multiplier (s+1)/W, so it reaches 1 at its last update; a decay over D updates that starts at update s0
has progress u = (s - s0)/D, so its first update still runs at the peak and no update is spent at learning
rate 0: a linear decay to zero ends at 1/D. Seven public codebases turn the same words into six different
arrays; laws that integrate the learning rate must therefore read the array that was applied, never retype a
formula.

A path is a list of pieces. A piece knows its own full length and which part of it is used, so a prefix of a
path is again a path. Updates at a constant value are always written as constants, neighbours of equal value
as one, so that paths that agree up to an update have equal pieces up to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shape = Literal["constant", "warmup", "linear", "cosine", "one_minus_sqrt"]

# Falls from 1 at progress 0 to 0 at progress 1 (Hägele et al. 2024, cooldown shapes).
DECAY_SHAPES: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda u: 1.0 - u,
    "cosine": lambda u: 0.5 * (1.0 + np.cos(np.pi * u)),
    "one_minus_sqrt": lambda u: 1.0 - np.sqrt(u),
}


@dataclass(frozen=True)
class Piece:
    """Values of one stretch of updates: `shape` from `start_value` to `end_value` over `length` updates.

    Only the updates `begin … end-1` of the stretch, counted from its own start, belong to the path.

    constant: start_value.
    warmup: end_value·(j+1)/length.
    others: end_value + (start_value - end_value)·g(j/length), g from `DECAY_SHAPES`.
    """

    shape: Shape
    start_value: float
    end_value: float
    length: int
    begin: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= self.length:
            raise ValueError(
                f"piece uses updates {self.begin}…{self.end} of {self.length}: need 0 ≤ begin < end ≤ length"
            )

    def values(self) -> Floats:
        """The values of the used updates, shape [end - begin]."""
        j = np.arange(self.begin, self.end, dtype=np.float64)
        if self.shape == "constant":
            return np.full(j.shape, self.start_value)
        if self.shape == "warmup":
            # The quotient first: it is exactly 1 at the last update.
            return self.end_value * ((j + 1.0) / self.length)
        g = DECAY_SHAPES[self.shape](j / self.length)
        return self.end_value + (self.start_value - self.end_value) * g

    def __len__(self) -> int:
        return self.end - self.begin


Path = tuple[Piece, ...]


def constant(value: float, length: int) -> Path:
    """`length` updates at `value`."""
    return (Piece("constant", float(value), float(value), length, 0, length),) if length else ()


def warmup(peak: float, length: int) -> Path:
    """Linear rise over `length` updates: peak·(s+1)/length, so the last of them runs at the peak."""
    if length < 2:
        return constant(peak, length)
    return (Piece("warmup", 0.0, float(peak), length, 0, length),)


def decay(shape: Shape, peak: float, final: float, length: int) -> Path:
    """Descent from `peak` at its first update towards `final`, which the update after its last would reach.

    The first update is written as a constant: it is one, and so a trunk and the decay that leaves it share
    it.
    """
    if length < 2 or final == peak:
        return constant(peak, length)
    return (*constant(peak, 1), Piece(shape, float(peak), float(final), length, 1, length))


def join(*paths: Sequence[Piece]) -> Path:
    """One path after another; neighbouring constants of equal value become one."""
    joined: list[Piece] = []
    for piece in (piece for path in paths for piece in path):
        last = joined[-1] if joined else None
        if last and last.shape == piece.shape == "constant" and last.start_value == piece.start_value:
            joined[-1] = constant(last.start_value, len(last) + len(piece))[0]
        else:
            joined.append(piece)
    return tuple(joined)


def clip(path: Path, stop: int) -> Path:
    """The first `stop` updates of a path. A clipped constant is a constant of that length.

    Raises ValueError if the path has fewer.
    """
    if not 0 <= stop <= length(path):
        raise ValueError(f"a path of {length(path)} updates has no prefix of {stop}")
    clipped: list[Piece] = []
    for piece in path:
        used = min(len(piece), stop - length(clipped))
        if used and piece.shape == "constant":
            clipped.extend(constant(piece.start_value, used))
        elif used:
            clipped.append(replace(piece, end=piece.begin + used))
    return tuple(clipped)


def values(path: Path) -> Floats:
    """The array that is applied, shape [total updates]."""
    return np.concatenate([piece.values() for piece in path]) if path else np.empty(0)


def length(path: Sequence[Piece]) -> int:
    """Number of updates of a path."""
    return sum(len(piece) for piece in path)
