"""The recommendation as a contract that a program can read and a later run can be held against."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Literal[4] = 4


class Part(BaseModel):
    """Frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(Part):
    """Where a number comes from: a table of the study and the key of its row."""

    table: str
    """Path of the Parquet file in the results folder, without the ending."""
    key: dict[str, str | float | int]


class Estimate(Part):
    """A number with its interval; null ends where the data do not identify them."""

    value: float
    ci_low: float | None
    ci_high: float | None
    ci_level: float
    sources: tuple[Source, ...]
    """Empty where the number is in no table."""


class TargetRun(Part):
    """The run that the recommendation is for."""

    model: str
    """Name in the study; of imported runs may be empty: the size says which."""
    n_params_counted: int = Field(gt=0)
    """By the count that tokens_per_parameter uses."""
    n_params_non_embedding: int | None = None
    context_length: int | None = None
    tokens_per_parameter: float = Field(gt=0)
    batch_sequences: int = Field(default=0, ge=0)
    """Of imported runs that of the runs which the recommendation rests on; 0: not known, or pooled over batches."""
    batch_tokens: int | None = None
    """Likewise, as context_length and total_steps; null: those runs do not tell one."""
    total_steps: int | None = None
    token_horizon: int = Field(gt=0)
    schedule: str | None = None
    """The schedule that it will have; null: the recommendation chooses."""
    peak_lr: float | None = Field(default=None, gt=0)
    """The peak learning rate that it will have; null: the recommendation chooses."""


class Averaging(Part):
    """What to do with the checkpoints."""

    average: str | None
    """Name of the average in the study; null: the recommended schedule decays, and averaging was not measured on top of
    a decay."""
    averaging_scheme: str | None
    """Its kind."""
    window_checkpoints: int | None
    """Snapshots that it averages."""
    window_fraction: float | None
    """Training between the first and the last of them, over the horizon."""
    gain: Estimate | None
    """Loss that the best average takes off a constant learning rate at the longest horizon [nat/token]; it was chosen
    on the validation blocks that it is scored on."""
    gap_to_cooldown: Estimate | None
    """What that average still lacks to the real cooldown of the same trunk [nat/token]; negative: it is better."""


class BatchPath(Part):
    """A batch that grows, in place of the recommended schedule's fixed one."""

    schedule: str
    """Name in the study of the schedule with that path, equal to the recommended one but for it."""
    peak_lr: float
    """Its best peak learning rate, which the saving is that of; the fixed batch has its own."""
    tokens_saved_fraction: Estimate
    """Tokens that it saves to the same loss, of the longest horizon at which it was tried."""
    n_tried: int = Field(ge=1)
    """Paths tried beside that schedule at that horizon; of several this is the one that saved most, and its interval is
    not adjusted for that choice."""


class LrMistake(Part):
    """What a peak learning rate off by a factor of 2 costs, as measured at the longest horizon with a sweep around its
    optimum; at the target it is assumed to be the same."""

    half: Estimate
    """Of half the optimum [nat/token]."""
    double: Estimate
    """Of twice the optimum [nat/token]."""
    token_horizon: int
    """Horizon of that sweep [tokens]."""
    shape: Literal["parabola", "cubic"]
    """In ln peak_lr; a parabola cannot tell half from double, and is used below five learning rates."""
    half_tokens_fraction: Estimate | None
    """The same cost as a share of the target's tokens: training so much shorter, with the optimum, ends at that loss;
    null where no loss law holds or the law never was as high."""
    double_tokens_fraction: Estimate | None


class Extrapolation(Part):
    """How far the target lies from what was trained, on one axis."""

    axis: Literal["n_params_counted", "token_horizon", "batch_tokens", "peak_lr", "context_length"]
    target: float
    trained_low: float
    trained_high: float
    factor: float = Field(ge=1)
    """Target over the highest trained value, or the lowest one over the target; 1: inside."""
    verdict: Literal["inside", "above", "below"]


class OutOfSample(Part):
    """What a law missed on points that were hidden from it: those of most compute or, where only that of the target is
    beyond, of the largest sizes or longest horizons."""

    n_hidden: int = Field(ge=0)
    """Predictions of hidden points, over all that was hidden in turn."""
    root_mean_square_error: float | None
    """[nat/token]; null: too few points to hide one."""
    worst_error: float | None
    """The largest by size, predicted less observed [nat/token]."""
    farthest_factor: float | None
    """How far beyond what the fit had seen the farthest of them lies, in compute or in size times horizon."""


