"""Data order as a pure function of the seed and the index of a sequence.

The training tokens are cut into non-overlapping sequences of `context_length` tokens, each with the token
that follows as its last target. Every epoch walks through all of them in an order of its own. Batches are
consecutive stretches of this endless walk, so the order depends neither on batch sizes nor on micro-batches
nor on where a segment begins.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint16] | NDArray[np.uint32] | NDArray[np.int64]


class TokenStore(Protocol):
    """The tokens of a corpus, as `glidepath.corpus` stores them."""

    @property
    def train(self) -> Tokens:
        """Training tokens."""

    @property
    def domains(self) -> list[str]:
        """Validation domains; the first selects."""

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""

    def validation(self, domain: str) -> Tokens:
        """Validation tokens of a domain: every block shares its last target with the next one's first
        input."""

    def bytes_per_token(self, domain: str) -> float:
        """Mean UTF-8 bytes per validation token."""


def n_sequences(n_tokens: int, context_length: int) -> int:
    """How many sequences a token array holds: ⌊(n_tokens - 1)/context_length⌋."""
    return max(0, n_tokens - 1) // context_length


@lru_cache(maxsize=2)
def epoch_order(data_seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The order of the n sequences in one epoch: a permutation."""
    return np.random.default_rng(np.random.SeedSequence([data_seed, epoch])).permutation(n)


def sequence_indices(data_seed: int, first_sequence: int, n: int, n_in_epoch: int) -> NDArray[np.int64]:
    """Which sequences stand at positions first_sequence … first_sequence+n-1 of the walk, shape [n]."""
    position = np.arange(first_sequence, first_sequence + n)
    epoch, within = position // n_in_epoch, position % n_in_epoch
    indices = np.empty(n, dtype=np.int64)
    for e in range(int(epoch[0]), int(epoch[-1]) + 1):
        indices[epoch == e] = epoch_order(data_seed, e, n_in_epoch)[within[epoch == e]]
    return indices


def batch(train: Tokens, data_seed: int, first_sequence: int, n: int, context_length: int) -> NDArray[np.int64]:
    """n sequences of the walk with their targets, int64 [n, context_length + 1].

    Raises ValueError if the training tokens do not hold one sequence.
    """
    n_in_epoch = n_sequences(len(train), context_length)
    if n_in_epoch == 0:
        raise ValueError(
            f"{len(train)} training tokens hold no sequence of context_length = {context_length} and its "
            "target: use more text or a shorter context_length"
        )
    starts = sequence_indices(data_seed, first_sequence, n, n_in_epoch) * context_length
    rows: NDArray[np.int64] = np.asarray(train)[starts[:, None] + np.arange(context_length + 1)].astype(np.int64)
    return rows
