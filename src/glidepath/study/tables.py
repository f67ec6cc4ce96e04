"""The tables a user may rely on, and the one writer of Parquet.

Each table has a schema: column, type, unit, meaning, and whether it belongs to the key. `docs/tables.md` is
generated from here. Parquet field metadata carries unit and meaning; pandas drops it, therefore everything is
written by `write`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Type = Literal["string", "int64", "float64", "float32", "bool"]

SCHEMA_VERSION = 1
ROW_GROUP = 100_000
"""Parts of a table are written together once they have so many rows."""


@dataclass(frozen=True)
class Column:
    """One column: `unit` is "-" for a pure number or a name; a key column is never null."""

    name: str
    type: Type
    unit: str
    meaning: str
    key: bool = False


@dataclass(frozen=True)
class Table:
    """One table: its name is its file's name without the ending."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def key(self) -> list[str]:
        return [column.name for column in self.columns if column.key]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


CELL = Column("cell_id", "string", "-", "readable name of the cell with its digest behind", key=True)

CELL_COLUMNS = (
    CELL,
    Column("model", "string", "-", "name of the model in the configuration"),
    Column("n_layer", "int64", "layers", "depth"),
    Column("d_model", "int64", "features", "width"),
    Column("n_head", "int64", "heads", "attention heads"),
    Column("d_head", "int64", "features", "width of one head"),
    Column("d_ff", "int64", "features", "inner width of the feed-forward block"),
    Column("context_length", "int64", "tokens", "tokens per sequence"),
    Column("vocab_size", "int64", "tokens", "rows of the embedding"),
    Column("parametrization", "string", "-", "sp, mup or completep"),
    Column("architecture", "string", "-", "digest of the model without its size: equal where only the size differs"),
    Column("n_params_total", "int64", "parameters", "all parameters, a tied head counted once"),
    Column("n_params_non_embedding", "int64", "parameters", "without the embedding and an untied head"),
    Column("n_params_matrices_and_head", "int64", "parameters", "hidden matrices and the head, tied or not"),
    Column("n_params_counted", "int64", "parameters", "the count that this study's tokens_per_parameter uses"),
    Column("schedule", "string", "-", "name of the schedule in the configuration"),
    Column("schedule_kind", "string", "-", "kind of the schedule, as in the configuration: constant, wsd, …"),
    Column(
        "final_lr_fraction",
        "float64",
        "-",
        "learning rate that the decay aims at, over the peak; null if that depends on the run",
    ),
    Column("decay_shape", "string", "-", "shape of the final descent, none for a constant"),
    Column("peak_lr", "float64", "-", "highest learning rate of the schedule"),
    Column("warmup_steps", "int64", "updates", "linear rise to the peak"),
    Column("decay_steps", "int64", "updates", "length of the final descent, without the warm-up"),
    Column(
        "weight_decay",
        "float64",
        "-",
        "decoupled AdamW coefficient λ at the peak: an update shrinks weights by lr·λ",
    ),
    Column("batch_sequences", "int64", "sequences", "sequences per update; of a batch ramp, its end"),
    Column("batch_tokens", "int64", "tokens", "batch_sequences × context_length"),
    Column("total_steps", "int64", "updates", "length of the schedule"),
    Column("token_horizon", "int64", "tokens", "training tokens, exactly"),
    Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon asked for, in n_params_counted"),
    Column("replicate", "int64", "-", "number of the replicate; seeds derive from it"),
    Column("init_seed", "int64", "-", "seed of the initialisation"),
    Column("data_seed", "int64", "-", "seed of the data order"),
    Column("holdout", "bool", "-", "hidden from fits until they are scored"),
    Column("trunk_id", "string", "-", "first segment of the chain: cells with one trunk are correlated"),
    Column(
        "segments",
        "string",
        "-",
        "the chain: names of its segments in store/segments, in order, separated by spaces",
    ),
    Column("segment_ends", "string", "-", "updates done at the ends of these segments, separated by spaces"),
    Column(
        "averages",
        "string",
        "-",
        "names of the averages along its chain in store/averages, in order, separated by spaces; empty if no snapshots "
        "are kept",
    ),
    Column("own_steps", "int64", "updates", "updates that no other cell shares"),
    Column("train_flops_6nd", "float64", "FLOP", "6 × n_params_non_embedding × token_horizon"),
    Column(
        "train_flops_exact",
        "float64",
        "FLOP",
        "every matrix product forward and backward, attention and head included",
    ),
    Column("epochs", "float64", "-", "token_horizon over the unique training tokens"),
)

PLAN = Table("plan", "One row per cell of the study, before anything is trained.", CELL_COLUMNS)

