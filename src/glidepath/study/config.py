"""The YAML of a study, validated.

Refuses, never repairs: each error names the key, the value, the rule and the remedy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from glidepath.study.averaging_config import AveragingConfig
from glidepath.study.batch_sweeps import batch_sweeps, no_sweeps
from glidepath.study.config_errors import explain
from glidepath.study.coordinate_check import CoordinateCheckConfig
from glidepath.study.corpus_config import CorpusConfig
from glidepath.study.grid_config import GridConfig, replicates_of
from glidepath.study.model_config import ModelConfig, OptimizerConfig, WarmupConfig
from glidepath.study.schedule_config import ScheduleConfig
from glidepath.study.section import (
    Count,
    Name,
    NonNegative,
    Number,
    Positive,
    Section,
    StudyError,
)
from glidepath.study.spikes_config import SpikesConfig
from glidepath.study.temporal_config import TemporalConfig
from glidepath.study.yaml_file import read_yaml

Law = Literal[
    "lr_optimum",
    "lr_horizon",
    "loss_horizon",
    "loss_size_horizon",
    "loss_data_constrained",
    "isoflop",
    "lr_transfer",
    "lr_size_horizon",
    "lr_batch_surface",
    "schedule_features",
    "annealing",
    "multi_power",
    "convex_bound",
    "annealing_over_sizes",
    "multi_power_over_sizes",
    "temporal",
]
SOME = Field(min_length=1)
DEFAULT_LAWS: tuple[Law, ...] = (
    "lr_optimum",
    "lr_horizon",
    "loss_horizon",
    "loss_size_horizon",
    "lr_size_horizon",
    "lr_batch_surface",
    "schedule_features",
    "annealing",
    "multi_power",
    "convex_bound",
)
"""Those that a grid over schedules, horizons, sizes and batches can bear; each says of what it has not enough."""
TRAIN_IT = "add it to the grid"


class EvaluationConfig(Section):
    """What is evaluated along training; all validation tokens are evaluated at the end of every cell."""

    points_per_octave: Annotated[Count, Field(le=100)] = 3
    """Evaluations per doubling of the updates, on a grid common to all cells."""
    first_update: Count = 32
    """First point of that grid [updates]."""
    subset_tokens: Count = 8192
    """Validation tokens used along training: whole blocks of the first domain."""


class NoiseScaleConfig(Section):
    """Per-example gradient norms at some updates of some cells.

    A probed update of one sequence compares nothing. A cell whose batch is one sequence has no noise scale; every other
    probed cell needs at least four updates of a larger batch at which all layers are probed.
    """

    schedules: Annotated[tuple[Name, ...], SOME]
    """Schedules whose updates are probed."""
    every_updates: Count = 16
    """Distance of the updates at which all layers are probed; at most a quarter of the updates of a probed cell."""
    norm_layers_every_updates: Count | None = 1
    """Distance of the updates at which the norm layers alone are probed, which costs next to nothing; null: they never
    are alone."""
    windows: Count = 8
    """Windows of the noise-scale curve along training."""
    smoothing_decays: tuple[Annotated[Number, Field(gt=0, lt=1)], ...] = (0.9, 0.95, 0.99)
    """Decays per probe of the moving averages under which all layers are regressed on the norm layers."""

    @field_validator("smoothing_decays")
    @classmethod
    def _names_differ(cls, decays: tuple[float, ...]) -> tuple[float, ...]:
        """The table names a smoothing by six digits of its decay."""
        named: dict[str, float] = {}
        for decay in decays:
            other = named.setdefault(f"{decay:g}", decay)
            if other != decay:
                raise ValueError(
                    f"{other!r} and {decay!r} are both named {decay:g} in tables, which show six digits. Remove one"
                )
        return decays


class LoggingConfig(Section):
    """What is written down along training, beside what was applied, the loss and the gradient norm of every update."""

    every_updates: Count = 8
    """Distance of the updates whose costly norms are taken; a segment's last update is one of them."""


