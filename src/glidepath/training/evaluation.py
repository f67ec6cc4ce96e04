"""Validation loss of fixed blocks: block i predicts tokens i·T+1 … i·T+T from tokens i·T … i·T+T-1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glidepath.training.batches import Tokens, n_sequences
from glidepath.training.workers import ALONE, Workers

EVALUATION_TOKENS = {"cpu": 2048, "cuda": 8192}
"""Tokens per evaluation pass: part of the engine and not of the machine, so that the numbers of a kind of device do not
depend on it. On a CPU so much stays in its caches; a GPU wants more at once, and needs 10 bytes per token and row of
the head for it."""


class LanguageModel(Protocol):
    """What can be evaluated: our decoder, or a checkpoint of somebody else's."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Its own parameters by name, a tied one once."""

    @property
    def context_length(self) -> int:
        """Tokens per block."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def token_losses(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Loss of every token [nats], shape [B, T]."""


def block_losses(
    model: LanguageModel, tokens: Tokens, n_blocks: int | None = None, workers: Workers = ALONE
) -> NDArray[np.float32]:
    """Mean loss of each of the first `n_blocks` blocks (default: all) [nats/token], summed in float64, shape
    [n_blocks].

    Processes take the passes in turn, and every one gets all losses. Raises ValueError if the tokens hold fewer blocks
    than asked for, or none.
    """
    T = model.context_length
    available = n_sequences(len(tokens), T)
    n_blocks = available if n_blocks is None else n_blocks
    if not 1 <= n_blocks <= available:
        raise ValueError(
            f"{n_blocks} evaluation blocks of {T} tokens asked for, the validation text of {len(tokens)} "
            f"tokens holds {available}: ask for 1 to {available} blocks, or give it more text"
        )
    rows_per_pass = max(1, EVALUATION_TOKENS[model.device.type] // T)
    starts = np.arange(n_blocks) * T
    losses = torch.zeros(n_blocks, dtype=torch.float32, device=model.device)
    with torch.inference_mode():
        for first in range(workers.rank * rows_per_pass, n_blocks, workers.size * rows_per_pass):
            rows = np.asarray(tokens)[starts[first : first + rows_per_pass, None] + np.arange(T + 1)]
            ids = torch.from_numpy(rows.astype(np.int64)).to(model.device)
            per_token = model.token_losses(ids[:, :-1], ids[:, 1:])
            losses[first : first + len(rows)] = per_token.mean(1, dtype=torch.float64)
    array: NDArray[np.float32] = workers.sum(losses).cpu().numpy()
    return array


def mean_and_sem(losses: NDArray[np.float32]) -> tuple[float, float]:
    """Mean over blocks and its standard error (NaN for a single block), in float64."""
    mean = float(losses.mean(dtype=np.float64))
    if len(losses) < 2:
        return mean, math.nan
    return mean, float(losses.std(ddof=1, dtype=np.float64)) / math.sqrt(len(losses))


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """loss/(ln 2·bytes per token): independent of the tokenizer."""
    return loss / (math.log(2.0) * bytes_per_token)
