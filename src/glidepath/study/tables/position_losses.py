"""Loss by position in the sequence along training."""

from __future__ import annotations

from glidepath.study.tables.plan import CELL
from glidepath.study.tables.table import Column, Table
from glidepath.study.tables.training import TOKENS_SEEN, UPDATES_DONE

POSITION_LOSSES = Table(
    "position_losses",
    "One row per cell, evaluated snapshot and position in the sequence: mean loss there over all validation blocks of "
    "the first domain. Only cells of the schedules named in the section temporal.",
    (
        CELL,
        UPDATES_DONE,
        TOKENS_SEEN,
        Column(
            "position",
            "int64",
            "tokens",
            "tokens of context that the predicted one has before it, from 1 to the context length. Blocks are cut "
            "anywhere in the text, so that position 1 follows one token of a running document",
            key=True,
        ),
        Column("val_loss", "float64", "nat/token", "mean cross-entropy at this position over blocks"),
        Column("val_loss_sem", "float64", "nat/token", "its standard error over blocks"),
        Column("n_eval_tokens", "int64", "tokens", "tokens behind it: one per block"),
    ),
)