class SegmentsConfig(Section):
    """How training is cut into jobs."""

    max_updates: Count | None = None
    """No job trains more updates, for limits of wall time; null: jobs end where cells branch off."""


class AnalysisConfig(Section):
    """How conclusions are drawn."""

    reference_schedule: Name
    """Schedule that the others are compared with."""
    ci_level: Annotated[Number, Field(gt=0.5, lt=1)] = 0.9
    """Level of all intervals."""
    bootstrap_samples: Annotated[int, Field(ge=100, strict=True)] = 1000
    """Bootstrap resamples per law."""
    seed: NonNegative = 0
    """Seed of the resampling."""
    laws: Annotated[tuple[Law, ...], SOME] = DEFAULT_LAWS
    """Laws to fit."""
    critical_batch_target_losses: Annotated[tuple[Positive, ...], SOME] | None = None
    """Losses to which updates and examples are counted at every batch [nat/token], on the validation tokens used along
    training; null: the lowest that all batches reach, and those that target.batch_sequences reaches with a half and a
    quarter of the tokens to it. Needs a sweep of batches: see target.batch_sequences."""


class TargetConfig(Section):
    """The real run that the recommendation is for."""

    model: Name
    """Name from `models`."""
    tokens_per_parameter: Positive
    """Its horizon [tokens/parameter]."""
    batch_sequences: Count = 8
    """Its batch [sequences/update]; must be one that the grid trains. A critical batch is told by a schedule without a
    decay to its horizon (constant, schedule_free, plateau, inverse_sqrt, rational) that the grid trains at three
    batches, this one among them; where warm-up or weight decay depend on the horizon, at one horizon."""


