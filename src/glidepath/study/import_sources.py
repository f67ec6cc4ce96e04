"""Sources of imported runs in YAML: files, their format, how a run is told and what their columns mean."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from glidepath.study.import_columns import Along, Column, Unit, units_of
from glidepath.study.section import Positive, Section, Text

SOME = Field(min_length=1)
StepCounts = Literal["updates_done", "zero_based", "zero_based_evaluated_before"]
KEY = "_key"
"""Column of the key, where a JSON file is a mapping of runs."""


class RunByColumns(Section):
    """A run is told by columns of its rows."""

    kind: Literal["columns"]
    columns: Annotated[tuple[Text, ...], SOME]
    """Columns of the log; several are joined. In a JSON file that maps names to runs, the name is the column _key."""
    separator: Text = "/"
    """What stands between them in the run's name."""


class RunByFile(Section):
    """A run is told by its place."""

    kind: Literal["file", "directory", "row"]
    """file: a file is a run, named by its stem; directory: a directory is one; row: a row is one, named by the file's
    stem and the number of the row."""


class RunByPath(Section):
    """A run is told by a part of the file's path."""

    kind: Literal["path"]
    pattern: Text
    """Regular expression, searched in the path, with the named group run: `(?P<run>[^/]+)/log.txt`. Other named groups
    become columns of their name."""

    @model_validator(mode="after")
    def _names_a_run(self) -> RunByPath:
        if "run" not in compiled("pattern", self.pattern).groupindex:
            raise ValueError(
                f"pattern {self.pattern!r} has no named group run: it says which part of the path names the run. Write "
                "it so, for example (?P<run>[^/]+)/log.txt"
            )
        return self


def compiled(key: str, pattern: str) -> re.Pattern[str]:
    """A regular expression. Raises ValueError that names the key."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{key} {pattern!r} is no regular expression: {error}. Correct it") from error


RunName = Annotated[RunByColumns | RunByFile | RunByPath, Field(discriminator="kind")]


class LrKnown(Section):
    """The learning rate is known from the run itself."""

    kind: Literal["logged", "schedule", "constant", "unknown"]
    """logged: column lr, between logged updates a straight line; schedule: the entry of schedules that the run's
    schedule names, with its peak_lr, warmup_steps and total_steps; constant: peak_lr at every update; unknown: laws
    that read the learning rate leave the run out."""


class LrTable(Section):
    """The learning rate of every update is in a file of its own."""

    kind: Literal["table"]
    path: Text
    """CSV or Parquet, a row per update; updates that it lacks between others lie on a straight line."""
    of: Annotated[dict[Literal["run", "model", "schedule"], Text], SOME]
    """Columns that say whose learning rate a row has."""
    step: Text = "step"
    """Column with the update."""
    lr: Text = "lr"
    """Column with the learning rate."""
    step_counts: Literal["updates_done", "zero_based"] = "zero_based"
    """zero_based: the first update is 0; updates_done: it is 1."""


LrConfig = Annotated[LrKnown | LrTable, Field(discriminator="kind")]


def _texts(value: Any) -> Any:
    """A filter's values as text, one or several."""
    entries = value if isinstance(value, list | tuple) else [value]
    known = (str, int, float, bool)
    return [as_text(entry) if isinstance(entry, known) else entry for entry in entries]


