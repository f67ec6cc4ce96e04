"""What training leaves: a row per cell, update, evaluation and validation block."""

from __future__ import annotations

from glidepath.study.tables.plan import CELL, CELL_COLUMNS
from glidepath.study.tables.table import Column, Table

RUNS = Table(
    "runs",
    "One row per cell: resolved fields, status, final losses and cost.",
    (
        *CELL_COLUMNS,
        Column("status", "string", "-", "completed, diverged or excluded"),
        Column("reason", "string", "-", "why it diverged or is kept out of comparisons and fits; empty otherwise"),
        Column("diverged_step", "int64", "updates", "update at which training diverged; null otherwise"),
        Column(
            "last_finite_loss",
            "float64",
            "nat/token",
            "last finite training loss of a diverged cell; null otherwise",
        ),
        Column(
            "n_loss_spikes",
            "int64",
            "-",
            "loss spikes along the logged updates (rule: science/spikes.py); null if too few were logged to judge",
        ),
        Column(
            "largest_loss_spike",
            "float64",
            "nat/token",
            "height of the largest above the running median; 0 without a spike, null if not judged",
        ),
        Column("train_loss", "float64", "nat/token", "mean training loss over the last 5 % of the logged updates"),
        Column(
            "val_loss",
            "float64",
            "nat/token",
            "loss on all validation tokens of the first domain after the last update",
        ),
        Column("val_loss_sem", "float64", "nat/token", "standard error of val_loss over validation blocks"),
        Column("bits_per_byte", "float64", "bit/byte", "val_loss / ln 2 / bytes per token"),
        Column("n_eval_tokens", "int64", "tokens", "validation tokens behind val_loss"),
        Column("train_seconds", "float64", "s", "time of the chain's updates, shared segments counted in full"),
        Column("own_train_seconds", "float64", "s", "time of the updates that no other cell shares"),
        Column("tokens_per_second", "float64", "tokens/s", "tokens over seconds, less the probes of all layers"),
        Column("matmul_peak_fraction", "float64", "-", "exact FLOP/s over the machine's measured matmul peak"),
        Column("engine_version", "int64", "-", "version of the numerics"),
        Column("corpus_id", "string", "-", "content address of the tokens"),
        Column("device", "string", "-", "device the last segment ran on"),
        Column("torch_version", "string", "-", "version of torch"),
        Column("python_version", "string", "-", "version of Python"),
        Column("code_digest", "string", "-", "digest of the training sources that ran"),
    ),
)

STEP = Column("step", "int64", "updates", "0-based index of the update", key=True)

UPDATES_DONE = Column("updates_done", "int64", "updates", "updates the weights have seen", key=True)

TOKENS_SEEN = Column("tokens_seen", "int64", "tokens", "training tokens seen, the named update included")

DOMAIN = Column("domain", "string", "-", "validation domain", key=True)

UPDATES = Table(
    "updates",
    "One row per cell and update: what was applied, and what it did. The costly norms are taken at some updates only.",
    (
        CELL,
        STEP,
        TOKENS_SEEN,
        Column("lr", "float64", "-", "learning rate applied, before any per-group multiplier"),
        Column("weight_decay", "float64", "-", "weight decay applied, before any per-group multiplier"),
        Column("adam_beta1", "float64", "-", "decay of the first moment applied"),
        Column("adam_beta2", "float64", "-", "decay of the second moment applied"),
        Column("batch_tokens", "int64", "tokens", "tokens of this update"),
        Column("train_loss", "float64", "nat/token", "loss of this update's batch before the update"),
        Column("grad_norm", "float64", "-", "global gradient norm before clipping"),
        Column("grad_norm_l1", "float64", "-", "sum of its magnitudes before clipping; null where not taken"),
        Column(
            "update_norm",
            "float64",
            "-",
            "global norm of the change that the update made to the weights; null where not taken",
        ),
        Column("param_norm", "float64", "-", "global norm of the weights after the update; null where not taken"),
    ),
)

EVALUATIONS = Table(
    "evaluations",
    "One row per cell, evaluated update, domain and evaluation set. Subset and full losses must never be mixed.",
    (
        CELL,
        UPDATES_DONE,
        TOKENS_SEEN,
        DOMAIN,
        Column("eval_set", "string", "-", "subset: first blocks only, along training; full: all blocks", key=True),
        Column("val_loss", "float64", "nat/token", "mean cross-entropy"),
        Column("val_loss_sem", "float64", "nat/token", "standard error over blocks"),
        Column("bits_per_byte", "float64", "bit/byte", "val_loss / ln 2 / bytes per token"),
        Column("n_eval_tokens", "int64", "tokens", "tokens evaluated"),
    ),
)

BLOCK_LOSSES = Table(
    "block_losses",
    "Loss of every validation block after the last update of a cell: what paired differences are made of.",
    (
        CELL,
        DOMAIN,
        Column("block", "int64", "-", "index of the validation block; the same text for every cell", key=True),
        Column("loss", "float32", "nat/token", "mean cross-entropy of the block"),
    ),
)


def of_segment(table: Table) -> Table:
    """A table as one segment writes it: without its cells, which come when it is collected.

    Block losses also carry the update, since a shared segment may evaluate the ends of several cells.
    """
    columns = tuple(column for column in table.columns if column.name != CELL.name)
    if table is BLOCK_LOSSES:
        columns = (UPDATES_DONE, *columns)
    return Table(table.name, table.meaning, columns)
