"""The YAML of runs that were trained and logged elsewhere, validated: where the logs are, what their columns mean, what
they do not hold, and what is concluded from them.

A file with the top-level key `imports` is one.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from glidepath.study.config import Law
from glidepath.study.config_errors import explain
from glidepath.study.import_sources import LrConfig, SourceConfig, compiled
from glidepath.study.law_list import IMPORT_LAWS
from glidepath.study.schedule_config import ScheduleConfig
from glidepath.study.section import Count, Flag, Name, NonNegative, Number, Positive, Section, StudyError, Text
from glidepath.study.yaml_file import read_yaml

SOME = Field(min_length=1)


class RunFacts(Section):
    """What the logs do not hold, or hold wrongly, about some runs. Later entries override earlier ones, and all of them
    override the logs."""

    match: Text | None = None
    """Names of the runs, with * and ? (or give regex)."""
    regex: Text | None = None
    """Regular expression that the whole name matches. Named groups called like keys of this section give their values:
    `(?P<model>[0-9]+M)_(?P<schedule>.+)`; a number may end in k, M, B or T."""
    model: Text | None = None
    """Name of the model: runs of one size and shape."""
    n_params_total: Positive | None = None
    """All parameters."""
    n_params_non_embedding: Positive | None = None
    """Parameters without embedding and head."""
    context_length: Count | None = None
    """Tokens per sequence."""
    schedule: Text | None = None
    """Name of the schedule: runs that differ in size, horizon or peak only share it."""
    schedule_kind: Text | None = None
    """Its kind: constant, cosine, wsd, …"""
    peak_lr: Positive | None = None
    """Highest learning rate."""
    warmup_steps: NonNegative | None = None
    """Linear rise to the peak [updates]."""
    decay_steps: NonNegative | None = None
    """Length of the final descent [updates]."""
    weight_decay: Annotated[Number, Field(ge=0)] | None = None
    """Decoupled weight decay."""
    batch_sequences: Count | None = None
    """Batch [sequences/update]."""
    batch_tokens: Count | None = None
    """Batch [tokens/update]."""
    total_steps: Count | None = None
    """Length of the whole schedule [updates]; a log that ends before it is one of a run that did not finish."""
    token_horizon: Count | None = None
    """Length of the whole schedule [tokens]."""
    unique_tokens: Count | None = None
    """Tokens of text; fewer than the horizon where it was repeated."""
    train_flops: Positive | None = None
    """Training compute as told [FLOP]."""
    replicate: NonNegative | None = None
    """Number of the replicate: runs that are alike but for their seeds. Where none is given they are numbered as they
    come."""
    trunk: Text | None = None
    """Name of a common first part of training: losses of runs with one trunk are correlated."""
    lr: LrConfig | None = None
    """How the learning rate is known; null: as the source says."""
    holdout: Flag | None = None
    """Hide the runs from fits, and score predictions of them."""
    excluded: Text | None = None
    """Keep the runs out of comparisons and fits, for this reason."""

    @model_validator(mode="after")
    def _fits(self) -> RunFacts:
        if (self.match is None) == (self.regex is None):
            raise ValueError("runs are named by exactly one of match and regex. Give one of them")
        if self.regex is not None:
            groups = compiled("regex", self.regex).groupindex
            for group in groups:
                if group not in FACTS:
                    raise ValueError(
                        f"regex has the named group {group!r}: it must be one of {', '.join(FACTS)}. Correct it"
                    )
                if getattr(self, group) is not None:
                    raise ValueError(f"{group} is given by itself and as a group of regex. Remove one")
        return self

    def names(self, run: str) -> bool:
        """Whether the entry is about a run."""
        if self.regex is not None:
            return re.fullmatch(self.regex, run) is not None
        return self.match is not None and fnmatchcase(run, self.match)

    def facts_of(self, run: str) -> dict[str, Any] | None:
        """What the entry says of a run; None if it is not about it.

        Raises StudyError for a group of the regular expression that is no number where one is needed.
        """
        if not self.names(run):
            return None
        found = None if self.regex is None else re.fullmatch(self.regex, run)
        groups = {} if found is None else {k: fact(k, v, run) for k, v in found.groupdict().items() if v is not None}
        return {**{key: value for key in GIVEN if (value := getattr(self, key)) is not None}, **groups}


GIVEN = tuple(key for key in RunFacts.model_fields if key not in ("match", "regex"))
FACTS = tuple(key for key in GIVEN if key not in ("lr", "holdout", "excluded"))
MULTIPLES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}


def fact(key: str, text: str, run: str) -> str | float:
    """A named group's value: the text, or its number where the key is one. Raises StudyError if it is none."""
    if key in ("model", "schedule", "schedule_kind", "trunk"):
        return text
    number = re.fullmatch(r"([0-9.]+(?:[eE][-+]?[0-9]+)?)([kKMBGT]?)", text)
    try:
        return float(number[1]) * MULTIPLES[number[2]] if number else float(text)
    except ValueError as error:
        raise StudyError(
            f"runs.regex: in the name {run!r} the group {key} is {text!r}: a number is needed, with k, M, B or T "
            "behind it at most. Correct the expression"
        ) from error


