"""Question 3: the batch size."""

from __future__ import annotations

from glidepath.study.figure_list.figure_entry import MODEL, SCHEDULE, TPP, VAL_LOSS_SE, FigureEntry
from glidepath.study.tables import Column, Table

FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Loss against batch size at equal tokens",
        3,
        ("runs", "noise_scale"),
        Table(
            "batch_size",
            "Final loss at the best peak learning rate of each batch size, with the noise scale of the last window.",
            (
                Column("item", "string", "-", "loss or noise_scale"),
                MODEL,
                *SCHEDULE,
                TPP,
                Column("batch_tokens", "float64", "tokens", "tokens per update, or the noise scale"),
                Column("peak_lr", "float64", "-", "best peak learning rate of the grid; null for the noise scale"),
                Column("n_replicates", "int64", "-", "replicates averaged; null for the noise scale"),
                Column("val_loss", "float64", "nat/token", "validation loss; null for the noise scale"),
                VAL_LOSS_SE,
                Column("edge_of_grid", "bool", "-", "the best peak learning rate is at the edge of its grid"),
            ),
        ),
    ),
)
