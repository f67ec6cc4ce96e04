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

GROUP = Column("group", "string", "-", "layer type, body (without embedding and head) or total")


def _with_interval(name: str, meaning: str) -> tuple[Column, ...]:
    return (
        Column(name, "float64", "-", f"{meaning}; estimates only"),
        Column(f"{name}_ci_low", "float64", "-", f"lower end of the interval of {name}"),
        Column(f"{name}_ci_high", "float64", "-", "its upper end"),
    )


FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Gradient noise scale along training",
        3,
        ("runs", "noise_scale"),
        Table(
            "noise_scale",
            "Gradient noise scale of every layer type, of the body and of all layers in windows along training.",
            (
                MODEL,
                *SCHEDULE,
                TPP,
                PEAK_LR,
                REPLICATE,
                BATCH_TOKENS,
                GROUP,
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
        ("runs", "noise_scale", "noise_scale_regression"),
        Table(
            "noise_scale_norm_total",
            "Noise scale of all layers and of the body against that of the norm layers, window by window, with slopes "
            "and correlations under every smoothing.",
            (
                Column("item", "string", "-", "window, or estimate: of all cells of the schedule together"),
                MODEL,
                *SCHEDULE,
                PEAK_LR,
                Column("group", "string", "-", "body (without embedding and head) or total"),
                Column("tokens_seen", "int64", "tokens", "training tokens seen; windows only"),
                Column("noise_scale_norm_tokens", "float64", "tokens", "noise scale of the norm layers; windows only"),
                Column("noise_scale_tokens", "float64", "tokens", "noise scale of the group; windows only"),
                Column("smoothing", "string", "-", "windows, or ema_<decay>; estimates only"),
                *_with_interval("slope", "group = slope · norm, least squares through the origin"),
                *_with_interval("correlation", "Pearson's r"),
                *_with_interval("detrended_correlation", "r of logarithms less a quadratic in ln tokens"),
                Column("n_points", "int64", "-", "points behind the estimate; null for windows"),
                Column("n_cells", "int64", "-", "cells behind the estimate; null for windows"),
                CI_LEVEL,
                STATUS,
            ),
        ),
    ),
)
