"""The YAML of checkpoints that were trained elsewhere, validated: what they are, on which text they are evaluated, and
what is averaged over them.

A file with the top-level key `checkpoints` is one; every other file is a study.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from glidepath.study.averaging_config import BEST_WINDOW, RAW, SOME, Scheme
from glidepath.study.config_errors import explain
from glidepath.study.corpus_config import ValidationCorpus
from glidepath.study.section import Count, Name, Number, Positive, Section, StudyError, Text, check_rising

UPDATES = "{updates}"
"""Stands for the number of updates in a template."""
MOST_CHECKPOINTS = 10_000
"""Of one range: a job each, and a line each in the plan."""
MOST_UPDATES = 10_000_000
"""The learning rate of every update is held in memory while a study is planned."""
Updates = Annotated[Count, Field(le=MOST_UPDATES)]


class RevisionRange(Section):
    """Revisions at equal distances."""

    template: Text
    """Name of a revision, with {updates} where the number of updates stands."""
    first: Updates
    """[updates]"""
    last: Updates
    """[updates]"""
    every: Count
    """Their distance [updates]."""

    @model_validator(mode="after")
    def _names_them(self) -> RevisionRange:
        if self.template.count(UPDATES) != 1:
            raise ValueError(
                f"template {self.template!r} must have {UPDATES} once, where the number of updates stands. Write it "
                f"so, for example step{UPDATES}"
            )
        if self.last < self.first or (self.last - self.first) % self.every:
            raise ValueError(
                f"first {self.first}, last {self.last}, every {self.every}: last must be first or come a multiple of "
                "every after it. Change one of them"
            )
        count = (self.last - self.first) // self.every + 1
        if count > MOST_CHECKPOINTS:
            raise ValueError(
                f"first {self.first}, last {self.last}, every {self.every}: these are {count:,} checkpoints, and no "
                f"more than {MOST_CHECKPOINTS:,} can be planned. Raise every"
            )
        return self


class Revision(Section):
    """One checkpoint of a repository."""

    revision: Text
    """Branch, tag or commit."""
    updates: Updates
    """Updates done there."""


class HubCheckpoints(Section):
    """Revisions of a model repository of the Hugging Face Hub; needs the extra `hf`."""

    kind: Literal["huggingface"]
    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    """owner/name"""
    revisions: RevisionRange | None = None
    """Its checkpoints, where their names are regular (or null, and give listed). A branch or tag that moves later goes
    unnoticed; commits do not move."""
    listed: tuple[Revision, ...] = ()
    """Its checkpoints one by one, ascending."""

    @model_validator(mode="after")
    def _in_one_way(self) -> HubCheckpoints:
        if (self.revisions is None) == (not self.listed):
            raise ValueError("checkpoints are given by exactly one of revisions and listed. Give one of them")
        check_rising("listed.updates", [entry.updates for entry in self.listed])
        _check_once("revision", [entry.revision for entry in self.listed])
        return self


class Directory(Section):
    """One checkpoint of the user's own."""

    path: Text
    """Directory with config.json and weights, relative to the working directory."""
    updates: Updates
    """Updates done there."""


class DirectoryCheckpoints(Section):
    """Directories as transformers writes them, used where they are; needs the extra `hf`."""

    kind: Literal["directories"]
    pattern: Text | None = None
    """Path of a checkpoint relative to the working directory, with {updates} where the number of updates stands: all
    directories of that form (or null, and give listed)."""
    listed: tuple[Directory, ...] = ()
    """Checkpoints one by one, ascending."""

    @model_validator(mode="after")
    def _in_one_way(self) -> DirectoryCheckpoints:
        if (self.pattern is None) == (not self.listed):
            raise ValueError("checkpoints are given by exactly one of pattern and listed. Give one of them")
        if self.pattern is not None and (self.pattern.count(UPDATES) != 1 or "*" in self.pattern):
            raise ValueError(
                f"pattern {self.pattern!r} must have {UPDATES} once, where the number of updates stands, and no *. "
                f"Write it so, for example runs/mine/checkpoint-{UPDATES}"
            )
        check_rising("listed.updates", [entry.updates for entry in self.listed])
        _check_once("path", [os.path.normpath(entry.path) for entry in self.listed])
        return self


def _check_once(key: str, names: Sequence[str]) -> None:
    """Raises ValueError for a checkpoint that is listed for several numbers of updates."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(
            f"listed has the {key} {twice!r} more than once: its weights are those after one number of updates. Remove "
            "all but one"
        )


CheckpointSource = Annotated[HubCheckpoints | DirectoryCheckpoints, Field(discriminator="kind")]


class TrajectoryConfig(Section):
    """Checkpoints of one training."""

    source: CheckpointSource
    """Where they are."""
    tokens_per_update: Count
    """Batch, the same for all updates [tokens]."""
    n_params: Count
    """Parameters, in the count that FLOPs (6 per parameter and token) and tokens per parameter go by."""
    hours_per_update: Positive | None = None
    """What an update took, for what averaging saves: GPU hours if those are wanted; null: it is not told in hours."""
    lr: Positive | None = None
    """Learning rate, as if it had been constant, for emulated decays; null: constant and without weight decay."""
    weight_decay: Annotated[Number, Field(ge=0)] | None = None
    """Decoupled weight decay, beside lr."""

    @model_validator(mode="after")
    def _decay_has_a_rate(self) -> TrajectoryConfig:
        if (self.lr is None) != (self.weight_decay is None):
            raise ValueError(
                f"lr {self.lr} and weight_decay {self.weight_decay}: only their product matters, so both are needed or "
                "neither. Give both or remove both"
            )
        if self.lr is not None and self.weight_decay is not None and self.lr * self.weight_decay >= 1:
            raise ValueError(
                f"lr {self.lr} × weight_decay {self.weight_decay} must be less than 1: an update would replace the "
                "weights whole. Lower one of them"
            )
        return self


class CheckpointsConfig(Section):
    """Checkpoints that were trained elsewhere: one YAML file."""

    checkpoints: Name
    """Name; results go to results/<checkpoints>."""
    description: str = ""
    """One paragraph that opens the summary."""
    corpus: ValidationCorpus
    """The text they are evaluated on, and the tokenizer they were trained with."""
    context_length: Count
    """Tokens per evaluated block: no more than the model has positions."""
    trajectories: Annotated[dict[Name, TrajectoryConfig], SOME]
    """Trainings, by name."""
    schemes: Annotated[dict[Name, Scheme], SOME]
    """Averages, by name, as in a study."""
    points_every: Count = 1
    """Every so many checkpoints are a point at which everything is evaluated, counted back from the last."""
    ci_level: Annotated[Number, Field(gt=0.5, lt=1)] = 0.9
    """Level of all intervals."""

    @model_validator(mode="after")
    def _fits(self) -> CheckpointsConfig:
        for name in self.schemes:
            if name in (RAW, BEST_WINDOW):
                raise ValueError(f"schemes has {name!r}, a name that the tables need themselves. Give it another name")
        for i, domain in enumerate(self.corpus.domains):
            if domain.validation_tokens < 2 * self.context_length:
                raise ValueError(
                    f"corpus.domains.{i}.validation_tokens {domain.validation_tokens} is less than two blocks of "
                    f"context_length {self.context_length}: a standard error needs two. Raise it"
                )
        return self


def parse_checkpoints(data: Any, origin: str) -> CheckpointsConfig:
    """Validate plain data; `origin` is what the error calls it. Raises StudyError."""
    try:
        return CheckpointsConfig.model_validate(data)
    except ValidationError as error:
        raise StudyError(explain(error, data, origin)) from error
