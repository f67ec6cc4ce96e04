"""Fitted laws: parameters, predictions, scores."""

from __future__ import annotations

from glidepath.study.tables.schedules import INTERVAL
from glidepath.study.tables.table import Column, Table

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
        Column(
            "x_name",
            "string",
            "-",
            "peak_lr, batch_tokens, token_horizon, tokens_per_parameter, train_flops_6nd, epochs, d_model, n_layer, "
            "tokens_seen or position",
            key=True,
        ),
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
        Column("holdout", "string", "-", "what was hidden: longest_horizon, largest_size, a schedule, …", key=True),
        Column("quantity", "string", "-", "what is predicted", key=True),
        Column("n_hidden", "int64", "-", "hidden points"),
        Column("mean_absolute_error", "float64", "as quantity", "mean of |prediction - observation|"),
        Column("root_mean_square_error", "float64", "as quantity", "root of the mean squared error"),
        Column("mean_relative_error", "float64", "-", "mean of |prediction - observation| / observation"),
        Column("worst_relative_error", "float64", "-", "largest |prediction - observation| / observation"),
        Column(
            "r_squared",
            "float64",
            "-",
            "1 - squared error over that of the observations' mean; null for fewer than two points, negative where "
            "that mean predicts better",
        ),
        Column(
            "baseline_mean_absolute_error",
            "float64",
            "as quantity",
            "error of carrying the nearest observation over",
        ),
        Column(
            "covered",
            "float64",
            "-",
            "share of the hidden points inside the law's interval for a single new run at ci_level; null without one",
        ),
        Column("ci_level", "float64", "-", "level of those intervals"),
        Column(
            "hidden",
            "string",
            "-",
            "sum of 64-bit digests of the hidden points: equal for laws that were asked for the same ones; null where "
            "a law does not tell them",
        ),
        Column("status", "string", "-", "scored, or why not"),
    ),
)

LAW_TABLES = (LAW_PARAMETERS, LAW_PREDICTIONS, LAW_SCORES)

LAW_COMPARISON = Table(
    "law_comparison",
    "Laws by what they missed on runs that were hidden from them, the best first.",
    (
        Column("quantity", "string", "-", "what was predicted", key=True),
        Column(
            "holdout_kind",
            "string",
            "-",
            "what was hidden: declared, longest horizon, largest size, most epochs, schedule, inner learning rates or "
            "other",
            key=True,
        ),
        Column("law", "string", "-", "law", key=True),
        Column("n_groups", "int64", "-", "groups of the law (model, schedule, batch, part hidden) that were scored"),
        Column("n_hidden", "int64", "-", "hidden points, of all groups"),
        Column("mean_absolute_error", "float64", "as quantity", "mean of |prediction - observation| over these points"),
        Column("mean_relative_error", "float64", "-", "mean of |prediction - observation| / observation over them"),
        Column("worst_relative_error", "float64", "-", "largest |prediction - observation| / observation"),
        Column(
            "baseline_mean_absolute_error",
            "float64",
            "as quantity",
            "error of carrying the nearest observation over; null where a group has none",
        ),
        Column("skill", "float64", "-", "1 - error over that of the baseline: 1 is perfect, below 0 is worse than it"),
        Column("covered", "float64", "-", "share of hidden points inside the law's interval for a single new run"),
        Column("ci_level", "float64", "-", "level of those intervals"),
        Column("n_laws", "int64", "-", "laws with hidden points that all of them predicted, this one included"),
        Column("n_compared", "int64", "-", "these points: only on them can laws be compared"),
        Column("compared_error", "float64", "as quantity", "mean of |prediction - observation| over these"),
        Column("rank", "int64", "-", "place among these laws by compared_error, 1 the best"),
        Column("n_not_scored", "int64", "-", "groups in which nothing could be hidden and predicted"),
        Column("reason", "string", "-", "why not, of the first such group; empty if there is none"),
    ),
)

RUN_PREDICTIONS = Table(
    "run_predictions",
    "Final losses of runs that were hidden from the fits, or not made, as every law that can says them.",
    (
        Column("run", "string", "-", "cell_id of a hidden run, or a name", key=True),
        Column("law", "string", "-", "law; none: no law can say anything of the run", key=True),
        Column("believed", "bool", "-", "the law with the least expected error there, by points hidden from it"),
        Column("model", "string", "-", "its model, where that was trained"),
        Column("schedule", "string", "-", "its schedule"),
        Column("batch_sequences", "int64", "sequences", "its batch; 0 where it is not known"),
        Column("n_params_counted", "float64", "parameters", "its size, in the study's count; null if not known"),
        Column("token_horizon", "float64", "tokens", "its horizon; null if not known"),
        Column("peak_lr", "float64", "-", "its peak learning rate; null: the best one"),
        Column("val_loss_predicted", "float64", "nat/token", "prediction; null without a law"),
        Column("low_50", "float64", "nat/token", "lower end of the 50 % interval of a single run; null if not known"),
        Column("high_50", "float64", "nat/token", "upper end"),
        Column("low_90", "float64", "nat/token", "lower end of the 90 % interval"),
        Column("high_90", "float64", "nat/token", "upper end"),
        Column("val_loss", "float64", "nat/token", "what the run came to; null where it was not made"),
        Column("error", "float64", "nat/token", "prediction - val_loss"),
        Column(
            "extrapolation",
            "float64",
            "-",
            "factors in N and D beyond the hull of the points fitted, multiplied; 1: in it",
        ),
        Column("reason", "string", "-", "why there is no prediction, or no interval of it; else empty"),
    ),
)
