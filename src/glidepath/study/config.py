"""The YAML of a study, validated. Refuses, never repairs: each error names the key, the value, the rule and the remedy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from glidepath.study.corpus import CorpusConfig

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=40)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0, strict=True)]
NonNegative = Annotated[int, Field(ge=0, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Law = Literal["lr_optimum", "lr_horizon", "loss_horizon", "loss_size_horizon"]


class StudyError(ValueError):
    """A study that cannot be run as it is written; the message names key, value, rule and remedy."""


class Section(BaseModel):
    """Closed and frozen: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(Section):
    """One model size. `depth` and `width` are the dial; the rest follows unless it is given."""

    depth: Count = Field(description="decoder layers")
    width: Count = Field(description="d_model [features]")
    head_width: Count = Field(16, description="d_head [features]; width must be a multiple of it")
    feed_forward: Literal["swiglu", "gelu"] = Field("swiglu", description="feed-forward block")
    feed_forward_width: Count | None = Field(
        None, description="d_ff [features]; null: 4 × width for gelu, 8/3 × width rounded up to a multiple of 16 for swiglu"
    )
    context_length: Count = Field(128, description="tokens per sequence")
    norm: Literal["rmsnorm", "layernorm"] = Field("rmsnorm", description="layernorm has no bias")
    tied_embeddings: Flag = Field(False, description="the head uses the embedding matrix")
    qk_norm: Flag = Field(False, description="normalise queries and keys per head")
    rope_base: Positive = Field(10_000.0, description="base of the rotary frequencies")
    parametrization: Literal["sp", "mup"] = Field(
        "mup", description="standard, or muP: learning rate and initialisation scale with width / base_width"
    )
    base_width: Count = Field(64, description="width at which mup equals sp [features]")
    init_std_embedding: Positive = Field(0.5, description="standard deviation of the embedding at initialisation")
    init_std_hidden: Positive = Field(1.0, description="standard deviation of hidden matrices × sqrt(fan_in)")
    init_std_head: Positive = Field(0.05, description="standard deviation of an untied head at base_width")
    zero_init_output_projections: Flag = Field(
        True, description="attention and feed-forward output projections start at zero"
    )

    @property
    def d_ff(self) -> int:
        if self.feed_forward_width is not None:
            return self.feed_forward_width
        return 4 * self.width if self.feed_forward == "gelu" else 16 * math.ceil(8 * self.width / 3 / 16)

    @model_validator(mode="after")
    def _heads(self) -> ModelConfig:
        if self.width % self.head_width:
            raise ValueError(
                f"width {self.width} is not a multiple of head_width {self.head_width}: every head has the same width. "
                f"Choose a width that is a multiple of {self.head_width}, or another head_width"
            )
        if self.head_width % 2:
            raise ValueError(
                f"head_width {self.head_width} is odd: rotary positions turn pairs of features. Choose an even head_width"
            )
        return self


class ScheduleConfig(Section):
    """A learning-rate schedule, without its peak and its horizon, which are axes of the grid."""

    kind: Literal["constant", "cosine", "linear", "wsd"] = Field(
        description="constant; cosine or linear: decay from the end of the warm-up; wsd: constant, then a decay"
    )
    final_lr_fraction: Fraction | None = Field(
        None, description="what the decay aims at, over the peak: 0 is decay to zero; required unless constant"
    )
    decay_fraction: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        None, description="wsd only: length of the decay over the horizon (or give decay_steps)"
    )
    decay_steps: Count | None = Field(None, description="wsd only: length of the decay [updates] (or give decay_fraction)")
    decay_shape: Literal["linear", "cosine", "one_minus_sqrt"] | None = Field(None, description="wsd only: shape of the decay")

    @model_validator(mode="after")
    def _fields_of_kind(self) -> ScheduleConfig:
        wsd_only = {"decay_fraction": self.decay_fraction, "decay_steps": self.decay_steps, "decay_shape": self.decay_shape}
        if self.kind != "wsd":
            for key, value in wsd_only.items():
                if value is not None:
                    raise ValueError(f"{key} {value} is given for kind {self.kind}: only wsd has it. Remove it, or use kind: wsd")
        else:
            if (self.decay_fraction is None) == (self.decay_steps is None):
                raise ValueError(
                    f"decay_fraction {self.decay_fraction} and decay_steps {self.decay_steps}: a wsd schedule needs exactly "
                    f"one of them. Give one"
                )
            if self.decay_shape is None:
                raise ValueError("decay_shape is missing: a wsd schedule needs one of linear, cosine, one_minus_sqrt. Add it")
        if self.kind == "constant" and self.final_lr_fraction is not None:
            raise ValueError(
                f"final_lr_fraction {self.final_lr_fraction} is given for a constant schedule, which has no decay. Remove it"
            )
        if self.kind != "constant" and self.final_lr_fraction is None:
            raise ValueError(
                f"final_lr_fraction is missing: a {self.kind} schedule must say what it decays to. "
                f"Add 0 (decay to zero) or, say, 0.1"
            )
        return self


