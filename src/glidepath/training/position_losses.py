"""Validation loss by position in the sequence."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from glidepath.training.batches import Tokens, n_sequences
from glidepath.training.evaluation import EVALUATION_TOKENS, LanguageModel

Floats = NDArray[np.float64]


def position_losses(model: LanguageModel, tokens: Tokens) -> tuple[Floats, Floats, int]:
    """Mean loss at every position over all blocks and its standard error [nats/token], shape [T], and the number of
    blocks; position i, counted from 1, has i tokens of context.

    The blocks are those of `evaluation.block_losses`, so that the mean over positions is the mean over blocks.
    Raises ValueError for fewer than two blocks.
    """
    T = model.context_length
    n_blocks = n_sequences(len(tokens), T)
    if n_blocks < 2:
        raise ValueError(
            f"{len(tokens)} validation tokens hold {n_blocks} blocks of {T}: a standard error needs two. Give it more "
            "text"
        )
    rows_per_pass = max(1, EVALUATION_TOKENS[model.device.type] // T)
    starts = np.arange(n_blocks) * T
    losses = np.empty((n_blocks, T), np.float32)
    with torch.inference_mode():
        for first in range(0, n_blocks, rows_per_pass):
            rows = np.asarray(tokens)[starts[first : first + rows_per_pass, None] + np.arange(T + 1)]
            ids = torch.from_numpy(rows.astype(np.int64)).to(model.device)
            losses[first : first + len(rows)] = model.token_losses(ids[:, :-1], ids[:, 1:]).float().cpu().numpy()
    mean = losses.mean(0, dtype=np.float64)
    return mean, losses.std(0, ddof=1, dtype=np.float64) / np.sqrt(n_blocks), n_blocks