STAGE = Column("stage", "string", "-", "tokenize, train, average, coordinate_check, analysis, or total", key=True)

BUDGET = Table(
    "budget",
    "What the study was predicted to cost, a row per stage and one for all, as if nothing of it had been there. "
    "Times are null where a speed of this machine is not known.",
    (
        STAGE,
        Column("cells", "int64", "cells", "cells that the stage works on"),
        Column("jobs", "int64", "jobs", "jobs; a segment is one"),
        Column("tokens", "int64", "tokens", "training tokens"),
        Column("train_flops_exact", "float64", "FLOP", "every matrix product of training, shared prefixes once"),
        Column("unshared_train_flops_exact", "float64", "FLOP", "if every cell were trained alone"),
        Column("sharing_factor", "float64", "-", "the latter over the former; null for a stage that trains nothing"),
        Column("core_seconds", "float64", "s", "work of all jobs: seconds times the cores that each keeps busy"),
        Column("unshared_core_seconds", "float64", "s", "if every cell were trained alone"),
        Column("wall_seconds", "float64", "s", "time on all cores, nothing else running"),
        Column("disk_bytes", "float64", "bytes", "tokens, states and snapshots; tables are smaller"),
        Column("cores", "int64", "cores", "cores that it was predicted for"),
        Column("predicted_at", "float64", "s", "when, since 1970 (UTC)"),
    ),
)

SPENDING = Table(
    "spending",
    "What the study did cost beside its prediction, a row per stage and one for all.",
    (
        STAGE,
        Column("jobs", "int64", "jobs", "jobs; a segment is one"),
        Column("jobs_measured", "int64", "jobs", "jobs whose time is known"),
        Column("jobs_before_prediction", "int64", "jobs", "of these, jobs that ended before the prediction was made"),
        Column("predicted_core_seconds", "float64", "s", "as in budget; null where no speed was known"),
        Column("core_seconds", "float64", "s", "measured CPU time; null unless that of every job is known"),
        Column("core_seconds_ratio", "float64", "-", "measured over predicted"),
        Column("predicted_wall_seconds", "float64", "s", "as in budget; null where no speed was known"),
        Column("wall_seconds", "float64", "s", "time during which a job of the stage ran; null unless all are known"),
        Column("wall_seconds_ratio", "float64", "-", "measured over predicted"),
    ),
)

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
        Column("tokens_per_second", "float64", "tokens/s", "tokens over seconds of the updates without a probe"),
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

AVERAGE = Column("average", "string", "-", "name of the average in the configuration, or best_window", key=True)
AVERAGE_SHAPE = (
    Column("averaging_scheme", "string", "-", "window, lawa, ema, swa, emulated_decay, best_window; raw: no average"),
    Column("window_checkpoints", "int64", "snapshots", "snapshots with a weight other than zero"),
    Column("effective_checkpoints", "float64", "snapshots", "1 / sum of squared weights: k for k equal ones"),
    Column("window_tokens", "int64", "tokens", "training between the first and the last of them"),
    Column("window_fraction", "float64", "-", "window_tokens over tokens_seen"),
    Column("lag_tokens", "float64", "tokens", "mean age of the averaged weights at tokens_seen"),
)

AVERAGES = Table(
    "averages",
    "One row per cell, evaluated point of its training, average of the snapshots up to there and validation domain, "
    "next to the raw weights there and the real cooldowns of the same trunk that end there.",
    (
        CELL,
        UPDATES_DONE,
        TOKENS_SEEN,
        Column("at_end", "bool", "-", "the point is the end of the cell"),
        AVERAGE,
        *AVERAGE_SHAPE,
        DOMAIN,
        Column("val_loss_raw", "float64", "nat/token", "loss of the raw weights there, on all validation tokens"),
        Column("val_loss_averaged", "float64", "nat/token", "loss of the averaged weights on the same tokens"),
        Column("bits_per_byte_raw", "float64", "bit/byte", "val_loss_raw / ln 2 / bytes per token"),
        Column("bits_per_byte_averaged", "float64", "bit/byte", "val_loss_averaged / ln 2 / bytes per token"),
        Column("gain", "float64", "nat/token", "val_loss_raw - val_loss_averaged"),
        Column("gain_sem", "float64", "nat/token", "standard error of gain, paired over blocks"),
        Column(
            "cooldown_cell_id",
            "string",
            "-",
            "real cooldown of the same trunk that ends at equal tokens; null if none. Of several that of the lowest "
            "loss on the blocks that are compared: the choice flatters it, so that gap_to_cooldown is rather too large "
            "and closed_fraction too small",
        ),
        Column("val_loss_cooldown", "float64", "nat/token", "its loss; null if none"),
        Column("gap_to_cooldown", "float64", "nat/token", "val_loss_averaged - val_loss_cooldown; null if none"),
        Column(
            "gap_to_cooldown_sem",
            "float64",
            "nat/token",
            "its standard error, paired over blocks; null if none",
        ),
        Column(
            "closed_fraction", "float64", "-", "gain / (val_loss_raw - val_loss_cooldown); null if there is no such gap"
        ),
    ),
)

