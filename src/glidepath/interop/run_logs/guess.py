"""What a log might be: its format by name and content, and which of its columns might be what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glidepath.interop.run_audit.row_order import going_back, is_unsorted
from glidepath.interop.run_logs import csv_file, json_file
from glidepath.interop.run_logs.part import Part, Seen, numbers, texts
from glidepath.interop.run_logs.reading import parts_of
from glidepath.interop.run_logs.text_log import COLOURS, ITERATION, TITAN_STEP
from glidepath.interop.run_logs.wandb_export import PANEL_COLUMN
from glidepath.study.import_sources import ALONG, KEY, Source, TableSource, TextLogSource, WandbSource

LINES = 2000
"""Lines of a text that are looked at."""
LIKELY: dict[str, str] = {
    "step": r"_?(global_?)?step|iteration|iters?|iter_num|updates?(_done)?|num_iterations|n_?(steps|iters?)"
    r"|trainer/global_step",
    "batch_tokens": r"(?=.*tok)\w*batch\w*|global batch size|batch_size|bs",
    "tokens_seen": r"(?!config\.)(?!.*(batch|horizon|unique|param|context))"
    r"(.*[/_. ])?tokens(_seen|_processed|_trained)?|consumed (samples|tokens)",
    "train_loss": r"(train(ing)?[/_. ])?(lm )?(loss|ce|cross_entropy)",
    "val_loss": r"(val(idation|idate)?|eval|test)[/_. ](lm )?(loss|ce|bpb)|(val|eval)_?loss|val_?bpb|bpb|bits_per_byte",
    "lr": r"(?!config\.)(.*[/_. ])?(lr|learning[_ ]rate)(_group0|-\w+)?",
    "grad_norm": r"(.*[/_. ])?grad(ient)?[_ ]norm",
    "n_params_total": r"(config\.)?(params?|n_params|num_params|parameters|n_params_total|total_params|model_size)",
    "n_params_non_embedding": r"(config\.)?(n|n_params_non_embedding|n_non_embedding|non_embedding_params"
    r"|params_no_embed(ding)?|num_scaling_params|params_active_precise|active_params)",
    "n_layer": r"(config\.)?(n_?layers?|num_layers|num_hidden_layers|depth)",
    "d_model": r"(config\.)?(d_model|n_embd|model_dim|hidden_size|width|dim)",
    "context_length": r"(config\.)?(context_length|seq_?len|sequence_length|block_size|max_seq_len)",
    "batch_sequences": r"config\.(global_)?(batch_size|bs)",
    "token_horizon": r"config\.tokens|(config\.)?(d|token_horizon|train_tokens|total_tokens|max_tokens)",
    "unique_tokens": r"(config\.)?(u|unique_tokens)",
    "train_flops": r"c|(config\.)?(flops?|train_flops|flops_budget|compute)",
    "peak_lr": r"config\.(lr|learning_rate|peak_lr|max_lr)",
    "warmup_steps": r"(config\.)?(warmup(_steps|_iters)?)",
    "total_steps": r"config\.(steps|max_steps|total_steps|train_steps|num_iterations|max_iters)",
    "schedule": r"(config\.)?(schedule|scheduler|lr_schedule|lr_scheduler(_type)?|lr_decay_style)",
}
"""Names that others give to quantities."""
SETTINGS = re.compile(r"(hyper_?parameters|hparams|args|cfg|settings)\.", re.IGNORECASE)
"""What stands in front of a run's settings elsewhere than in its config."""
RUN_NAMES = r"run(_?(name|id))?|name|experiment|exp(_name)?|model(_?name)?|id"
"""Names of columns that name runs."""
LEAST_POINTS = 3
"""A run in a table of several has as many points on average."""
BYTES_PER_TOKEN = 4.5
"""Put where losses are per byte, to be replaced: a tokenizer of some 50,000 tokens on English text."""
NANOGPT = [
    r"step (?P<step>\d+): train loss (?P<evaluated_train>[^,\s]+), val loss (?P<val_loss>[^,\s]+)",
    r"iter (?P<step>\d+): loss (?P<loss>[^,\s]+)",
    r"number of parameters: (?P<millions>[\d.]+)M",
]
LLM_C = [
    r"^s:(?P<step>\d+) tel:(?P<val_loss>\S+)",
    r"^s:(?P<step>\d+) trl:(?P<train_loss>\S+)( lr:(?P<lr>\S+) norm:(?P<grad_norm>\S+))?",
]
GAP, TO_NUMBER, NUMBER = r".{0,200}?", r"[^\w.]{0,20}?", r"(?:nan|inf|[-+]?\.?\d[\d.eE+-]*)"
"""Bounded: a search takes a time in proportion to a line's length, which in a dump of settings may be a megabyte."""
STEP = rf"step{TO_NUMBER}(?P<step>\d+){GAP}"
TRAIN_LOSS = rf"train\w{{0,20}}[ _/.]?loss{TO_NUMBER}(?P<loss>{NUMBER})"
VAL_LOSS = rf"(?:val|eval|test)\w{{0,20}}[ _/.]?loss{TO_NUMBER}(?P<val_loss>{NUMBER})"
ANY_LOSS = rf"{STEP}loss{TO_NUMBER}(?P<loss>{NUMBER})"
TEXTS: tuple[tuple[re.Pattern[str], dict[str, Any]], ...] = (
    (ITERATION, {"preset": "megatron"}),
    (TITAN_STEP, {"preset": "torchtitan"}),
    (
        re.compile(r"^(step|iter) \d+: (train )?loss "),
        {"patterns": NANOGPT, "step_counts": "zero_based_evaluated_before"},
    ),
    (re.compile(r"^s:\d+ (tel|trl):"), {"patterns": LLM_C, "step_counts": "zero_based_evaluated_before"}),
    (re.compile(STEP + VAL_LOSS), {"patterns": [STEP + TRAIN_LOSS + GAP + VAL_LOSS, STEP + VAL_LOSS, ANY_LOSS]}),
)
"""Texts by a line that only they have."""


