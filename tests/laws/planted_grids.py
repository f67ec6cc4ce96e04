"""Runs over sizes, horizons, batches and learning rates that nobody trained.

loss = 2 + size and horizon terms + CURVATURE·(ln LR - ln LR*)² + BATCH_CURVATURE·(ln B - ln B*)² + noise,
LR* = 1e-3·(N/1e7)^-ALPHA·(D/1e9)^-BETA·(B/2e5)^GAMMA,  B* = 2e5·(D/1e9)^GROWTH.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from glidepath.study import tables
from glidepath.study.final_losses import FinalLosses, final_losses
from tests.synthetic import run

ALPHA, BETA, GAMMA, GROWTH = 0.3, 0.15, 0.5, 0.6
"""BETA/GAMMA < GROWTH: along the best batches the best rate rises with the horizon."""
CURVATURE, BATCH_CURVATURE = 0.02, 0.01
CONTEXT = 2048


def peak_lr(n: float, d: float, batch_tokens: float) -> float:
    return float(1e-3 * (n / 1e7) ** -ALPHA * (d / 1e9) ** -BETA * (batch_tokens / 2e5) ** GAMMA)


def best_batch(d: float) -> float:
    return float(2e5 * (d / 1e9) ** GROWTH)


@dataclass(frozen=True)
class Grids:
    sizes: tuple[float, ...] = (1e7, 4e7, 2e8)
    horizons: tuple[float, ...] = (1e9, 4e9, 2e10)
    batches: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    """[sequences]"""
    lrs: tuple[float, ...] = tuple(4e-4 * 2.0**i for i in range(6))
    sd: float = 0.0
    replicates: int = 1
    architectures: tuple[str, ...] = ("llama",)
    """Of the sizes, in turn."""
    hidden_from: float = np.inf
    """Horizons from here on are declared hidden."""
    seed: int = 0

    def runs(self) -> pd.DataFrame:
        random = np.random.default_rng(self.seed)
        rows = []
        for (i, n), d, batch, lr, r in product(
            enumerate(self.sizes), self.horizons, self.batches, self.lrs, range(self.replicates)
        ):
            tokens = batch * CONTEXT
            loss = 2 + 30 * n**-0.3 + 300 * d**-0.3 + CURVATURE * np.log(lr / peak_lr(n, d, tokens)) ** 2
            loss += BATCH_CURVATURE * np.log(tokens / best_batch(d)) ** 2 + self.sd * random.standard_normal()
            rows.append(
                run(
                    cell_id=f"n{n:g}-d{d:g}-b{batch}-lr{lr:g}-r{r}", model=f"n{n:g}", n_params_counted=int(n),
                    architecture=self.architectures[i % len(self.architectures)], schedule="cosine",
                    schedule_kind="cosine", peak_lr=lr, tokens_per_parameter=d / n, token_horizon=int(d), replicate=r,
                    batch_sequences=batch, val_loss=loss, holdout=d >= self.hidden_from,
                )
                | {"context_length": CONTEXT}
            )  # fmt: skip
        return pd.DataFrame(rows, columns=tables.RUNS.names)

    def losses(self) -> FinalLosses:
        return final_losses(self.runs(), tables.empty(tables.BLOCK_LOSSES))

    def hidden(self) -> FinalLosses:
        return final_losses(self.runs(), tables.empty(tables.BLOCK_LOSSES), holdout=True)
