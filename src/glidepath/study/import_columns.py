"""What a log can tell: Glidepath's name of each quantity, and the units in which others write it."""

from __future__ import annotations

from math import log
from typing import Literal

Along = Literal[
    "step",
    "tokens_seen",
    "time",
    "lr",
    "weight_decay",
    "batch_tokens",
    "train_loss",
    "grad_norm",
    "val_loss",
    "val_loss_sem",
    "n_eval_tokens",
    "domain",
]
"""Quantities that change along a run, a value per row."""
Fact = Literal[
    "model",
    "n_params_total",
    "n_params_non_embedding",
    "n_layer",
    "d_model",
    "context_length",
    "schedule",
    "schedule_kind",
    "peak_lr",
    "final_lr_fraction",
    "warmup_steps",
    "decay_steps",
    "batch_sequences",
    "total_steps",
    "token_horizon",
    "unique_tokens",
    "train_flops",
    "replicate",
    "trunk",
]
"""Quantities that a run has one value of."""
Column = Literal[Along, Fact]

TEXTS = ("domain", "model", "schedule", "schedule_kind", "trunk")
"""Quantities that are names; all others are numbers."""
LOSSES = ("train_loss", "val_loss", "val_loss_sem")
TOKENS = ("tokens_seen", "batch_tokens", "n_eval_tokens", "token_horizon", "unique_tokens")
COUNTS = (*TOKENS, "n_params_total", "n_params_non_embedding", "step", "total_steps", "warmup_steps", "decay_steps")

LossUnit = Literal["nat", "bit", "perplexity", "bit_per_byte"]
CountUnit = Literal["one", "thousands", "millions", "billions", "trillions", "sequences", "updates"]
FlopUnit = Literal["flop", "teraflop", "petaflop", "exaflop", "petaflop_days"]
Unit = Literal[LossUnit, CountUnit, FlopUnit]

FACTORS: dict[str, float] = {
    "nat": 1.0,
    "bit": log(2.0),
    "one": 1.0,
    "thousands": 1e3,
    "millions": 1e6,
    "billions": 1e9,
    "trillions": 1e12,
    "flop": 1.0,
    "teraflop": 1e12,
    "petaflop": 1e15,
    "exaflop": 1e18,
    "petaflop_days": 1e15 * 86400,
}
"""Units that are a multiple of the table's; perplexity and those that need a fact of the run are not."""


def units_of(column: str) -> tuple[str, ...]:
    """Units that a quantity may be given in; the first is the tables' own."""
    if column == "val_loss_sem":
        return ("nat", "bit", "bit_per_byte")
    if column in LOSSES:
        return ("nat", "bit", "perplexity", "bit_per_byte")
    multiples = ("one", "thousands", "millions", "billions", "trillions")
    if column == "batch_tokens":
        return (*multiples, "sequences")
    if column in TOKENS:
        return (*multiples, "sequences", "updates")
    if column in COUNTS:
        return multiples
    return ("flop", "teraflop", "petaflop", "exaflop", "petaflop_days") if column == "train_flops" else ()
