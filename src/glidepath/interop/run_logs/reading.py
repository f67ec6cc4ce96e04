"""From a source of an import to the parts of its files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from glidepath.interop.run_logs import csv_file, event_file, json_file, parquet_file, text_log, wandb_export
from glidepath.interop.run_logs.part import Part, Seen, flat
from glidepath.study.import_files import beside
from glidepath.study.import_sources import Source, TableSource, TextLogSource, WandbSource
from glidepath.study.section import StudyError


def parts_of(source: Source, path: Path, wanted: Sequence[str] | None, seen: Seen) -> Iterator[Part]:
    """The rows of one file; `wanted` None: all columns. Raises ValueError for a file that is not of the format."""
    if isinstance(source, TextLogSource):
        return text_log.read(path, wanted, seen, source.preset, source.patterns)
    if isinstance(source, WandbSource):
        return wandb_export.read(path, wanted, seen, source.records)
    assert isinstance(source, TableSource)
    if source.format == "csv":
        return csv_file.read(path, wanted, seen, source.decimal)
    if source.format == "parquet":
        return parquet_file.read(path, wanted, seen)
    if source.format == "jsonl":
        return json_file.read_lines(path, wanted, seen, source.records)
    if source.format == "json":
        return json_file.read_whole(path, wanted, seen, source.records)
    return event_file.read(path, wanted, seen)


def constants_of(source: Source, name: str, base: Path) -> dict[str, Any]:
    """Columns that are one value for a whole file: groups of the path's pattern, and the files beside it.

    Raises StudyError if a path does not match the pattern or a file beside it cannot be read.
    """
    found: dict[str, Any] = {}
    if source.run.kind == "path":
        match = re.search(source.run.pattern, name)
        if match is None:
            raise StudyError(
                f"The source {source.name}: run.pattern {source.run.pattern!r} is not found in the path {name!r}, "
                "whose run it should tell. Correct it or narrow paths"
            )
        found |= {key: value for key, value in match.groupdict().items() if key != "run"}
    for prefix, template in source.beside.items():
        found |= flat(_beside(source, prefix, base / beside(template, name)), f"{prefix}.")
    return found


def _beside(source: Source, prefix: str, path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StudyError(
            f"The source {source.name}: beside.{prefix} names {path}, which cannot be read: {error}. Correct the name "
            "or remove the log from paths"
        ) from error
    if not isinstance(value, dict):
        raise StudyError(
            f"The source {source.name}: beside.{prefix} names {path}, which is no object. Correct the name"
        )
    # Weights & Biases wraps every value of a configuration.
    return {
        key: entry["value"]
        if isinstance(entry, dict) and "value" in entry and entry.keys() <= {"value", "desc"}
        else entry
        for key, entry in value.items()
    }
