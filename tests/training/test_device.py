"""What a machine contributes."""

from __future__ import annotations

import pytest

from glidepath.training.device import Machine, configure, micro_batch_sequences, sequences_that_fit
from tests.training.small import model_spec


def test_a_cpu_takes_the_whole_batch() -> None:
    assert micro_batch_sequences(model_spec(), "cpu") is None


def test_twice_the_memory_takes_twice_the_sequences_and_one_always_fits() -> None:
    spec = model_spec()
    per_sequence = (12 * spec.vocab_size + spec.n_layer * (40 * spec.d_model + 20 * spec.d_ff)) * spec.context_length
    assert sequences_that_fit(spec, 100.5 * per_sequence / 0.6) == 100
    assert sequences_that_fit(spec, 200.5 * per_sequence / 0.6) == 200
    assert sequences_that_fit(spec, 0.0) == 1


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 'cpu' or 'cuda'"):
        configure(Machine("tpu", 1, None, False, None))