def guessed(name: str) -> Source:
    """A source for one file, with the columns that are likely. Raises ValueError for a file that cannot be read."""
    source = _of_format(name)
    seen = Seen()
    first = next(parts_of(source, Path(name), None, seen), None)
    columns = likely_columns(list(seen.columns))
    losses = [key for key in ("train_loss", "val_loss") if key in columns]
    if first is None or not losses:
        return source
    run = _run_columns(first, columns)
    along = [key for key in ("step", "tokens_seen") if key in columns]
    if along and run is None and source.format != "text_log" and _is_of_finished_runs(first, columns[along[0]]):
        # Not the points of a run after each other: the lengths of finished runs.
        along = []
        for of_a_point, of_a_run in (("step", "total_steps"), ("tokens_seen", "token_horizon"), ("lr", "peak_lr")):
            if of_a_point in columns:
                columns[of_a_run] = columns.pop(of_a_point)
    if not along and losses == ["train_loss"]:
        # One loss per run: it is what runs are compared by.
        columns["val_loss"] = columns.pop("train_loss")
    return type(source).model_validate(
        {
            **source.model_dump(exclude_unset=True),
            "rows": "points" if along else "runs",
            "run": _run(source, first, run, bool(along)),
            "columns": columns,
            **_units(first, columns),
            **_step_counts(source, first, columns),
        }
    )


def _run(source: Source, first: Part, run: list[str] | None, along: bool) -> dict[str, Any]:
    """How a run is told."""
    if run is not None:
        return {"kind": "columns", "columns": run}
    if not along:
        named = [name for name in _named(first) if len(_distinct(first, name)) == len(first.rows)]
        return {"kind": "columns", "columns": named[:1]} if named else {"kind": "row"}
    return {"kind": "directory" if source.format == "tensorboard" else "file"}


def _run_columns(first: Part, columns: dict[str, str]) -> list[str] | None:
    """Columns that tell runs apart, each with several points: those that are named so, or facts of a model, within
    which the place rises and all facts stay. None if there are no such columns."""
    place = next((columns[key] for key in ("step", "tokens_seen") if key in columns), None)
    if place is None:
        return None
    facts = [name for key, name in columns.items() if key not in ALONG]
    candidates = [[name] for name in dict.fromkeys([*_named(first), *facts])]
    pairs = [[a, b] for i, a in enumerate(facts) for b in facts[i + 1 :]]
    steps = numbers(first.columns[place])[0]
    for chosen in [*candidates, *pairs]:
        keys = list(zip(*(texts(first.columns[name]).to_pylist() for name in chosen), strict=True))
        rows = group_rows(keys)
        if chosen == [KEY] or chosen == ["run"]:
            return chosen
        if len(rows) < (1 if chosen[0] in _named(first) else 2) or len(keys) < LEAST_POINTS * len(rows):
            continue
        values = [texts(first.columns[name]).to_pylist() for name in facts]
        if all(
            not going_back(known := steps[mine][~np.isnan(steps[mine])]).any()
            and len(np.unique(known)) >= 0.5 * len(known)
            and all(len({value[i] for i in mine} - {None}) <= 1 for value in values)
            for mine in rows
        ):
            return chosen
    return None


def group_rows(keys: Sequence[Any]) -> list[NDArray[np.int64]]:
    """Row numbers of each key."""
    found: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    return [np.array(rows, dtype=np.int64) for rows in found.values()]


def _named(first: Part) -> list[str]:
    """Columns that name runs, by the order of what they are called."""
    return [
        *(name for name in (KEY, "run") if name in first.columns),
        *(name for name in first.columns if name not in (KEY, "run") and re.fullmatch(RUN_NAMES, name, re.IGNORECASE)),
    ]


def _distinct(first: Part, name: str) -> set[str | None]:
    return set(texts(first.columns[name]).to_pylist())


