"""Batch size: updates to a loss at several batches, and the critical batch."""

from __future__ import annotations

from glidepath.study.tables.table import Column, Table

SWEEP_AT_TARGET = (
    Column("model", "string", "-", "model", key=True),
    Column("schedule", "string", "-", "schedule whose loss along the way does not depend on its horizon", key=True),
    Column("weights", "string", "-", "raw, or the average whose losses are read", key=True),
    Column(
        "lr_rule",
        "string",
        "-",
        "peak learning rate at a batch: re_tuned, the one with the fewest updates; none, sqrt, linear: the best of the "
        "reference batch, times the ratio of batches to the power 0, 1/2, 1",
        key=True,
    ),
    Column("target_loss", "float64", "nat/token", "loss to which updates and examples are counted", key=True),
)
TARGET = Column(
    "target",
    "string",
    "-",
    "how target_loss was chosen: given; lowest, that every batch reaches; half_tokens, quarter_tokens: what the "
    "reference batch reaches with so much of its tokens to the lowest",
)

STEPS_TO_LOSS = Table(
    "steps_to_loss",
    "One row per sweep of batches, rule for the learning rate, target loss and batch: updates and examples to the loss "
    "(laws/steps_to_loss.py). Schedules that decay to a horizon are left out.",
    (
        *SWEEP_AT_TARGET,
        Column("batch_sequences", "int64", "sequences", "batch", key=True),
        TARGET,
        Column("batch_tokens", "int64", "tokens", "batch"),
        Column("peak_lr", "float64", "-", "peak learning rate under the rule"),
        Column("n_peak_lrs", "int64", "-", "peak learning rates tried at this batch"),
        Column(
            "edge_of_grid",
            "bool",
            "-",
            "re_tuned: this learning rate is the lowest or highest tried here; others: that of the reference batch is",
        ),
        Column(
            "status",
            "string",
            "-",
            "reached; not_reached by a replicate; before_first: already at the first evaluation; too_sparse: "
            "evaluations about the loss are too far apart; unstable: diverged or excluded at this learning rate",
        ),
        Column("steps", "float64", "updates", "updates to the loss, geometric mean over replicates; else null"),
        Column("examples", "float64", "sequences", "steps × batch_sequences"),
        Column("tokens", "float64", "tokens", "steps × batch_tokens"),
        Column(
            "ln_steps_se",
            "float64",
            "-",
            "standard error of ln steps between batches: replicate noise pooled over the sweep, without what a seed "
            "does to all batches alike; null without replicates",
        ),
        Column("n_replicates", "int64", "-", "replicates"),
    ),
)


def _with_interval(name: str, unit: str, meaning: str) -> tuple[Column, Column, Column]:
    return (
        Column(name, "float64", unit, meaning),
        Column(f"{name}_ci_low", "float64", unit, "lower end of its interval; null where it is open"),
        Column(f"{name}_ci_high", "float64", unit, "upper end"),
    )


def _beside(group: str, meaning: str) -> tuple[Column, ...]:
    return (
        *_with_interval(
            f"noise_scale_{group}_tokens",
            "tokens",
            f"gradient noise scale of {meaning} where the reference batch is at the loss; null if not probed",
        ),
        Column(f"noise_scale_{group}_status", "string", "-", "ok, untrusted (no ratio), or none: not probed"),
        *_with_interval(f"over_noise_scale_{group}", "-", "critical batch over it"),
    )