class WarmupConfig(Section):
    """Linear rise to the peak: exactly one of three keys, which are three units."""

    steps: NonNegative | None = Field(None, description="[updates]")
    tokens: NonNegative | None = Field(None, description="[tokens]")
    fraction: Annotated[Number, Field(ge=0, lt=1)] | None = Field(
        None, description="of each cell's own horizon; trunks of different horizons then share nothing"
    )

    @model_validator(mode="after")
    def _one(self) -> WarmupConfig:
        given = {k: v for k, v in (("steps", self.steps), ("tokens", self.tokens), ("fraction", self.fraction)) if v is not None}
        if len(given) != 1:
            raise ValueError(
                f"warmup gives {given or 'nothing'}: exactly one of steps, tokens, fraction is needed, "
                f"because they are different units. Keep one"
            )
        return self


class OptimizerConfig(Section):
    """AdamW with decoupled weight decay."""

    adam_beta1: Annotated[Number, Field(ge=0, lt=1)] = Field(0.9, description="decay of the first moment per update")
    adam_beta2: Annotated[Number, Field(ge=0, lt=1)] = Field(0.95, description="decay of the second moment per update")
    adam_eps: Positive = Field(1.0e-8, description="added to the root of the second moment")
    weight_decay: Annotated[Number, Field(ge=0)] = Field(
        0.1, description="decoupled: an update shrinks matrices by lr × weight_decay"
    )
    grad_clip_norm: Positive | None = Field(1.0, description="threshold of the global gradient norm; null is off")


class GridConfig(Section):
    """One block of cells: the product of its axes. A study is the union of its blocks."""

    models: tuple[Name, ...] = Field(min_length=1, description="names from `models`")
    schedules: tuple[Name, ...] = Field(min_length=1, description="names from `schedules`")
    peak_lrs: tuple[Positive, ...] = Field(min_length=1, description="peak learning rates at base_width")
    tokens_per_parameter: tuple[Positive, ...] = Field(min_length=1, description="horizons [tokens/parameter]")
    batch_sequences: tuple[Count, ...] = Field((8,), min_length=1, description="[sequences/update]")
    replicates: tuple[NonNegative, ...] = Field(
        (0,), min_length=1, description="each is another initialisation and data order, the same for all schedules"
    )
    holdout: Flag = Field(False, description="hide these cells from all fits until the fits are scored")

    @field_validator("*")
    @classmethod
    def _no_repeats(cls, value: Any) -> Any:
        if isinstance(value, tuple) and len(set(value)) != len(value):
            raise ValueError(f"{list(value)} repeats a value: an axis is a set. Remove the repetition")
        return value


class EvaluationConfig(Section):
    """What is evaluated along training; all validation tokens are evaluated at the end of every cell."""

    points_per_octave: Count = Field(3, description="evaluations per doubling of the updates, on a grid common to all cells")
    first_update: Count = Field(32, description="first point of that grid [updates]")
    subset_tokens: Count = Field(8192, description="validation tokens used along training")


class AveragingConfig(Section):
    """Snapshots near the end of a horizon, and what is averaged over them, offline."""

    schedules: tuple[Name, ...] = Field(description="schedules whose snapshots are averaged")
    span_fraction: Annotated[Number, Field(gt=0, lt=1)] = Field(0.2, description="snapshots lie in this last part of the horizon")
    snapshots: Annotated[int, Field(ge=2, strict=True)] = Field(11, description="snapshots in that part, its end included")
    window_fractions: tuple[Annotated[Number, Field(gt=0, lt=1)], ...] = Field(
        (0.1, 0.2), description="lengths of the uniform windows over the horizon; at most span_fraction"
    )
    ema_timescale_fractions: tuple[Positive, ...] = Field((0.05,), description="memories of the EMAs over the horizon")

    @model_validator(mode="after")
    def _inside(self) -> AveragingConfig:
        for window in self.window_fractions:
            if window > self.span_fraction:
                raise ValueError(
                    f"window_fractions has {window}, longer than span_fraction {self.span_fraction}: there are no snapshots "
                    f"there. Shorten the window or widen span_fraction"
                )
        for timescale in self.ema_timescale_fractions:
            if 2 * timescale > self.span_fraction:
                raise ValueError(
                    f"ema_timescale_fractions has {timescale}: the snapshots span {self.span_fraction}, less than two "
                    f"time-scales, so the EMA would be cut off. Use at most {self.span_fraction / 2:g} or widen span_fraction"
                )
        return self


class NoiseScaleConfig(Section):
    """Per-example gradient norms at some updates of some cells."""

    schedules: tuple[Name, ...] = Field(description="schedules whose updates are probed")
    every_updates: Count = Field(16, description="distance of probed updates")
    windows: Count = Field(8, description="windows of the noise-scale curve along training")


class LoggingConfig(Section):
    every_updates: Count = Field(8, description="distance of logged updates")


