"""Read the logs of runs that were trained elsewhere into the tables of a study, with what is wrong with them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from glidepath.interop.run_import import Imported, import_runs
from glidepath.study.identity import digest
from glidepath.study.import_config import ImportConfig, parse_imports, read_imports
from glidepath.study.provenance import versions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--config", help="the configuration as JSON")
    given.add_argument("--configfile", type=Path, help="the configuration as a YAML file")
    parser.add_argument("--base", type=Path, default=Path(), help="folder that the configuration's paths start from")
    parser.add_argument("--output", type=Path, required=True, help="results folder")


def main(args: argparse.Namespace) -> None:
    """Raises ValueError for a configuration or logs that cannot be read."""
    config = _config(args)
    imported = import_runs(config, args.base, args.output)
    provenance = {
        "imports": config.imports,
        "mapping_digest": digest(config.model_dump(mode="json")),
        "versions": versions(),
        **imported.provenance,
    }
    path = args.output / "provenance.json"
    path.write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    print(summary(imported))


def _config(args: argparse.Namespace) -> ImportConfig:
    if args.config is not None:
        return parse_imports(json.loads(args.config), "given as JSON")
    return read_imports(args.configfile)


def reasons(runs: pd.DataFrame) -> dict[str, int]:
    """Why runs did not complete, and how many of them; where they differ in numbers only, the first stands for all."""
    given = runs.loc[runs["status"] != "completed", "reason"]
    alike = given.groupby(given.str.replace(r"\d[\d.,e+-]*", "0", regex=True), sort=False)
    return dict(zip(alike.first(), alike.size(), strict=True))


def summary(imported: Imported) -> str:
    """What came of it, for the person at the terminal."""
    runs = imported.runs
    states = ", ".join(f"{count} {status}" for status, count in runs["status"].value_counts().items())
    lines = [f"{len(runs)} runs: {states}; {int(runs['holdout'].sum())} held out"]
    lines += [f"{count} of them: {reason}" for reason, count in reasons(runs).items()]
    for kind, found in imported.findings.groupby("finding", sort=False):
        first = found.iloc[0]
        where = f"{first['run']}: " if first["run"] else f"{first['source']}: " if first["source"] else ""
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        lines.append(f"{kind}: {where}{first['detail']}{more}; {first['done']}")
    return "\n".join(lines)
