"""Write report.html: the answers, the figures and where the rows are, in one self-contained page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from glidepath.study import figure_list, tables
from glidepath.study.config import parse_study
from glidepath.study.identity import digest
from glidepath.study.provenance import versions
from glidepath.study.segments import plan
from glidepath.study.target import target_of

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="the validated study as JSON")
    parser.add_argument("--results", type=Path, required=True, help="results folder of the study: tables, laws, figures")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json of the tokenised corpus")
    parser.add_argument("--output", type=Path, required=True, help="report.html, in the results folder: its links are relative")


def main(args: argparse.Namespace) -> None:
    from glidepath.report import answers, card, limits, overview, page
    from glidepath.report.answer import Target

    study = parse_study(json.loads(args.config), "given as JSON")
    manifest = json.loads(args.manifest.read_text(encoding="utf-8"))
    recommended = Recommendation.model_validate_json((args.results / "recommendation.json").read_text(encoding="utf-8"))