AVERAGE_LOSSES = Table(
    "losses",
    "One row per evaluated point of one segment, average and domain, as the job that evaluates them writes it; the "
    "average `raw` is the last weights themselves.",
    (
        UPDATES_DONE,
        TOKENS_SEEN,
        AVERAGE,
        *AVERAGE_SHAPE,
        DOMAIN,
        Column("val_loss", "float64", "nat/token", "loss on all validation tokens of the domain"),
        Column("bits_per_byte", "float64", "bit/byte", "val_loss / ln 2 / bytes per token"),
    ),
)

AVERAGE_BLOCK_LOSSES = Table(
    "block_losses",
    "Loss of every validation block under every average of one segment.",
    (
        UPDATES_DONE,
        AVERAGE,
        *(c for c in BLOCK_LOSSES.columns if c.name in ("domain", "block", "loss")),
    ),
)

STEPS_SAVED = Table(
    "steps_saved",
    "How much longer the raw weights train until they are as good as an average is now: a row per trajectory, mean "
    "over replicates, average and point, on the first validation domain. Of horizons that share a trunk, or only their "
    "peak learning rate, the longest one; of cells that are completed and not held out, at learning rates where no "
    "replicate diverged or was excluded.",
    (
        Column("model", "string", "-", "model", key=True),
        Column("schedule", "string", "-", "schedule whose snapshots are averaged", key=True),
        Column("peak_lr", "float64", "-", "peak learning rate", key=True),
        Column("batch_sequences", "int64", "sequences", "batch", key=True),
        Column("average", "string", "-", "name of the average in the configuration", key=True),
        UPDATES_DONE,
        TOKENS_SEEN,
        Column("n_replicates", "int64", "-", "replicates averaged first"),
        Column("val_loss_raw", "float64", "nat/token", "loss of the raw weights there"),
        Column("val_loss_averaged", "float64", "nat/token", "loss of the averaged weights there"),
        Column(
            "status",
            "string",
            "-",
            "reached; beyond: not within the trajectory; none: the average is not below the raw weights",
        ),
        Column(
            "reached_tokens",
            "float64",
            "tokens",
            "where the raw weights first reach the averaged loss, linear in ln tokens between points; null if never",
        ),
        Column("reached_tokens_low", "float64", "tokens", "lower end of its interval; null when not identified"),
        Column("reached_tokens_high", "float64", "tokens", "upper end; null when beyond the trajectory"),
        Column("updates_saved", "float64", "updates", "updates up to there; of `beyond` to the end, at least these"),
        Column("updates_saved_low", "float64", "updates", "lower end of its interval; null when not identified"),
        Column("updates_saved_high", "float64", "updates", "upper end; null when beyond the trajectory"),
        Column("tokens_saved", "float64", "tokens", "tokens up to there; of `beyond` to the end, at least these"),
        Column("tokens_saved_low", "float64", "tokens", "lower end of its interval; null when not identified"),
        Column("tokens_saved_high", "float64", "tokens", "upper end; null when beyond the trajectory"),
        Column("flops_saved", "float64", "FLOP", "tokens_saved in exact training FLOPs"),
        Column("hours_saved", "float64", "h", "tokens_saved at the replicates' mean speed; null if unknown"),
        Column(
            "noise_from",
            "string",
            "-",
            "replicates; neighbours: of single checkpoints about their neighbours, where nothing has a replicate",
        ),
        Column("ci_level", "float64", "-", "level of the interval"),
    ),
)