class AnalysisConfig(Section):
    """How conclusions are drawn."""

    reference_schedule: Name = Field(description="schedule that the others are compared with")
    ci_level: Annotated[Number, Field(gt=0.5, lt=1)] = Field(0.9, description="level of all intervals")
    bootstrap_samples: Annotated[int, Field(ge=100, strict=True)] = Field(1000, description="bootstrap resamples per law")
    seed: NonNegative = Field(0, description="seed of the resampling")
    laws: tuple[Law, ...] = Field(
        ("lr_optimum", "lr_horizon", "loss_horizon", "loss_size_horizon"), min_length=1, description="laws to fit"
    )


class TargetConfig(Section):
    """The real run that the recommendation is for."""

    model: Name = Field(description="name from `models`")
    tokens_per_parameter: Positive = Field(description="its horizon [tokens/parameter]")
    batch_sequences: Count = Field(8, description="its batch [sequences/update]; must be one that the grid trains")


class StudyConfig(Section):
    """A study: one YAML file."""

    study: Name = Field(description="name; results go to results/<study>")
    description: str = Field("", description="one paragraph that opens the report")
    corpus: CorpusConfig
    models: dict[Name, ModelConfig] = Field(min_length=1)
    schedules: dict[Name, ScheduleConfig] = Field(min_length=1)
    warmup: WarmupConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    tokens_per_parameter_uses: Literal["non_embedding", "total", "matrices_and_head"] = Field(
        "non_embedding", description="the parameter count behind tokens_per_parameter"
    )
    grid: tuple[GridConfig, ...] = Field(min_length=1)
    evaluation: EvaluationConfig = EvaluationConfig()
    logging: LoggingConfig = LoggingConfig()
    averaging: AveragingConfig | None = Field(None, description="null: no snapshots are kept")
    noise_scale: NoiseScaleConfig | None = Field(None, description="null: no gradient is probed")
    analysis: AnalysisConfig
    target: TargetConfig

    @model_validator(mode="after")
    def _names(self) -> StudyConfig:
        def known(key: str, names: tuple[str, ...], allowed: dict[str, Any]) -> None:
            for name in names:
                if name not in allowed:
                    raise ValueError(
                        f"{key} names {name!r}, which is not one of {', '.join(sorted(allowed))}. "
                        f"Correct the name or define it"
                    )

        for i, block in enumerate(self.grid):
            known(f"grid.{i}.models", block.models, self.models)
            known(f"grid.{i}.schedules", block.schedules, self.schedules)
        used = tuple(sorted({name for block in self.grid for name in block.schedules}))
        in_grid = {name: self.schedules[name] for name in used}
        if self.averaging:
            known("averaging.schedules", self.averaging.schedules, in_grid)
        if self.noise_scale:
            known("noise_scale.schedules", self.noise_scale.schedules, in_grid)
        known("analysis.reference_schedule", (self.analysis.reference_schedule,), in_grid)
        known("target.model", (self.target.model,), self.models)
        batches = sorted({batch for block in self.grid for batch in block.batch_sequences})
        if self.target.batch_sequences not in batches:
            raise ValueError(
                f"target.batch_sequences {self.target.batch_sequences} is not trained by the grid, which has {batches}: a "
                f"recommendation must rest on that batch. Add it to the grid or change the target"
            )
        return self


def read_study(path: Path) -> StudyConfig:
    """Read and validate a study.

    Raises StudyError for a missing file, for YAML that does not parse and for every rule of the schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError(f"The study {path} cannot be read: {error.strerror}. Give an existing file: --configfile PATH.") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StudyError(f"The study {path} is not YAML: {' '.join(str(error).split())}. Correct that line.") from error
    return parse_study(data, str(path))


def parse_study(data: Any, origin: str) -> StudyConfig:
    """Validate plain data as a study; `origin` is what the error calls it. Raises StudyError."""
    if not isinstance(data, dict):
        raise StudyError(f"The study {origin} is {type(data).__name__}, not a mapping of keys. See config/README.md.")
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as error:
        raise StudyError(_explain(error, origin)) from error


REMEDIES = {
    "extra_forbidden": "there is no such key. Correct its spelling or remove it; config/README.md lists the keys",
    "missing": "the key is required. Add it; config/README.md describes it",
    "float_type": "a number is needed. YAML reads 1e-3 as text: write 1.0e-3",
    "bool_type": "true or false is needed",
    "int_type": "a whole number is needed",
    "int_from_float": "a whole number is needed",
    "string_type": "text is needed; put it in quotes if it looks like a number",
}


def _explain(error: ValidationError, origin: str) -> str:
    """One paragraph: every fault with key, value, rule and remedy."""
    faults = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"]) or "the study"
        if fault["type"] == "value_error":
            faults.append(f"{key}: {str(fault['ctx']['error']).rstrip('.')}.")
            continue
        value = "" if fault["type"] == "missing" else f" = {_shorten(fault['input'])}"
        remedy = REMEDIES.get(fault["type"])
        rule = remedy or f"{fault['msg'][0].lower()}{fault['msg'][1:]}. Change the value; config/README.md describes the key"
        faults.append(f"{key}{value}: {rule}.")
    return f"The study {origin} cannot be run. {' '.join(faults)}"


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
