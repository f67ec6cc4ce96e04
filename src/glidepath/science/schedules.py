"""Schedules as functions of the training position, composed by `join`.

Convention, the one place where it is written. The clock of a path counts training sequences, since tokens are what
schedules are compared at; with a fixed batch it ticks once per update. Update s trains the sequences from its position
to that of update s+1. A warm-up has the value it has reached at the end of an update, so it is at its peak at its last
update; everything else has the value of the position where the update begins, so a decay's first update still runs at
the peak and no update is spent at learning rate 0. With a fixed batch, in updates: warm-up over W has the multiplier
(s+1)/W, a decay over D from update s0 has progress u = (s - s0)/D, and a linear decay to zero ends at 1/D. Seven public
codebases turn the same words into six different arrays; laws that integrate the learning rate must therefore read the
array that was applied, never retype a formula.

A path is a list of pieces. A piece knows its own full length and which part of it is used, so a prefix of a path is
again a path. Sequences at a constant value are always written as constants, neighbours of equal value as one, and the
first update of a decay is such a constant, so that paths that agree up to an update have equal pieces up to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

DecayShape = Literal["linear", "cosine", "one_minus_sqrt", "mirror_cosine", "square", "power", "exponential", "rex"]
HorizonFreeShape = Literal["inverse_sqrt", "rational"]
Shape = Literal["constant", "warmup"] | DecayShape | HorizonFreeShape

# Falls from 1 at progress u = 0 to 0 at u = 1. cosine … square: Hägele et al. 2024, cooldown shapes; rex: Chen et al.
# 2022, (1-u)/(½ + ½(1-u)).
FALLS: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda u: 1.0 - u,
    "cosine": lambda u: 0.5 * (1.0 + np.cos(np.pi * u)),
    "one_minus_sqrt": lambda u: 1.0 - np.sqrt(u),
    "mirror_cosine": lambda u: 2.0 * (1.0 - u) - 0.5 * (1.0 + np.cos(np.pi * u)),
    "square": lambda u: 1.0 - u * u,
    "rex": lambda u: (1.0 - u) / (1.0 - 0.5 * u),
}
HORIZON_FREE = ("constant", "inverse_sqrt", "rational")
"""Shapes that do not know where they end: a prefix of one is one of that length."""


@dataclass(frozen=True)
class Piece:
    """Values of one stretch of training: `shape` from `start_value` to `end_value` over `length` sequences.

    Only the positions `begin … end` of the stretch [sequences], counted from its own start, belong to the path. With j
    the position of an update in it, u = j/length and a = parameter:

    constant: start_value.
    warmup: end_value·(position at the update's end)/length.
    power and the `FALLS`: end_value + (start_value - end_value)·g(u), g = (1-u)ᵃ for the power; rises if end_value is
    the larger one.
    exponential: start_value·(end_value/start_value)ᵘ.
    inverse_sqrt: start_value·√(a/(a+j)), at least end_value (Vaswani et al. 2017 with a the warm-up's length).
    rational: start_value/(1 + j/a), at least end_value (Bergsma et al. 2025: a = batch/(peak·weight decay)).
    """

    shape: Shape
    start_value: float
    end_value: float
    length: int
    begin: int
    end: int
    parameter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= self.length:
            raise ValueError(
                f"piece uses positions {self.begin}…{self.end} of {self.length}: need 0 ≤ begin < end ≤ length"
            )
        if self.shape == "exponential" and not (self.start_value > 0.0 and self.end_value > 0.0):
            raise ValueError(
                f"an exponential from {self.start_value} to {self.end_value}: both must be positive; use another shape"
            )
        if self.shape in ("power", "inverse_sqrt", "rational") and not self.parameter > 0.0:
            raise ValueError(f"{self.shape} with parameter {self.parameter}: must be positive")

    def values(self, at: Positions, until: Positions) -> Floats:
        """The values of updates that train the positions `at … until` of the piece, shape as `at`."""
        j = at.astype(np.float64)
        if self.shape == "constant":
            return np.full(j.shape, self.start_value)
        if self.shape == "warmup":
            # The quotient first: it is exactly 1 at the last update.
            return self.end_value * (until / self.length)
        if self.shape == "inverse_sqrt":
            return np.maximum(self.end_value, self.start_value * np.sqrt(self.parameter / (self.parameter + j)))
        if self.shape == "rational":
            return np.maximum(self.end_value, self.start_value / (1.0 + j / self.parameter))
        u = j / self.length
        if self.shape == "exponential":
            return self.start_value * (self.end_value / self.start_value) ** u
        fall = (1.0 - u) ** self.parameter if self.shape == "power" else FALLS[self.shape](u)
        return self.end_value + (self.start_value - self.end_value) * fall

    def __len__(self) -> int:
        return self.end - self.begin


Path = tuple[Piece, ...]


@dataclass(frozen=True)
class Stage:
    """`updates` updates of `sequences` sequences each."""

    sequences: int
    updates: int


BatchPath = tuple[Stage, ...]
"""The batch of every update, as runs of equal ones."""


def batch_path(batch_sequences: Sequence[int] | NDArray[np.int64]) -> BatchPath:
    """Runs of equal batches, in order. Raises ValueError for a batch of no sequence."""
    batches = np.asarray(batch_sequences, dtype=np.int64)
    if np.any(batches < 1):
        raise ValueError(f"batch of {batches.min()} sequences: every update needs at least one")
    edges = [0, *(np.flatnonzero(np.diff(batches)) + 1).tolist(), len(batches)]
    return tuple(Stage(int(batches[a]), b - a) for a, b in pairwise(edges) if b > a)


def batches(path: BatchPath) -> NDArray[np.int64]:
    """Sequences of every update, shape [updates]."""
    return np.repeat([stage.sequences for stage in path], [stage.updates for stage in path]).astype(np.int64)


def clip_batches(path: BatchPath, updates: int) -> BatchPath:
    """The first `updates` updates. Raises ValueError if there are fewer."""
    clipped: list[Stage] = []
    for stage in path:
        used = min(stage.updates, updates - sum(s.updates for s in clipped))
        if used > 0:
            clipped.append(replace(stage, updates=used))
    if sum(stage.updates for stage in clipped) != updates:
        raise ValueError(f"a path of {sum(s.updates for s in path)} updates has no prefix of {updates}")
    return tuple(clipped)


def positions(batch_sequences: NDArray[np.int64]) -> Positions:
    """Sequences trained before every update, and after the last one: shape [updates + 1]."""
    return np.concatenate([[0], np.cumsum(batch_sequences)]).astype(np.int64)


def constant(value: float, length: int) -> Path:
    """`length` sequences at `value`."""
    return (Piece("constant", float(value), float(value), length, 0, length),) if length else ()


def warmup(peak: float, length: int, first: int = 1) -> Path:
    """Linear rise to `peak`, reached by the last update of `length` sequences; `first` is the size of the first
    update."""
    if length <= first:
        return constant(peak, length)
    return (Piece("warmup", 0.0, float(peak), length, 0, length),)


def decay(shape: DecayShape, start: float, final: float, length: int, first: int = 1, parameter: float = 0.0) -> Path:
    """From `start` at its first update, of `first` sequences, towards `final`, which the update after its last would
    reach. The first update is written as a constant: it is one, and so a trunk and the decay that leaves it share
    it. Rises if `final` is the larger value.
    """
    if length <= first or final == start:
        return constant(start, length)
    piece = Piece(shape, float(start), float(final), length, first, length, parameter)
    return (*constant(start, first), piece)


def sampled_decay(
    shape: DecayShape, start: float, final: float, refreshes: Sequence[int], length: int, parameter: float = 0.0
) -> Path:
    """A decay that takes its value at the positions `refreshes` and holds it until the next one (Chen et al. 2022:
    profile and sampling rate). The first of them is 0."""
    edges = [*refreshes, length]
    smooth = Piece(shape, float(start), float(final), length, 0, length, parameter)
    held = smooth.values(np.array(refreshes, dtype=np.int64), np.array(edges[1:], dtype=np.int64))
    return join(*(constant(portable(float(value)), b - a) for value, (a, b) in zip(held, pairwise(edges), strict=True)))


def portable(value: float) -> float:
    """A value to ten digits. What a recipe holds must be the same number on every processor, and the last bits of a
    cosine or a power are not."""
    return float(f"{value:.10g}")


def horizon_free(
    shape: HorizonFreeShape, start: float, floor: float, timescale: float, length: int, first: int = 1
) -> Path:
    """An `inverse_sqrt` or `rational` descent with the given time-scale [sequences], never below `floor`; its first
    update is a constant, as in `decay`."""
    if length <= first or floor >= start:
        return constant(start, length)
    piece = Piece(shape, float(start), float(floor), length, first, length, float(timescale))
    return (*constant(start, first), piece)


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


def scaled(path: Path, stretches: Sequence[tuple[float, int]]) -> Path:
    """A path times a factor per stretch: pairs of factor and length [sequences], in order.

    Every shape is homogeneous in its two values, so a piece is cut where the factor changes and its values are
    multiplied, to ten digits; a factor of 1 leaves them as they are. Paths that are written alike up to a position
    are still written alike up to there. Raises ValueError for a factor that is not positive, or if the stretches have
    another length than the path.
    """
    if any(factor <= 0.0 for factor, _ in stretches):
        raise ValueError(f"factors {sorted({factor for factor, _ in stretches})}: each must be positive")
    if sum(stretch for _, stretch in stretches) != length(path):
        raise ValueError(
            f"a path of {length(path)} sequences and factors for {sum(stretch for _, stretch in stretches)}: make them "
            "equal"
        )
    parts: list[Piece] = []
    waiting = list(path)
    for factor, stretch in stretches:
        left = stretch
        while left:
            piece = waiting.pop(0)
            used, rest = _cut(piece, min(len(piece), left))
            if rest:
                waiting.insert(0, rest)
            left -= len(used)
            parts.append(_times(used, factor))
    return join(parts)


def _cut(piece: Piece, used: int) -> tuple[Piece, Piece | None]:
    """The first `used` sequences of a piece, and what follows them."""
    (first,) = clip((piece,), used)
    if used == len(piece):
        return first, None
    if piece.shape == "constant":
        return first, constant(piece.start_value, len(piece) - used)[0]
    return first, replace(piece, begin=piece.begin + used)


def _times(piece: Piece, factor: float) -> Piece:
    if factor == 1.0:
        return piece
    start, end = (portable(value * factor) for value in (piece.start_value, piece.end_value))
    return replace(piece, start_value=start, end_value=end)


def clip(path: Path, stop: int) -> Path:
    """The first `stop` sequences of a path. A clipped constant is a constant of that length, and so with every shape
    that knows no horizon.

    Raises ValueError if the path has fewer.
    """
    if not 0 <= stop <= length(path):
        raise ValueError(f"a path of {length(path)} sequences has no prefix of {stop}")
    clipped: list[Piece] = []
    left = stop
    for piece in path:
        used = min(len(piece), left)
        left -= used
        if used and piece.shape in HORIZON_FREE:
            clipped.append(replace(piece, length=piece.begin + used, end=piece.begin + used))
        elif used:
            clipped.append(replace(piece, end=piece.begin + used))
    return tuple(clipped)


def common(a: Path, b: Path) -> int:
    """Sequences up to which two paths are written alike: their clips to it, or to less, are equal."""
    alike = 0
    for p, q in zip(a, b, strict=False):
        recipes = ((x.shape, x.start_value, x.end_value, x.begin, x.parameter) for x in (p, q))
        if len(set(recipes)) > 1 or (p.shape not in HORIZON_FREE and p.length != q.length):
            break
        alike += min(len(p), len(q))
        if len(p) != len(q):
            break
    return alike


def common_batches(a: BatchPath, b: BatchPath) -> int:
    """Updates up to which two paths have equal batches."""
    alike = 0
    for p, q in zip(a, b, strict=False):
        if p.sequences != q.sequences:
            break
        alike += min(p.updates, q.updates)
        if p.updates != q.updates:
            break
    return alike


def values(path: Path, at: Positions) -> Floats:
    """The array that is applied, shape [updates], to updates that train the positions at[s] … at[s+1].

    Raises ValueError if the path has another length than the updates.
    """
    if length(path) != at[-1]:
        raise ValueError(f"a path of {length(path)} sequences for updates of {at[-1]}: make them equal")
    parts: list[Floats] = []
    before = 0
    for piece in path:
        a, b = np.searchsorted(at[:-1], [before, before + len(piece)])
        offset = piece.begin - before
        parts.append(piece.values(at[a:b] + offset, at[a + 1 : b + 1] + offset))
        before += len(piece)
    return np.concatenate(parts) if parts else np.empty(0)


def length(path: Sequence[Piece]) -> int:
    """Number of sequences of a path."""
    return sum(len(piece) for piece in path)
