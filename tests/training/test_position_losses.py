"""Validation loss by position."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glidepath.training.evaluation import EVALUATION_TOKENS, block_losses
from glidepath.training.model import Decoder
from glidepath.training.position_losses import position_losses
from tests.training.small import counting_tokens, model_spec


@pytest.fixture
def decoder() -> Decoder:
    found = Decoder(model_spec())
    found.initialise(0)
    return found


def test_losses_are_those_of_torch_position_by_position(decoder: Decoder) -> None:
    tokens = counting_tokens().validation("counting")
    mean, sem, n = position_losses(decoder, tokens)
    ids = torch.from_numpy(tokens.astype(np.int64))
    losses = np.array(
        [
            F.cross_entropy(
                decoder.logits(ids[None, 12 * i : 12 * i + 12]), ids[12 * i + 1 : 12 * i + 13], reduction="none"
            ).tolist()
            for i in range(10)
        ]
    )
    assert n == 10
    np.testing.assert_allclose(mean, losses.mean(0), rtol=1e-6)
    np.testing.assert_allclose(sem, losses.std(0, ddof=1) / np.sqrt(10), rtol=1e-5)


def test_their_mean_is_the_validation_loss(decoder: Decoder) -> None:
    """Over more blocks than one pass holds."""
    tokens = np.tile(counting_tokens().validation("counting"), 60)
    assert len(tokens) > 2 * EVALUATION_TOKENS["cpu"]
    mean, _, n = position_losses(decoder, tokens)
    blocks = block_losses(decoder, tokens)
    assert n == len(blocks)
    assert mean.mean() == pytest.approx(blocks.mean(dtype=np.float64), rel=1e-6)


def test_a_single_block_has_no_error(decoder: Decoder) -> None:
    with pytest.raises(ValueError, match="needs two"):
        position_losses(decoder, counting_tokens().validation("counting")[:13])
