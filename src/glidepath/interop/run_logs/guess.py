"""What a log might be: its format by name and content, and which of its columns might be what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glidepath.interop.run_audit import is_unsorted
from glidepath.interop.run_logs import csv_file, json_file
from glidepath.interop.run_logs.part import Part, Seen, numbers
from glidepath.interop.run_logs.reading import parts_of
from glidepath.interop.run_logs.text_log import COLOURS, ITERATION, TITAN_STEP
from glidepath.interop.run_logs.wandb_export import PANEL_COLUMN
from glidepath.study.import_sources import KEY, Source, TableSource, TextLogSource, WandbSource

LINES = 2000
"""Lines of a text that are looked at."""
LIKELY: dict[str, str] = {
    "step": r"_?(global_?)?step|iteration|iters?|updates?(_done)?|trainer/global_step",
    "batch_tokens": r"(?=.*tok)\w*batch\w*|global batch size|batch_size|bs",
    "tokens_seen": r"(?!.*batch)(.*[/_. ])?tokens(_seen|_processed|_trained)?|consumed (samples|tokens)",
    "train_loss": r"(train(ing)?[/_. ])?(lm )?(loss|ce|cross_entropy)",
    "val_loss": r"(val(idation|idate)?|eval|test)[/_. ](lm )?(loss|ce)|(val|eval)_?loss",
    "lr": r"(.*[/_. ])?(lr|learning[_ ]rate)(_group0|-\w+)?",
    "grad_norm": r"(.*[/_. ])?grad(ient)?[_ ]norm",
    "n_params_non_embedding": r"n|params?|n_params|num_params|parameters|n_params_non_embedding|n_non_embedding",
    "token_horizon": r"d|token_horizon|train_tokens",
    "train_flops": r"c|flops?|train_flops|compute",
}
"""Names that others give to quantities."""


def guessed(name: str) -> Source:
    """A source for one file, with the columns that are likely. Raises ValueError for a file that cannot be read."""
    source = _of_format(name)
    seen = Seen()
    first = next(parts_of(source, Path(name), None, seen), None)
    columns = likely_columns(list(seen.columns))
    along = [key for key in ("step", "tokens_seen") if key in columns]
    losses = [key for key in ("train_loss", "val_loss") if key in columns]
    if not columns or not losses:
        return source
    if first is not None and "step" in columns and is_unsorted(numbers(first.columns[columns["step"]])[0]):
        # Not the points of a run after each other: the lengths of finished runs.
        along = []
        columns["total_steps"] = columns.pop("step")
        columns |= {"peak_lr": columns.pop("lr")} if "lr" in columns else {}
    if not along and losses == ["train_loss"]:
        # One loss per run: it is what runs are compared by.
        columns["val_loss"] = columns.pop("train_loss")
    run: dict[str, Any] = {"kind": "file"}
    if KEY in seen.columns:
        run = {"kind": "columns", "columns": [KEY]}
    elif "run" in seen.columns:
        run = {"kind": "columns", "columns": ["run"]}
    elif not along:
        run = {"kind": "row"}
    elif source.format == "tensorboard":
        run = {"kind": "directory"}
    data = source.model_dump(exclude_unset=True)
    in_sequences = [key for key in ("batch_tokens", "tokens_seen") if "token" not in columns.get(key, "token").lower()]
    return type(source).model_validate(
        {
            **data,
            "rows": "points" if along else "runs",
            "run": run,
            "columns": columns,
            **({"units": dict.fromkeys(in_sequences, "sequences")} if in_sequences else {}),
            **({"step_counts": "zero_based"} if _from_zero(first, columns) else {}),
        }
    )


def _from_zero(first: Part | None, columns: dict[str, str]) -> bool:
    """Whether a training loss is logged at step 0, which no count of updates done has."""
    if first is None or "step" not in columns or "train_loss" not in columns:
        return False
    steps, losses = (numbers(first.columns[columns[name]])[0] for name in ("step", "train_loss"))
    return bool(((steps == 0) & ~np.isnan(losses)).any())


def likely_columns(names: Sequence[str]) -> dict[str, str]:
    """Quantities, and the first column whose name looks like each of them."""
    found: dict[str, str] = {}
    for quantity, pattern in LIKELY.items():
        for name in names:
            if name not in found.values() and re.fullmatch(pattern, name, re.IGNORECASE):
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
        panel = any(PANEL_COLUMN.match(column) for column in _columns(csv_file.read(path, None, seen), seen))
        kind = WandbSource if panel else TableSource
        return kind.model_validate({**common, "format": "wandb" if panel else "csv"})
    if endings and set(endings) & {".jsonl", ".ndjson", ".json"}:
        lines = ".json" not in endings
        read = json_file.read_lines if lines else json_file.read_whole
        seen = Seen()
        if "_step" in _columns(read(path, None, seen), seen):
            return WandbSource.model_validate({**common, "format": "wandb"})
        return TableSource.model_validate({**common, "format": "jsonl" if lines else "json"})
    return TextLogSource.model_validate({**common, "format": "text_log", **_text(path)})


def _columns(parts: Any, seen: Seen) -> list[str]:
    first: Part | None = next(parts, None)
    return list(seen.columns) if first is not None else []


def _text(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for _, line in zip(range(LINES), file, strict=False):
            text = COLOURS.sub("", line)
            if ITERATION.search(text):
                return {"preset": "megatron"}
            if TITAN_STEP.search(text):
                return {"preset": "torchtitan"}
    return {"patterns": [r"step\D*(?P<step>\d+).*?loss\D*(?P<loss>[\d.eE+-]+)"]}
