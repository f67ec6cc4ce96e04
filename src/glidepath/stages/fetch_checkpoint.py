"""Make one checkpoint be on disk, and write down which files it is made of.

A revision of the Hub is downloaded to a directory named by its commit; a directory of the user's own is used in place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from glidepath.interop.checkpoint_files import CONFIG, read_json, weight_files
from glidepath.interop.hub import download
from glidepath.study.checkpoints import CheckpointSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spec", required=True, help="CheckpointSpec as JSON")
    parser.add_argument("--output", type=Path, required=True, help="record of the checkpoint; downloads go beside it")


def main(args: argparse.Namespace) -> None:
    spec = CheckpointSpec.model_validate_json(args.spec)
    commit: str | None = None
    if spec.repository is not None and spec.revision is not None:
        folder, commit = download(spec.repository, spec.revision, args.output.parent)
    else:
        folder = Path(spec.path or "")
    # What could not be read later is refused before it is waited for.
    read_json(folder)
    files = [folder / CONFIG, *weight_files(folder)]
    record: dict[str, Any] = {
        "repository": spec.repository,
        "revision": spec.revision,
        "commit": commit,
        "path": str(folder),
        "files": [{"file": file.name, "bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files],
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.output.with_name(f".{args.output.name}.partial")
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    temporary.replace(args.output)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