class StudyConfig(Section):
    """A study: one YAML file."""

    study: Name
    """Name; results go to results/<study>."""
    description: str = ""
    """One paragraph that opens the report."""
    corpus: CorpusConfig
    """The text, and how it is cut into tokens."""
    models: Annotated[dict[Name, ModelConfig], SOME]
    """Model sizes, by name."""
    schedules: Annotated[dict[Name, ScheduleConfig], SOME]
    """Learning-rate schedules, by name."""
    warmup: WarmupConfig
    """Warm-up of all cells."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer of all cells."""
    tokens_per_parameter_uses: Literal["non_embedding", "total", "matrices_and_head"] = "non_embedding"
    """The parameter count behind tokens_per_parameter."""
    grid: Annotated[tuple[GridConfig, ...], SOME]
    """Blocks of cells."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluations along training."""
    logging: LoggingConfig = LoggingConfig()
    """Log along training."""
    segments: SegmentsConfig = SegmentsConfig()
    """Jobs of training."""
    averaging: AveragingConfig | None = None
    """Averages of snapshots; null: no snapshots are kept."""
    spikes: SpikesConfig | None = None
    """Provoked loss spikes, and what averaging does to them; null: none."""
    noise_scale: NoiseScaleConfig | None = None
    """Gradient noise scale; null: no gradient is probed."""
    temporal: TemporalConfig | None = None
    """Loss by position in the sequence along training; null: only means over positions are known."""
    coordinate_check: CoordinateCheckConfig | None = None
    """What width and depth do to activations and weights; null: it is not checked."""
    analysis: AnalysisConfig
    """How conclusions are drawn."""
    target: TargetConfig
    """What they are drawn for."""

    @model_validator(mode="after")
    def _names(self) -> StudyConfig:
        def known(key: str, names: tuple[str, ...], allowed: dict[str, Any], remedy: str = "define it") -> None:
            for name in names:
                if name not in allowed:
                    raise ValueError(
                        f"{key} names {name!r}, which is not one of {', '.join(sorted(allowed))}. "
                        f"Correct the name or {remedy}"
                    )

        for i, block in enumerate(self.grid):
            known(f"grid.{i}.models", block.models, self.models)
            known(f"grid.{i}.schedules", block.schedules, self.schedules)
        in_grid = {name: self.schedules[name] for block in self.grid for name in block.schedules}
        if self.averaging:
            known("averaging.schedules", self.averaging.schedules, in_grid, TRAIN_IT)
            _check_emulation(self.averaging, self.schedules)
        if self.noise_scale:
            known("noise_scale.schedules", self.noise_scale.schedules, in_grid, TRAIN_IT)
        known("analysis.reference_schedule", (self.analysis.reference_schedule,), in_grid, TRAIN_IT)
        known("target.model", (self.target.model,), self.models)
        return self

    @model_validator(mode="after")
    def _grid(self) -> StudyConfig:
        batches = sorted({batch for block in self.grid for batch in block.batch_sequences})
        if self.target.batch_sequences not in batches:
            raise ValueError(
                f"target.batch_sequences {self.target.batch_sequences} is not trained by the grid, which has "
                f"{batches}: a recommendation must rest on that batch. Add it to the grid or change the "
                "target"
            )
        if all(block.holdout for block in self.grid):
            raise ValueError(
                "grid has holdout: true in every block: nothing is left to fit. Set it to false in one of them"
            )
        return self

    @model_validator(mode="after")
    def _target_losses(self) -> StudyConfig:
        losses = self.analysis.critical_batch_target_losses
        if losses is not None and not batch_sweeps(self):
            why = " ".join(no_sweeps(self)) or "No model and schedule is trained at three batches."
            raise ValueError(
                f"analysis.critical_batch_target_losses {list(losses)} has no sweep of batches to be reached by: one "
                "model, one schedule without a decay to its horizon, three batches, target.batch_sequences "
                f"{self.target.batch_sequences} among them. {why} Add batches to batch_sequences of the grid, or "
                "remove the key"
            )
        return self

    @model_validator(mode="after")
    def _spikes(self) -> StudyConfig:
        if self.spikes is None:
            return self
        averaged = self.averaging.schedules if self.averaging else ()
        for key, names in (("clean", (self.spikes.clean,)), ("spiked", self.spikes.spiked)):
            for name in names:
                if name not in averaged:
                    raise ValueError(
                        f"spikes.{key} names {name!r}, which is not one of averaging.schedules "
                        f"({', '.join(averaged) or 'none'}): its snapshots must be kept. Correct the name or add it "
                        "there"
                    )
        clean = replicates_of(self.grid, self.spikes.clean)
        for name in self.spikes.spiked:
            for where, replicates in replicates_of(self.grid, name).items():
                if len(pairs := replicates & clean[where]) < 2:
                    model, batch_sequences, tokens_per_parameter, peak_lr = where
                    raise ValueError(
                        f"spikes.spiked {name!r} has {len(pairs)} replicates that spikes.clean {self.spikes.clean!r} "
                        f"has too, at model {model}, peak_lr {peak_lr:g}, tokens_per_parameter "
                        f"{tokens_per_parameter:g} and batch_sequences {batch_sequences}: an interval over replicates "
                        "needs two at least. Put both in one block and give it replicates"
                    )
        return self

    @model_validator(mode="after")
    def _temporal(self) -> StudyConfig:
        averaged = self.averaging.schedules if self.averaging else ()
        for name in self.temporal.schedules if self.temporal else ():
            if name not in averaged:
                raise ValueError(
                    f"temporal.schedules names {name!r}, which is not one of averaging.schedules "
                    f"({', '.join(averaged) or 'none'}): its snapshots must be kept. Correct the name or add it there"
                )
        if "temporal" in self.analysis.laws and self.temporal is None:
            raise ValueError(
                "analysis.laws has temporal without a section temporal: the law is fitted to losses by position. Add "
                "the section or remove the law"
            )
        return self

    @model_validator(mode="after")
    def _coordinate_check(self) -> StudyConfig:
        section = self.coordinate_check
        if section is None:
            return self
        if section.model not in self.models:
            raise ValueError(
                f"coordinate_check.model names {section.model!r}, which is not one of "
                f"{', '.join(sorted(self.models))}. Correct the name or define it"
            )
        model, first = self.models[section.model], self.corpus.domains[0]
        if model.feed_forward_width is not None:
            raise ValueError(
                f"coordinate_check.model {section.model} has feed_forward_width {model.feed_forward_width}: it must "
                "grow with the width. Set it to null or name another model"
            )
        for width in section.widths:
            if width % model.head_width:
                raise ValueError(
                    f"coordinate_check.widths has {width}, not a multiple of models.{section.model}.head_width "
                    f"{model.head_width}: heads keep their width. Choose a multiple of {model.head_width}"
                )
        if section.validation_sequences * model.context_length > first.validation_tokens:
            raise ValueError(
                f"coordinate_check.validation_sequences {section.validation_sequences} of {model.context_length} "
                f"tokens are more than the validation_tokens {first.validation_tokens} of the first domain, "
                f"{first.name}. Lower the one or raise the other"
            )
        return self

    @model_validator(mode="after")
    def _validation_blocks(self) -> StudyConfig:
        subset, first = self.evaluation.subset_tokens, self.corpus.domains[0]
        if subset > first.validation_tokens:
            raise ValueError(
                f"evaluation.subset_tokens {subset} is more than the validation_tokens "
                f"{first.validation_tokens} of the first domain, {first.name}. Lower the one or raise the "
                "other"
            )
        for name in sorted({name for block in self.grid for name in block.models}):
            context_length = self.models[name].context_length
            if subset < context_length:
                raise ValueError(
                    f"evaluation.subset_tokens {subset} is less than models.{name}.context_length "
                    f"{context_length}: whole sequences are evaluated. Raise it"
                )
            for i, domain in enumerate(self.corpus.domains):
                if domain.validation_tokens < 2 * context_length:
                    raise ValueError(
                        f"corpus.domains.{i}.validation_tokens {domain.validation_tokens} is less than two "
                        f"sequences of models.{name}.context_length {context_length}: a standard error needs "
                        f"two. Raise it"
                    )
        return self