COOLDOWN_ORACLE = Table(
    "cooldown_oracle",
    "Loss after a cooldown, predicted from the snapshots before it: a row per point of a constant trunk and wsd "
    "schedule of the study, on the first validation domain. Where the cooldown was trained its loss stands beside the "
    "prediction that was made without its trunk.",
    (
        Column("cell_id", "string", "-", "longest averaged constant cell of the trunk", key=True),
        Column("updates_done", "int64", "updates", "branching point: updates before the cooldown", key=True),
        Column("schedule", "string", "-", "wsd schedule that the cooldown is that of", key=True),
        Column("model", "string", "-", "model"),
        Column("n_params_counted", "int64", "parameters", "the count that this study's tokens_per_parameter uses"),
        Column("peak_lr", "float64", "-", "learning rate of the trunk"),
        Column("batch_sequences", "int64", "sequences", "batch"),
        Column("replicate", "int64", "-", "replicate"),
        TOKENS_SEEN,
        Column("branch_tokens_per_parameter", "float64", "tokens/parameter", "tokens_seen over n_params_counted"),
        Column("decay_shape", "string", "-", "shape of the cooldown"),
        Column("final_lr_fraction", "float64", "-", "learning rate that it aims at, over the peak"),
        Column("decay_fraction", "float64", "-", "its length over the whole training"),
        Column("mean_lr_fraction", "float64", "-", "its mean learning rate as applied, over the peak"),
        Column("end_tokens", "float64", "tokens", "training tokens at its end"),
        Column("end_tokens_per_parameter", "float64", "tokens/parameter", "end_tokens over n_params_counted"),
        Column(
            "average",
            "string",
            "-",
            "the average used: of mean age nearest to a tenth of the training up to there, of those evaluated long "
            "enough before; null if there is none",
        ),
        Column("val_loss_raw", "float64", "nat/token", "loss of the raw weights at the branching point"),
        Column("val_loss_averaged", "float64", "nat/token", "loss of the averaged weights there; null if not defined"),
        Column("gain_sem", "float64", "nat/token", "standard error of their difference, paired over blocks"),
        Column(
            "loss_slope", "float64", "nat/token", "fall of the averaged loss per unit of ln tokens; null if unknown"
        ),
        Column("lag_tokens", "float64", "tokens", "mean age of the averaged weights"),
        Column("cooldown_cell_id", "string", "-", "the real cooldown; null if none was trained"),
        Column("val_loss_cooldown", "float64", "nat/token", "its loss; null if none was trained"),
        Column("calibrating", "bool", "-", "the real cooldown is one that the oracle may be fitted to"),
        Column("val_loss_predicted", "float64", "nat/token", "predicted loss after the cooldown; null if refused"),
        Column("ci_low", "float64", "nat/token", "lower end of the prediction interval"),
        Column("ci_high", "float64", "nat/token", "upper end of the prediction interval"),
        Column("ci_level", "float64", "-", "level of the interval"),
        Column("status", "string", "-", "held_out: predicted without its own trunk; predicted; refused"),
        Column("reason", "string", "-", "why it is refused, or which predictor has the smaller error; else empty"),
    ),
)

COOLDOWN_ORACLE_SCORES = Table(
    "cooldown_oracle_scores",
    "Errors of the cooldown oracle on real cooldowns that it was not fitted to, beside those of two naive predictors.",
    (
        Column(
            "predictor",
            "string",
            "-",
            "oracle; averaged: cooled loss = averaged loss; mean_drop: cooled loss = raw loss less the mean drop",
            key=True,
        ),
        Column("validation", "string", "-", "leave_one_trunk_out or leave_one_peak_lr_out", key=True),
        Column("rmse", "float64", "nat/token", "root mean square error, every trunk counted once"),
        Column("bias", "float64", "nat/token", "mean of predicted minus real loss, every trunk counted once"),
        Column("coverage_50", "float64", "-", "share of real losses within the 50 % interval; null without one"),
        Column("coverage_90", "float64", "-", "share of real losses within the 90 % interval; null without one"),
        Column("n_cooldowns", "int64", "-", "cooldowns scored"),
        Column("n_trunks", "int64", "-", "trunks that they are on: model, peak learning rate, batch and replicate"),
        Column("status", "string", "-", "best: the lowest rmse of this validation; or why it is not scored"),
    ),
)

GROUP = Column(
    "group",
    "string",
    "-",
    "parameter group: norm, matrix, embedding, head, body (norm + matrix), total",
    key=True,
)

GRADIENT_STATISTICS = Table(
    "gradient_statistics",
    "Raw squared gradient norms at two batch sizes, at every probed update; norms add over groups, noise "
    "scales do not.",
    (
        CELL,
        STEP,
        TOKENS_SEEN,
        GROUP,
        Column("grad_sq_norm_small", "float64", "-", "mean squared norm of one sequence's gradient"),
        Column("grad_sq_norm_big", "float64", "-", "squared norm of the batch's mean gradient, before clipping"),
        Column("small_batch_tokens", "int64", "tokens", "tokens of one sequence"),
        Column("big_batch_tokens", "int64", "tokens", "tokens of the batch"),
    ),
)

