"""A study that nobody trained: runs and block losses with a planted truth.

Loss of a cell = E + K·(D/1e6)^(-b) + A·(N/1e6)^(-alpha) + curvature·(ln LR - ln LR*)² + noise, LR* = c·D^(-beta); a
model of 1e6 parameters has D/1e6 tokens per parameter. The noise is what
`science.replicates` and the validation text are said to make: shared by all cells of a replicate, by a position, a
cell's own, and of blocks, most of it common to all cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.study import tables

BATCH_TOKENS = 8 * 64


@dataclass(frozen=True)
class Truth:
    """What one schedule obeys."""

    irreducible_loss: float = 2.0
    K: float = 3.0
    exponent: float = 0.5
    """Of the loss in tokens."""
    lr_scale: float = 1.0
    lr_exponent: float = 0.4
    """Of the optimal peak learning rate in tokens."""
    curvature: float = 0.05
    kind: str = "wsd"

    def val_loss(self, token_horizon: Any) -> Any:
        """At the optimal learning rate, without the term of the size."""
        return self.irreducible_loss + self.K * (token_horizon / 1e6) ** -self.exponent

    def peak_lr(self, token_horizon: Any) -> Any:
        return self.lr_scale * token_horizon**-self.lr_exponent


@dataclass(frozen=True)
class Study:
    """A grid with noise; change one with `dataclasses.replace`."""

    schedules: dict[str, Truth] = field(default_factory=lambda: {"cosine": Truth(kind="cosine"), "wsd": Truth()})
    models: dict[str, int] = field(default_factory=lambda: {"tiny": 1_000_000})
    """Parameters by model."""
    tokens_per_parameter: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0, 80.0)
    lr_factors: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """Peak learning rates, times `lr_centre`."""
    lr_centre: float = 1e-3
    batch_sequences: int = 8
    n_replicates: int = 2
    size_amplitude: float = 0.0
    size_exponent: float = 0.3
    own_sd: float = 0.0
    position_sd: float = 0.0
    shared_sd: float = 0.0
    block_sd: float = 0.0
    common_block_sd: float = 0.0
    n_blocks: int = 32
    seed: int = 0

    def size_term(self, n_params: int) -> float:
        return self.size_amplitude * (n_params / 1e6) ** -self.size_exponent

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """RUNS and BLOCK_LOSSES."""
        random = np.random.default_rng(self.seed)
        text = self.common_block_sd * random.standard_normal(self.n_blocks)
        shared = self.shared_sd * random.standard_normal(self.n_replicates)
        rows, blocks = [], []
        for model, n_params in self.models.items():
            for horizon in self.tokens_per_parameter:
                tokens = round(horizon * n_params / BATCH_TOKENS) * BATCH_TOKENS
                for lr in (factor * self.lr_centre for factor in self.lr_factors):
                    position = self.position_sd * random.standard_normal(self.n_replicates)
                    for schedule, truth in self.schedules.items():
                        valley = truth.curvature * np.log(lr / truth.peak_lr(tokens)) ** 2
                        mean = truth.val_loss(tokens) + self.size_term(n_params) + valley
                        passage = text + self.block_sd * random.standard_normal(self.n_blocks)
                        for r in range(self.n_replicates):
                            noise = shared[r] + position[r] + self.own_sd * random.standard_normal()
                            cell_id = f"{model}-{horizon:g}x-{schedule}-lr{lr:.4g}-b{self.batch_sequences}-r{r}"
                            losses = (mean + noise + passage).astype(np.float32)
                            blocks.append(_block_rows(cell_id, losses))
                            rows.append(
                                run(
                                    cell_id=cell_id, model=model, n_params_counted=n_params, schedule=schedule,
                                    schedule_kind=truth.kind, peak_lr=lr, tokens_per_parameter=horizon,
                                    token_horizon=tokens, replicate=r, batch_sequences=self.batch_sequences,
                                    val_loss=mean + noise + passage.mean(),
                                )
                            )  # fmt: skip
        return pd.DataFrame(rows, columns=tables.RUNS.names), pd.concat(blocks, ignore_index=True)

    def noisy(self, sd: float, seed: int) -> Study:
        """All noise in proportion: the text itself is the largest, as it is with real validation blocks."""
        return replace(
            self, own_sd=sd, position_sd=sd, shared_sd=2 * sd, block_sd=4 * sd, common_block_sd=10 * sd, seed=seed
        )


def run(**fields: Any) -> dict[str, Any]:
    """A row of RUNS: the fields given, plain values for the others."""
    plain: dict[str, Any] = {"string": "", "int64": 1, "float64": 1.0, "bool": False}
    row = {column.name: plain[column.type] for column in tables.RUNS.columns}
    row |= {"status": "completed", "diverged_step": None, "last_finite_loss": None, "weight_decay": 0.1}
    row |= fields
    return row | {"batch_tokens": row["batch_sequences"] * 64, "total_steps": row["token_horizon"] // 512}


def _block_rows(cell_id: str, losses: NDArray[np.float32]) -> pd.DataFrame:
    return pd.DataFrame({"cell_id": cell_id, "domain": "held_out", "block": np.arange(len(losses)), "loss": losses})
