"""Question 5: the loss; and what the study cost."""

from __future__ import annotations

from glidepath.study.figure_list.figure_entry import (
    CI_HIGH,
    CI_LEVEL,
    CI_LOW,
    EXTRAPOLATED,
    ISOFLOP,
    LOSS_HORIZON,
    LOSS_SIZE_HORIZON,
    MODEL,
    N_REPLICATES,
    PEAK_LR,
    SCHEDULE,
    TPP,
    VAL_LOSS,
    VAL_LOSS_SE,
    FigureEntry,
)
from glidepath.study.tables import LAW_COMPARISON, Column, Table

DRAWN_OF_LAWS = (
    "holdout_kind",
    "law",
    "n_hidden",
    "mean_absolute_error",
    "baseline_mean_absolute_error",
    "covered",
    "ci_level",
)

FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Loss against horizon, and where it leads",
        5,
        ("runs", f"{LOSS_HORIZON}/predictions"),
        Table(
            "loss_horizon",
            "Loss at the best peak learning rate of each schedule against tokens per parameter, with the law.",
            (
                Column("item", "string", "-", "loss, diverged or law"),
                MODEL,
                *SCHEDULE,
                TPP,
                Column(
                    "peak_lr",
                    "float64",
                    "-",
                    "best peak learning rate of the grid; null for law and diverged",
                ),
                Column("n_replicates", "int64", "-", "replicates averaged; null for the law"),
                Column("holdout", "bool", "-", "hidden from the fits"),
                VAL_LOSS,
                VAL_LOSS_SE,
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                EXTRAPOLATED,
            ),
        ),
    ),
    FigureEntry(
        "What the laws missed on runs hidden from them",
        5,
        ("law_comparison",),
        Table(
            "law_comparison",
            "Mean error of every law on losses that were hidden from it, and of carrying the nearest run over.",
            tuple(column for column in LAW_COMPARISON.columns if column.name in DRAWN_OF_LAWS),
        ),
    ),
    FigureEntry(
        "What the law in size and horizon leaves, and its best size at equal compute",
        5,
        ("runs", f"{LOSS_SIZE_HORIZON}/predictions"),
        Table(
            "loss_size_horizon",
            "What the law in size and horizon leaves of the loss of every run, and the size of least loss against "
            "compute.",
            (
                Column("item", "string", "-", "run or optimum"),
                MODEL,
                *SCHEDULE,
                Column("train_flops_6nd", "float64", "FLOP", "6 × parameters × tokens"),
                Column("n_params_counted", "float64", "parameters", "of the run, or of least loss at that compute"),
                Column("residual", "float64", "-", "ln measured - ln predicted loss; null for an optimum"),
                Column("outlying", "bool", "-", "beyond five robust standard deviations"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                EXTRAPOLATED,
            ),
        ),
        asked_for=LOSS_SIZE_HORIZON,
    ),
    FigureEntry(
        "Size of least loss at equal compute",
        5,
        ("runs", f"{ISOFLOP}/predictions"),
        Table(
            "isoflop",
            "Loss over size at every compute, the minima of these profiles, and the size of least loss that the law "
            "leads to.",
            (
                Column("item", "string", "-", "run, minimum, parabola or law"),
                Column("schedule", "string", "-", "schedule"),
                Column("batch_sequences", "int64", "sequences", "batch"),
                Column("compute", "string", "-", "train_flops_exact, as told, or train_flops_6nd"),
                Column("train_flops", "float64", "FLOP", "budget, or compute of the law"),
                Column("n_params_counted", "float64", "parameters", "of the run, of the minimum or of the law"),
                Column("val_loss", "float64", "nat/token", "lowest of the runs; of a minimum; null for the others"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                EXTRAPOLATED,
            ),
        ),
        asked_for=ISOFLOP,
    ),
    FigureEntry(
        "Best loss against training compute",
        5,
        ("runs",),
        Table(
            "size",
            "Best loss of each model at each horizon against exact training FLOPs.",
            (
                MODEL,
                Column("n_params_counted", "int64", "parameters", "parameters by the study's count"),
                TPP,
                *SCHEDULE,
                PEAK_LR,
                N_REPLICATES,
                Column("train_flops_exact", "float64", "FLOP", "every matrix product forward and backward"),
                VAL_LOSS,
                VAL_LOSS_SE,
                Column("frontier", "bool", "-", "no cell reaches a lower or equal loss with fewer FLOPs"),
            ),
        ),
    ),
    FigureEntry(
        "What the study cost, and what sharing saved",
        0,
        ("runs",),
        Table(
            "cost",
            "Updates and training time of each schedule's cells: alone, and what only they needed.",
            (
                *SCHEDULE,
                Column("n_cells", "int64", "-", "cells"),
                Column("unshared_updates", "int64", "updates", "updates if every cell were trained alone"),
                Column("own_updates", "int64", "updates", "updates that no other cell shares"),
                Column("unshared_seconds", "float64", "s", "training time if every cell were trained alone"),
                Column("own_seconds", "float64", "s", "training time of the updates that no other cell shares"),
            ),
        ),
    ),
)
