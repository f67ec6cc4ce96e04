"""The target, every number resolved."""

from __future__ import annotations

import pytest

from glidepath.study.section import StudyError
from glidepath.study.target import target_of
from tests.study.studies import VOCAB_SIZE, study


def test_every_number_is_resolved() -> None:
    """d16: 4·16² + 3·16·48 in matrices and 3·16 gains; 40 TPP in updates of 4 × 64 tokens."""
    target = target_of(study(), VOCAB_SIZE)
    n_params = 4 * 16 * 16 + 3 * 16 * 48 + 3 * 16
    total_steps = round(40 * n_params / 256)
    assert target == {
        "model": "d16",
        "n_params_counted": n_params,
        "n_params_non_embedding": n_params,
        "context_length": 64,
        "tokens_per_parameter": 40,
        "batch_sequences": 4,
        "batch_tokens": 256,
        "total_steps": total_steps,
        "token_horizon": total_steps * 256,
    }


def test_the_study_names_its_count() -> None:
    total = target_of(study(("tokens_per_parameter_uses", "total")), VOCAB_SIZE)
    plain = target_of(study(), VOCAB_SIZE)
    assert total["n_params_counted"] == plain["n_params_counted"] + 2 * 16 * VOCAB_SIZE
    assert total["token_horizon"] > plain["token_horizon"]


def test_less_than_an_update_is_refused() -> None:
    with pytest.raises(StudyError, match=r"target: .*0\.001.*less than half an update"):
        target_of(study(("target.tokens_per_parameter", 0.001)), VOCAB_SIZE)