def _is_of_finished_runs(first: Part, place: str) -> bool:
    steps = numbers(first.columns[place])[0]
    known = steps[~np.isnan(steps)]
    return is_unsorted(known) or len(np.unique(known)) < 0.5 * len(known)


def _units(first: Part, columns: dict[str, str]) -> dict[str, Any]:
    units = {
        key: "sequences" for key in ("batch_tokens", "tokens_seen") if "token" not in columns.get(key, "token").lower()
    }
    if re.search(r"bpb|bits_per_byte", columns.get("val_loss", ""), re.IGNORECASE):
        return {"units": {**units, "val_loss": "bit_per_byte"}, "bytes_per_token": BYTES_PER_TOKEN}
    if "millions" in first.columns:
        columns["n_params_total"] = "millions"
        units["n_params_total"] = "millions"
    return {"units": units} if units else {}


def _step_counts(source: Source, first: Part, columns: dict[str, str]) -> dict[str, Any]:
    """A training loss at step 0 is one that no count of updates done has."""
    if "step_counts" in source.model_fields_set or "step" not in columns or "train_loss" not in columns:
        return {}
    steps, losses = (numbers(first.columns[columns[name]])[0] for name in ("step", "train_loss"))
    return {"step_counts": "zero_based"} if bool(((steps == 0) & ~np.isnan(losses)).any()) else {}


def likely_columns(names: Sequence[str]) -> dict[str, str]:
    """Quantities, and the first column whose name looks like each of them; one that has the quantity's own name goes
    before others, as step before the global_step that Hugging Face's trainer writes once."""
    found: dict[str, str] = {}
    for quantity, pattern in LIKELY.items():
        for name in sorted(names, key=lambda name: name.lower() != quantity):
            if name not in found.values() and re.fullmatch(pattern, SETTINGS.sub("config.", name, 1), re.IGNORECASE):
                found[quantity] = name
                break
    return found


def _of_format(name: str) -> Source:
    path = Path(name)
    common = {"name": "log", "paths": [name], "run": {"kind": "file"}, "columns": {"step": "step", "val_loss": "?"}}
    endings = path.suffixes
    if "tfevents" in path.name:
        return TableSource.model_validate({**common, "format": "tensorboard"})
    if ".parquet" in endings:
        return TableSource.model_validate({**common, "format": "parquet"})
    if ".csv" in endings or ".tsv" in endings:
        seen = Seen()
        if any(PANEL_COLUMN.match(column) for column in _columns(csv_file.read(path, None, seen), seen)):
            return WandbSource.model_validate({**common, "format": "wandb"})
        decimal = {"decimal": ","} if _has_decimal_commas(path) else {}
        return TableSource.model_validate({**common, "format": "csv", **decimal})
    if endings and set(endings) & {".jsonl", ".ndjson", ".json"}:
        lines = ".json" not in endings
        records = _history(path, lines)
        read = json_file.read_lines if lines else json_file.read_whole
        seen = Seen()
        within = {"records": records} if records else {}
        if "_step" in _columns(read(path, None, seen, records), seen):
            return WandbSource.model_validate({**common, "format": "wandb", **within})
        return TableSource.model_validate({**common, "format": "jsonl" if lines else "json", **within})
    return TextLogSource.model_validate({**common, "format": "text_log", **_text(path)})


def _has_decimal_commas(path: Path) -> bool:
    """Whether fields between semicolons or tabs have a comma where their decimals begin, and none has a point."""
    with pa.input_stream(path) as stream:
        lines = stream.read(1 << 16).decode("utf-8-sig", errors="replace").splitlines()[1:]
    fields = [field.strip() for line in lines for field in re.split(r"[;\t]", line)]
    commas = sum(re.fullmatch(r"-?\d+,\d+([eE][-+]?\d+)?", field) is not None for field in fields)
    return commas > 0 and not any(re.fullmatch(r"-?\d+\.\d+([eE][-+]?\d+)?", field) for field in fields)


def _history(path: Path, lines: bool) -> str | None:
    """Key of a list of records within the records of a file, or within those of its first run."""
    try:
        value = json_file.first_value(path, lines)
    except ValueError:
        return None
    if isinstance(value, dict) and value and all(isinstance(entry, dict) for entry in value.values()):
        value = next(iter(value.values()))
    if not isinstance(value, dict):
        return None
    return next(
        (
            key
            for key, entry in value.items()
            if isinstance(entry, list) and entry and all(isinstance(record, dict) for record in entry)
        ),
        None,
    )


def _columns(parts: Any, seen: Seen) -> list[str]:
    first: Part | None = next(parts, None)
    return list(seen.columns) if first is not None else []


def _text(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [COLOURS.sub("", line) for _, line in zip(range(LINES), file, strict=False)]
    for telling, guess in TEXTS:
        if any(telling.search(line) for line in lines):
            return guess
    return {"patterns": [ANY_LOSS]}
