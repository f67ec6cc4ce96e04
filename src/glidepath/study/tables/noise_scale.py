"""Gradient norms at two batch sizes, and the noise scale from them."""

from __future__ import annotations

from glidepath.study.tables.plan import CELL
from glidepath.study.tables.table import Column, Table
from glidepath.study.tables.training import STEP, TOKENS_SEEN

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