NOISE_SCALE = Table(
    "noise_scale",
    "Gradient noise scale in windows of probed updates: ratio of means, with jackknife errors. Negative "
    "values are kept.",
    (
        CELL,
        GROUP,
        Column("window", "int64", "-", "index of the window along training", key=True),
        TOKENS_SEEN,
        Column("n_probes", "int64", "updates", "probed updates in the window"),
        Column("grad_sq_norm_true", "float64", "-", "unbiased |G|², mean over the window; may be negative"),
        Column("grad_noise_trace", "float64", "-", "unbiased tr Σ per sequence, mean over the window"),
        Column("noise_scale_sequences", "float64", "sequences", "grad_noise_trace / grad_sq_norm_true"),
        Column("noise_scale_tokens", "float64", "tokens", "noise_scale_sequences × context_length"),
        Column("noise_scale_tokens_se", "float64", "tokens", "delete-one jackknife standard error"),
        Column("status", "string", "-", "ok; untrusted when |G|² is within two standard errors of zero"),
    ),
)

EMA_VIEW = Table(
    "ema_view",
    "AdamW as an average of its updates: how much of the final weights of each kind of parameter is initialisation, "
    "and how many updates the rest averages (science/ema_view.py).",
    (
        CELL,
        Column("group", "string", "-", "kind of parameter: norm, matrix, embedding, head, embedding_head", key=True),
        Column("lr_multiplier", "float64", "-", "what the kind multiplies the applied learning rate by"),
        Column("weight_decay_multiplier", "float64", "-", "what the kind multiplies the applied weight decay by"),
        Column("initial_coefficient", "float64", "-", "weight of the initial values in the final ones"),
        Column("effective_updates", "float64", "updates", "1/Σĉ² over the updates' weights ĉ, which sum to 1"),
        Column("peak_coefficient", "float64", "-", "largest weight of one update"),
        Column("peak_fraction", "float64", "-", "tokens seen with that update, over the horizon"),
        Column(
            "timescale_fraction",
            "float64",
            "-",
            "memory at the largest learning rate × weight decay, over the run: batch_tokens / (lr·decay·token_horizon)",
        ),
        Column("status", "string", "-", "ok, or why there are no numbers"),
    ),
)

INTERVAL = (
    Column("ci_low", "float64", "as value", "lower end of the interval; null when not identified"),
    Column("ci_high", "float64", "as value", "upper end of the interval; null when not identified"),
    Column("ci_level", "float64", "-", "level of the interval"),
)

COMPARISONS = Table(
    "comparisons",
    "Paired difference in validation loss between two schedules, each at its own best peak learning rate.",
    (
        Column("model", "string", "-", "model", key=True),
        Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon", key=True),
        Column("batch_sequences", "int64", "sequences", "batch", key=True),
        Column("schedule", "string", "-", "schedule judged", key=True),
        Column("reference_schedule", "string", "-", "schedule it is compared with", key=True),
        Column("peak_lr", "float64", "-", "best peak LR of the schedule on the grid"),
        Column("reference_peak_lr", "float64", "-", "best peak LR of the reference on the grid"),
        Column("edge_of_grid", "bool", "-", "one of the two best LRs is at the edge of its grid"),
        Column("val_loss", "float64", "nat/token", "mean over replicates"),
        Column("reference_val_loss", "float64", "nat/token", "mean over replicates"),
        Column("difference", "float64", "nat/token", "val_loss - reference_val_loss, mean of paired differences"),
        Column("difference_relative", "float64", "-", "difference / reference_val_loss"),
        Column(
            "standard_error",
            "float64",
            "nat/token",
            "of difference: replicates (pooled) and validation blocks",
        ),
        Column("degrees_of_freedom", "int64", "-", "behind the replicate part of the error"),
        Column("n_replicates", "int64", "-", "replicates both schedules have"),
        Column(
            "minimum_detectable_difference", "float64", "nat/token", "two-sided at the interval's level, power 80 %"
        ),
        *INTERVAL,
        Column("verdict", "string", "-", "better, worse or not resolved"),
    ),
)

PARAMETRIZATION = Column("parametrization", "string", "-", "sp, mup or completep", key=True)
PLACE = Column(
    "place",
    "string",
    "-",
    "activation: embedding, attention or feed_forward (outputs of all blocks, before they join the stream), residual "
    "(the stream at its end), logits; weight: embedding, embedding_head, matrix, head, norm",
    key=True,
)

COORDINATE_CHECK = Table(
    "coordinate_check",
    "Sizes of activations and weights after a few updates at a constant learning rate, and of their changes from "
    "initialisation: root mean squares over all numbers of a place, on fixed validation inputs.",
    (
        PARAMETRIZATION,
        Column("d_model", "int64", "features", "width", key=True),
        Column("n_layer", "int64", "layers", "depth", key=True),
        Column("replicate", "int64", "-", "seed of initialisation and data order", key=True),
        Column("updates_done", "int64", "updates", "updates done; 0 is initialisation", key=True),
        Column("quantity", "string", "-", "activation or weight", key=True),
        PLACE,
        Column("peak_lr", "float64", "-", "learning rate of every update, before multipliers"),
        Column("rms", "float64", "-", "root mean square"),
        Column("rms_change", "float64", "-", "root mean square of the difference to initialisation"),
        Column(
            "rms_effect",
            "float64",
            "-",
            "weight: root mean square of its change times its present input; null for activations and norms",
        ),
    ),
)

