"""The study before anything is trained: its cells, what they will cost and what they did."""

from __future__ import annotations

from glidepath.study.tables.table import Column, Table

CELL = Column("cell_id", "string", "-", "readable name of the cell with its digest behind", key=True)

CELL_COLUMNS = (
    CELL,
    Column("model", "string", "-", "name of the model in the configuration"),
    Column("n_layer", "int64", "layers", "depth"),
    Column("d_model", "int64", "features", "width"),
    Column("n_head", "int64", "heads", "attention heads"),
    Column("d_head", "int64", "features", "width of one head"),
    Column("d_ff", "int64", "features", "inner width of the feed-forward block"),
    Column("context_length", "int64", "tokens", "tokens per sequence"),
    Column("vocab_size", "int64", "tokens", "rows of the embedding"),
    Column("parametrization", "string", "-", "sp, mup or completep"),
    Column("architecture", "string", "-", "digest of the model without its size: equal where only the size differs"),
    Column("n_params_total", "int64", "parameters", "all parameters, a tied head counted once"),
    Column("n_params_non_embedding", "int64", "parameters", "without the embedding and an untied head"),
    Column("n_params_matrices_and_head", "int64", "parameters", "hidden matrices and the head, tied or not"),
    Column("n_params_counted", "int64", "parameters", "the count that this study's tokens_per_parameter uses"),
    Column("schedule", "string", "-", "name of the schedule in the configuration"),
    Column("schedule_kind", "string", "-", "kind of the schedule, as in the configuration: constant, wsd, …"),
    Column(
        "final_lr_fraction",
        "float64",
        "-",
        "learning rate that the decay aims at, over the peak; null if that depends on the run",
    ),
    Column("decay_shape", "string", "-", "shape of the final descent, none for a constant"),
    Column("peak_lr", "float64", "-", "highest learning rate of the schedule"),
    Column("warmup_steps", "int64", "updates", "linear rise to the peak"),
    Column("decay_steps", "int64", "updates", "length of the final descent, without the warm-up"),
    Column(
        "weight_decay",
        "float64",
        "-",
        "decoupled AdamW coefficient λ at the peak: an update shrinks weights by lr·λ",
    ),
    Column("batch_sequences", "int64", "sequences", "sequences per update; of a batch ramp, its end"),
    Column("batch_tokens", "int64", "tokens", "batch_sequences × context_length"),
    Column("total_steps", "int64", "updates", "length of the schedule"),
    Column("token_horizon", "int64", "tokens", "training tokens, exactly"),
    Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon asked for, in n_params_counted"),
    Column("replicate", "int64", "-", "number of the replicate; seeds derive from it"),
    Column("init_seed", "int64", "-", "seed of the initialisation"),
    Column("data_seed", "int64", "-", "seed of the data order"),
    Column("holdout", "bool", "-", "hidden from fits until they are scored"),
    Column("probed", "bool", "-", "its gradients are probed: its schedule is one of noise_scale.schedules"),
    Column("trunk_id", "string", "-", "first segment of the chain: cells with one trunk are correlated"),
    Column(
        "segments",
        "string",
        "-",
        "the chain: names of its segments in store/segments, in order, separated by spaces",
    ),
    Column("segment_ends", "string", "-", "updates done at the ends of these segments, separated by spaces"),
    Column(
        "averages",
        "string",
        "-",
        "names of the averages along its chain in store/averages, in order, separated by spaces; empty if no snapshots "
        "are kept",
    ),
    Column("own_steps", "int64", "updates", "updates that no other cell shares"),
    Column("train_flops_6nd", "float64", "FLOP", "6 × n_params_non_embedding × token_horizon"),
    Column(
        "train_flops_exact",
        "float64",
        "FLOP",
        "every matrix product forward and backward, attention and head included",
    ),
    Column("epochs", "float64", "-", "token_horizon over the unique training tokens"),
)

PLAN = Table("plan", "One row per cell of the study, before anything is trained.", CELL_COLUMNS)

STAGE = Column(
    "stage",
    "string",
    "-",
    "tokenize, train, average (with losses by position), coordinate_check, analysis, or total",
    key=True,
)

BUDGET = Table(
    "budget",
    "What the study was predicted to cost, a row per stage and one for all, as if nothing of it had been there. "
    "Times are null where a speed of this machine is not known.",
    (
        STAGE,
        Column("cells", "int64", "cells", "cells that the stage works on"),
        Column("jobs", "int64", "jobs", "jobs; a segment is one"),
        Column("tokens", "int64", "tokens", "training tokens"),
        Column("train_flops_exact", "float64", "FLOP", "every matrix product of training, shared prefixes once"),
        Column("unshared_train_flops_exact", "float64", "FLOP", "if every cell were trained alone"),
        Column("sharing_factor", "float64", "-", "the latter over the former; null for a stage that trains nothing"),
        Column("core_seconds", "float64", "s", "work of all jobs: seconds times the cores that each keeps busy"),
        Column("unshared_core_seconds", "float64", "s", "if every cell were trained alone"),
        Column("wall_seconds", "float64", "s", "time on all cores, nothing else running"),
        Column("disk_bytes", "float64", "bytes", "tokens, states and snapshots; tables are smaller"),
        Column("cores", "int64", "cores", "cores that it was predicted for"),
        Column("predicted_at", "float64", "s", "when, since 1970 (UTC)"),
    ),
)

SPENDING = Table(
    "spending",
    "What the study did cost beside its prediction, a row per stage and one for all.",
    (
        STAGE,
        Column("jobs", "int64", "jobs", "jobs; a segment is one"),
        Column("jobs_measured", "int64", "jobs", "jobs whose time is known"),
        Column("jobs_before_prediction", "int64", "jobs", "of these, jobs that ended before the prediction was made"),
        Column("predicted_core_seconds", "float64", "s", "as in budget; null where no speed was known"),
        Column("core_seconds", "float64", "s", "measured CPU time; null unless that of every job is known"),
        Column("core_seconds_ratio", "float64", "-", "measured over predicted"),
        Column("predicted_wall_seconds", "float64", "s", "as in budget; null where no speed was known"),
        Column("wall_seconds", "float64", "s", "time during which a job of the stage ran; null unless all are known"),
        Column("wall_seconds_ratio", "float64", "-", "measured over predicted"),
    ),
)
