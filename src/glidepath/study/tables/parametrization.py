"""What width and depth do to activations and weights."""

from __future__ import annotations

from glidepath.study.tables.table import Column, Table

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