COORDINATE_SLOPES = Table(
    "coordinate_slopes",
    "How the changes of the coordinate check grow with width at fixed depth and with depth at fixed width: least "
    "squares in logarithms over sizes and replicates.",
    (
        PARAMETRIZATION,
        Column("varied", "string", "-", "d_model or n_layer", key=True),
        Column("updates_done", "int64", "updates", "updates done", key=True),
        Column("quantity", "string", "-", "activation or weight", key=True),
        PLACE,
        Column("measure", "string", "-", "rms_change or rms_effect", key=True),
        Column("slope", "float64", "-", "log2 of the factor per doubling of the size; null if a change is zero"),
        Column("slope_se", "float64", "-", "standard error, from the scatter about the line"),
        Column("ci_low", "float64", "-", "lower end of Student's interval; null without degrees of freedom"),
        Column("ci_high", "float64", "-", "upper end"),
        Column("ci_level", "float64", "-", "level of the interval"),
        Column("degrees_of_freedom", "int64", "-", "points less two; 0 if there is no slope"),
        Column("tolerance", "float64", "-", "largest slope that counts as stable"),
        Column(
            "verdict",
            "string",
            "-",
            "stable: interval within ±tolerance; grows, shrinks: outside; else not resolved. Empty for the change of "
            "a weight, whose right slope depends on the parametrisation",
        ),
    ),
)

WHERE_SPIKED = (
    Column("model", "string", "-", "model", key=True),
    Column("batch_sequences", "int64", "sequences", "batch", key=True),
    Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon", key=True),
    Column("peak_lr", "float64", "-", "peak learning rate of the clean schedule", key=True),
    Column("spiked", "string", "-", "schedule with the spike", key=True),
)
AVERAGE_OR_RAW = Column(
    "average", "string", "-", "name of the average, best_window, or raw: the weights themselves", key=True
)


def _over_replicates(name: str, meaning: str) -> tuple[Column, Column, Column]:
    """A mean over replicates with its interval."""
    return (
        Column(name, "float64", "nat/token", f"{meaning}; mean over replicates"),
        Column(f"{name}_ci_low", "float64", "nat/token", "lower end of its interval; null with one replicate"),
        Column(f"{name}_ci_high", "float64", "nat/token", "upper end"),
    )


def _share_removed(name: str, meaning: str) -> tuple[Column, Column, Column, Column]:
    """A share with its interval."""
    return (
        Column(name, "float64", "-", f"{meaning}; null for raw"),
        Column(f"{name}_se", "float64", "-", "delete-one jackknife standard error over replicates"),
        Column(f"{name}_ci_low", "float64", "-", "lower end of its interval; null with one replicate"),
        Column(f"{name}_ci_high", "float64", "-", "upper end"),
    )


SPIKE_EXCESS = Table(
    "spike_excess",
    "One row per provoked spike, average and evaluated point from the last one before the spike on: loss with the "
    "spike and without, same seeds and data (laws/spike_removal.py).",
    (
        *WHERE_SPIKED,
        Column("clean", "string", "-", "schedule without the spike"),
        AVERAGE_OR_RAW,
        UPDATES_DONE,
        TOKENS_SEEN,
        Column("in_window", "bool", "-", "the point is one of those among which the height is looked for"),
        Column("reaches_spike", "bool", "-", "the first snapshot averaged is not later than the end of the spike"),
        Column("n_replicates", "int64", "-", "pairs of cells"),
        Column("val_loss_clean", "float64", "nat/token", "loss without the spike; mean over replicates"),
        Column("val_loss_spiked", "float64", "nat/token", "loss with the spike; mean over replicates"),
        *_over_replicates("excess", "val_loss_spiked - val_loss_clean"),
        *_over_replicates("rise", "val_loss_spiked less its own value at the first row, before the spike"),
        Column("ci_level", "float64", "-", "level of the intervals"),
    ),
)