class LawAtTarget(Part):
    """One law's word on the target."""

    law: str
    predicted_loss: float
    """[nat/token]"""
    out_of_sample: OutOfSample
    law_error_sd: float | None
    """Its error out of sample carried to the target's distance [nat/token]."""


class LossUncertainty(Part):
    """What the interval of the predicted loss is made of, each as a standard deviation [nat/token]."""

    parameters: float | None
    """Of the law's parameters: noise of the runs that it was fitted to, and the validation text. Null: neither
    replicates nor residuals tell it."""
    run: float | None
    """Of one more run: its seeds."""
    evaluation: float | None
    """Of the finite validation text, which is part of `parameters`; null where losses by block are not known."""
    law: float
    """Of the law's form."""
    peak_lr: float
    """Of a peak learning rate that is not quite the best."""


class Prediction(Part):
    """How the predicted loss came about."""

    chosen: LawAtTarget
    others: tuple[LawAtTarget, ...]
    """Laws that could predict the target too, by their expected error."""
    spread: float = Field(ge=0)
    """Highest less lowest of all these laws [nat/token]."""
    uncertainty: LossUncertainty
    law_error_from: Literal["hidden points", "spread of laws", "not known"]


class NextCell(Part):
    """One more run that would sharpen the recommendation, or a small sweep over peak learning rates: a law uses the
    best of a sweep, which one learning rate alone does not show."""

    what: Literal["replicate", "horizon", "size", "peak_lr"]
    model: str
    n_params_counted: int
    schedule: str
    peak_lrs: tuple[float, ...]
    """One run at each; empty where no learning rate is known of the runs: one run."""
    tokens_per_parameter: float
    token_horizon: int
    batch_sequences: int
    replicate: int | None
    train_flops_exact: float | None
    """What it adds to what is trained already, of a study: shared segments are free. Null of imported runs."""
    train_flops_6nd: float | None
    """6·N·D of all of it, N counted as the target's, of imported runs. Null of a study."""
    hours: float | None
    """On the machine of the study, one job at a time; null of imported runs, and where its speed is not known."""
    loss_variance_removed: float = Field(ge=0, le=1)
    """Share of the variance of the predicted loss that it is expected to remove, beside the cells before it."""
    peak_lr_variance_removed: float | None = Field(ge=0, le=1)
    """The same of ln peak_lr; null where that has no interval."""


class Provenance(Part):
    """What it was made from, by what, and when."""

    tables: dict[str, str]
    """SHA-256 of every table that was read, by file name."""
    versions: dict[str, str]
    written_at: str
    """UTC, ISO 8601."""


class Recommendation(Part):
    """Everything to launch the target run with, how sure it is, and what it rests on."""

    schema_version: Literal[4] = SCHEMA_VERSION
    study: str
    target: TargetRun
    schedule: str
    equivalent_schedules: tuple[str, ...]
    """Schedules that could not be told from it at the horizon it was chosen at."""
    n_schedules_compared: int = Field(ge=1)
    """Schedules trained there, itself included; 1: nothing was compared."""
    ci_level: float = Field(gt=0, lt=1)
    """Level of all intervals but those of the predicted loss."""
    chosen_at_model: str
    chosen_at_tokens_per_parameter: float
    peak_lr: Estimate | None
    """At the target's horizon; null: no learning rate is known of the runs."""
    factor_2_lr_cost: LrMistake | None
    """Null: no sweep has its optimum inside."""
    weight_decay: float | None
    """Null: the optimizer of the runs is not known."""
    batch_tokens: int | None
    noise_scale_tokens: Estimate | None
    """Gradient noise scale of all layers near the end of the longest probed run [tokens]."""
    critical_batch_tokens: Estimate | None
    """Fewest examples over fewest updates to the lowest loss of a sweep of batches [tokens]: above it another doubling
    costs more tokens than it saves updates."""
    batch_path: BatchPath | None
    """The path of the batch that was seen to save tokens; null: none was, or none was tried."""
    averaging: Averaging
    predicted_loss: tuple[Estimate, ...]
    """Validation loss that a single run, launched as recommended, should reach [nat/token], at 50 % and at 90 %; empty
    where no law holds."""
    prediction: Prediction | None
    """Null where no law holds."""
    extrapolation: tuple[Extrapolation, ...]
    """By axis; one that is not known of the target or the runs is left out."""
    horizon_extrapolation: float = Field(ge=0)
    """Target horizon over the longest one that the law of the loss was fitted to, or without such a law the longest of
    this schedule at the model it was chosen at."""
    next_cells: tuple[NextCell, ...]
    """The cheapest further runs, by variance removed per FLOP."""
    how_sure: tuple[str, ...]
    warnings: tuple[str, ...]
    provenance: Provenance
