"""Show what is in a log, and write a configuration to start from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from glidepath.interop.run_logs.guess import guessed
from glidepath.interop.run_logs.part import Seen, numbers, texts
from glidepath.interop.run_logs.reading import parts_of

FIRST_VALUES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", help="a log: CSV, Parquet, JSON, JSON lines, TensorBoard's events, or text")


def main(args: argparse.Namespace) -> None:
    """Raises ValueError for a file that is not there or cannot be read."""
    if not Path(args.path).is_file():
        raise ValueError(f"PATH = {args.path!r} is no file. Give one log; a configuration takes many, with * and **")
    print(described(args.path))


def described(name: str) -> str:
    """Columns of a log with type and first values, and YAML to import it with."""
    source = guessed(name)
    seen = Seen()
    part = next(parts_of(source, Path(name), None, seen), None)
    if part is None or not len(part.rows):
        return (
            f"{name}: no rows could be read as {source.format}. If it is a text log, give format: text_log with "
            "patterns of your own."
        )
    lines = [f"{name}: {source.format}, {len(seen.columns)} columns"]
    for column, values in part.columns.items():
        known = values.drop_null()
        _, wrong = numbers(known)
        kind = "number" if len(known) and not wrong.any() else "text"
        first = ", ".join(texts(known.slice(0, FIRST_VALUES)).to_pylist())
        lines.append(f"  {column}: {kind}, {len(known)} of the first {len(values)} rows; {first}")
    data: dict[str, Any] = {"imports": "mine", "sources": [source.model_dump(mode="json", exclude_unset=True)]}
    if "n_params_total" in source.columns and "n_params_non_embedding" not in source.columns:
        data["tokens_per_parameter_uses"] = "total"
    text = yaml.safe_dump(data, sort_keys=False, width=110)
    remarks = []
    if source.bytes_per_token is not None:
        remarks = [
            f"# bytes_per_token {source.bytes_per_token:g} is none of this log: give that of your tokenizer and text."
        ]
    return "\n".join(
        [*lines, "", "# yaml-language-server: $schema=imports.schema.json", "# Check every line.", *remarks, text]
    )
