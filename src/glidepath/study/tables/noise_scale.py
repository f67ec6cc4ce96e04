"""Gradient norms at two batch sizes, and the noise scale from them."""

from __future__ import annotations

from glidepath.study.tables.plan import CELL
from glidepath.study.tables.table import Column, Table
from glidepath.study.tables.training import STEP, TOKENS_SEEN

GROUP = Column(
    "group",
    "string",
    "-",
    "layer type: norm, attention, feed_forward, embedding, head (embedding_head if tied); or a sum: matrix (attention "
    "+ feed_forward), body (matrix + norm), total",
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
    "Gradient noise scale in windows of probed updates: ratio of means, with errors that respect autocorrelation. "
    "Negative values are kept. All layer types of a cell have the same windows; the norm layers have more probes in "
    "them where they are probed alone in between.",
    (
        CELL,
        GROUP,
        Column("window", "int64", "-", "index of the window along training", key=True),
        TOKENS_SEEN,
        Column("n_probes", "int64", "updates", "probed updates in the window"),
        Column("block_probes", "int64", "updates", "probed updates in a block: longer where neighbours are correlated"),
        Column("n_blocks", "int64", "-", "blocks behind error and interval"),
        Column("grad_sq_norm_true", "float64", "-", "unbiased |G|², mean over the window; may be negative"),
        Column("grad_noise_trace", "float64", "-", "unbiased tr Σ per sequence, mean over the window"),
        Column("noise_scale_sequences", "float64", "sequences", "grad_noise_trace / grad_sq_norm_true"),
        Column("ci_low_sequences", "float64", "sequences", "ci_low / context_length"),
        Column("ci_high_sequences", "float64", "sequences", "ci_high / context_length"),
        Column("noise_scale_tokens", "float64", "tokens", "noise_scale_sequences × context_length"),
        Column("noise_scale_tokens_se", "float64", "tokens", "delete-one-block jackknife standard error"),
        Column("ci_low", "float64", "tokens", "Fieller interval from block means; null: no lower bound"),
        Column("ci_high", "float64", "tokens", "its upper end; null: no upper bound, |G|² may be zero"),
        Column("ci_level", "float64", "-", "level of the interval"),
        Column("status", "string", "-", "ok; untrusted when the 95 % interval of |G|² over blocks reaches zero"),
    ),
)


def _estimate(name: str, unit: str, meaning: str) -> tuple[Column, ...]:
    return (
        Column(name, "float64", unit, f"{meaning}; null with too few points"),
        Column(f"{name}_ci_low", "float64", unit, f"interval of {name}; null: not resolved"),
        Column(f"{name}_ci_high", "float64", unit, "its upper end"),
    )


NOISE_SCALE_REGRESSION = Table(
    "noise_scale_regression",
    "Noise scale of a layer type, or of several together, regressed on that of the norm layers along training, for "
    "several smoothings, from updates at which all layers were probed. Rows of every probed cell that is "
    "not held out, and of all cells of a model and schedule together. What an interval is about is in "
    "`laws/noise_scale_regression.py`.",
    (
        Column("model", "string", "-", "name of the size", key=True),
        Column("schedule", "string", "-", "name of the schedule", key=True),
        Column("cell_id", "string", "-", "cell; empty: all cells together", key=True),
        Column("smoothing", "string", "-", "windows: those of noise_scale; ema_<decay>: per probed update", key=True),
        GROUP,
        *_estimate("slope", "-", "Σxy/Σx², x of norm and y of the group: y = slope · x"),
        *_estimate("log_log_slope", "-", "least squares of ln y on ln x with a constant"),
        *_estimate("correlation", "-", "Pearson's r of x and y"),
        *_estimate("log_correlation", "-", "Pearson's r of ln x and ln y"),
        *_estimate("detrended_correlation", "-", "r of ln x and ln y less a quadratic in ln tokens of each cell"),
        Column("ci_level", "float64", "-", "level of the intervals"),
        Column("n_bootstrap", "int64", "-", "resampled courses of probes behind the intervals"),
        Column("block_probes", "int64", "updates", "probed updates that are resampled together"),
        Column("n_cells", "int64", "-", "cells with points enough"),
        Column("n_points", "int64", "-", "points at which |G|² of both is told from zero"),
        Column("n_left_out", "int64", "-", "points at which it is not"),
        Column("status", "string", "-", "ok; untrusted: more than a quarter left out; too_few: under four points"),
    ),
)
