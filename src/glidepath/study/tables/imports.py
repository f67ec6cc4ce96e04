"""What an import leaves beside runs, updates and evaluations: every row of the logs, and what is wrong with them."""

from __future__ import annotations

from glidepath.study.tables.table import Column, Table

IMPORTED_ROWS = Table(
    "imported_rows",
    "One row per row of a log, as it was mapped: in the tables' units, in the order of the files. Rows that a filter "
    "leaves out are counted in findings.",
    (
        Column("run", "string", "-", "name of the run: cell_id of the other tables", key=True),
        Column("source", "string", "-", "name of the source in the configuration", key=True),
        Column("file", "string", "-", "its file, relative to the working directory", key=True),
        Column("row", "int64", "-", "line, record or row in the file, from 1 on", key=True),
        Column("updates_done", "int64", "updates", "updates done when it was logged; null where that is not known"),
        Column("tokens_seen", "float64", "tokens", "training tokens seen, as logged"),
        Column("lr", "float64", "-", "learning rate, as logged"),
        Column("weight_decay", "float64", "-", "weight decay, as logged"),
        Column("batch_tokens", "float64", "tokens", "tokens of the update, as logged"),
        Column("train_loss", "float64", "nat/token", "training loss"),
        Column("grad_norm", "float64", "-", "global gradient norm"),
        Column("val_loss", "float64", "nat/token", "validation loss"),
        Column("val_loss_sem", "float64", "nat/token", "its standard error"),
        Column("n_eval_tokens", "float64", "tokens", "tokens evaluated"),
        Column("domain", "string", "-", "evaluation set; null where none is named"),
        Column("used", "bool", "-", "some value of the row is in updates, evaluations or runs"),
        Column("reason", "string", "-", "why it is not used; empty otherwise"),
    ),
)

FINDINGS = Table(
    "findings",
    "One row per thing that is wrong or odd in the logs, and what was done about it.",
    (
        Column("number", "int64", "-", "running number", key=True),
        Column("run", "string", "-", "name of the run; empty where it is about several"),
        Column("source", "string", "-", "name of the source; empty where it is about several"),
        Column("finding", "string", "-", "kind of the finding, one word for all of its kind"),
        Column("first_update", "float64", "updates", "where it begins [updates done]; null where that says nothing"),
        Column("last_update", "float64", "updates", "where it ends [updates done]; null where that says nothing"),
        Column("count", "int64", "-", "how many rows, steps, files or runs"),
        Column("detail", "string", "-", "what was found, in words"),
        Column("done", "string", "-", "what was done about it"),
    ),
)

IMPORT_TABLES = (IMPORTED_ROWS, FINDINGS)
