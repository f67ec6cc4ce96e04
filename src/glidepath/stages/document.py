"""Write the documentation that follows from the code: keys of a study, their JSON schema, columns of tables."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pydantic import BaseModel

from glidepath.manual.columns import data_dictionary
from glidepath.manual.keys import keys_of_a_study
from glidepath.manual.markdown import GENERATED
from glidepath.study.checkpoint_config import CheckpointsConfig
from glidepath.study.config import StudyConfig
from glidepath.study.import_config import ImportConfig
from glidepath.study.recommendation import Recommendation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, help="root of the repository")
    parser.add_argument("--check", action="store_true", help="write nothing; refuse if a file is not in step")


def main(args: argparse.Namespace) -> None:
    """Raises ValueError, with `--check`, when a file is not what the code says."""
    texts = {args.output / name: text for name, text in documents().items()}
    if args.check:
        stale = [str(path) for path, text in texts.items() if not path.is_file() or path.read_text("utf-8") != text]
        if stale:
            raise ValueError(f"{', '.join(stale)}: not what the code says; run `make document` and commit it")
        return
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def documents() -> dict[str, str]:
    """Text of every generated file, by its path below the root of the repository."""
    return {
        "config/README.md": keys_of_a_study(),
        "config/study.schema.json": json_schema(StudyConfig),
        "config/checkpoints.schema.json": json_schema(CheckpointsConfig),
        "config/imports.schema.json": json_schema(ImportConfig),
        "docs/tables.md": data_dictionary(),
        "docs/recommendation.schema.json": json_schema(Recommendation),
    }


def json_schema(model: type[BaseModel]) -> str:
    """What an editor checks a file against while it is typed; the rules between keys are not in it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": GENERATED,
        **model.model_json_schema(),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
