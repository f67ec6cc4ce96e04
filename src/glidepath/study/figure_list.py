"""The figures of a study as plain data: what each shows, which tables it needs and which columns its Parquet
has.

The Snakefile reads this list while it is parsed, so nothing here may import a drawing library.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glidepath.study.tables import (
    AVERAGES,
    BLOCK_LOSSES,
    BUDGET,
    CHECKPOINT_STEPS_SAVED,
    COMPARISONS,
    COOLDOWN_ORACLE,
    COOLDOWN_ORACLE_SCORES,
    COORDINATE_CHECK,
    COORDINATE_SLOPES,
    EMA_VIEW,
    EVALUATIONS,
    LARGE_LR,
    LAW_PARAMETERS,
    LAW_PREDICTIONS,
    LAW_SCORES,
    NOISE_SCALE,
    PLAN,
    REGIMES,
    RUNS,
    SPENDING,
    SPIKE_EXCESS,
    SPIKE_REMOVAL,
    STEPS_SAVED,
    UPDATES,
    Column,
    Table,
)

if TYPE_CHECKING:
    from glidepath.study.config import StudyConfig

SCHEMAS = {
    table.name: table
    for table in (
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
        CHECKPOINT_STEPS_SAVED,
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
}
LAW_SCHEMAS = {table.name: table for table in (LAW_PARAMETERS, LAW_PREDICTIONS, LAW_SCORES)}

LR_OPTIMUM = "laws/lr_optimum"
LR_HORIZON = "laws/lr_horizon"
LOSS_HORIZON = "laws/loss_horizon"
LR_TRANSFER = "laws/lr_transfer"


@dataclass(frozen=True)
class FigureEntry:
    """One figure. `tables` are paths under the results folder, without the ending."""

    title: str
    question: int
    """Which of the five questions it serves; 0 is the study itself."""
    tables: tuple[str, ...]
    table: Table
    """Schema of the figure's Parquet: a row per mark, in drawing order."""
    asked_for: str | None = None
    """Section or law without which the study does not have the figure; None: every study has it."""

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def category(self) -> str:
        return CATEGORIES[self.question]


CATEGORIES = (
    "The study",
    "1 Schedule",
    "2 Peak learning rate",
    "3 Batch size",
    "4 Averaging",
    "5 Loss",
)

MODEL = Column("model", "string", "-", "model")
SCHEDULE = (
    Column("schedule", "string", "-", "schedule"),
    Column("schedule_kind", "string", "-", "kind of the schedule: decides the colour"),
    Column("family_rank", "int64", "-", "place among the schedules of its kind: decides line style and marker"),
)
TPP = Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon")
TOKEN_HORIZON = Column("token_horizon", "float64", "tokens", "horizon")
TOKENS_SEEN = Column("tokens_seen", "int64", "tokens", "training tokens seen")
BATCH_TOKENS = Column("batch_tokens", "int64", "tokens", "tokens per update")
PEAK_LR = Column("peak_lr", "float64", "-", "peak learning rate")
REPLICATE = Column("replicate", "int64", "-", "replicate")
N_REPLICATES = Column("n_replicates", "int64", "-", "replicates averaged")
VAL_LOSS = Column("val_loss", "float64", "nat/token", "validation loss")
VAL_LOSS_SE = Column(
    "val_loss_se",
    "float64",
    "nat/token",
    "replicate noise pooled over the model's cells, over the root of the replicates; null if unknown",
)
CI_LOW = Column("ci_low", "float64", "as value", "lower end of the interval; null if none")
CI_HIGH = Column("ci_high", "float64", "as value", "upper end of the interval; null if none")
CI_LEVEL = Column("ci_level", "float64", "-", "level of the interval; null if none")
EXTRAPOLATED = Column("extrapolated", "bool", "-", "outside the fitted range")
STATUS = Column("status", "string", "-", "status of the estimate; empty if it has none")

FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Learning-rate schedules as applied",
        1,
        ("runs", "updates"),
        Table(
            "schedules",
            "Applied learning rate of each schedule at one horizon and one peak.",
            (
                MODEL,
                *SCHEDULE,
                Column("cell_id", "string", "-", "cell the learning rates were read from"),
                TPP,
                PEAK_LR,
                Column("step", "int64", "updates", "0-based index of the update"),
                TOKENS_SEEN,
                Column("lr", "float64", "-", "learning rate applied"),
            ),
        ),
    ),
    FigureEntry(
        "Learning rates, and how much each update weighs in the final weights",
        1,
        ("runs", "updates", "ema_view"),
        Table(
            "update_coefficients",
            "AdamW as an average of its updates: learning rates of the hidden matrices, and the weight of every update "
            "in the final weights, for each schedule at one horizon and one peak.",
            (
                MODEL,
                *SCHEDULE,
                Column("cell_id", "string", "-", "cell the learning rates were read from"),
                TPP,
                PEAK_LR,
                Column("step", "int64", "updates", "0-based index of the update"),
                TOKENS_SEEN,
                Column("lr", "float64", "-", "learning rate applied to the hidden matrices"),
                Column("log10_coefficient", "float64", "-", "log10 of the update's weight; null at learning rate 0"),
                Column("initial_coefficient", "float64", "-", "weight of the initial values in the final ones"),
                Column("effective_updates", "float64", "updates", "effective number of averaged updates"),
            ),
        ),
    ),
    FigureEntry(
        "Validation loss along training",
        1,
        ("runs", "evaluations"),
        Table(
            "loss_curves",
            "Subset validation loss of each schedule at its best peak learning rate, longest common horizon.",
            (
                MODEL,
                *SCHEDULE,
                TPP,
                PEAK_LR,
                N_REPLICATES,
                TOKENS_SEEN,
                Column("val_loss", "float64", "nat/token", "mean over replicates, first validation blocks only"),
                Column("val_loss_min", "float64", "nat/token", "lowest replicate"),
                Column("val_loss_max", "float64", "nat/token", "highest replicate"),
                Column("bits_per_byte", "float64", "bit/byte", "mean over replicates"),
            ),
        ),
    ),
    FigureEntry(
        "Paired difference to the reference schedule",
        1,
        ("runs", "comparisons"),
        Table(
            "schedule_differences",
            "Difference of each schedule to the reference, each at its own best peak learning rate.",
            (
                MODEL,
                *SCHEDULE,
                Column("reference_schedule", "string", "-", "schedule it is compared with"),
                TPP,
                BATCH_TOKENS,
                Column(
                    "difference",
                    "float64",
                    "nat/token",
                    "loss minus the reference's loss, paired; negative is better",
                ),
                Column("difference_relative", "float64", "-", "difference over the reference's loss"),
                Column("standard_error", "float64", "nat/token", "of difference"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                Column(
                    "minimum_detectable_difference",
                    "float64",
                    "nat/token",
                    "two-sided at the interval's level, power 80 %",
                ),
                N_REPLICATES,
                Column(
                    "edge_of_grid",
                    "bool",
                    "-",
                    "one of the two best learning rates is at the edge of its grid",
                ),
                Column("verdict", "string", "-", "better, worse or not resolved"),
            ),
        ),
    ),
    FigureEntry(
        "Compute saved against the reference schedule",
        1,
        ("runs", "comparisons", f"{LOSS_HORIZON}/predictions"),
        Table(
            "compute_saving",
            "Fraction of the training tokens that a schedule saves to reach the reference's loss.",
            (
                MODEL,
                *SCHEDULE,
                Column("reference_schedule", "string", "-", "schedule it is compared with; empty if unknown"),
                TPP,
                Column(
                    "compute_saving",
                    "float64",
                    "-",
                    "1 - tokens needed / tokens of the reference; negative is a loss",
                ),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                EXTRAPOLATED,
            ),
        ),
    ),
    FigureEntry(
        "Loss against peak learning rate",
        2,
        ("runs", f"{LR_OPTIMUM}/parameters", f"{LR_OPTIMUM}/predictions"),
        Table(
            "lr_sweep",
            "Final validation loss of every cell against its peak learning rate, with parabola and optimum.",
            (
                Column("item", "string", "-", "cell, diverged, law or optimum"),
                MODEL,
                *SCHEDULE,
                TPP,
                BATCH_TOKENS,
                PEAK_LR,
                Column("replicate", "int64", "-", "replicate; null for law and optimum"),
                Column("holdout", "bool", "-", "cell hidden from the fits, or excluded"),
                Column("val_loss", "float64", "nat/token", "validation loss; null for a diverged cell"),
                Column(
                    "excess_loss",
                    "float64",
                    "nat/token",
                    "val_loss minus the lowest mean loss at this horizon: what is drawn",
                ),
                Column("peak_lr_low", "float64", "-", "lower end of the optimum's interval; null if none"),
                Column("peak_lr_high", "float64", "-", "upper end of the optimum's interval; null if none"),
                CI_LEVEL,
                STATUS,
            ),
        ),
    ),
    FigureEntry(
        "Stability against peak learning rate",
        2,
        ("runs",),
        Table(
            "lr_stability",
            "Final loss of every cell, or last finite loss if it diverged, and its loss spikes, against the peak "
            "learning rate; cells that diverged, or ended more than 1 nat/token above the best of their sweep, are "
            "kept out of fits.",
            (
                MODEL,
                Column("n_params_total", "int64", "parameters", "all parameters"),
                *SCHEDULE,
                TPP,
                BATCH_TOKENS,
                PEAK_LR,
                REPLICATE,
                Column("status", "string", "-", "completed, diverged or excluded"),
                Column(
                    "loss",
                    "float64",
                    "nat/token",
                    "final validation loss; of a diverged cell its last finite training loss, null if none",
                ),
                Column("n_loss_spikes", "int64", "-", "loss spikes along training; null if not judged"),
                Column("largest_loss_spike", "float64", "nat/token", "height of the largest; null if not judged"),
                Column("divergence_loss", "float64", "nat/token", "loss above which a cell counts as diverged: 2 ln V"),
            ),
        ),
    ),
    FigureEntry(
        "Optimal peak learning rate against the token horizon",
        2,
        ("runs", f"{LR_OPTIMUM}/parameters", f"{LR_HORIZON}/parameters", f"{LR_HORIZON}/predictions"),
        Table(
            "lr_horizon",
            "Optimal peak learning rate at each horizon, and the law through them.",
            (
                Column("item", "string", "-", "optimum or law"),
                MODEL,
                *SCHEDULE,
                TOKEN_HORIZON,
                PEAK_LR,
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                EXTRAPOLATED,
                STATUS,
                Column("exponent", "float64", "-", "exponent of the law in the token horizon; null for optima"),
                Column("exponent_low", "float64", "-", "lower end of its interval; null if none"),
                Column("exponent_high", "float64", "-", "upper end of its interval; null if none"),
            ),
        ),
    ),
    FigureEntry(
        "Does the optimal learning rate transfer over width and depth?",
        2,
        ("runs", f"{LR_OPTIMUM}/parameters", f"{LR_TRANSFER}/parameters"),
        Table(
            "lr_transfer",
            "Final validation loss against peak learning rate of models that differ in width or depth alone, with "
            "their optima and how far these move per doubling.",
            (
                Column("item", "string", "-", "loss, lost (a replicate diverged or was excluded), optimum or shift"),
                Column("group", "string", "-", "parametrisation and what the models have in common"),
                Column("varied", "string", "-", "d_model or n_layer"),
                Column("schedule", "string", "-", "schedule"),
                Column("size", "float64", "features or layers", "value of what varies; null for the shift"),
                Column("token_horizon", "float64", "tokens", "horizon that the models share"),
                PEAK_LR,
                Column("n_replicates", "int64", "-", "replicates averaged; null for optimum and shift"),
                Column("val_loss", "float64", "nat/token", "mean over replicates; at an optimum that of its parabola"),
                Column("shift", "float64", "-", "log2 of the optimum's factor per doubling; shift only"),
                Column("shift_se", "float64", "-", "its bootstrap standard error; shift only"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                STATUS,
            ),
        ),
        asked_for=LR_TRANSFER,
    ),
    FigureEntry(
        "Do activations move alike at every width and depth?",
        2,
        ("coordinate_check", "coordinate_slopes"),
        Table(
            "coordinate_check",
            "Change of activations from initialisation after the last update of the coordinate check, against width "
            "and depth.",
            (
                Column("varied", "string", "-", "d_model or n_layer"),
                Column("parametrization", "string", "-", "sp, mup or completep"),
                Column("place", "string", "-", "embedding, attention, feed_forward, residual or logits"),
                Column("size", "float64", "features or layers", "value of what varies"),
                Column("updates_done", "int64", "updates", "updates done"),
                PEAK_LR,
                Column("n_replicates", "int64", "-", "replicates averaged"),
                Column("rms_change", "float64", "-", "geometric mean over replicates; null if one is zero"),
                Column("rms_change_min", "float64", "-", "lowest replicate"),
                Column("rms_change_max", "float64", "-", "highest replicate"),
                Column("slope", "float64", "-", "log2 of the factor per doubling of the size, of the whole line"),
                Column("slope_se", "float64", "-", "its standard error"),
                Column("tolerance", "float64", "-", "largest slope that counts as stable"),
                Column("verdict", "string", "-", "stable, grows, shrinks or not resolved"),
            ),
        ),
        asked_for="coordinate_check",
    ),
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
    FigureEntry(
        "Loss against batch size at equal tokens",
        3,
        ("runs", "noise_scale"),
        Table(
            "batch_size",
            "Final loss at the best peak learning rate of each batch size, with the noise scale of the last window.",
            (
                Column("item", "string", "-", "loss or noise_scale"),
                MODEL,
                *SCHEDULE,
                TPP,
                Column("batch_tokens", "float64", "tokens", "tokens per update, or the noise scale"),
                Column("peak_lr", "float64", "-", "best peak learning rate of the grid; null for the noise scale"),
                Column("n_replicates", "int64", "-", "replicates averaged; null for the noise scale"),
                Column("val_loss", "float64", "nat/token", "validation loss; null for the noise scale"),
                VAL_LOSS_SE,
                Column("edge_of_grid", "bool", "-", "the best peak learning rate is at the edge of its grid"),
            ),
        ),
    ),
    FigureEntry(
        "Averaged checkpoints against a real decay",
        4,
        ("runs", "averages"),
        Table(
            "averaging",
            "Loss of raw weights, of the best average of each kind and of the real cooldown of the same trunk, along "
            "training.",
            (
                Column("variant", "string", "-", "raw, cooldown, or the kind of average"),
                Column("average", "string", "-", "the best one of its kind there; raw, cooldown"),
                MODEL,
                Column("schedule", "string", "-", "schedule whose snapshots are averaged"),
                PEAK_LR,
                Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon of the cell along which it is"),
                TOKENS_SEEN,
                N_REPLICATES,
                VAL_LOSS,
                Column(
                    "gap_to_cooldown",
                    "float64",
                    "nat/token",
                    "loss minus that of the cooldown that ends there, paired; null if none does",
                ),
                Column("ci_low", "float64", "nat/token", "lower end of its interval; null if none and for raw weights"),
                Column("ci_high", "float64", "nat/token", "upper end of it"),
                CI_LEVEL,
            ),
        ),
    ),
    FigureEntry(
        "What averaging gains: window, memory and spacing",
        4,
        ("runs", "averages"),
        Table(
            "averaging_gain",
            "Gain of every average over the raw weights at the end of the longest averaged cells, against the mean age "
            "of what it averages and the distance of its checkpoints.",
            (
                Column("kind", "string", "-", "kind of average; best_window; cooldown: the best real one"),
                Column("average", "string", "-", "name of the average"),
                MODEL,
                Column("schedule", "string", "-", "schedule whose snapshots are averaged"),
                PEAK_LR,
                TPP,
                N_REPLICATES,
                Column(
                    "checkpoints",
                    "int64",
                    "snapshots",
                    "of window and lawa their number where it is the same at every point; null: all of the window",
                ),
                Column("n_checkpoints", "int64", "snapshots", "snapshots averaged here; null if it has no age"),
                Column("age_fraction", "float64", "-", "mean age of the averaged weights over all training up to here"),
                Column(
                    "spacing_fraction",
                    "float64",
                    "-",
                    "distance of neighbouring checkpoints over all training up to here; null but for window and lawa",
                ),
                Column(
                    "length_fraction",
                    "float64",
                    "-",
                    "length of the window over all training up to here, windows that are alike together; null but for "
                    "window and lawa that reach up to here",
                ),
                Column("ended_before", "bool", "-", "a group of checkpoints that does not reach up to here"),
                Column("val_loss_averaged", "float64", "nat/token", "loss of the averaged weights, or of the cooldown"),
                Column("gain", "float64", "nat/token", "loss of the raw weights minus that"),
                Column("ci_low", "float64", "nat/token", "lower end of its interval; null if none"),
                Column("ci_high", "float64", "nat/token", "upper end of it"),
                CI_LEVEL,
            ),
        ),
    ),
    FigureEntry(
        "Steps saved by averaging",
        4,
        ("runs", "steps_saved"),
        Table(
            "steps_saved",
            "Training that the raw weights still need to be as good as an average is now, against the tokens trained.",
            (
                MODEL,
                Column("schedule", "string", "-", "schedule whose snapshots are averaged"),
                PEAK_LR,
                Column("average", "string", "-", "name of the average"),
                Column("rank", "int64", "-", "place among the averages, that of lowest loss first"),
                Column("n_averages", "int64", "-", "averages among which it is ranked; not all are drawn"),
                N_REPLICATES,
                BATCH_TOKENS,
                Column("updates_done", "int64", "updates", "updates that the averaged weights have seen"),
                TOKENS_SEEN,
                Column("last_tokens", "int64", "tokens", "training tokens at the last point"),
                STATUS,
                Column("updates_saved", "float64", "updates", "updates saved; of `beyond` at least these"),
                Column("tokens_saved", "float64", "tokens", "tokens saved; of `beyond` at least these"),
                Column("tokens_saved_low", "float64", "tokens", "lower end of the interval; null if none"),
                Column("tokens_saved_high", "float64", "tokens", "upper end; null if none or beyond the training"),
                CI_LEVEL,
            ),
        ),
    ),
    FigureEntry(
        "A cooldown predicted before it is trained",
        4,
        ("cooldown_oracle", "cooldown_oracle_scores"),
        Table(
            "cooldown_oracle",
            "Losses after real cooldowns against what the snapshots before them predicted, each without its own trunk, "
            "and the errors beside those of two naive predictors.",
            (
                Column("item", "string", "-", "cooldown or score"),
                MODEL,
                Column("schedule", "string", "-", "wsd schedule of the cooldown; null for a score"),
                Column("peak_lr", "float64", "-", "learning rate of the trunk; null for a score"),
                Column("replicate", "int64", "-", "replicate; null for a score"),
                Column("updates_done", "int64", "updates", "updates before the cooldown; null for a score"),
                Column("decay_shape", "string", "-", "shape of the cooldown: decides the colour; null for a score"),
                Column("decay_fraction", "float64", "-", "its length over the whole training; null for a score"),
                Column("val_loss_cooldown", "float64", "nat/token", "real loss after it; null for a score"),
                Column("val_loss_predicted", "float64", "nat/token", "predicted loss; null for a score"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                Column("predictor", "string", "-", "oracle, averaged or mean_drop; null for a cooldown"),
                Column("validation", "string", "-", "what was left out; null for a cooldown"),
                Column("rmse", "float64", "nat/token", "root mean square error; null for a cooldown"),
                Column("n_trunks", "int64", "-", "trunks of the cooldowns scored; null for a cooldown"),
                STATUS,
            ),
        ),
    ),
    FigureEntry(
        "Averaging against a real cooldown over the learning rate",
        4,
        ("regimes", "large_lr"),
        Table(
            "averaging_over_lr",
            "Final loss of constant learning rates, raw, averaged and after a real cooldown of the same trunk, with "
            "the regime of each, the convergence threshold and the optima.",
            (
                Column("item", "string", "-", "cell, optimum or threshold"),
                MODEL,
                Column("schedule", "string", "-", "constant schedule"),
                Column("batch_sequences", "int64", "sequences", "batch"),
                TPP,
                PEAK_LR,
                Column("replicate", "int64", "-", "replicate; null but for cells"),
                Column("weights", "string", "-", "raw, averaged or cooldown; empty for the threshold"),
                Column("regime", "string", "-", "of the constant cell; empty for optimum and threshold"),
                Column("val_loss", "float64", "nat/token", "null for the threshold and where there is none"),
                Column("ci_low", "float64", "-", "lower end of the optimum's or the threshold's interval"),
                Column("ci_high", "float64", "-", "upper end of it"),
                CI_LEVEL,
                STATUS,
            ),
        ),
    ),
    FigureEntry(
        "What averaging does to a loss spike",
        4,
        ("spike_excess", "spike_removal"),
        Table(
            "spike_removal",
            "Loss with a provoked spike minus the loss without it, along training, for raw weights and every average; "
            "and the share of the spike that each average removes.",
            (
                Column("item", "string", "-", "point: excess; height, mean: share removed of it"),
                MODEL,
                Column("spiked", "string", "-", "schedule with the spike"),
                Column("clean", "string", "-", "schedule without it"),
                TPP,
                PEAK_LR,
                Column("average", "string", "-", "name of the average, or raw"),
                Column("updates_after", "int64", "updates", "updates since the spike began; null for shares"),
                Column("in_window", "bool", "-", "among the points where the height is looked for"),
                N_REPLICATES,
                Column("value", "float64", "nat/token or -", "excess, or share removed"),
                CI_LOW,
                CI_HIGH,
                CI_LEVEL,
                Column("verdict", "string", "-", "verdict on the average; empty for points"),
            ),
        ),
        asked_for="spikes",
    ),
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

FIGURE_NAMES: tuple[str, ...] = tuple(entry.name for entry in FIGURES)

TRAJECTORY = Column("cell_id", "string", "-", "trajectory")
AVERAGE = Column("average", "string", "-", "name of the average; raw: the checkpoints themselves")

CHECKPOINT_FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        "Averaged checkpoints along training",
        4,
        ("averages",),
        Table(
            "checkpoint_averages",
            "Checkpoints trained elsewhere: loss of raw and averaged weights along training, and what averaging gains.",
            (
                TRAJECTORY,
                AVERAGE,
                Column("averaging_scheme", "string", "-", "kind of average; raw"),
                TOKENS_SEEN,
                VAL_LOSS,
                Column("gain", "float64", "nat/token", "loss of the raw weights minus this one; null for raw weights"),
                Column("gain_sem", "float64", "nat/token", "its standard error over validation blocks"),
            ),
        ),
    ),
    FigureEntry(
        "Training that averaging saves",
        4,
        ("checkpoint_steps_saved",),
        Table(
            "checkpoint_savings",
            "Checkpoints trained elsewhere: updates that raw weights still need to be as good as the average is now.",
            (
                TRAJECTORY,
                AVERAGE,
                Column("updates_done", "int64", "updates", "updates that the averaged weights have seen"),
                TOKENS_SEEN,
                Column("updates_saved", "float64", "updates", "updates saved; of `beyond` at least these"),
                Column("updates_saved_low", "float64", "updates", "lower end of its interval; null if not known"),
                Column("updates_saved_high", "float64", "updates", "upper end; null when beyond the trajectory"),
                Column("hours_saved", "float64", "h", "the same in hours; null if not known"),
                STATUS,
                Column("ci_level", "float64", "-", "level of the interval"),
            ),
        ),
    ),
)
"""Figures of checkpoints trained elsewhere, which no study has."""
CHECKPOINT_FIGURE_NAMES: tuple[str, ...] = tuple(entry.name for entry in CHECKPOINT_FIGURES)


def figures_of(study: StudyConfig) -> tuple[str, ...]:
    """Names of the figures that a study has."""
    asked = {None, *(f"laws/{law}" for law in study.analysis.laws)}
    if study.coordinate_check:
        asked.add(COORDINATE_CHECK.name)
    if study.spikes:
        asked.add("spikes")
    return tuple(entry.name for entry in FIGURES if entry.asked_for in asked)


def entry(name: str) -> FigureEntry:
    """The figure of that name. Raises ValueError naming the known ones."""
    for candidate in (*FIGURES, *CHECKPOINT_FIGURES):
        if candidate.name == name:
            return candidate
    raise ValueError(f"there is no figure {name!r}; choose one of {', '.join(FIGURE_NAMES + CHECKPOINT_FIGURE_NAMES)}")


def table_schema(name: str) -> Table:
    """Schema of a table named as in `FigureEntry.tables`. Raises KeyError for an unknown name."""
    return LAW_SCHEMAS[name.rsplit("/", 1)[1]] if name.startswith("laws/") else SCHEMAS[name]


def table_path(name: str, results: Path) -> Path:
    """File of a table named as in `FigureEntry.tables`."""
    return results / f"{name}.parquet"
