"""Checkpoints trained elsewhere."""

from __future__ import annotations

from glidepath.study.tables.averaging import AVERAGES, STEPS_SAVED
from glidepath.study.tables.table import Column, Table
from glidepath.study.tables.training import TOKENS_SEEN, UPDATES_DONE

CHECKPOINTS = Table(
    "checkpoints",
    "Checkpoints trained elsewhere: one row per file that weights or their configuration are read from.",
    (
        Column("cell_id", "string", "-", "name of the trajectory in the configuration", key=True),
        UPDATES_DONE,
        Column("file", "string", "-", "name of the file", key=True),
        TOKENS_SEEN,
        Column("repository", "string", "-", "repository of the Hub; null for a directory"),
        Column("revision", "string", "-", "revision that was asked for; null for a directory"),
        Column("commit", "string", "-", "commit that it was; null for a directory"),
        Column("path", "string", "-", "directory of the file, relative to the working directory"),
        Column("bytes", "int64", "bytes", "size of the file"),
        Column("sha256", "string", "-", "SHA-256 of the file"),
    ),
)

CHECKPOINT_STEPS_SAVED = Table(
    "checkpoint_steps_saved",
    "Checkpoints trained elsewhere: how much longer the raw weights train until they are as good as an average is now, "
    "a row per trajectory, average and point, on the first validation domain. With one training the interval holds the "
    "noise of its checkpoints and of the text, not what another training would change.",
    (
        Column("cell_id", "string", "-", "name of the trajectory in the configuration", key=True),
        *(
            Column(
                column.name,
                column.type,
                column.unit,
                {
                    "flops_saved": "tokens_saved times 6 n_params",
                    "hours_saved": "updates_saved times hours_per_update; null if that is not given",
                }.get(column.name, column.meaning),
                column.key,
            )
            for column in STEPS_SAVED.columns
            if column.name not in ("model", "schedule", "peak_lr", "batch_sequences", "n_replicates")
        ),
    ),
)

CHECKPOINT_TABLES = (CHECKPOINTS, AVERAGES, CHECKPOINT_STEPS_SAVED)
"""Of checkpoints trained elsewhere, where a cell is a trajectory."""
