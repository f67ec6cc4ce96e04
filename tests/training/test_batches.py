"""The order of the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glidepath.training.batches import batch, n_sequences, sequence_indices

TRAIN = np.arange(1, 10 * 7 + 2, dtype=np.uint16)  # seven sequences of ten tokens and the last target


@given(seed=st.integers(0, 2**32), n_in_epoch=st.integers(1, 50), epoch=st.integers(0, 5))
def test_every_epoch_shows_every_sequence_once(seed: int, n_in_epoch: int, epoch: int) -> None:
    indices = sequence_indices(seed, epoch * n_in_epoch, n_in_epoch, n_in_epoch)
    assert sorted(indices) == list(range(n_in_epoch))


@given(
    seed=st.integers(0, 100),
    first=st.integers(0, 40),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6),
)
def test_the_walk_does_not_depend_on_how_it_is_cut(seed: int, first: int, sizes: list[int]) -> None:
    whole = batch(TRAIN, seed, first, sum(sizes), 10)
    begins = first + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    pieces = [batch(TRAIN, seed, int(begin), size, 10) for begin, size in zip(begins, sizes, strict=True)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_row_is_a_sequence_and_its_last_target() -> None:
    rows = batch(TRAIN, 0, 0, 7, 10)
    assert rows.shape == (7, 11)
    assert rows.dtype == np.int64
    assert sorted(rows[:, 0]) == [1, 11, 21, 31, 41, 51, 61]
    np.testing.assert_array_equal(rows, rows[:, :1] + np.arange(11))


def test_epochs_and_seeds_differ() -> None:
    first, second = sequence_indices(0, 0, 50, 50), sequence_indices(0, 50, 50, 50)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, sequence_indices(1, 0, 50, 50))


def test_the_target_of_the_last_token_is_needed() -> None:
    assert n_sequences(70, 10) == 6
    assert n_sequences(71, 10) == 7
    assert n_sequences(0, 10) == 0


def test_too_little_text_is_refused() -> None:
    with pytest.raises(ValueError, match="10 training tokens hold no sequence of context_length = 10"):
        batch(TRAIN[:10], 0, 0, 1, 10)
