"""The recommendation as a contract that a program can read and a later run can be held against."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 3


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


class TargetRun(Part):
    """The run that the recommendation is for."""

    model: str
    n_params_counted: int
    n_params_non_embedding: int
    context_length: int
    tokens_per_parameter: float
    batch_sequences: int
    batch_tokens: int
    total_steps: int
    token_horizon: int


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


class Recommendation(Part):
    """Everything to launch the target run with, how sure it is, and what it rests on."""

    schema_version: int = SCHEMA_VERSION
    study: str
    target: TargetRun
    schedule: str
    equivalent_schedules: tuple[str, ...]
    """Schedules that could not be told from it at the horizon it was chosen at."""
    chosen_at_model: str
    chosen_at_tokens_per_parameter: float
    peak_lr: Estimate
    """At the target's horizon."""
    factor_2_lr_cost: Estimate | None
    """Loss that a peak learning rate off by a factor of 2 costs [nat/token], at the longest horizon trained."""
    weight_decay: float
    batch_tokens: int
    noise_scale_tokens: Estimate | None
    """Gradient noise scale of all layers near the end of the longest probed run [tokens]."""
    critical_batch_tokens: Estimate | None
    """Fewest examples over fewest updates to the lowest loss of a sweep of batches [tokens]: above it another doubling
    costs more tokens than it saves updates."""
    batch_path: BatchPath | None
    """The path of the batch that was seen to save tokens; null: none was, or none was tried."""
    averaging: Averaging
    predicted_loss: tuple[Estimate, ...]
    """Validation loss that the target run should reach [nat/token], at 50 % and at 90 %; empty where no law holds."""
    horizon_extrapolation: float = Field(ge=0)
    """Target horizon over the longest one trained with this schedule at this model."""
    how_sure: tuple[str, ...]
    warnings: tuple[str, ...]