def as_text(value: Any) -> str:
    """A cell's value as filters compare it: true, false, a number without needless digits, or the text itself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return f"{value:.15g}"


SCALAR = {"type": ["string", "number", "boolean"]}
Filter = Annotated[
    tuple[Text, ...],
    SOME,
    BeforeValidator(_texts),
    WithJsonSchema({"anyOf": [SCALAR, {"type": "array", "items": SCALAR, "minItems": 1}]}),
]


class Source(Section):
    """What every source has."""

    name: Text
    """Its name in tables and messages."""
    format: str
    """Format of its files."""
    paths: Annotated[tuple[Text, ...], SOME]
    """Files, relative to the working directory; * and ** as in a shell."""
    rows: Literal["points", "runs"] = "points"
    """points: a row per logged point of a run; runs: a row per finished run, whose losses are its final ones."""
    run: RunName
    """How the run of a row is known."""
    columns: Annotated[dict[Column, Text], SOME]
    """Glidepath's name of a quantity, and the column of the log that has it; below an object, by its path with dots
    (config.model.n_layers)."""
    units: dict[Column, Unit] = Field(default={})
    """Units other than nat, one and flop. Losses: bit, perplexity, bit_per_byte; counts: thousands, millions, billions,
    trillions; tokens: sequences (of context_length), updates (of batch_tokens); train_flops: teraflop, petaflop,
    exaflop, petaflop_days."""
    bytes_per_token: Positive | None = None
    """Bytes of text per token, for losses in bit_per_byte."""
    step_counts: StepCounts = "updates_done"
    """What the column step counts. updates_done: updates done when the row was logged, the loss being that of the last
    one; zero_based: the update of the row, counted from 0, with evaluations after it; zero_based_evaluated_before: the
    same, with evaluations before it."""
    where: dict[Text, Filter] = Field(default={})
    """Keep only rows whose columns of the log have these values, one or a list."""
    beside: dict[Text, Text] = Field(default={})
    """JSON or YAML files about a run in the directory of its log, by a name of your choice: {config: config.json} makes
    its keys the columns config.<key>. {stem} stands for the log's name without the ending."""
    domain: Text | None = None
    """Name of the evaluation set that val_loss is on, where no column tells it. Sets in several columns are several
    sources over one file; the set of the first source is the one that is compared."""
    lr: LrConfig | None = None
    """How the learning rate is known; null: logged if columns has lr, else unknown."""

    @model_validator(mode="after")
    def _fits(self) -> Source:
        for column, unit in self.units.items():
            if column not in self.columns:
                raise ValueError(f"units has {column}, which columns has not. Add it there or remove its unit")
            if unit not in units_of(column):
                allowed = ", ".join(units_of(column)) or "none"
                raise ValueError(f"units.{column} = {unit}: its unit is one of {allowed}. Correct it")
        if (self.bytes_per_token is None) == ("bit_per_byte" in self.units.values()):
            raise ValueError(
                f"bytes_per_token {self.bytes_per_token} with the units {sorted(set(self.units.values()))}: losses in "
                "bit_per_byte need it and nothing else does. Add it or remove it"
            )
        if self.domain is not None and ("domain" in self.columns or "val_loss" not in self.columns):
            raise ValueError(
                f"domain {self.domain!r} names the evaluation set of columns.val_loss, where columns.domain does not. "
                "Remove it, or correct columns"
            )
        losses = [column for column in ("train_loss", "val_loss") if column in self.columns]
        if not losses and not ("lr" in self.columns and self.rows == "points"):
            raise ValueError("columns has neither train_loss nor val_loss: a run needs a loss. Add one")
        if self.rows == "points":
            if "step" not in self.columns and "tokens_seen" not in self.columns:
                raise ValueError(
                    "columns has neither step nor tokens_seen: a point of a run needs its place. Add one, or say rows: "
                    "runs if a row is a finished run"
                )
            if self.run.kind == "row":
                raise ValueError("run.kind row with rows: points: a run has several points. Say rows: runs")
        if self.lr is not None and self.lr.kind == "logged" and "lr" not in self.columns:
            raise ValueError("lr.kind logged without columns.lr: it is read from that column. Add it or change lr")
        return self

    @property
    def lr_kind(self) -> LrKnown | LrTable:
        return self.lr or LrKnown(kind="logged" if "lr" in self.columns else "unknown")


class TableSource(Source):
    """Files with rows and columns, or records."""

    format: Literal["csv", "parquet", "jsonl", "json", "tensorboard"]
    """csv: the first line names the columns (.gz too); jsonl: a record per line; json: a list of records, an object of
    columns, or an object of either by run; tensorboard: event files, a column per tag beside step and wall_time (extra
    `logs`)."""
    records: Text | None = None
    """json and jsonl: path with dots to the records within an object; what stands beside them is repeated in each."""
    decimal: Literal[".", ","] = "."
    """csv: what stands before a number's decimals; the other of the two stands between thousands."""

    @model_validator(mode="after")
    def _records(self) -> TableSource:
        if self.records is not None and self.format not in ("json", "jsonl"):
            raise ValueError(
                f"records {self.records!r} with format {self.format}: only json and jsonl have it. Remove it"
            )
        if self.decimal != "." and self.format != "csv":
            raise ValueError(f"decimal {self.decimal!r} with format {self.format}: only csv has it. Remove it")
        return self


class WandbSource(Source):
    """Exports of Weights & Biases: histories as JSON, JSONL or CSV, and the CSV of a panel, with a column per run."""

    format: Literal["wandb"]
    """A history has the columns _step, _timestamp and those logged; a panel's CSV becomes the columns Step, _key (the
    run) and the metric."""
    records: Text | None = None
    """Path with dots to the history, where a file has one object per run, such as history."""


class TextLogSource(Source):
    """Lines of text among others."""

    format: Literal["text_log"]
    """A log as a program prints it; colours are taken out."""
    preset: Literal["megatron", "torchtitan"] | None = None
    """Lines of Megatron-LM: iteration, consumed samples, learning rate, global batch size, lm loss and the others as
    columns of these names, validation as validation lm loss; of torchtitan: step, loss, grad_norm and the others,
    validation as validate_loss. Or give patterns."""
    patterns: tuple[Text, ...] = ()
    """Regular expressions, each searched in every line; named groups are columns, as in
    `step (?P<step>\\d+) loss (?P<loss>\\S+)`. The first that is found is taken."""

    @model_validator(mode="after")
    def _one_way(self) -> TextLogSource:
        if (self.preset is None) == (not self.patterns):
            raise ValueError(
                f"preset {self.preset} and {len(self.patterns)} patterns: lines are told by exactly one. Give one of "
                "them"
            )
        for i, pattern in enumerate(self.patterns):
            if not compiled(f"patterns.{i}", pattern).groupindex:
                raise ValueError(
                    f"patterns.{i} {pattern!r} has no named group: they name the columns. Write it so, for example "
                    r"step (?P<step>\d+) loss (?P<loss>\S+)"
                )
        return self


SourceConfig = Annotated[TableSource | WandbSource | TextLogSource, Field(discriminator="format")]
ALONG: tuple[str, ...] = Along.__args__  # type: ignore[attr-defined]
