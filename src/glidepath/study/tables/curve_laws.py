"""What laws of loss curves predict: curves with bands, what they missed on hidden curves, and the verdict on a run that
was predicted before it was made."""

from __future__ import annotations

from glidepath.study.tables.table import Column, Table

LAW = Column("law", "string", "-", "law", key=True)
RUN_COLUMNS = (
    Column("cell_id", "string", "-", "cell, or a name for a run that was not made", key=True),
    Column("model", "string", "-", "model"),
    Column("schedule", "string", "-", "schedule"),
    Column("schedule_kind", "string", "-", "kind of the schedule, as in the configuration"),
    Column("batch_sequences", "int64", "sequences", "batch; 0 where it is not known"),
    Column("peak_lr", "float64", "-", "peak learning rate"),
    Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon; null where the size is not known"),
    Column("total_steps", "int64", "updates", "length of the schedule"),
)
BANDS = (
    Column("low_50", "float64", "nat/token", "lower end of the 50 % interval of a single run; null if not known"),
    Column("high_50", "float64", "nat/token", "upper end"),
    Column("low_90", "float64", "nat/token", "lower end of the 90 % interval"),
    Column("high_90", "float64", "nat/token", "upper end"),
)

CURVE_PREDICTIONS = Table(
    "curve_predictions",
    "Loss along training as a law of loss curves predicts it, beside what was measured; only these laws have this "
    "table and the next. Losses are those of the validation subset.",
    (
        LAW,
        *RUN_COLUMNS,
        Column(
            "holdout",
            "string",
            "-",
            "what was hidden from the fit that predicts: schedule (all cells of this one), longest_horizon, "
            "largest_size, rest_of_largest_size (all but one schedule of it), declared; "
            "none: nothing, these points were fitted; not_trained: the run was not made",
            key=True,
        ),
        Column("updates_done", "int64", "updates", "updates done at the point", key=True),
        Column("tokens_seen", "int64", "tokens", "training tokens seen there; null where the batch is not known"),
        Column("lr", "float64", "-", "learning rate of the last update done"),
        Column("val_loss_predicted", "float64", "nat/token", "prediction"),
        *BANDS,
        Column("val_loss", "float64", "nat/token", "measured; null where it was not"),
        Column(
            "baseline",
            "float64",
            "nat/token",
            "what no law would say: the loss of the fitted run with the nearest size and most similar learning rates",
        ),
        Column("hidden", "bool", "-", "the point was hidden from the fit"),
        Column("extrapolated", "bool", "-", "more updates than any fitted run has"),
    ),
)

CURVE_SCORES = Table(
    "curve_scores",
    "What a law missed on each curve that was hidden from it, over the points that no fitted run shares.",
    (
        LAW,
        *RUN_COLUMNS,
        Column("holdout", "string", "-", "what was hidden, as in curve_predictions", key=True),
        Column("n_points", "int64", "-", "hidden points"),
        Column("r_squared", "float64", "-", "1 - squared error over that about the curve's mean; null for one point"),
        Column("mean_absolute_error", "float64", "nat/token", "mean of |prediction - measurement|"),
        Column("root_mean_square_error", "float64", "nat/token", "root of the mean squared error"),
        Column("mean_relative_error", "float64", "-", "mean of |prediction - measurement| / measurement"),
        Column("worst_relative_error", "float64", "-", "largest of them"),
        Column("baseline_mean_absolute_error", "float64", "nat/token", "error of `baseline`"),
        Column("end_error", "float64", "nat/token", "prediction - measurement at the last point"),
        Column("covered_50", "float64", "-", "share of points in the 50 % interval; null without one"),
        Column("covered_90", "float64", "-", "share in the 90 % interval"),
    ),
)

CURVE_TABLES = (CURVE_PREDICTIONS, CURVE_SCORES)

OPTIMISED_SCHEDULE = Table(
    "optimised_schedule",
    "The schedule that a law of loss curves calls best beside the best one that was trained; only after `snakemake "
    "verify`, in its folder verify.",
    (
        LAW,
        Column("schedule", "string", "-", "optimised, or the best trained schedule", key=True),
        Column("step", "int64", "updates", "0-based index of the update", key=True),
        Column("model", "string", "-", "model"),
        Column("peak_lr", "float64", "-", "peak learning rate"),
        Column("lr", "float64", "-", "learning rate applied"),
        Column("val_loss_predicted", "float64", "nat/token", "predicted loss at the schedule's end"),
        *BANDS,
    ),
)

VERIFICATION = Table(
    "verification",
    "A schedule's prediction, made before it was trained, against what was then measured (`snakemake verify`).",
    (
        LAW,
        Column("schedule", "string", "-", "schedule", key=True),
        Column("model", "string", "-", "model"),
        Column("batch_sequences", "int64", "sequences", "batch"),
        Column("peak_lr", "float64", "-", "peak learning rate", key=True),
        Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon"),
        Column("replicate", "int64", "-", "replicate", key=True),
        Column("val_loss_predicted", "float64", "nat/token", "prediction, on the validation subset"),
        *BANDS,
        Column("status", "string", "-", "completed; diverged or excluded: without a loss, outside every interval"),
        Column("val_loss", "float64", "nat/token", "measured, on the validation subset; null if not completed"),
        Column("error", "float64", "nat/token", "prediction - measurement"),
        Column("in_50", "bool", "-", "inside the 50 % interval"),
        Column("in_90", "bool", "-", "inside the 90 % interval"),
        Column("optimised", "bool", "-", "the optimised schedule; false: the best trained one beside it"),
    ),
)
