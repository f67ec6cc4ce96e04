"""Question 3: the gradient noise scale."""

from __future__ import annotations

from glidepath.study.figure_list.figure_entry import (
    BATCH_TOKENS,
    CI_HIGH,
    CI_LEVEL,
    CI_LOW,
    MODEL,
    PEAK_LR,
    REPLICATE,
    SCHEDULE,
    STATUS,
    TOKENS_SEEN,
    TPP,
    FigureEntry,
)
from glidepath.study.tables import Column, Table

FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Gradient noise scale along training",
        3,
        ("runs", "noise_scale"),
        Table(
            "noise_scale",
            "Gradient noise scale of the norm layers and of all layers in windows along training.",
            (
                MODEL,
                *SCHEDULE,
                TPP,
                PEAK_LR,
                REPLICATE,
                BATCH_TOKENS,
                Column("group", "string", "-", "norm: gains of the norm layers; total: all parameters"),
                TOKENS_SEEN,
                Column("noise_scale_tokens", "float64", "tokens", "noise scale; may be negative"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                STATUS,
            ),
        ),
    ),
    FigureEntry(
        "Do the norm layers predict the noise scale?",
        3,
        ("runs", "noise_scale"),
        Table(
            "noise_scale_norm_total",
            "Noise scale of all layers against that of the norm layers, window by window, with the line through them.",
            (
                Column("item", "string", "-", "window or line"),
                MODEL,
                *SCHEDULE,
                PEAK_LR,
                Column("tokens_seen", "int64", "tokens", "training tokens seen; null for the line"),
                Column("noise_scale_norm_tokens", "float64", "tokens", "noise scale of the norm layers"),
                Column("noise_scale_total_tokens", "float64", "tokens", "noise scale of all layers"),
                Column(
                    "slope",
                    "float64",
                    "-",
                    "total / norm, least squares through the origin in logarithms; line only",
                ),
                Column("correlation", "float64", "-", "Pearson correlation of the logarithms; line only"),
                Column("n_windows", "int64", "-", "windows behind the line; null for windows"),
            ),
        ),
    ),
)