def _check_emulation(averaging: AveragingConfig, schedules: dict[str, ScheduleConfig]) -> None:
    """Raises ValueError where a decay is emulated on weights that are no average of updates at known rates."""
    emulated = [name for name, scheme in averaging.schemes.items() if scheme.kind == "emulated_decay"]
    for name in averaging.schedules:
        if emulated and schedules[name].kind in ("schedule_free", "plateau"):
            raise ValueError(
                f"averaging.schedules has {name}, of kind {schedules[name].kind}, with averaging.schemes."
                f"{emulated[0]}, an emulated decay: it is derived for AdamW at learning rates that are known before "
                "training. Remove one of them; without averaging.schemes there are two such schemes"
            )


OTHER_FILES = {
    "checkpoints": "which checkpoints are averaged",
    "imports": "where logs of runs are that were trained elsewhere",
}
"""Configurations that are no studies, by the key that tells them."""


def read_study(path: Path) -> StudyConfig:
    """Read and validate a study.

    Raises StudyError for a missing file, for YAML that does not parse and for every rule of the schema.
    """
    return parse_study(read_yaml(path, "study"), str(path))


def parse_study(data: Any, origin: str) -> StudyConfig:
    """Validate plain data as a study; `origin` is what the error calls it. Raises StudyError."""
    if not isinstance(data, dict):
        raise StudyError(
            f"The study {origin} is {type(data).__name__}, not a mapping of keys. Write `key: value` lines; "
            f"config/README.md describes the keys."
        )
    for key, what in OTHER_FILES.items():
        if key in data:
            raise StudyError(
                f"{origin} has the key {key}, so it is no study but says {what}. Run it with "
                f"snakemake --cores N --configfile {origin}; with --dry-run that tells the jobs and runs none."
            )
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as error:
        raise StudyError(explain(error, data, origin)) from error
