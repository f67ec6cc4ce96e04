"""The rows a segment writes down, in the columns of the tables they become."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glidepath.training.parameters import LAYER_TYPES

Columns = dict[str, NDArray[Any]]

COLUMNS: dict[str, dict[str, type]] = {
    "updates": {
        "step": np.int64,
        "tokens_seen": np.int64,
        "lr": np.float64,
        "weight_decay": np.float64,
        "adam_beta1": np.float64,
        "adam_beta2": np.float64,
        "batch_tokens": np.int64,
        "train_loss": np.float64,
        "grad_norm": np.float64,
        "grad_norm_l1": np.float64,
        "update_norm": np.float64,
        "param_norm": np.float64,
    },
    "evaluations": {
        "updates_done": np.int64,
        "tokens_seen": np.int64,
        "domain": np.str_,
        "eval_set": np.str_,
        "val_loss": np.float64,
        "val_loss_sem": np.float64,
        "bits_per_byte": np.float64,
        "n_eval_tokens": np.int64,
    },
    "gradient_statistics": {
        "step": np.int64,
        "tokens_seen": np.int64,
        "group": np.str_,
        "grad_sq_norm_small": np.float64,
        "grad_sq_norm_big": np.float64,
        "small_batch_tokens": np.int64,
        "big_batch_tokens": np.int64,
    },
}


CODES: dict[str, dict[str, Sequence[str]]] = {"updates": {}, "gradient_statistics": {"group": LAYER_TYPES}}
"""Tables with a row at every update or so, whose rows a resume file holds as numbers: by table, the columns that are
not numbers and the values whose index stands for them."""


class Recorder:
    """Rows of the tables above and the losses of single blocks, in the order in which they happened."""

    def __init__(self) -> None:
        self._rows: dict[str, list[list[Any]]] = {table: [] for table in COLUMNS}
        self._block_losses: dict[tuple[int, str], NDArray[np.float32]] = {}

    def add(self, table: str, row: Mapping[str, Any]) -> None:
        """Append one row; its keys are the columns of the table."""
        self._rows[table].append([row[column] for column in COLUMNS[table]])

    def add_block_losses(self, updates_done: int, domain: str, losses: NDArray[np.float32]) -> None:
        """Keep the loss of every block of a full evaluation."""
        self._block_losses[updates_done, domain] = losses

    def table(self, name: str) -> Columns:
        """One table as columns."""
        rows = self._rows[name]
        return {
            column: np.array([row[i] for row in rows], dtype=dtype)
            for i, (column, dtype) in enumerate(COLUMNS[name].items())
        }

    def block_losses(self) -> Columns:
        """Block losses as columns updates_done, domain, block, loss."""
        kept = self._block_losses
        return {
            "updates_done": np.array([u for (u, _), x in kept.items() for _ in range(len(x))], dtype=np.int64),
            "domain": np.array([d for (_, d), x in kept.items() for _ in range(len(x))], dtype=np.str_),
            "block": np.array([i for x in kept.values() for i in range(len(x))], dtype=np.int64),
            "loss": np.concatenate([*kept.values(), np.empty(0, dtype=np.float32)]),
        }

    def dump(self) -> tuple[str, dict[str, NDArray[Any]]]:
        """Everything recorded, as text and arrays for a resume file. Rows of the tables of `CODES` go as numbers:
        float64 holds them exactly."""
        arrays: dict[str, NDArray[Any]] = {
            f"block_losses/{u}/{domain}": losses for (u, domain), losses in self._block_losses.items()
        }
        for table, codes in CODES.items():
            columns = list(COLUMNS[table])
            coded = {
                columns.index(name): {value: i for i, value in enumerate(values)} for name, values in codes.items()
            }
            rows = [[coded[i][x] if i in coded else x for i, x in enumerate(row)] for row in self._rows[table]]
            arrays[f"rows/{table}"] = np.array(rows, dtype=np.float64).reshape(len(rows), len(columns))
        rest = {table: kept for table, kept in self._rows.items() if table not in CODES}
        return json.dumps({"rows": rest, "block_losses": list(self._block_losses)}), arrays

    @classmethod
    def restore(cls, text: str, arrays: Mapping[str, NDArray[Any]]) -> Recorder:
        """The recorder that was dumped."""
        recorder = cls()
        kept = json.loads(text)
        recorder._rows = dict(kept["rows"])
        for table, codes in CODES.items():
            values = {i: codes[name] for i, name in enumerate(COLUMNS[table]) if name in codes}
            rows = arrays[f"rows/{table}"].tolist()
            recorder._rows[table] = [[values[i][int(x)] if i in values else x for i, x in enumerate(r)] for r in rows]
        for updates_done, domain in kept["block_losses"]:
            recorder.add_block_losses(updates_done, domain, arrays[f"block_losses/{updates_done}/{domain}"])
        return recorder