class ImportAnalysisConfig(Section):
    """How conclusions are drawn from imported runs."""

    reference_schedule: Text | None = None
    """Schedule that the others are compared with; null: none."""
    laws: tuple[Law, ...] | None = None
    """Laws to fit; lr_transfer and temporal need what an import does not have. null: all others, each of which says
    what it has not enough of."""
    pool_batches: Flag = False
    """true: laws take runs of all batches as one group, for data whose batch is not known or was tuned along."""
    ci_level: Annotated[Number, Field(gt=0.5, lt=1)] = 0.9
    """Level of all intervals."""
    bootstrap_samples: Annotated[int, Field(ge=100, strict=True)] = 1000
    """Bootstrap resamples per law."""
    seed: NonNegative = 0
    """Seed of the resampling."""

    @model_validator(mode="after")
    def _laws_of_imports(self) -> ImportAnalysisConfig:
        for law in self.laws or ():
            if law not in IMPORT_LAWS:
                raise ValueError(
                    f"laws has {law}, whose tables an import does not have: it can ask for {', '.join(IMPORT_LAWS)}. "
                    "Remove it"
                )
        return self


class ImportTargetConfig(Section):
    """The run that the recommendation is for."""

    n_params: Positive
    """Its parameters, in the count that tokens_per_parameter_uses names."""
    token_horizon: Positive | None = None
    """Its horizon [tokens] (or give tokens_per_parameter)."""
    tokens_per_parameter: Positive | None = None
    """Its horizon [tokens/parameter] (or give token_horizon)."""
    batch_tokens: Count | None = None
    """Its batch [tokens/update]; null: as the runs have it."""
    context_length: Count | None = None
    """Tokens per sequence; null: as the runs have it."""
    schedule: Text | None = None
    """Its schedule, one of schedules or of the runs; null: the best that was measured."""
    peak_lr: Positive | None = None
    """Its highest learning rate; null: the best that the laws find."""

    @model_validator(mode="after")
    def _one_horizon(self) -> ImportTargetConfig:
        if (self.token_horizon is None) == (self.tokens_per_parameter is None):
            raise ValueError(
                f"token_horizon {self.token_horizon} and tokens_per_parameter {self.tokens_per_parameter}: a target "
                "needs exactly one of them. Give one"
            )
        return self

    @property
    def tokens(self) -> float:
        """Horizon [tokens]."""
        return self.token_horizon or self.n_params * (self.tokens_per_parameter or 0.0)


class ImportConfig(Section):
    """Runs that were trained and logged elsewhere: one YAML file."""

    imports: Name
    """Name; results go to results/<imports>."""
    description: str = ""
    """One paragraph that opens the report."""
    sources: Annotated[tuple[SourceConfig, ...], SOME]
    """Logs."""
    runs: tuple[RunFacts, ...] = ()
    """What the logs do not hold."""
    schedules: dict[Name, ScheduleConfig] = Field(default={})
    """Learning-rate schedules by name, as in a study: those of runs with lr.kind schedule, and those whose curves are
    predicted."""
    tokens_per_parameter_uses: Literal["non_embedding", "total"] = "non_embedding"
    """The parameter count that laws and tokens_per_parameter go by; a run that has only the other one has none."""
    holdout: tuple[Text, ...] = ()
    """Names of runs, with * and ?, that are hidden from fits and predicted."""
    analysis: ImportAnalysisConfig = ImportAnalysisConfig()
    """How conclusions are drawn."""
    target: ImportTargetConfig | None = None
    """What they are drawn for; null: nothing is recommended."""

    @model_validator(mode="after")
    def _names(self) -> ImportConfig:
        names = [source.name for source in self.sources]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"sources has the name {twice!r} more than once: findings name a source. Rename one")
        return self

    def facts_of(self, run: str) -> dict[str, Any]:
        """What the file says of a run beside its logs, later entries over earlier ones."""
        found: dict[str, Any] = {}
        for entry in self.runs:
            found |= entry.facts_of(run) or {}
        if any(fnmatchcase(run, pattern) for pattern in self.holdout):
            found["holdout"] = True
        return found


def read_imports(path: Path) -> ImportConfig:
    """Read and validate a file. Raises StudyError as `parse_imports`, for a missing file and for what is no YAML."""
    return parse_imports(read_yaml(path, "import"), str(path))


def parse_imports(data: Any, origin: str) -> ImportConfig:
    """Validate plain data; `origin` is what the error calls it. Raises StudyError."""
    if not isinstance(data, dict):
        raise StudyError(
            f"The import {origin} is {type(data).__name__}, not a mapping of keys. Write `key: value` lines; "
            "config/README.md describes the keys."
        )
    try:
        return ImportConfig.model_validate(data)
    except ValidationError as error:
        raise StudyError(explain(error, data, origin, "import")) from error
