"""Sweeps of batches that nobody trained, whose critical batch is known at every loss.

loss = FLOOR + SCALE·p^-EXPONENT at progress p, and S updates at batch B make p = S/(1 + RATIO/B): so p·(1 + RATIO/B)
updates reach a loss, the hyperbola with E_min/S_min = RATIO. A learning rate that is off by x in logarithms from the
best of its batch, BEST_LR·(B/REFERENCE)^lr_exponent, makes progress slower by exp(x²).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.study import tables
from tests.synthetic import run

FLOOR, SCALE, EXPONENT = 2.0, 12.0, 0.4
RATIO = 20.0
"""[sequences]"""
REFERENCE = 8
BEST_LR = 0.01
CONTEXT = 64
AVERAGED_GAIN = 1.5
"""Averaged weights are so many times further."""
Floats = NDArray[np.float64]


def updates_to(loss: float, batch: float, ahead: float = 1.0) -> float:
    """Updates that reach a loss at the best learning rate."""
    return float(((loss - FLOOR) / SCALE) ** (-1 / EXPONENT) * (1 + RATIO / batch) / ahead)


def loss_after(updates: Floats, batch: float, slower: float = 1.0) -> Floats:
    losses: Floats = FLOOR + SCALE * (updates / slower / (1 + RATIO / batch)) ** -EXPONENT
    return losses


@dataclass(frozen=True)
class Planted:
    """The tables of a study; change it with `dataclasses.replace`."""

    batches: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    factors: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """Peak learning rates over BEST_LR, times the root of the batch over the reference batch."""
    lr_exponent: float = 0.5
    token_horizon: int = 64 * 40_000
    replicates: int = 1
    own_sd: float = 0.0
    shared_sd: float = 0.0
    loss_sd: float = 0.0
    """Of single evaluations [nat/token]."""
    schedules: tuple[tuple[str, str], ...] = (("constant", "constant"),)
    """Names and kinds."""
    seed: int = 0

    def peak_lrs(self, batch: int) -> list[float]:
        return [float(f"{BEST_LR * f * (batch / REFERENCE) ** 0.5:.10g}") for f in self.factors]

    def runs_and_losses(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """RUNS, EVALUATIONS and AVERAGES (`window`, at the same points)."""
        random = np.random.default_rng(self.seed)
        shared = self.shared_sd * random.standard_normal(self.replicates)
        rows, evaluated, averaged = [], [], []
        for (schedule, kind), batch in product(self.schedules, self.batches):
            for peak_lr, replicate in product(self.peak_lrs(batch), range(self.replicates)):
                cell_id = f"{schedule}-b{batch}-lr{peak_lr:g}-r{replicate}"
                steps = self.token_horizon // (batch * CONTEXT)
                updates = np.unique([*np.floor(32 * 2.0 ** (np.arange(60) / 3)), steps])
                updates = updates[updates <= steps]
                off = np.log(peak_lr / (BEST_LR * (batch / REFERENCE) ** self.lr_exponent))
                slower = np.exp(off**2 + shared[replicate] + self.own_sd * random.standard_normal())
                losses = loss_after(updates, batch, slower) + self.loss_sd * random.standard_normal(len(updates))
                rows.append(
                    run(
                        cell_id=cell_id, model="tiny", schedule=schedule, schedule_kind=kind, peak_lr=peak_lr,
                        batch_sequences=batch, token_horizon=steps * batch * CONTEXT, tokens_per_parameter=20.0,
                        replicate=replicate, context_length=CONTEXT,
                    )
                    | {"total_steps": steps}
                )  # fmt: skip
                where = {"cell_id": cell_id, "updates_done": updates.astype(int)}
                where |= {"tokens_seen": (updates * batch * CONTEXT).astype(int), "domain": "text"}
                evaluated.append(pd.DataFrame({**where, "eval_set": "subset", "val_loss": losses}))
                ahead = loss_after(updates, batch, slower / AVERAGED_GAIN)
                averaged.append(pd.DataFrame({**where, "average": "window", "val_loss_averaged": ahead}))
        return (
            pd.DataFrame(rows, columns=tables.RUNS.names),
            filled(tables.EVALUATIONS, pd.concat(evaluated, ignore_index=True)),
            filled(tables.AVERAGES, pd.concat(averaged, ignore_index=True)),
        )


def noise_scale(cell_ids: list[str], *, tokens: list[int], values: list[float], **fields: Any) -> pd.DataFrame:
    """The same windows for all cells and groups; intervals reach a tenth down and a fifth up."""
    rows = [
        {
            "cell_id": cell_id, "group": group, "window": i, "tokens_seen": at, "noise_scale_tokens": value,
            "ci_low": value - abs(value) / 10, "ci_high": value + abs(value) / 5, "status": "ok", **fields,
        }
        for cell_id, group in product(cell_ids, ("total", "body", "norm", "embedding"))
        for i, (at, value) in enumerate(zip(tokens, values, strict=True))
    ]  # fmt: skip
    return filled(tables.NOISE_SCALE, pd.DataFrame(rows))


def filled(table: tables.Table, frame: pd.DataFrame) -> pd.DataFrame:
    """With plain values in the columns that are not given."""
    plain: dict[str, Any] = {"string": "", "int64": 1, "float64": 1.0, "bool": False}
    given = {column.name: plain[column.type] for column in table.columns if column.name not in frame}
    return frame.assign(**given)[table.names]
