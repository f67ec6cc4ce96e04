"""Averages of snapshots, what they save, and the cooldown that they stand for."""

from __future__ import annotations

from glidepath.study.tables.plan import CELL
from glidepath.study.tables.table import Column, Table
from glidepath.study.tables.training import BLOCK_LOSSES, DOMAIN, TOKENS_SEEN, UPDATES_DONE

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
