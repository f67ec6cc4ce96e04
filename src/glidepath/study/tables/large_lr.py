"""Regimes of large learning rates."""

from __future__ import annotations

from glidepath.study.tables.plan import CELL
from glidepath.study.tables.table import Column, Table

SWEEP = (
    Column("model", "string", "-", "model", key=True),
    Column("batch_sequences", "int64", "sequences", "batch", key=True),
    Column("schedule", "string", "-", "constant schedule", key=True),
)

LR_WEIGHT_DECAY = Column(
    "lr_weight_decay", "float64", "-", "peak_lr × weight_decay: the share of the weights that one update forgets"
)

TOKEN_HORIZON = Column("token_horizon", "int64", "tokens", "training tokens")

HORIZON = Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon, the longest of the sweep")

REGIMES = Table(
    "regimes",
    "One row per cell of a constant schedule at the longest horizon of its model and batch: does its loss still fall "
    "(rule: science/regimes.py), and what averaging and a real cooldown make of it.",
    (
        *SWEEP,
        CELL,
        HORIZON,
        TOKEN_HORIZON,
        Column("peak_lr", "float64", "-", "learning rate"),
        LR_WEIGHT_DECAY,
        Column("replicate", "int64", "-", "number of the replicate"),
        Column("status", "string", "-", "as in runs"),
        Column("regime", "string", "-", "converging, chaotic_equilibrium, divergent or undecided"),
        Column(
            "slope",
            "float64",
            "nat/token",
            "slope of the training loss in ln tokens over the last doubling; null if diverged or with too few updates",
        ),
        Column("slope_se", "float64", "nat/token", "its standard error, from block means"),
        Column("best_cell_id", "string", "-", "cell of the replicate whose loss is lowest there; null if none"),
        Column("pace", "float64", "nat/token", "slope of its loss minus half the best's; null where none was judged"),
        Column("pace_se", "float64", "nat/token", "its standard error, from block means"),
        Column("pace_ci_low", "float64", "nat/token", "lower end of its interval"),
        Column("pace_ci_high", "float64", "nat/token", "upper end; below 0 the cell converges"),
        Column("ci_level", "float64", "-", "level of the interval"),
        Column("val_loss_raw", "float64", "nat/token", "final loss of the weights; null if diverged"),
        Column("average", "string", "-", "average whose loss is given, one for a sweep; empty if none"),
        Column("val_loss_averaged", "float64", "nat/token", "its loss at the end of the cell; null if none"),
        Column("cooldown_cell_id", "string", "-", "best real cooldown of the trunk to the same tokens; null if none"),
        Column("val_loss_cooldown", "float64", "nat/token", "its loss; null if none"),
    ),
)

LARGE_LR = Table(
    "large_lr",
    "Where the best learning rate lies against the convergence threshold (laws/large_lr.py): one row per sweep of a "
    "constant schedule and kind of weights.",
    (
        *SWEEP,
        HORIZON,
        TOKEN_HORIZON,
        Column("weights", "string", "-", "raw, averaged, or cooldown", key=True),
        Column("average", "string", "-", "which average; empty for the others"),
        Column("threshold_low", "float64", "-", "largest learning rate that converges, lowest replicate; null if none"),
        Column("threshold_high", "float64", "-", "the next that does not, highest replicate; null if beyond the sweep"),
        Column("peak_lr", "float64", "-", "optimal learning rate, or the best of the grid if not converged"),
        Column("ci_low", "float64", "-", "lower end of its interval; null if unknown"),
        Column("ci_high", "float64", "-", "upper end"),
        Column("ci_level", "float64", "-", "level of the interval"),
        LR_WEIGHT_DECAY,
        Column("val_loss", "float64", "nat/token", "loss at the optimum"),
        Column("best_grid_peak_lr", "float64", "-", "learning rate of the grid with the lowest mean loss"),
        Column("best_grid_val_loss", "float64", "nat/token", "its mean loss"),
        Column("ratio_to_threshold", "float64", "-", "peak_lr over the geometric middle of the threshold's ends"),
        Column("ratio_low", "float64", "-", "ci_low / threshold_high"),
        Column("ratio_high", "float64", "-", "ci_high / threshold_low"),
        Column("n_points", "int64", "-", "learning rates fitted"),
        Column("n_replicates", "int64", "-", "replicates"),
        Column("status", "string", "-", "converged, edge_of_grid or failed"),
        Column("verdict", "string", "-", "above, below: the intervals do not overlap; else not resolved"),
    ),
)