SPIKE_REMOVAL = Table(
    "spike_removal",
    "One row per provoked spike and average: how much of the spike it removes (laws/spike_removal.py).",
    (
        *WHERE_SPIKED,
        Column("clean", "string", "-", "schedule without the spike"),
        AVERAGE_OR_RAW,
        Column("averaging_scheme", "string", "-", "as in averages"),
        Column("spike_begin", "int64", "updates", "updates done when the learning rates part"),
        Column("spike_end", "int64", "updates", "updates done when they are the same again"),
        Column("lr_multiple", "float64", "-", "largest ratio of the two learning rates"),
        Column("n_points", "int64", "-", "points among which the height is looked for"),
        Column("n_points_reaching_spike", "int64", "-", "of these, points whose average reaches back to the spike"),
        Column("n_replicates", "int64", "-", "pairs of cells"),
        *_over_replicates("height", "largest excess in the window, of each replicate"),
        *_share_removed("share_removed", "1 - height/height of raw"),
        *_over_replicates("mean_excess", "mean excess over the points of the window"),
        *_share_removed("mean_share_removed", "1 - mean_excess/mean_excess of raw"),
        *_over_replicates("final_excess", "excess at the end of the cells: lasting damage"),
        *_over_replicates("largest_rise", "rise where its mean is largest in the window"),
        Column("ci_level", "float64", "-", "level of the intervals"),
        Column(
            "verdict",
            "string",
            "-",
            "removed, reduced, raised, not resolved, or no spike where raw does not rise; raw itself: "
            "spike, or one of the last two",
        ),
    ),
)

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

GROUP_COLUMNS = (
    Column("model", "string", "-", "model", key=True),
    Column("schedule", "string", "-", "schedule", key=True),
    Column("batch_sequences", "int64", "sequences", "batch", key=True),
)

HORIZON_OF_GROUP = Column(
    "tokens_per_parameter",
    "float64",
    "tokens/parameter",
    "horizon of the group; 0 when the law spans horizons",
    key=True,
)

LAW_PARAMETERS = Table(
    "parameters",
    "Parameters of a law, one row per group and parameter.",
    (
        *GROUP_COLUMNS,
        HORIZON_OF_GROUP,
        Column("parameter", "string", "-", "name of the parameter in the law's formula", key=True),
        Column("value", "float64", "see law", "estimate"),
        Column("se", "float64", "see law", "bootstrap standard error"),
        *INTERVAL,
        Column("n_points", "int64", "-", "points fitted"),
        Column("n_bootstrap", "int64", "-", "bootstrap fits that succeeded"),
        Column("resampling_unit", "string", "-", "what the bootstrap resamples"),
        Column("status", "string", "-", "converged, max_iter, bound_hit, edge_of_grid, not_identified or failed"),
    ),
)

LAW_PREDICTIONS = Table(
    "predictions",
    "A law evaluated on a grid, with its band.",
    (
        *GROUP_COLUMNS,
        Column("x_name", "string", "-", "peak_lr, token_horizon, tokens_per_parameter, d_model or n_layer", key=True),
        Column("x", "float64", "see x_name", "abscissa", key=True),
        Column("quantity", "string", "-", "what is predicted: val_loss, peak_lr, compute_saving", key=True),
        HORIZON_OF_GROUP,
        Column("value", "float64", "see quantity", "prediction"),
        *INTERVAL,
        Column("extrapolated", "bool", "-", "outside the fitted range"),
    ),
)

LAW_SCORES = Table(
    "scores",
    "Out-of-sample error of a law: cells hidden from the fit, predicted and compared.",
    (
        *GROUP_COLUMNS,
        Column("holdout", "string", "-", "what was hidden: longest_horizon or one cell after another", key=True),
        Column("quantity", "string", "-", "what is predicted", key=True),
        Column("n_hidden", "int64", "-", "hidden points"),
        Column("mean_absolute_error", "float64", "as quantity", "mean of |prediction - observation|"),
        Column("mean_relative_error", "float64", "-", "mean of |prediction - observation| / observation"),
        Column(
            "baseline_mean_absolute_error",
            "float64",
            "as quantity",
            "error of carrying the nearest observation over",
        ),
        Column("status", "string", "-", "scored, or why not"),
    ),
)

TABLES = (
    PLAN,
    BUDGET,
    SPENDING,
    RUNS,
    UPDATES,
    EVALUATIONS,
    BLOCK_LOSSES,
    AVERAGES,
    STEPS_SAVED,
    COOLDOWN_ORACLE,
    COOLDOWN_ORACLE_SCORES,
    GRADIENT_STATISTICS,
    NOISE_SCALE,
    EMA_VIEW,
    COMPARISONS,
    COORDINATE_CHECK,
    COORDINATE_SLOPES,
    REGIMES,
    LARGE_LR,
    SPIKE_EXCESS,
    SPIKE_REMOVAL,
)
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

