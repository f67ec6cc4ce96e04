"""Validation losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glidepath.training.evaluation import EVALUATION_TOKENS, bits_per_byte, block_losses, mean_and_sem
from glidepath.training.model import Decoder
from tests.training.small import counting_tokens, model_spec


def test_block_losses_are_those_of_torch() -> None:
    decoder = Decoder(model_spec())
    decoder.initialise(0)
    tokens = counting_tokens().validation("counting")
    losses = block_losses(decoder, tokens)
    assert losses.shape == (10,)
    assert losses.dtype == np.float32
    ids = torch.from_numpy(tokens.astype(np.int64))
    for i in range(10):
        block = ids[12 * i : 12 * i + 13]
        expected = F.cross_entropy(decoder.logits(block[None, :-1]), block[1:])
        assert losses[i] == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_array_equal(block_losses(decoder, tokens, 4), losses[:4])


def test_more_blocks_than_one_pass_holds() -> None:
    decoder = Decoder(model_spec())
    decoder.initialise(0)
    tokens = np.tile(counting_tokens().validation("counting")[:12], 400)[: 12 * 399 + 1]
    assert len(tokens) > 2 * EVALUATION_TOKENS["cpu"]
    losses = block_losses(decoder, tokens)
    assert losses.shape == (399,)
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


def test_asking_for_too_many_blocks_is_refused() -> None:
    decoder = Decoder(model_spec())
    with pytest.raises(ValueError, match=r"11 evaluation blocks of 12 tokens.*1 to 10 blocks"):
        block_losses(decoder, counting_tokens().validation("counting"), 11)


def test_mean_standard_error_and_bits_per_byte() -> None:
    mean, sem = mean_and_sem(np.array([1.0, 2.0, 3.0], dtype=np.float32))
    assert (mean, sem) == (2.0, pytest.approx(1.0 / math.sqrt(3.0)))
    assert math.isnan(mean_and_sem(np.array([1.0], dtype=np.float32))[1])
    assert bits_per_byte(math.log(2.0), 4.0) == 0.25