CRITICAL_BATCH = Table(
    "critical_batch",
    "One row per sweep of batches, rule for the learning rate, target loss and definition: the critical batch from the "
    "hyperbola steps = steps_min + examples_min/batch (science/critical_batch.py), beside the gradient noise scale.",
    (
        *SWEEP_AT_TARGET,
        Column(
            "definition",
            "string",
            "-",
            "step_data_tradeoff: examples_min/steps_min; fixed_overhead_20pct: 20 % more examples than updates that "
            "fall in proportion from the reference batch on would need",
            key=True,
        ),
        TARGET,
        Column("reference_batch_sequences", "int64", "sequences", "the target's batch"),
        *_with_interval("critical_batch_sequences", "sequences", "critical batch; infinite where steps_min is 0"),
        *_with_interval("critical_batch_tokens", "tokens", "critical batch"),
        *_with_interval("steps_min", "updates", "fewest updates, at a very large batch"),
        *_with_interval("examples_min", "sequences", "fewest examples, at a very small batch"),
        Column("rms_residual", "float64", "-", "root mean square of ln steps about the hyperbola"),
        Column(
            "noise_from",
            "string",
            "-",
            "what the interval rests on: replicates; residuals about the hyperbola, where there are none or it misses "
            "their means",
        ),
        Column("n_batches", "int64", "-", "batches that reach the loss"),
        Column("batches_left_out", "string", "-", "batches of the sweep that do not, or not known when: steps_to_loss"),
        Column("edge_of_grid", "bool", "-", "a learning rate used is the lowest or highest tried"),
        Column(
            "status",
            "string",
            "-",
            "converged; not_identified: it lies outside the batches, or its interval is open to one side; bound_hit: "
            "steps_min or examples_min is 0; failed: fewer than three batches",
        ),
        Column("reason", "string", "-", "why it is not converged, and what to do"),
        Column("ci_level", "float64", "-", "level of the intervals"),
        *_beside("total", "all layers"),
        *_beside("body", "all layers without embedding and head"),
        *_beside("norm", "the norm layers"),
    ),
)


def _saved(unit: str, meaning: str) -> tuple[Column, ...]:
    return (
        Column(f"{unit}_saved_fraction", "float64", "-", f"1 - path/fixed, of {meaning}; mean over replicates"),
        Column(f"{unit}_saved_fraction_low", "float64", "-", "lower end of Student's interval; null for one replicate"),
        Column(f"{unit}_saved_fraction_high", "float64", "-", "upper end"),
    )


BATCH_SAVING = Table(
    "batch_saving",
    "What a batch path saves against the schedule that is equal but for it (laws/batch_saving.py): a row per pair, "
    "model, horizon, batch, peak learning rate and loss, those along the curves and the one at the end of training.",
    (
        Column("schedule", "string", "-", "schedule with the batch path", key=True),
        Column("fixed_schedule", "string", "-", "the schedule without", key=True),
        Column("model", "string", "-", "model", key=True),
        Column("tokens_per_parameter", "float64", "tokens/parameter", "horizon", key=True),
        Column("batch_sequences", "int64", "sequences", "fixed batch, at which the path ends", key=True),
        Column(
            "lr_choice",
            "string",
            "-",
            "equal: both at one peak learning rate; best: each at its own of lowest final loss (adjusted mean), among "
            "those with all replicates",
            key=True,
        ),
        Column("peak_lr", "float64", "-", "peak learning rate of the path", key=True),
        Column(
            "at",
            "string",
            "-",
            "end: the higher one of the two final losses on all validation tokens; curve: a loss on the tokens "
            "evaluated along training",
            key=True,
        ),
        Column("point", "int64", "-", "index of the loss along the curves, the highest first; 0 at the end", key=True),
        Column("fixed_peak_lr", "float64", "-", "peak learning rate of the fixed batch"),
        Column(
            "edge_of_grid",
            "bool",
            "-",
            "best: one of the two is the lowest or highest tried, or worse than one tried with fewer replicates",
        ),
        Column("val_loss", "float64", "nat/token", "the loss that both reach; at the end the mean over replicates"),
        Column("tokens_path", "float64", "tokens", "tokens after which the path is there, mean over replicates"),
        Column("tokens_fixed", "float64", "tokens", "tokens after which the fixed batch is there"),
        Column("updates_path", "float64", "updates", "updates after which the path is there"),
        Column("updates_fixed", "float64", "updates", "updates after which the fixed batch is there"),
        *_saved("tokens", "training tokens, which are time at a fixed number of tokens per second"),
        *_saved("updates", "updates; negative where the path makes more of them"),
        *_saved("seconds", "seconds on the study's machine, a·updates + b·tokens fitted to its cells' times"),
        Column(
            "loss_difference",
            "float64",
            "nat/token",
            "at the end: final loss of the path minus that of the fixed batch at equal tokens, paired; else null",
        ),
        Column("loss_difference_se", "float64", "nat/token", "its error: replicates (pooled) and validation blocks"),
        Column("loss_difference_low", "float64", "nat/token", "lower end of its interval"),
        Column("loss_difference_high", "float64", "nat/token", "upper end"),
        Column("n_replicates", "int64", "-", "replicates that both have"),
        Column("ci_level", "float64", "-", "level of the intervals"),
        Column(
            "status",
            "string",
            "-",
            "saves tokens, costs tokens: the interval is on that side of zero; not resolved; one replicate: no "
            "interval",
        ),
    ),
)