LAW_TABLES = (LAW_PARAMETERS, LAW_PREDICTIONS, LAW_SCORES)


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table, with unit and meaning in the field metadata."""
    import pyarrow as pa

    fields = [
        pa.field(
            column.name,
            getattr(pa, column.type.replace("bool", "bool_"))(),
            nullable=not column.key,
            metadata={"unit": column.unit, "meaning": column.meaning},
        )
        for column in table.columns
    ]
    return pa.schema(fields, metadata={"table": table.name, "schema_version": str(SCHEMA_VERSION)})


def write(table: Table, frame: pd.DataFrame | dict[str, Any], path: Path) -> None:
    """Write a table by temporary file and rename, rows in the order given.

    Raises ValueError when columns are missing or unknown, when a key is null or not unique, or when a value
    does not have the column's type.
    """
    import pandas as pd

    with writer(table, path) as append:
        append(pd.DataFrame(frame))


@contextmanager
def writer(table: Table, path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Write a table part by part, as `write` does, for tables that do not fit into memory: what is yielded takes a
    part. The file appears at the end, if nothing was raised.

    Raises ValueError as `write` does, and when two parts share a value of the key's first column: so keys are unique
    without all of them being held.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    seen: set[Any] = set()
    held: list[pa.Table] = []

    def flush() -> None:
        if held:
            file.write_table(pa.concat_tables(held))
            held.clear()

    def append(part: pd.DataFrame) -> None:
        arrow = _arrow_table(table, part, schema)
        values = set(part[table.key[0]].unique()) if table.key else set()
        if again := seen & values:
            raise ValueError(f"table {table.name}: the key {table.key[0]} repeats in another part: {again.pop()}")
        seen.update(values)
        held.append(arrow)
        if sum(map(len, held)) >= ROW_GROUP:
            flush()

    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as file:
            yield append
            flush()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


def _arrow_table(table: Table, frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Rows in the table's types; what is refused is said in `write`."""
    import pyarrow as pa

    missing = [name for name in table.names if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in table.names]
    if missing or unknown:
        raise ValueError(
            f"table {table.name}: missing columns {missing}, unknown columns {unknown}; see docs/tables.md"
        )
    keys = frame[table.key]
    if keys.isna().any(axis=None):
        raise ValueError(f"table {table.name}: the key {table.key} has a null")
    if keys.duplicated().any():
        raise ValueError(
            f"table {table.name}: the key {table.key} repeats: {keys[keys.duplicated()].iloc[0].to_dict()}"
        )
    arrays = [
        _array(frame[name], schema.field(name).type, f"table {table.name}, column {name}") for name in table.names
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: pd.Series[Any], type_: pa.DataType, where: str) -> pa.Array:
    """Values as an Arrow array; numbers may become wider numbers, nothing else becomes anything else."""
    import pyarrow as pa
    from pyarrow import types

    try:
        # Told the type at once, Arrow would read the text "1" as the number 1.
        found = pa.array(values, from_pandas=True)
        alike = (types.is_large_string(found.type) and types.is_string(type_)) or (
            (types.is_integer(found.type) or types.is_floating(found.type))
            and (types.is_integer(type_) or types.is_floating(type_))
        )
        if not (alike or found.type == type_ or types.is_null(found.type)):
            raise ValueError(f"{found.type} is not {type_}")
        return found.cast(type_)
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise ValueError(f"{where}: {error}; see docs/tables.md") from error


def read(table: Table, path: Path) -> pd.DataFrame:
    """Read a table as pandas; null integers come back as pandas' nullable Int64.

    Raises ValueError when the file's columns are not the schema's.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    arrow = pq.read_table(path)
    if arrow.column_names != table.names:
        raise ValueError(
            f"{path} has columns {arrow.column_names}, the table {table.name} has {table.names}: it was "
            "written by another version of Glidepath. Remove it and run the study again; training is not "
            "repeated."
        )
    frame: pd.DataFrame = arrow.to_pandas()
    for column in table.columns:
        values = arrow.column(column.name)
        if column.type == "int64" and values.null_count:
            frame[column.name] = values.to_pandas(types_mapper=lambda _: pd.Int64Dtype())
    return frame


def of_segment(table: Table) -> Table:
    """A table as one segment writes it: without its cells, which come when it is collected.

    Block losses also carry the update, since a shared segment may evaluate the ends of several cells.
    """
    columns = tuple(column for column in table.columns if column.name != CELL.name)
    if table is BLOCK_LOSSES:
        columns = (UPDATES_DONE, *columns)
    return Table(table.name, table.meaning, columns)


def empty(table: Table) -> pd.DataFrame:
    """A frame with the table's columns and no rows."""
    frame: pd.DataFrame = arrow_schema(table).empty_table().to_pandas()
    return frame
